"""Run by ``test_fused`` where Triton interprets: a GPU's kernels one by one on a processor."""

from __future__ import annotations

import pytest
import torch

from florence_demo.decoding import fused_search
from florence_demo.decoding.forward import DecoderStep
from florence_demo.decoding.fused import FusedStep
from florence_demo.decoding.rules import DecodeOptions
from florence_demo.decoding.search import Beams, Shape
from tests.decoding.test_decoder import tiny_model

VOCABULARY = 150
LENGTH = 70


@pytest.mark.parametrize(
    ("batch", "beams"), [(1, 3), (2, 3), (1, 1)], ids=["few rows", "many rows", "greedy"]
)
@torch.inference_mode()
def test_a_step_gives_the_same_scores(batch, beams):
    """Beams of which some go on from others, prompts of different lengths."""
    sizes = {"decoder_attention_heads": 2, "decoder_ffn_dim": 256, "decoder_layers": 1}
    model = tiny_model(0, vocabulary=VOCABULARY, d_model=128, init_std=0.05, **sizes).half()
    plain = DecoderStep(model, plain=True)
    fused = FusedStep(model)
    assert fused.fits
    torch.manual_seed(0)
    hidden = torch.randn(batch, LENGTH, 128, dtype=torch.float16)
    mask = torch.ones(batch, LENGTH, dtype=torch.long)
    mask[0, -10:] = 0
    caches = [step.cache(batch, LENGTH, beams, 8) for step in (plain, fused)]
    for cache in caches:
        plain.begin(cache, torch.arange(batch), hidden, mask)
    for at in range(3):
        tokens = torch.randint(4, VOCABULARY, (batch, beams))
        position = torch.full((batch,), at)
        expected, got = (
            step(tokens, position, cache).float()
            for step, cache in zip((plain, fused), caches, strict=True)
        )
        assert got.shape == expected.shape
        assert float((got - expected).norm() / expected.norm()) < 2e-3
        source = torch.randint(0, beams, (batch, beams))
        for cache in caches:
            cache.reorder(source)
        assert torch.equal(caches[0].ancestors, caches[1].ancestors)


RULES = {
    "as published": {},
    "places": {"locations": range(40, 90), "length_penalty": 2.0, "early_stopping": False},
    "early stopping never": {"early_stopping": "never", "length_penalty": 0.7, "num_beams": 2},
    "no ban": {"no_repeat_ngram_size": 0, "num_beams": 5},
    "no token twice": {"no_repeat_ngram_size": 1},
    "nothing forced": {"forced_bos_token_id": None, "forced_eos_token_id": None},
    "two tokens": {"max_new_tokens": 2},
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES.keys())
def test_a_search_gives_the_same_answers(rules, monkeypatch):
    monkeypatch.setattr(fused_search, "CHUNK", 64)
    monkeypatch.setattr(fused_search, "BLOCK", 4)
    options = DecodeOptions(**{"max_new_tokens": 8, **rules})
    shape = Shape(batch=2, room=24, vocabulary=VOCABULARY, longest=64)
    plain = Beams(shape, options, torch.device("cpu"))
    fused = fused_search.FusedBeams(shape, options, torch.device("cpu"))
    torch.manual_seed(1)
    for step in range(9):  # on behind the end: what is done stays so
        scores = torch.randn(2, options.num_beams, VOCABULARY) * 2
        scores[:, :, 2] += 2.5 * (step > 2)
        scores[:, :, torch.randint(40, 60, (3,))] += 6.0 * (step > 1)
        for search in (plain, fused):
            search.choose(scores.clone())
            search.tell()
        assert plain.done.tolist() == fused.done.tolist()
        assert plain.position.tolist() == fused.position.tolist()
        assert torch.equal(plain.report[:, :2], fused.report[:, :2])
    assert bool(plain.done.all())
    for a, b in zip(plain.answers([0, 1]), fused.answers([0, 1]), strict=True):
        assert a.ids == b.ids
        assert a.truncated == b.truncated
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
