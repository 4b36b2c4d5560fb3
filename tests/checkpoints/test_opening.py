"""Opening and converting: the same numbers come out of every layout, or a sentence does."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from florence_demo.checkpoints.config import admitted_config
from florence_demo.checkpoints.inspection import inspect_checkpoint
from florence_demo.checkpoints.processors import picture_settings
from florence_demo.errors import CheckpointError
from florence_demo.machine import model_memory, release_memory
from tests.checkpoint_makers import (
    convert_folder,
    copied,
    edit_json,
    open_folder,
    original_tensors,
    write_json,
)

LM = "language_model.model."


@pytest.fixture(scope="module")
def original(micro, tmp_path_factory) -> Path:
    return micro.original(tmp_path_factory.mktemp("micro") / "original")


def asked(model, processor):
    picture = Image.effect_noise((50, 40), 90).convert("RGB")
    inputs = processor(images=picture, text="Locate the red cat.", return_tensors="pt")
    pixels = torch.linspace(-2, 2, inputs["pixel_values"].numel()).reshape(1, 3, 32, 32)
    inputs["pixel_values"] = pixels.to(model.dtype)
    with torch.inference_mode():
        logits = model(**inputs, decoder_input_ids=torch.tensor([[2, 0, 7, 400]])).logits
        tokens = model.generate(**inputs, max_new_tokens=12, num_beams=2, do_sample=False)
    return logits, tokens


def same(opened, micro):
    expected = micro.model.state_dict()
    got = opened.model.state_dict()
    assert list(got) == list(expected)
    for name, value in expected.items():
        assert torch.equal(got[name], value), name


# Every way a sound checkpoint comes, all of them the one micro model.


def _native(micro, folder):
    return micro.native(folder)


def _hub(micro, folder):
    micro.original(folder, text_config__model_type=None, vision_config__model_type="davit")
    edit_json(
        folder / "config.json",
        auto_map={"AutoConfig": "microsoft/Florence-2-base--configuration_florence2.F"},
    )
    return folder


def _trainer(micro, folder):
    inner = micro.original(folder / "checkpoint-500")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        (inner / name).write_bytes(b"\x80\x04never read")
    (inner / "modeling_florence2.py").write_text("raise SystemExit('imported!')")
    return inner


def _sharded(micro, folder):
    micro.original(folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, files = sorted(tensors), ("model-00001-of-00002.safetensors", "model-2.safetensors")
    half = len(names) // 2
    for file, part in zip(files, (names[:half], names[half:]), strict=True):
        save_file({name: tensors[name] for name in part}, folder / file)
    weight_map = {name: files[i >= half] for i, name in enumerate(names)}
    write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})
    return folder


def _every_tied_name(micro, folder):
    tensors = original_tensors(micro.model)
    for name in (LM + "encoder.embed_tokens", LM + "decoder.embed_tokens"):
        tensors[f"{name}.weight"] = tensors[LM + "shared.weight"].clone()
    tensors["language_model.lm_head.weight"] = tensors[LM + "shared.weight"].clone()
    return micro.original(folder, tensors=tensors)


def _another_tied_name(micro, folder):
    tensors = original_tensors(micro.model)
    tensors[LM + "encoder.embed_tokens.weight"] = tensors.pop(LM + "shared.weight")
    return micro.original(folder, tensors=tensors)


def _hub_leftovers(micro, folder):
    tensors = original_tensors(micro.model)
    tensors["vision_tower.head.weight"] = torch.ones(2, 2)
    tensors["vision_tower.norms.weight"] = torch.ones(2)
    return micro.original(folder, tensors=tensors)


def _compiled(micro, folder):
    tensors = {f"module.{name}": value for name, value in original_tensors(micro.model).items()}
    return micro.original(folder, tensors=tensors)


def _held(*, original=True, pattern=r"^", put=""):
    """Return a maker of the checkpoint of something that held, or wrapped, the whole model."""

    def make(micro, folder):
        if original:
            micro.original(folder)
        else:
            micro.native(folder)
        tensors = load_file(folder / "model.safetensors")
        renamed = {re.sub(pattern, put, name): value for name, value in tensors.items()}
        assert len(renamed) == len(tensors)
        save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return make


_FSDP = {
    "pattern": r"^|(?<=layers\.)(?=\d)|(?<=vision_tower\.)",
    "put": "_fsdp_wrapped_module.",
}
_INNER = {"pattern": r"(?<=language_model\.)|(?<=vision_tower\.)", "put": "_orig_mod."}


def _vocab_files(micro, folder):
    micro.original(folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").unlink()
    write_json(folder / "vocab.json", tokenizer["model"]["vocab"])
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]), encoding="utf-8")
    added = {t["content"]: t["id"] for t in tokenizer["added_tokens"]}
    write_json(folder / "added_tokens.json", added)
    return folder


LAYOUTS = {
    "native": (_native, "native"),
    "original": (lambda micro, folder: micro.original(folder), "original"),
    "hub": (_hub, "hub"),
    "checkpoint-500": (_trainer, "original"),
    "sharded": (_sharded, "original"),
    "every-tied-name": (_every_tied_name, "original"),
    "another-tied-name": (_another_tied_name, "original"),
    "hub-leftovers": (_hub_leftovers, "original"),
    "wrapped": (_compiled, "original"),
    "vocab-files": (_vocab_files, "original"),
    "lightning": (_held(put="model."), "original"),
    "lightning-native": (_held(original=False, put="model."), "native"),
    "lightning-compiled": (_held(put="model._orig_mod."), "original"),
    "lightning-twice": (_held(original=False, put="model.model."), "native"),
    "peft": (_held(put="base_model.model."), "original"),
    "peft-native": (_held(original=False, put="base_model.model."), "native"),
    "lightning-peft": (_held(original=False, put="model.base_model.model."), "native"),
    "fsdp": (_held(**_FSDP), "original"),
    "fsdp-native": (_held(original=False, **_FSDP), "native"),
    "compiled-inside": (_held(**_INNER), "original"),
    "compiled-inside-native": (_held(original=False, **_INNER), "native"),
}


@pytest.mark.parametrize(("make", "layout"), LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_opens_as_the_same_model(micro, tmp_path, make, layout):
    folder = make(micro, tmp_path / "it")
    opened = open_folder(folder)
    assert opened.info.layout == layout
    same(opened, micro)
    assert not opened.model.training
    assert opened.model.lm_head.weight is opened.model.model.language_model.shared.weight
    logits, tokens = asked(opened.model, opened.processor)
    opened.model.generation_config = micro.model.generation_config
    expected = asked(micro.model, micro.processor)
    assert torch.equal(logits, expected[0])
    if layout == "native":
        assert torch.equal(tokens, expected[1])
    text = "<s>Locate the cat<loc_5><loc_999></s>"
    assert opened.processor.tokenizer(text).input_ids == micro.processor.tokenizer(text).input_ids


def _with_more(name):
    def make(micro, folder):
        _held(put="model.")(micro, folder)
        tensors = load_file(folder / "model.safetensors")
        tensors[name] = torch.ones(2)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return make


def _two_of_a_weight(micro, folder):
    _held(**_INNER)(micro, folder)
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("encoder.layernorm_embedding.bias"))
    tensors[name.replace("_orig_mod.", "")] = tensors[name] + 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


NOT_HELD = {
    "a weight beside the model": _with_more("criterion.weight"),
    "a weight of another model": _with_more("model.teacher.weight"),
    "another holder": _held(put="net."),
    "half of it held": _held(pattern="^(?=vision_tower)", put="model."),
    "a weight twice": _two_of_a_weight,
    "adapters inside": _held(
        original=False, pattern=r"^(.*q_proj)\.", put=r"base_model.model.\1.base_layer."
    ),
}


@pytest.mark.parametrize("make", NOT_HELD.values(), ids=NOT_HELD)
def test_a_prefix_goes_only_where_all_weights_have_it(micro, tmp_path, make):
    make(micro, tmp_path / "it")
    with pytest.raises(CheckpointError, match=r"not a whole|belong to no part|twice|are missing"):
        open_folder(tmp_path / "it")


def test_deepspeeds_parts_are_told_with_the_way_out(micro, tmp_path):
    folder = micro.original(tmp_path / "it")
    (folder / "model.safetensors").unlink()
    (folder / "zero_to_fp32.py").write_text("raise SystemExit('run!')")
    with pytest.raises(CheckpointError, match=r"python zero_to_fp32.py \. \."):
        inspect_checkpoint(folder)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no config.json.*python zero_to_fp32.py"):
        inspect_checkpoint(folder)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
def test_half_precision_is_kept_or_widened(micro, tmp_path, dtype):
    tensors = {k: v.to(dtype) for k, v in original_tensors(micro.model).items()}
    folder = micro.original(tmp_path / "half", tensors=tensors)
    assert {p.dtype for p in open_folder(folder).model.parameters()} == {dtype}
    wide = open_folder(folder, dtype=torch.float32)
    assert wide.info.dtype == {torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]
    for name, value in micro.model.named_parameters():
        assert torch.equal(wide.model.get_parameter(name), value.to(dtype).float()), name


def test_ids_come_from_the_text_config_alone(micro, original):
    # At the top level this checkpoint says bos 2, eos 1, pad 0, as many of mid 2024 do.
    write_json(original / "generation_config.json", {"bos_token_id": 2, "num_beams": 7})
    opened = open_folder(original)
    text, generation = opened.model.config.text_config, opened.model.generation_config
    for settings in (text, generation):
        assert (settings.bos_token_id, settings.pad_token_id, settings.eos_token_id) == (0, 1, 2)
    assert generation.decoder_start_token_id == 2
    assert (generation.forced_bos_token_id, generation.forced_eos_token_id) == (0, 2)
    assert (generation.num_beams, generation.no_repeat_ngram_size) == (3, 3)
    assert generation.early_stopping is True


def test_a_native_folder_keeps_its_own_settings(micro, tmp_path):
    opened = open_folder(micro.native(tmp_path / "native"))
    assert opened.processor.image_processor.size["height"] == 32
    assert opened.processor.image_processor.image_seq_length == 5
    assert opened.model.generation_config.no_repeat_ngram_size == 0
    assert opened.model.generation_config.forced_bos_token_id == 0
    assert opened.processor.image_token == "<image>"


def test_a_folder_without_picture_settings_has_florences_own(tmp_path):
    """Of a picture of 768 a side the usual tower makes 577 tokens."""
    config = admitted_config({"text_config": {}, "vision_config": {}})
    picture = picture_settings(tmp_path, config)
    assert picture["size"] == {"height": 768, "width": 768}
    assert picture["image_seq_length"] == 577


def test_an_answer_has_one_end(micro, tmp_path):
    folder = micro.native(tmp_path / "native")
    edit_json(folder / "generation_config.json", eos_token_id=[2, 3])
    with pytest.raises(CheckpointError, match="2 tokens as eos_token_id"):
        open_folder(folder)


def test_a_native_folder_cannot_choose_code(micro, tmp_path):
    folder = micro.native(tmp_path / "native")
    (folder / "evil.py").write_text("raise SystemExit('imported!')")
    for file, kind in (
        ("config.json", "AutoConfig"),
        ("tokenizer_config.json", "AutoTokenizer"),
        ("processor_config.json", "AutoProcessor"),
    ):
        edit_json(folder / file, auto_map={kind: "evil.Evil"})
    edit_json(
        folder / "config.json", attn_implementation="somebody/kernels", _attn_implementation="x/y"
    )
    opened = open_folder(folder)
    same(opened, micro)
    assert opened.info.ignored == ("evil.py",)
    assert "/" not in opened.model.config._attn_implementation


def test_the_image_token_never_grows_the_embedding(micro, tmp_path):
    folder = micro.original(tmp_path / "it")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    vocab["unused"] = vocab.pop("<image>")
    tokenizer["added_tokens"] = [t for t in tokenizer["added_tokens"] if t["content"] != "<image>"]
    write_json(folder / "tokenizer.json", tokenizer)
    opened = open_folder(folder)
    assert opened.processor.image_token == "<mask>"
    assert opened.model.config.image_token_id == vocab["<mask>"]
    same(opened, micro)


# A folder without a tokenizer


def without_tokenizer(micro, folder):
    micro.original(folder)
    (folder / "tokenizer.json").unlink()
    return folder


def test_a_tokenizer_comes_from_another_checkpoint(micro, tmp_path, original):
    folder = without_tokenizer(micro, tmp_path / "here" / "parser")
    edit_json(folder / "config.json", _name_or_path="microsoft/Florence-2-base")
    assert any("no tokenizer" in p for p in inspect_checkpoint(folder).problems)
    damaged = tmp_path / "here" / "damaged"
    damaged.mkdir()
    (damaged / "tokenizer.json").write_text("{}")
    opened = open_folder(folder, tokenizers=[damaged, original])
    same(opened, micro)
    assert opened.processor.tokenizer.get_vocab() == micro.processor.tokenizer.get_vocab()


def test_without_any_tokenizer_the_file_to_add_is_named(micro, tmp_path):
    folder = without_tokenizer(micro, tmp_path / "parser")
    with pytest.raises(CheckpointError, match=r"Add the file tokenizer\.json"):
        open_folder(folder)
    with pytest.raises(CheckpointError, match="a vocabulary of its own"):
        convert_folder(folder, tmp_path / "native")


@pytest.mark.golden
def test_weights_convert_without_a_tokenizer(golden, tmp_path):
    source = tmp_path / "parser"
    source.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(golden / "legacy-tiny" / name, source / name)
    info = convert_folder(source, tmp_path / "native" / "it")
    assert "tokenizer.json" in info.problems[0]
    assert _plain(tmp_path / "native" / "it").config.image_token_id == 50264
    with pytest.raises(CheckpointError, match="Add the file"):
        open_folder(tmp_path / "native" / "it")
    # BART's own tokenizer is enough: Florence's tokens are added.
    shutil.copyfile(
        golden / "hub-form" / "tokenizer.json", tmp_path / "native" / "it" / "tokenizer.json"
    )
    processor = open_folder(tmp_path / "native" / "it").processor
    assert len(processor.tokenizer) == 51289
    assert processor.image_token_id == 50264
    assert processor.tokenizer.convert_tokens_to_ids("<loc_999>") == 51268


# Bad input: one plain sentence each.


def _truncate(folder):
    file = folder / "model.safetensors"
    with file.open("r+b") as f:
        f.truncate(file.stat().st_size // 2)


def _lie_in_header(folder):
    file = folder / "model.safetensors"
    data = file.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    header["image_projection"]["shape"] = [1_000_000, 1_000_000]
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def _huge_header(folder):
    file = folder / "model.safetensors"
    file.write_bytes(struct.pack("<Q", 1 << 62) + file.read_bytes()[8:])


def _edit_tensors(change):
    def edit(folder):
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return edit


def _put(name, value):
    return _edit_tensors(lambda tensors: tensors.__setitem__(name, value))


def _spoil(value):
    def change(tensors):
        tensors["image_projection"][0, 0] = value

    return _edit_tensors(change)


def _drop_six(tensors):
    for name in [n for n in tensors if n.endswith("ffn.norm.weight")][:6]:
        del tensors[name]


def _config(section=None, **changes):
    def edit(folder):
        config = json.loads((folder / "config.json").read_text())
        (config[section] if section else config).update(changes)
        write_json(folder / "config.json", config)

    return edit


def _empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def _write(name, text):
    return lambda folder: (folder / name).write_text(text)


def _both_layouts(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["model.vision_tower.convs.0.conv.bias"] = tensors["vision_tower.convs.0.proj.bias"]
    save_file({k: v.clone() for k, v in tensors.items()}, folder / "model.safetensors")


BAD = {
    "empty folder": (_empty, "is empty"),
    "no folder": (shutil.rmtree, "no folder"),
    "no config": (lambda f: (f / "config.json").unlink(), r"no config\.json"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"no model\.safetensors"),
    "a BERT": (_config(model_type="bert"), "kind bert"),
    "no model type": (_config(model_type=None), "kind unknown"),
    "a BERT that says Florence": (
        lambda f: save_file({"bert.x": torch.ones(2)}, f / "model.safetensors"),
        "not a whole Florence-2",
    ),
    "a diffusion pipeline": (
        lambda f: (_empty(f), (f / "model_index.json").write_text("{}")),
        "diffusion",
    ),
    "config is no JSON": (_write("config.json", "{"), "not valid JSON"),
    "config is a list": (_write("config.json", "[]"), "not a JSON object"),
    "config is deep": (_write("config.json", "[" * 100_000), "nested deeper"),
    "config without text": (_config(text_config=None), "no text_config"),
    "quantised": (_config(quantization_config={"bits": 4}), "quantised"),
    "a billion layers": (_config("text_config", encoder_layers=10**9), "layers is 1000000000"),
    "a billion rows": (_config("text_config", vocab_size=10**9), "vocab_size is 1000000000"),
    "another width": (_config("text_config", d_model=32), "d_model 32, the weights have 16"),
    "another depth": (_config("vision_config", depths=[1, 2]), r"depths\[1\] 2"),
    "no heads": (_config("text_config", encoder_attention_heads=0), "no working model"),
    "words for numbers": (_config("vision_config", num_heads="many"), "no working model"),
    "a number for a list": (_config("vision_config", dim_embed=3), "no Florence-2 has"),
    "a list for a number": (_config("text_config", d_model=[16]), "no Florence-2 has"),
    "a list for a table": (_config(auto_map=["x.y"]), "no Florence-2 has"),
    "another feature source": (
        _config("vision_config", image_feature_source=["last_frame"]),
        "last_frame",
    ),
    "other positions": (_config("vision_config", image_pos_embed={"type": "rope"}), "rope"),
    "pre-norm": (_config("text_config", normalize_before=True), "normalize_before"),
    "truncated": (_truncate, "damaged"),
    "a lying header": (_lie_in_header, "damaged"),
    "a huge header": (_huge_header, "damaged"),
    "a Git LFS pointer": (
        _write("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "git lfs pull",
    ),
    "an empty file": (lambda f: (f / "model.safetensors").write_bytes(b""), "damaged"),
    "NaN": (_spoil(math.nan), "image_projection"),
    "infinite": (_spoil(-math.inf), "NaN or infinite"),
    "a bias of the logits": (
        _put("language_model.final_logits_bias", torch.ones(1, 1325)),
        "not zero",
    ),
    "missing six": (_edit_tensors(_drop_six), r"weights are missing: .*, .*, .*, .*"),
    "left over": (_put("vision_tower.extra.weight", torch.ones(3)), r"vision_tower\.extra\.weight"),
    "wrong shape": (_put("image_proj_norm.weight", torch.ones(17)), r"\[17\] where \[16\] fits"),
    "integers": (
        _put("image_proj_norm.weight", torch.ones(16, dtype=torch.int8)),
        "not of a floating type",
    ),
    "one weight twice": (_both_layouts, "twice"),
    "a missing shard": (
        lambda f: (
            (f / "model.safetensors").unlink(),
            write_json(f / "model.safetensors.index.json", {"weight_map": {"a": "b.safetensors"}}),
        ),
        "b.safetensors missing",
    ),
    "an index that leads out": (
        lambda f: (
            (f / "model.safetensors").unlink(),
            write_json(f / "model.safetensors.index.json", {"weight_map": {"a": "../b"}}),
        ),
        "outside its folder",
    ),
    "damaged tokenizer": (_write("tokenizer.json", '{"model": {"type": "BPE"}}'), "tokenizer"),
    "a word tokenizer": (_write("tokenizer.json", '{"model": {"type": "WordLevel"}}'), "BPE"),
    "tokenizer of another": (
        _write("tokenizer.json", '{"model": {"type": "BPE", "vocab": {"<s>": 0}, "merges": []}}'),
        "<mask>",
    ),
    "a picture too large": (
        _write("preprocessor_config.json", '{"size": {"height": 4000, "width": 32}}'),
        "at most 2048 pixels",
    ),
    "a crop too large": (
        _write(
            "preprocessor_config.json",
            '{"size": {"height": 32, "width": 32}, "do_center_crop": true,'
            ' "crop_size": {"height": 60000, "width": 60000}}',
        ),
        "at most 2048 pixels",
    ),
    "pictures as large as they come": (
        _write(
            "preprocessor_config.json",
            '{"size": {"height": 32, "width": 32}, "do_resize": false}',
        ),
        "at most 2048 pixels",
    ),
    "no picture size": (_write("preprocessor_config.json", '{"size": {}}'), "height and width"),
}


@pytest.mark.parametrize(("spoil", "said"), BAD.values(), ids=BAD)
def test_bad_input_gets_one_sentence(original, tmp_path, spoil, said):
    folder = copied(original, tmp_path / "bad")
    spoil(folder)
    with pytest.raises(CheckpointError, match=said) as caught:
        open_folder(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text) < 500


def test_a_folder_that_vanishes_while_it_is_read(original, tmp_path, monkeypatch):
    from florence_demo.checkpoints import opening as checkpoints

    folder = copied(original, tmp_path / "it")
    fill = checkpoints.fill

    def vanish(*args, **kwargs):
        shutil.rmtree(folder)
        return fill(*args, **kwargs)

    monkeypatch.setattr(checkpoints, "fill", vanish)
    with pytest.raises(CheckpointError, match="vanished"):
        open_folder(folder)


def test_a_head_of_its_own_that_the_config_ties_is_told(micro, tmp_path):
    tensors = original_tensors(micro.model)
    tensors["language_model.lm_head.weight"] = torch.zeros_like(tensors[LM + "shared.weight"])
    opened = open_folder(micro.original(tmp_path / "it", tensors=tensors))
    same(opened, micro)
    assert "lm_head" in opened.info.problems[-1]


def test_an_untied_head_stays_apart(micro, tmp_path):
    tensors = original_tensors(micro.model)
    head = tensors[LM + "shared.weight"] * 2
    tensors["language_model.lm_head.weight"] = head
    folder = tmp_path / "it"
    micro.original(folder, tensors=tensors, text_config__tie_word_embeddings=False)
    opened = open_folder(folder)
    assert torch.equal(opened.model.lm_head.weight, head)
    convert_folder(folder, tmp_path / "native")
    plain = _plain(tmp_path / "native")
    assert torch.equal(plain.lm_head.weight, head)
    for part in (plain.model.language_model.encoder, plain.model.language_model.decoder):
        assert torch.equal(part.embed_tokens.weight * 2, head)


# Converting


def _plain(folder):
    from transformers import Florence2ForConditionalGeneration

    model, told = Florence2ForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(told.values()), told
    return model.eval()


def test_the_converted_folder_opens_with_plain_transformers(micro, original, tmp_path):
    from transformers import AutoProcessor

    before = {p.name: p.read_bytes() for p in original.iterdir()}
    info = convert_folder(original, tmp_path / "native")
    assert info.layout == "native"
    assert info.problems == ()
    plain, processor = (
        _plain(tmp_path / "native"),
        AutoProcessor.from_pretrained(tmp_path / "native"),
    )
    opened = open_folder(original)
    for got, expected in zip(
        asked(plain, processor), asked(opened.model, opened.processor), strict=True
    ):
        assert torch.equal(got, expected)
    assert processor.image_token_id == plain.config.image_token_id
    assert processor.post_process_generation(text="</s><s>hello</s>", task="<OCR>") == {
        "<OCR>": "hello"
    }
    assert plain.generation_config.no_repeat_ngram_size == 3
    assert {p.name: p.read_bytes() for p in original.iterdir()} == before
    same(open_folder(tmp_path / "native"), micro)


def test_conversion_gives_the_same_bytes(original, tmp_path):
    moved = copied(original, tmp_path / "another name")
    convert_folder(moved, tmp_path / "one")
    code = (
        "import sys; from pathlib import Path; from tests.checkpoint_makers import *; "
        "convert_folder(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    env = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code, original, tmp_path / "two"], check=True, env=env)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("one", "two"))
    assert one == two
    modes = {p.stat().st_mode & 0o777 for p in (tmp_path / "one").iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_conversion_never_overwrites(original, tmp_path, kind):
    target = tmp_path / "there"
    {"folder": target.mkdir, "file": target.touch}.get(kind, lambda: target.symlink_to("gone"))()
    with pytest.raises(CheckpointError, match="already there"):
        convert_folder(original, target)


def test_a_failed_conversion_leaves_nothing(original, tmp_path, monkeypatch):
    from florence_demo.checkpoints import converting

    def fail(model, processor, folder):
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(converting, "_save", fail)
    with pytest.raises(CheckpointError, match="No space left"):
        convert_folder(original, tmp_path / "native")
    assert list(tmp_path.iterdir()) == []


# Memory


def test_memory_is_counted_once_for_tied_tensors(micro):
    told = model_memory(micro.model)
    assert told["parameters"] == {"float32": 4 * sum(p.numel() for p in micro.model.parameters())}
    assert told["buffers"] == {"float32": 2 * 16 * 4}
    release_memory()


# Against the original code


def _as_saved(golden, folder):
    return copied(golden / "legacy-tiny", folder)


def _variant(golden, folder):
    copied(golden / "legacy-tiny", folder)
    for name in ("config", "generation_config"):
        shutil.copyfile(golden / "variants" / f"{name}.mid-2024-ids.json", folder / f"{name}.json")
    return folder


def _hub_form(golden, folder):
    folder.mkdir()
    for file in (golden / "hub-form").iterdir():
        if not file.name.startswith("config."):
            shutil.copyfile(file, folder / file.name)
    shutil.copyfile(golden / "hub-form" / "config.tiny.json", folder / "config.json")
    shutil.copyfile(golden / "legacy-tiny" / "model.safetensors", folder / "model.safetensors")
    return folder


@pytest.mark.golden
@pytest.mark.parametrize("make", [_as_saved, _variant, _hub_form])
@pytest.mark.parametrize("way", ["opened", "converted"])
def test_golden_outputs(golden, tmp_path, make, way):
    folder = make(golden, tmp_path / "it")
    if way == "converted":
        convert_folder(folder, tmp_path / "native")
        folder = tmp_path / "native"
    opened = open_folder(folder)
    model, truth = opened.model, load_file(golden / "golden" / "legacy-tiny.safetensors")
    picture = torch.full((1, 577), opened.processor.image_token_id)
    inputs = {
        "input_ids": torch.cat([picture, truth["input_ids"]], 1),
        "pixel_values": truth["pixel_values"],
    }
    with torch.inference_mode():
        features = model.get_image_features(truth["pixel_values"]).pooler_output
        torch.testing.assert_close(features, truth["img_feat"], atol=1e-4, rtol=0)
        logits = model(**inputs, decoder_input_ids=truth["dec"]).logits
        torch.testing.assert_close(logits, truth["logits"], atol=1e-4, rtol=0)
        loss = model(**inputs, labels=truth["labels"]).loss.reshape(1)
        torch.testing.assert_close(loss, truth["loss_pad"], atol=1e-6, rtol=0)
        for name, how in (
            ("greedy", {"num_beams": 1}),
            ("beam3", {"early_stopping": False}),
            ("beam3_norep0", {"early_stopping": False, "no_repeat_ngram_size": 0}),
        ):
            tokens = model.generate(**inputs, max_new_tokens=32, **how)
            assert torch.equal(tokens, truth[name]), name


@pytest.mark.golden
@pytest.mark.parametrize("make", [_as_saved, _hub_form])
def test_golden_tokenizer(golden, tmp_path, make):
    from tokenizers import Tokenizer

    truth = Tokenizer.from_file(str(golden / "legacy-tiny" / "tokenizer.json"))
    tokenizer = open_folder(make(golden, tmp_path / "it")).processor.tokenizer
    assert tokenizer.get_vocab() == truth.get_vocab()
    for text in (
        "<s>What does the region <loc_1><loc_999> describe?</s>",
        "café 你好  a <b> x<pad></od><and>  \n\tI'm 123",
        " lead and trail ",
        "",
        "<LOC_1><od>A</od> <od> x <poly>",
    ):
        ids = truth.encode(text, add_special_tokens=False).ids
        assert tokenizer(text, add_special_tokens=False).input_ids == ids
        assert tokenizer.decode(ids) == truth.decode(ids, skip_special_tokens=False)


# At the true size

BASE_SIZE = """
import gc, json, sys
from pathlib import Path
from types import SimpleNamespace
import torch
from safetensors.torch import save_file
from transformers import Florence2Config, Florence2ForConditionalGeneration
from florence_demo.checkpoints.inspection import inspect_checkpoint
from florence_demo.machine import model_memory, release_memory
from florence_demo.checkpoints.processors import picture_settings
from tests.checkpoint_makers import (
    Micro, convert_folder, open_folder, original_config, original_tensors, write_json)

