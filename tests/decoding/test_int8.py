"""Answers in int8: close to fp32, told as what they are, refused where they cannot be had."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from florence_demo.decoding import linears
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


def test_a_small_row_is_as_near_beside_a_large_one():
    torch.manual_seed(0)
    exact = nn.Linear(64, 48, bias=False)
    rows = torch.randn(3, 64) * torch.tensor([[1e-3], [0.0], [1e3]])
    found, true = Int8Linear(exact)(rows), exact(rows)
    assert off_by(found[0], true[0]) < 0.03
    assert not found[1].any()
    assert off_by(found[2], true[2]) < 0.03


def test_more_rows_than_are_taken_at_a_time_are_the_same(monkeypatch):
    torch.manual_seed(0)
    small, rows = Int8Linear(nn.Linear(64, 48)), torch.randn(5, 7, 64)
    together = small(rows)
    monkeypatch.setattr(linears, "_BLOCK", 64 * 4)  # the last block is of three rows
    assert off_by(small(rows), together) < 0.01


def test_every_linear_inside_is_exchanged_and_its_weight_dropped():
    part = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.ModuleList([nn.Linear(4, 2)]))
    to_int8(part)
    assert [type(m) for m in part.modules() if not list(m.children())] == [
        Int8Linear, nn.LayerNorm, Int8Linear,
    ]  # fmt: skip
    assert sum(p.numel() for p in part.parameters()) == 8


def test_the_decoder_itself_stays_exact():
    small = Decoder(tiny_model(2), int8=True)
    features, prompts = questions(1, 3)
    language = small.model.model.language_model
    assert any(isinstance(m, Int8Linear) for m in language.encoder.modules())
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
    assert 0 < off_by(seen[1], seen[0]) < 0.02
    stages = small.model.model.vision_tower.blocks
    in_int8 = [any(isinstance(m, Int8Linear) for m in stage.modules()) for stage in stages]
    assert in_int8 == [len(stage) > 0 for stage in stages[:-1]] + [False]


def test_a_gpu_has_no_int8():
    with pytest.raises(CheckpointError, match="for processors"):
        choose_dtype("int8", torch.device("cuda"))


def test_a_build_without_int8_is_told(monkeypatch):
    def missing(*_):
        raise RuntimeError("Didn't find engine for operation")

    monkeypatch.setattr(torch, "quantize_per_channel", missing)
    with pytest.raises(CheckpointError, match="leave out --dtype int8"):
        Int8Linear(nn.Linear(2, 2))
