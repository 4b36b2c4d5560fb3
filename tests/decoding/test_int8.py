"""Answers in int8: close to fp32, told as what they are, refused where they cannot be had."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from florence_demo.decoding.decoder import Decoder
from florence_demo.decoding.linears import Int8Linear, to_int8
from florence_demo.decoding.rules import DecodeOptions
from florence_demo.engine.engine import Engine
from florence_demo.errors import CheckpointError
from florence_demo.models.devices import choose_dtype
from florence_demo.models.loading import load_model
from tests.decoding.test_decoder import questions, tiny_model


def off_by(found: torch.Tensor, true: torch.Tensor) -> float:
    return float((found - true).norm() / true.norm())


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_a_linear_is_nearly_the_same(bias):
    torch.manual_seed(0)
    exact = nn.Linear(64, 48, bias=bias)
    rows = torch.randn(2, 5, 64)
    found = Int8Linear(exact)(rows)
    assert found.shape == (2, 5, 48)
    assert 0 < off_by(found, exact(rows)) < 0.03


def test_every_linear_inside_is_exchanged_and_its_weight_dropped():
    part = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.ModuleList([nn.Linear(4, 2)]))
    to_int8(part)
    assert [type(m) for m in part.modules() if not list(m.children())] == [
        Int8Linear, nn.LayerNorm, Int8Linear,
    ]  # fmt: skip
    assert sum(p.numel() for p in part.parameters()) == 8


def test_the_decoder_itself_stays_exact():
    exact, small = Decoder(tiny_model(2)), Decoder(tiny_model(2), int8=True)
    features, prompts = questions(1, 3)
    pixels = torch.randn(1, 3, 32, 32)
    assert 0 < off_by(small.encode_image(pixels), exact.encode_image(pixels)) < 0.1
    language = small.model.model.language_model
    assert not any(isinstance(m, Int8Linear) for m in language.decoder.modules())
    (answer,) = small.decode(features, prompts, DecodeOptions(max_new_tokens=8))
    assert len(answer.ids) > 2


def test_a_model_says_that_it_is_in_int8_and_sees_nearly_the_same():
    exact, small = (load_model("nano", device="cpu", dtype=d) for d in ("fp32", "int8"))
    assert "int8" in small.describe()
    assert "fp32" in exact.describe()
    torch.manual_seed(0)
    pixels = torch.randn(1, 3, 256, 256)
    seen = []
    for loaded in (exact, small):
        engine = Engine(loaded)
        seen.append(engine._decoder.encode_image(pixels))
    assert 0 < off_by(seen[1], seen[0]) < 0.15


def test_a_gpu_has_no_int8():
    with pytest.raises(CheckpointError, match="for processors"):
        choose_dtype("int8", torch.device("cuda"))


def test_a_build_without_int8_is_told(monkeypatch):
    def missing(*_):
        raise RuntimeError("Didn't find engine for operation")

    monkeypatch.setattr(torch, "quantize_per_channel", missing)
    with pytest.raises(CheckpointError, match="leave out --dtype int8"):
        Int8Linear(nn.Linear(2, 2))
