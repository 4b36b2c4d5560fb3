"""Passes that are captured: the same results, buffers that nobody else holds, ways out."""

from __future__ import annotations

import copy

import pytest
import torch

from florence_demo.decoding.decoder import Decoder
from florence_demo.decoding.rules import DecodeOptions
from florence_demo.encoding.encoder import Encoder
from florence_demo.encoding.replay import KEPT, Replay, Replays
from tests.decoding.test_decoder import tiny_model


def by_calling(work):
    """A capture as a GPU's would behave: the work again, its result in the same place."""
    result = work()
    return Replay(lambda: result.copy_(work()), result, bytes=5)


def replays(work, capture=by_calling):
    return Replays(work, capture)


def test_a_result_is_the_callers_and_inputs_are_taken_over():
    doubled = replays(lambda x: 2 * x)
    first = doubled(torch.tensor([[1.0]]))
    second = doubled(torch.tensor([[3.0]]))
    assert (first.item(), second.item()) == (2.0, 6.0)
    assert len(doubled.kept) == 1
    assert doubled.bytes == 5


def test_rare_sizes_run_as_they_are():
    doubled = replays(lambda x: 2 * x)
    assert doubled(torch.ones(3, 1)).tolist() == [[2.0]] * 3
    assert not doubled.kept


def test_the_shape_unused_the_longest_goes():
    doubled = replays(lambda x: 2 * x)
    for width in [*range(1, KEPT + 1), 1, KEPT + 1]:
        assert doubled(torch.ones(1, width)).shape == (1, width)
    assert len(doubled.kept) == KEPT
    assert (torch.Size([1, 1]),) in doubled.kept
    assert (torch.Size([1, 2]),) not in doubled.kept


def test_without_capturing_it_goes_on_kernel_by_kernel(caplog):
    tried = []

    def fail(work):
        tried.append(work())
        raise RuntimeError("operation not permitted when stream is capturing")

    doubled = replays(lambda x: 2 * x, fail)
    assert [doubled(torch.ones(1)).item() for _ in range(3)] == [2.0] * 3
    assert len(tried) == 1
    assert "without CUDA graphs" in caplog.text


def test_who_comes_while_another_replays_does_not_wait():
    doubled = replays(lambda x: 2 * x)
    with doubled.lock:
        assert doubled(torch.ones(1)).item() == 2.0
    assert not doubled.kept


@pytest.fixture
def captured():
    """A decoder that encodes as on a GPU, and one that does not, on equal weights."""
    model = tiny_model(2, sharp=0.5)
    plain, own = Decoder(copy.deepcopy(model)), Decoder(model)
    own._encoder = Encoder(model, capture=by_calling)
    return plain, own


def test_captured_encoding_gives_the_same_answers(captured):
    torch.manual_seed(0)
    for rows in (1, 2, 3):
        pixels = torch.randn(rows, 3, 32, 32)
        prompts = [[0, *range(5, 6 + row), 2] for row in range(rows)]
        features = [decoder.encode_image(pixels) for decoder in captured]
        assert torch.equal(*features)
        plain, own = (
            decoder.decode(seen, prompts, DecodeOptions(max_new_tokens=12))
            for decoder, seen in zip(captured, features, strict=True)
        )
        assert [a.ids for a in own] == [a.ids for a in plain]


def test_a_captured_tower_is_asked_before_and_after(captured):
    asked = []
    captured[1].encode_image(torch.randn(1, 3, 32, 32), before_block=lambda: asked.append(1))
    assert len(asked) == 2
