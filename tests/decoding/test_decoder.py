"""Decoding: token for token what ``generate`` gives, scores, limits, stopping, sharing."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import Florence2Config, Florence2ForConditionalGeneration, GenerationConfig

from florence_demo.decoding import graphs
from florence_demo.decoding.decoder import Decoder
from florence_demo.decoding.graphs import Graphs
from florence_demo.decoding.rules import DecodeOptions
from florence_demo.decoding.step import take_step
from florence_demo.errors import InputError

IMAGE_TOKENS = 5
VOCABULARY = 40
POSITIONS = 96


def tiny_model(seed: int, *, sharp: float = 3.0, vocabulary: int = VOCABULARY, **text):
    """A random Florence-2 whose answers end, repeat and branch within a few tokens."""
    torch.manual_seed(seed)
    config = Florence2Config(
        vision_config={
            "depths": [1],
            "patch_size": [7],
            "patch_stride": [16],
            "patch_padding": [3],
            "patch_prenorm": [False],
            "embed_dim": [8],
            "num_heads": [2],
            "num_groups": [2],
            "window_size": 2,
            "projection_dim": 16,
            "max_position_embeddings": 4,
            "max_temporal_embeddings": 2,
        },
        text_config={
            "model_type": "bart",
            "vocab_size": vocabulary,
            "d_model": 16,
            "encoder_layers": 1,
            "decoder_layers": 2,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 24,
            "decoder_ffn_dim": 24,
            "max_position_embeddings": POSITIONS,
            "init_std": 0.3,
            "bos_token_id": 0,
            "pad_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 2,
            **text,
        },
        image_token_id=3,
    )
    model = Florence2ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
        model.lm_head.weight.mul_(sharp)
    model.generation_config = GenerationConfig(
        num_beams=3,
        no_repeat_ngram_size=3,
        early_stopping=True,
        forced_bos_token_id=0,
        forced_eos_token_id=2,
        decoder_start_token_id=2,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    return model


def questions(rows: int, seed: int, dtype=torch.float32, *, vocabulary: int = VOCABULARY):
    """Features of some pictures and prompts of different lengths."""
    torch.manual_seed(seed + 1000)
    features = torch.randn(rows, IMAGE_TOKENS, 16, dtype=dtype)
    prompts = [
        [0, *torch.randint(4, vocabulary, (2 + 3 * (i % 3),)).tolist(), 2] for i in range(rows)
    ]
    return features, prompts


def both(model, **kwargs):
    """The reference and the own loop on equal weights."""
    own = Decoder(copy.deepcopy(model), **kwargs)
    return Decoder(model, reference=True), own


@pytest.fixture(scope="module")
def pair():
    return both(tiny_model(0))


RULES = {
    "as published": {},
    "early stopping off": {"early_stopping": False},
    "early stopping never": {"early_stopping": "never"},
    "long answers": {"length_penalty": 2.0, "early_stopping": False},
    "odd penalty": {"length_penalty": 0.7, "early_stopping": "never"},
    "short answers": {"length_penalty": -1.0, "early_stopping": False},
    "no penalty": {"length_penalty": 0.0, "early_stopping": "never"},
    "no ban": {"no_repeat_ngram_size": 0},
    "no token twice": {"no_repeat_ngram_size": 1},
    "no pair twice": {"no_repeat_ngram_size": 2, "early_stopping": False},
    "nothing forced": {"forced_bos_token_id": None, "forced_eos_token_id": None},
    "two tokens": {"max_new_tokens": 2},
    "one token": {"max_new_tokens": 1},
}


@pytest.mark.parametrize("beams", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("rules", RULES.values(), ids=RULES.keys())
def test_gives_token_for_token_what_generate_gives(rules, beams):
    """Float64 and plain linears: not one token may differ, whatever the model and the rules."""
    rules = dict(rules)
    limit = rules.pop("max_new_tokens", 24)
    for seed in range(4):
        model = tiny_model(seed, sharp=[1.0, 3.0, 6.0, 2.0][seed]).double()
        for name, value in rules.items():
            setattr(model.generation_config, name, value)
        reference, own = both(model, plain=True)
        features, prompts = questions(1 + seed % 3, seed, torch.float64)
        options = DecodeOptions.from_generation_config(
            model.generation_config, max_new_tokens=limit, num_beams=beams
        )
        expected = reference.decode(features, prompts, options)
        got = own.decode(features, prompts, options)
        assert [g.ids for g in got] == [g.ids for g in expected]
        assert [g.truncated for g in got] == [g.truncated for g in expected]
        for a, b in zip(got, expected, strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-5)


def test_answers_longer_than_the_first_buffers():
    model = tiny_model(3, sharp=0.5).double()
    reference, own = both(model, plain=True)
    features, prompts = questions(2, 5, torch.float64)
    options = DecodeOptions.from_generation_config(
        model.generation_config, max_new_tokens=90, length_penalty=3.0, early_stopping="never"
    )
    expected = reference.decode(features, prompts, options)
    assert max(len(e.ids) for e in expected) > 70
    assert [g.ids for g in own.decode(features, prompts, options)] == [e.ids for e in expected]


@pytest.mark.parametrize("half", [True, False], ids=["weights fit fp16", "weights need fp32"])
@pytest.mark.parametrize("beams", [1, 3])
def test_packed_weights_give_the_same_tokens(beams, half):
    model = tiny_model(1, vocabulary=5000)
    if half:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(parameter.half().float())
    reference, own = both(model)
    features, prompts = questions(2, 1, vocabulary=5000)
    options = DecodeOptions.from_generation_config(
        model.generation_config, max_new_tokens=30, num_beams=beams
    )
    expected = reference.decode(features, prompts, options)
    got = own.decode(features, prompts, options)
    assert [g.ids for g in got] == [e.ids for e in expected]
    for a, b in zip(got, expected, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_batch_answers_each_prompt_as_alone(beams):
    own = Decoder(tiny_model(2).double(), plain=True)
    features, prompts = questions(5, 2, torch.float64)
    options = DecodeOptions(max_new_tokens=30, num_beams=beams)
    together = own.decode(features, prompts, options)
    for row, answer in enumerate(together):
        (alone,) = own.decode(features[row : row + 1], prompts[row : row + 1], options)
        assert answer.ids == alone.ids
        assert answer.logprobs == pytest.approx(alone.logprobs, abs=1e-6)


@pytest.mark.parametrize("beams", [1, 3])
def test_logprobs_are_the_raw_models(beams):
    """Against teacher forcing; the n-gram ban must not renormalise them."""
    model = tiny_model(4, sharp=2.0)
    own = Decoder(model, release=False)
    features, prompts = questions(1, 4)
    options = DecodeOptions(max_new_tokens=25, num_beams=beams, no_repeat_ngram_size=1)
    (answer,) = own.decode(features, prompts, options)
    words = model.get_input_embeddings()(torch.tensor(prompts))
    hidden = model.model.language_model.encoder(inputs_embeds=torch.cat([features, words], 1))
    ids = torch.tensor([answer.ids])
    with torch.no_grad():
        logits = model(encoder_outputs=hidden, decoder_input_ids=ids[:, :-1]).logits[0]
    forced = logits.log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0].tolist()
    assert answer.logprobs[:2] == (0.0, 0.0)
    chosen = slice(2, len(ids[0]) - (len(answer.ids) == 26))
    assert answer.logprobs[chosen] == pytest.approx(
        forced[1:][: len(answer.logprobs[chosen])], abs=1e-4
    )


def test_on_step_sees_growing_answers_and_stops(pair):
    features, prompts = questions(2, 7)
    options = DecodeOptions(max_new_tokens=40, no_repeat_ngram_size=1, early_stopping="never")
    seen = []
    for decoder in pair:
        seen.clear()

        def watch(step, leading):
            seen.append((step, [len(ids) for ids in leading]))
            return step < 4

        answers = decoder.decode(features, prompts, options, on_step=watch)
        assert [step for step, _ in seen] == [1, 2, 3, 4]
        assert all(len(leading) == 2 for _, leading in seen)
        assert all(2 <= len(a.ids) <= 5 for a in answers)
        assert all(a.truncated for a in answers if a.ids[-1] != 2)


def test_the_limit_is_told_as_truncated():
    own = Decoder(tiny_model(3, sharp=0.5))
    features, prompts = questions(1, 3)
    options = DecodeOptions(max_new_tokens=6, num_beams=1)
    (cut,) = own.decode(features, prompts, options)
    assert len(cut.ids) == 7
    assert cut.ids[-1] == 2
    assert cut.logprobs[-1] == 0.0
    assert cut.truncated


def test_never_asks_for_more_positions_than_there_are():
    own = Decoder(tiny_model(3, sharp=0.5))
    features, prompts = questions(1, 3)
    options = DecodeOptions(max_new_tokens=5000, no_repeat_ngram_size=1)
    (answer,) = own.decode(features, prompts, options)
    assert len(answer.ids) <= POSITIONS + 1


def test_a_question_too_long_is_refused_in_words(pair):
    features, _ = questions(1, 3)
    for decoder in pair:
        with pytest.raises(InputError, match=r"too long.*Shorten"):
            decoder.decode(features, [[5] * POSITIONS], DecodeOptions())


def test_rows_of_features_must_match_prompts(pair):
    features, prompts = questions(2, 3)
    with pytest.raises(ValueError, match="expected 1 rows of features, got 2"):
        pair[1].decode(features, prompts[:1], DecodeOptions())


@pytest.mark.parametrize("beams", [1, 3])
def test_sampling_draws_as_generate_does(beams):
    model = tiny_model(6).double()
    reference, own = both(model, plain=True)
    features, prompts = questions(1, 6, torch.float64)
    drawn = set()
    for seed in range(5):
        options = DecodeOptions(
            max_new_tokens=20,
            num_beams=beams,
            do_sample=True,
            temperature=1.5,
            top_k=20,
            top_p=0.95,
            seed=seed,
        )
        (answer,) = own.decode(features, prompts, options)
        assert answer.ids == reference.decode(features, prompts, options)[0].ids
        assert answer.ids == own.decode(features, prompts, options)[0].ids
        drawn.add(answer.ids)
    assert len(drawn) > 1


def test_sampling_does_not_depend_on_neighbours():
    own = Decoder(tiny_model(6).double(), plain=True)
    features, prompts = questions(3, 6, torch.float64)
    options = DecodeOptions(max_new_tokens=20, num_beams=1, do_sample=True, seed=3)
    together = own.decode(features, prompts, options)
    alone = own.decode(features[2:], prompts[2:], options)
    assert together[2].ids == alone[0].ids


def with_graphs(model, capture):
    """A decoder that keeps buffers as on a GPU; only the capture itself is another."""
    own = Decoder(model, plain=True)
    own._graphs = Graphs(own._step, capture, room=32)
    return own


@pytest.mark.parametrize("beams", [1, 3])
def test_buffers_with_graphs_give_the_same_tokens(beams):
    """Requests of several sizes, one after the other, in the buffers that a GPU would use."""
    captured = []
    model = tiny_model(3, sharp=0.5).double()
    reference, _ = both(model)
    own = with_graphs(copy.deepcopy(model), lambda work: captured.append(work) or work)
    for seed, rows, limit in [(1, 1, 90), (2, 3, 90), (3, 4, 90), (4, 1, 90), (5, 1, 20)]:
        features, prompts = questions(rows, seed, torch.float64)
        options = DecodeOptions.from_generation_config(
            model.generation_config, num_beams=beams, max_new_tokens=limit, length_penalty=3.0
        )
        expected = reference.decode(features, prompts, options)
        got = own.decode(features, prompts, options)
        assert [g.ids for g in got] == [e.ids for e in expected]
    # A step, and how answers begin: all of them, and one beside others.
    sizes = [buffers.size.batch for buffers in own._graphs.kept.values()]
    assert len(captured) == sum(2 if batch == 1 else 3 for batch in sizes)
    assert len(sizes) < 7


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param({}, id="beams"),
        pytest.param({"num_beams": 1}, id="greedy"),
        pytest.param({"max_new_tokens": 1}, id="one token"),
        pytest.param({"do_sample": True, "seed": 5, "top_p": 0.9}, id="drawn"),
        pytest.param({"do_sample": True, "seed": 5, "num_beams": 1}, id="drawn one by one"),
    ],
)
def test_after_the_first_request_no_step_is_taken_outside_a_replay(rules, monkeypatch):
    """From the first token to the last, streamed or not, beyond the first buffers too."""
    inside, outside, seen = [], [], []
    replaying = False

    def watch(step, _leading):
        seen.append(step)
        return True

    def capture(work):
        def replay():
            nonlocal replaying
            replaying = True
            work()
            replaying = False

        return replay

    def watched(*args):
        (inside if replaying else outside).append(1)
        take_step(*args)

    monkeypatch.setattr(graphs, "take_step", watched)
    model = tiny_model(3, sharp=0.5).double()
    reference, _ = both(model)
    own = with_graphs(copy.deepcopy(model), capture)
    options = DecodeOptions(
        **{"max_new_tokens": 90, "length_penalty": 3.0, "early_stopping": "never", **rules}
    )
    for seed in range(3):
        features, prompts = questions(1, seed, torch.float64)
        seen.clear()
        (answer,) = own.decode(features, prompts, options, on_step=watch)
        assert answer.ids == reference.decode(features, prompts, options)[0].ids
        assert seen == list(range(1, len(seen) + 1))
        assert own.decode(features, prompts, options)[0].ids == answer.ids
    assert not outside
    assert len(inside) >= 6


def test_decodes_without_graphs_where_capturing_fails(caplog):
    def fail(work):
        work()  # an attempt leaves traces
        raise RuntimeError("operation not permitted when stream is capturing")

    model = tiny_model(3).double()
    reference, _ = both(model)
    own = with_graphs(copy.deepcopy(model), fail)
    features, prompts = questions(2, 3, torch.float64)
    options = DecodeOptions(max_new_tokens=30)
    expected = reference.decode(features, prompts, options)
    assert [g.ids for g in own.decode(features, prompts, options)] == [e.ids for e in expected]
    assert "without CUDA graphs" in caplog.text
    assert own._graphs.broken


def test_releases_the_weights_it_has_packed():
    model = tiny_model(0)
    before = sum(p.numel() for p in model.parameters())
    layer = model.model.language_model.decoder.layers[0]
    own = Decoder(model)
    assert layer.fc1.weight.numel() == 0
    assert layer.self_attn.q_proj.weight.numel() == 0
    assert sum(p.numel() for p in model.parameters()) < before
    assert own.decode(*questions(1, 0), DecodeOptions(max_new_tokens=5))


def test_a_checkpoint_with_rules_of_its_own_goes_to_generate(pair):
    features, prompts = questions(1, 0)
    options = DecodeOptions(max_new_tokens=8)
    (usual,) = pair[1].decode(features, prompts, options)
    model = tiny_model(0)
    model.generation_config.suppress_tokens = [usual.ids[2]]
    own = Decoder(model)
    assert own.reference
    assert usual.ids[2] not in own.decode(features, prompts, options)[0].ids


def test_the_tower_runs_in_encode_image_alone(monkeypatch):
    model = tiny_model(0)
    calls = []
    model.model.multi_modal_projector.image_projection.register_forward_hook(
        lambda *_: calls.append(1)
    )
    own = Decoder(model)
    features = own.encode_image(torch.randn(1, 3, 32, 32))
    assert features.shape == (1, IMAGE_TOKENS, 16)
    own.decode(features.expand(2, -1, -1), [[0, 5, 2], [0, 6, 7, 2]], DecodeOptions())
    assert len(calls) == 1


def test_the_towers_pass_can_be_ended_between_blocks(pair):
    class Enough(Exception):
        pass

    asked = []

    def enough():
        asked.append(1)
        raise Enough

    pixels = torch.randn(1, 3, 32, 32)
    for decoder in pair:
        with pytest.raises(Enough):
            decoder.encode_image(pixels, before_block=enough)
        assert decoder.encode_image(pixels).shape == (1, IMAGE_TOKENS, 16)
    assert len(asked) == 2


def test_features_are_those_of_the_model(pair):
    pixels = torch.randn(2, 3, 32, 32)
    expected = pair[0].model.get_image_features(pixels).pooler_output
    for decoder in pair:
        assert torch.allclose(decoder.encode_image(pixels), expected, atol=1e-6)
