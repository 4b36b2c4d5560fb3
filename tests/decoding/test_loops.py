"""Answers that only repeat themselves are ended; all others stay as they are."""

from __future__ import annotations

import pytest
import torch

from florence_demo.decoding.decoder import Decoder
from florence_demo.decoding.graphs import Graphs
from florence_demo.decoding.loops import LEAST, LONGEST, ROUNDS, without_loop
from florence_demo.decoding.rules import DecodeOptions
from tests.decoding.test_decoder import questions, tiny_model

ROUND = list(range(10, 30))
WANDERING = [5, 6, 7] + [5 + (i * i + i // 3) % 3 for i in range(200)]


@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        pytest.param([], None, id="nothing"),
        pytest.param(list(range(500)), None, id="nothing twice"),
        pytest.param([9, 8, *[5] * LEAST], 3, id="one token"),
        pytest.param([*range(100, 140), *[5] * 40], None, id="a row of dots"),
        pytest.param([9, *ROUND * ROUNDS], 21, id="a line again and again"),
        pytest.param([9, *ROUND * (ROUNDS - 1)], None, id="a line three times"),
        pytest.param([9, *ROUND * ROUNDS, *ROUND[:7]], 21, id="in the middle of a round"),
        pytest.param([*ROUND * ROUNDS, 7], None, id="it has found back"),
        pytest.param([*range(LONGEST)] * ROUNDS, None, id="rounds too long to tell"),
        pytest.param([9, *WANDERING], 4, id="a few syllables in any order"),
    ],
)
def test_a_loop_is_one_when_the_same_stands_often_enough(ids, kept):
    assert without_loop(ids) == kept


def looping(beams: int) -> tuple[Decoder, DecodeOptions]:
    options = DecodeOptions(max_new_tokens=90, num_beams=beams, no_repeat_ngram_size=0)
    return Decoder(tiny_model(2, sharp=2.0).double(), plain=True), options


@pytest.mark.parametrize("buffers", [False, True], ids=["rows leave", "buffers stay"])
@pytest.mark.parametrize("beams", [1, 3])
def test_a_loop_is_ended_and_everything_else_left_as_it_was(beams, buffers):
    decoder, options = looping(beams)
    if buffers:  # as on a GPU, without one
        assert decoder._step is not None
        decoder._graphs = Graphs(decoder._step, capture=lambda work: work, room=32)
    features, prompts = questions(12, 3, torch.float64)
    free = DecodeOptions(**{**vars(options), "loop_guard": False})
    guarded = decoder.decode(features, prompts, options)
    exact = decoder.decode(features, prompts, free)
    assert {a.looped for a in exact} == {False}
    assert {a.looped for a in guarded} == {True, False}
    for ours, theirs in zip(guarded, exact, strict=True):
        if ours.looped:
            # Of several hypotheses that repeat themselves another may lead later on.
            assert beams > 1 or ours.ids == theirs.ids[: len(ours.ids)]
            assert without_loop(theirs.ids[:-1]) is not None
            assert not ours.truncated
            assert len(ours.ids) == len(ours.logprobs) < 40
        else:
            assert ours.ids == theirs.ids