folder = Path(sys.argv[1])
shapes = {"vision_config": {"projection_dim": 768}, "text_config": {
    "model_type": "bart", "vocab_size": 51289, "d_model": 768, "encoder_layers": 6,
    "decoder_layers": 6, "encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072,
    "encoder_attention_heads": 12, "decoder_attention_heads": 12}}
with torch.device("meta"):
    model = Florence2ForConditionalGeneration(Florence2Config(**shapes))
Micro().original(folder)
write_json(folder / "config.json", original_config(model))
tensors = original_tensors(model)
for name, value in tensors.items():
    tensors[name] = torch.empty(value.shape, dtype=torch.float16)
    tensors[name].uniform_(-1, 1) if "logits_bias" not in name else tensors[name].zero_()
save_file(tensors, folder / "model.safetensors")
info = inspect_checkpoint(folder)
del tensors, model
release_memory()

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

open_folder(Micro().native(folder / "micro"))  # imports everything that opening imports
release_memory()
before, seen = anonymous(), []
from florence_demo.checkpoints import weights
finite = weights.finite
weights.finite = lambda value: (finite(value), seen.append(anonymous()))[0]
opened = open_folder(folder, dtype=torch.float32)
seen.append(anonymous())
size = sum(sum(kind.values()) for kind in model_memory(opened.model).values())
some = opened.model.lm_head.weight.detach()[:9].clone()
del opened
release_memory()
after = anonymous()
convert_folder(folder, folder / "native")
again = open_folder(folder / "native", dtype=torch.float32)
print(json.dumps({
    "size": info.size, "parameters": info.parameters, "bytes": size,
    "peak": (max(seen) - before) / size, "left": (after - before) / size,
    "same": torch.equal(again.model.lm_head.weight[:9], some)}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_base_size_takes_its_weights_once_and_gives_them_back(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BASE_SIZE, tmp_path / "base"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    shutil.rmtree(tmp_path / "base", ignore_errors=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["size"] == "base 0.23B"
    assert told["parameters"] == pytest.approx(231e6, rel=0.01)
    assert told["bytes"] == pytest.approx(4 * told["parameters"], rel=0.01)
    assert told["peak"] < 1.3
    assert told["left"] < 0.1
    assert told["same"]
