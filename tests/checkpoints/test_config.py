"""What a configuration may ask for: known fields within their ranges, whatever the layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from florence_demo.checkpoints import opening as checkpoints
from florence_demo.checkpoints.inspection import inspect_checkpoint
from florence_demo.errors import CheckpointError
from tests.checkpoint_makers import (
    convert_folder,
    copied,
    edit_json,
    open_folder,
    write_json,
)


@pytest.fixture(scope="module")
def native(micro, tmp_path_factory) -> Path:
    return micro.native(tmp_path_factory.mktemp("micro") / "native")


@pytest.fixture(scope="module")
def original(micro, tmp_path_factory) -> Path:
    return micro.original(tmp_path_factory.mktemp("micro") / "original")


def changed(folder: Path, target: Path, file: str, section: str, **values) -> Path:
    copied(folder, target)
    config = json.loads((target / file).read_text(encoding="utf-8"))
    (config[section] if section else config).update(values)
    write_json(target / file, config)
    return target


def one_sentence(error: pytest.ExceptionInfo[CheckpointError]) -> None:
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text) < 400


def test_what_is_left_out_is_as_the_library_has_it():
    from transformers import BartConfig, Florence2Config

    from florence_demo.checkpoints.config import TEXT, VISION

    vision = Florence2Config().vision_config.to_dict()
    for rules, usual in ((TEXT, BartConfig().to_dict()), (VISION, vision)):
        for name, (rule, value) in rules.items():
            assert usual[name] == value, name
            assert rule(value) == value, name


IGNORED = {
    "labels": {"num_labels": 1_000, "id2label": {str(i): "x" for i in range(1_000)}},
    "another name of the layers": {"num_hidden_layers": 9},
    "other names of the widths": {"hidden_size": 7, "num_attention_heads": 3},
    "torchscript": {"torchscript": True},
    "how attention is computed": {"attn_implementation": "somebody/kernels", "_x": 1},
    "all hidden states": {"output_hidden_states": True, "output_attentions": True},
    "chunks": {"chunk_size_feed_forward": 1},
    "pruning": {"pruned_heads": {"0": [0, 1]}},
    "unknown": {"anything_else": [1] * 1_000},
    "code": {"auto_map": {"AutoConfig": "evil.Evil"}},
    "a decoder alone": {"is_decoder": True, "add_cross_attention": True},
}


@pytest.mark.parametrize("values", IGNORED.values(), ids=IGNORED)
@pytest.mark.parametrize("section", ["", "text_config", "vision_config"], ids=repr)
@pytest.mark.parametrize("layout", ["native", "original"])
def test_unknown_fields_are_never_looked_at(
    native, original, tmp_path, monkeypatch, layout, section, values
):
    built = []
    monkeypatch.setattr(checkpoints, "empty_model", lambda config: built.append(config) or 1 / 0)
    sound = {"native": native, "original": original}[layout]
    for folder in (sound, changed(sound, tmp_path / "it", "config.json", section, **values)):
        with pytest.raises(CheckpointError):
            open_folder(folder)
    assert built[0] == built[1]


def test_the_model_is_the_same_beside_unknown_fields(micro, native, tmp_path):
    folder = changed(native, tmp_path / "it", "config.json", "text_config", num_labels=1_000)
    opened = open_folder(folder)
    assert opened.model.config.text_config.num_labels == 3
    expected = micro.model.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in opened.model.state_dict().items())


TEXT_REFUSED = {
    "a billion layers": ({"encoder_layers": 10**9}, "encoder_layers"),
    "no layers": ({"decoder_layers": 0}, "decoder_layers"),
    "half a layer": ({"decoder_layers": 1.5}, "decoder_layers"),
    "layers by a word": ({"encoder_layers": "1"}, "encoder_layers"),
    "a true width": ({"d_model": True}, "d_model"),
    "a width of thousands of digits": ({"d_model": 10**400}, "d_model"),
    "a million positions": ({"max_position_embeddings": 10**6}, "max_position_embeddings"),
    "heads that do not divide": ({"encoder_attention_heads": 3}, "do not divide"),
    "a dropout of one": ({"dropout": 1.0}, "dropout"),
    "a negative dropout": ({"attention_dropout": -0.1}, "attention_dropout"),
    "a dropout by a word": ({"activation_dropout": "x"}, "activation_dropout"),
    "a list of dropouts": ({"classifier_dropout": [0.1]}, "classifier_dropout"),
    "layers that are left out": ({"decoder_layerdrop": 2}, "decoder_layerdrop"),
    "a function of its own": ({"activation_function": "xielu"}, "activation_function"),
    "a table for a function": ({"activation_function": {"a": 1}}, "activation_function"),
    "a token beyond the vocabulary": ({"eos_token_id": 5_000}, "eos_token_id"),
    "a negative token": ({"pad_token_id": -1}, "pad_token_id"),
    "two ends": ({"eos_token_id": [2, 3]}, "eos_token_id"),
    "a number for a switch": ({"scale_embedding": 1}, "scale_embedding"),
    "a spread of words": ({"init_std": 1e300}, "init_std"),
}
VISION_REFUSED = {
    "a window of 3000": ({"window_size": 3000}, "window_size"),
    "no window": ({"window_size": 0}, "window_size"),
    "no stride": ({"patch_stride": [0, 2]}, "patch_stride"),
    "a long list": ({"patch_stride": [2] * 9}, "patch_stride"),
    "an empty list": ({"depths": []}, "depths"),
    "nested lists": ({"depths": [[1], [1]]}, "depths"),
    "a stage too few": ({"patch_size": [7]}, "patch_size"),
    "a thousand blocks": ({"depths": [1, 1000]}, "depths"),
    "blocks of all stages": ({"depths": [100, 100]}, "200 blocks"),
    "a kernel of a thousand": ({"patch_size": [1000, 3]}, "patch_size"),
    "a wide rim": ({"patch_padding": [10**6, 1]}, "patch_padding"),
    "heads that do not divide": ({"num_heads": [3, 2]}, "does not divide"),
    "groups that do not divide": ({"num_groups": [2, 5]}, "does not divide"),
    "no groups": ({"num_groups": [0, 2]}, "num_groups"),
    "numbers for switches": ({"patch_prenorm": [0, 1]}, "patch_prenorm"),
    "a layer a thousand times as wide": ({"mlp_ratio": 1000}, "mlp_ratio"),
    "a layer of nothing": ({"mlp_ratio": 0.01}, "mlp_ratio"),
    "a path that is always dropped": ({"drop_path_rate": 1}, "drop_path_rate"),
    "a switch by a word": ({"qkv_bias": "yes"}, "qkv_bias"),
    "a million frames": ({"max_temporal_embeddings": 10**6}, "max_temporal_embeddings"),
    "four colours": ({"in_channels": 4}, "in_channels"),
}


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        *(pytest.param("text_config", *v, id=f"text, {k}") for k, v in TEXT_REFUSED.items()),
        *(pytest.param("vision_config", *v, id=f"vision, {k}") for k, v in VISION_REFUSED.items()),
    ],
)
def test_a_value_out_of_its_range_is_named_before_anything_is_built(
    native, tmp_path, monkeypatch, section, values, said
):
    monkeypatch.setattr(checkpoints, "empty_model", lambda _: pytest.fail("a model was built"))
    monkeypatch.setattr(checkpoints, "load_processor", lambda *_: pytest.fail("so was this"))
    folder = changed(native, tmp_path / "it", "config.json", section, **values)
    for look in (inspect_checkpoint, open_folder):
        with pytest.raises(CheckpointError, match=said) as caught:
            look(folder)
        one_sentence(caught)


def test_the_2024_layout_has_the_same_ranges(original, tmp_path):
    folder = changed(original, tmp_path / "it", "config.json", "vision_config", window_size=3000)
    with pytest.raises(CheckpointError, match="window_size"):
        open_folder(folder)


TOP_REFUSED = {
    "a picture's token beyond": {"image_token_id": 10**6},
    "tied by a word": {"tie_word_embeddings": "no"},
}


@pytest.mark.parametrize("values", TOP_REFUSED.values(), ids=TOP_REFUSED)
def test_the_top_of_the_configuration_too(native, tmp_path, values):
    folder = changed(native, tmp_path / "it", "config.json", "", **values)
    with pytest.raises(CheckpointError, match=next(iter(values))) as caught:
        open_folder(folder)
    one_sentence(caught)


# How it generates


GENERATION_REFUSED = {
    "a billion beams": {"num_beams": 10**9},
    "beams by a word": {"num_beams": "three"},
    "a ban on long runs": {"no_repeat_ngram_size": 10**6},
    "a power beyond all numbers": {"length_penalty": 1e300},
    "no penalty at all": {"repetition_penalty": 0},
    "a stop by a word": {"early_stopping": "soon"},
    "an end beyond the vocabulary": {"eos_token_id": 10**6},
    "a negative start": {"decoder_start_token_id": -1},
    "a word to begin with": {"forced_bos_token_id": "<s>"},
    "many forbidden words": {"bad_words_ids": [[5]] * 2_000},
    "forbidden words beyond": {"bad_words_ids": [[10**6]]},
    "a forbidden token": {"suppress_tokens": [1.5]},
    "a share above one": {"top_p": 7},
}


@pytest.mark.parametrize("values", GENERATION_REFUSED.values(), ids=GENERATION_REFUSED)
def test_odd_ways_to_generate_are_named(native, tmp_path, values):
    folder = changed(native, tmp_path / "it", "generation_config.json", "", **values)
    with pytest.raises(CheckpointError, match=next(iter(values))) as caught:
        open_folder(folder)
    one_sentence(caught)


def test_the_2024_layout_says_how_it_generates_within_the_same_ranges(original, tmp_path):
    folder = changed(original, tmp_path / "it", "config.json", "text_config", num_beams=10**9)
    with pytest.raises(CheckpointError, match="num_beams"):
        open_folder(folder)


def test_what_else_a_file_says_about_generating_is_dropped(native, tmp_path):
    odd = {
        "sequence_bias": [[[5], 1e30]],
        "guidance_scale": 9.0,
        "num_return_sequences": 1_000,
        "watermarking_config": {"greenlist_ratio": 1},
        "cache_implementation": "offloaded",
        "stop_strings": ["x"] * 1_000,
        "compile_config": {"mode": "max-autotune"},
        "assistant_model": "x",
    }
    folder = changed(native, tmp_path / "it", "generation_config.json", "", **odd)
    edit_json(folder / "generation_config.json", num_beams=4, repetition_penalty=1.5, min_length=3)
    config = open_folder(folder).model.generation_config
    sound = open_folder(native).model.generation_config.to_dict()
    kept = {"num_beams": 4, "repetition_penalty": 1.5, "min_length": 3}
    assert config.to_dict() == {**sound, **kept}


def test_settings_that_the_library_does_not_write_are_told(native, tmp_path):
    file = "generation_config.json"
    folder = changed(native, tmp_path / "it", file, "", num_beams=1, early_stopping=True)
    with pytest.raises(CheckpointError, match="could not be written") as caught:
        convert_folder(folder, tmp_path / "there")
    one_sentence(caught)
    assert not (tmp_path / "there").exists()


# What the files may cost


COSTLY = {
    "a large config": ("config.json", b'{"a": "' + b"x" * (1 << 20) + b'"}', "larger than 1 MB"),
    "a deep config": ("config.json", b'{"a":' * 40 + b"1" + b"}" * 40, "nested deeper"),
    "many values": ("config.json", b'{"a": [' + b"1," * 30_000 + b"1]}", "values"),
    "NaN": ("config.json", b'{"text_config": {"dropout": NaN}}', "no number"),
    "half a character": ("config.json", rb'{"model_type": "\ud800"}', "surrogate"),
    "large generation": (
        "generation_config.json",
        b'{"a": "' + b"x" * (256 << 10) + b'"}',
        "larger than",
    ),
    "large picture settings": (
        "processor_config.json",
        b'{"a": "' + b"x" * (256 << 10) + b'"}',
        "larger than",
    ),
    "a large tokenizer": (
        "tokenizer.json",
        b'{"a": "' + b"x" * (8 << 20) + b'"}',
        "larger than 8 MB",
    ),
}


@pytest.mark.parametrize(("file", "data", "said"), COSTLY.values(), ids=COSTLY)
def test_a_file_has_the_size_of_its_kind(native, tmp_path, file, data, said):
    folder = copied(native, tmp_path / "it")
    (folder / file).write_bytes(data)
    with pytest.raises(CheckpointError, match=said) as caught:
        open_folder(folder)
    one_sentence(caught)


PICTURE_REFUSED = {
    "no colours": {"image_mean": []},
    "four colours": {"image_std": [0.5] * 4},
    "no spread": {"image_std": [0.5, 0.0, 0.5]},
    "a mean by a word": {"image_mean": ["x", 0, 0]},
    "a factor beyond all numbers": {"rescale_factor": 1e300},
    "a factor of nothing": {"rescale_factor": 0},
    "a filter of its own": {"resample": 99},
    "a filter that tensors have not": {"resample": 4},
    "a switch by a word": {"do_resize": "yes"},
    "a side of one": {"size": {"height": 1, "width": 32}},
    "half a pixel": {"size": {"height": 32.5, "width": 32}},
    "a side that varies": {"size": {"shortest_edge": 32}},
    "a word for a size": {"size": "large"},
}


@pytest.mark.parametrize("values", PICTURE_REFUSED.values(), ids=PICTURE_REFUSED)
def test_odd_picture_settings_are_told(native, tmp_path, values):
    section = "image_processor"
    folder = changed(native, tmp_path / "it", "processor_config.json", section, **values)
    with pytest.raises(CheckpointError, match=r"processor_config\.json") as caught:
        open_folder(folder)
    one_sentence(caught)


def test_what_else_a_file_says_about_pictures_is_dropped(native, tmp_path):
    odd = {
        "image_seq_length": 10**9,
        "device": "cuda:7",
        "pad_size": {"height": 10**6, "width": 10**6},
        "do_pad": True,
        "image_processor_type": "NoSuchProcessor",
    }
    folder = changed(native, tmp_path / "it", "processor_config.json", "image_processor", **odd)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "NoSuchTokenizer"}')
    opened, sound = open_folder(folder).processor, open_folder(native).processor
    assert opened.image_processor.to_dict() == sound.image_processor.to_dict()
    assert opened.num_image_tokens == 5
