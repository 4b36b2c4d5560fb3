"""The likelihood of a place is that of about this place."""

from __future__ import annotations

import pytest
import torch

from florence_demo.decoding.decoder import Decoder
from florence_demo.decoding.nearby import NEAR, likelihoods
from florence_demo.decoding.rules import DecodeOptions
from tests.decoding.test_decoder import both, questions, tiny_model

PLACES = range(10, 35)
WORDS = 40


@pytest.mark.parametrize(
    ("token", "counted"),
    [
        pytest.param(5, range(5, 6), id="a word"),
        pytest.param(39, range(39, 40), id="the last word"),
        pytest.param(20, range(20 - NEAR, 21 + NEAR), id="a place"),
        pytest.param(10, range(10, 11 + NEAR), id="the first place"),
        pytest.param(34, range(34 - NEAR, 35), id="the last place"),
    ],
)
@pytest.mark.parametrize("beam", [0, 2])
def test_a_place_counts_with_its_neighbours_and_a_word_alone(token, counted, beam):
    torch.manual_seed(0)
    logprobs = torch.randn(2, 3, WORDS).log_softmax(-1)
    index = torch.tensor([[beam * WORDS + token]] * 2)
    told = likelihoods(logprobs, index, PLACES)[:, 0]
    expected = logprobs[:, beam, counted.start : counted.stop].exp().sum(-1).log()
    torch.testing.assert_close(told, expected)
    alone = likelihoods(logprobs, index, None)[:, 0]
    torch.testing.assert_close(alone, logprobs[:, beam, token])


@pytest.mark.parametrize("beams", [1, 3])
def test_the_own_loop_tells_what_the_reference_tells_and_chooses_the_same(beams):
    reference, own = both(tiny_model(4, sharp=2.0).double(), plain=True)
    features, prompts = questions(3, 4, torch.float64)
    plain = DecodeOptions(max_new_tokens=25, num_beams=beams)
    near = DecodeOptions(max_new_tokens=25, num_beams=beams, locations=PLACES)
    expected = reference.decode(features, prompts, near)
    got = own.decode(features, prompts, near)
    alone = own.decode(features, prompts, plain)
    assert [g.ids for g in got] == [e.ids for e in expected] == [a.ids for a in alone]
    surer = 0
    for a, b, c in zip(got, expected, alone, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-6)
        for token, near_by, exactly in zip(a.ids, a.logprobs, c.logprobs, strict=True):
            if token in PLACES:
                surer += near_by > exactly
            else:
                assert near_by == pytest.approx(exactly)
    assert surer
    assert isinstance(own, Decoder)
