"""What a folder says about itself, told without torch and without reading its weights."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys

import pytest
from safetensors.torch import load_file, save_file

from florence_demo.checkpoints.inspection import (
    MAX_HEADER,
    MAX_SHARDS,
    MAX_TENSORS,
    inspect_checkpoint,
)
from florence_demo.errors import CheckpointError
from tests.checkpoint_makers import edit_json, open_folder, write_json


def test_a_saved_fine_tune(micro, tmp_path):
    folder = micro.original(tmp_path / "it", _name_or_path="microsoft/Florence-2-base-ft")
    (folder / "modeling_florence2.py").write_text("raise SystemExit")
    (folder / "training_args.bin").write_bytes(b"")
    info = inspect_checkpoint(folder)
    assert info.layout == "original"
    assert info.size == "other"
    assert info.dtype == "fp32"
    assert info.parameters == sum(p.numel() for p in micro.model.parameters())
    assert info.tokens == len(micro.processor.tokenizer)
    assert info.base == "microsoft/Florence-2-base-ft"
    assert info.files == ("model.safetensors",)
    assert info.ignored == ("modeling_florence2.py", "training_args.bin")
    assert info.problems == ()
    assert json.loads(json.dumps(info.to_json())) == info.to_json()
    text = " ".join(info.sentences())
    assert text.startswith("A Florence-2 fine-tune of a size of its own in the 2024 layout, ")
    assert "Fine-tuned from microsoft/Florence-2-base-ft." in text
    assert "Never read: modeling_florence2.py, training_args.bin." in text


def test_the_repository_before_the_class_is_a_base(micro, tmp_path):
    folder = micro.original(tmp_path / "it", text_config__model_type=None)
    edit_json(folder / "config.json", auto_map={"AutoConfig": "microsoft/Florence-2-base--c.C"})
    info = inspect_checkpoint(folder)
    assert (info.layout, info.base) == ("hub", "microsoft/Florence-2-base")


def test_native_counts_the_same(micro, tmp_path):
    native, original = micro.native(tmp_path / "n"), micro.original(tmp_path / "o")
    one, two = inspect_checkpoint(native), inspect_checkpoint(original)
    assert one.layout == "native"
    assert (one.parameters, one.tokens, one.size) == (two.parameters, two.tokens, two.size)


def test_half_precision_and_what_is_lacking(micro, tmp_path):
    folder = micro.original(tmp_path / "it")
    file = folder / "model.safetensors"
    save_file({k: v.half() for k, v in load_file(file).items()}, file)
    (folder / "tokenizer.json").unlink()
    edit_json(folder / "config.json", vocab_size=5)
    info = inspect_checkpoint(folder)
    assert info.dtype == "fp16"
    assert ["tokenizer" in problem for problem in info.problems] == [True]


def test_a_folder_of_checkpoints_names_them(micro, tmp_path):
    micro.original(tmp_path / "run" / "checkpoint-500")
    with pytest.raises(CheckpointError, match="checkpoint-500"):
        inspect_checkpoint(tmp_path / "run")
    (tmp_path / "run" / "trainer_state.json").write_text("{}")
    with pytest.raises(CheckpointError, match="checkpoint-500"):
        inspect_checkpoint(tmp_path / "run")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match="is a file"):
        inspect_checkpoint(tmp_path / "model.safetensors")


def test_neither_torch_nor_the_weights_are_touched(micro, tmp_path):
    folder = micro.original(tmp_path / "it")
    file = folder / "model.safetensors"
    length = int.from_bytes(file.read_bytes()[:8], "little")
    size = file.stat().st_size
    os.truncate(file, 8 + length)
    os.truncate(file, size)  # the weights are a hole of zeros now, the header is whole
    code = (
        "import sys; from pathlib import Path; import florence_demo.checkpoints.opening; "
        "from florence_demo.checkpoints.inspection import inspect_checkpoint as look; "
        "print(look(Path(sys.argv[1])).tokens, {'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True
    )
    assert done.stdout.split(maxsplit=1) == [f"{len(micro.processor.tokenizer)}", "set()\n"]


def _header(file, header: bytes, *, length: int | None = None) -> None:
    size = len(header) if length is None else length
    file.write_bytes(struct.pack("<Q", size) + header)


def _tensors(count: int, name: str = "t") -> bytes:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return json.dumps({f"{name}{i}": entry for i in range(count)}).encode()


HEADERS = {
    "larger than any checkpoint's": (b" " * (MAX_HEADER + 1), "header of more than 4 MB"),
    "too many tensors": (_tensors(MAX_TENSORS + 1), "more than 20,000 tensors"),
    "a long name": (_tensors(1, "t" * 10_000), "no weight of a Florence-2"),
    "many dimensions": (
        json.dumps({"t": {"dtype": "F32", "shape": [0] * 9, "data_offsets": [0, 0]}}).encode(),
        "9 dimensions",
    ),
    "a size beyond all numbers": (
        json.dumps({"t": {"dtype": "F32", "shape": [2**63, 2], "data_offsets": [0, 4]}}).encode(),
        "damaged",
    ),
    "deep": (b'{"t":' + b"[" * 100_000, "damaged"),
    "a long error": (b'{"' + b"x" * 100_000 + b'":1}', "damaged"),
}


@pytest.mark.parametrize(("header", "said"), HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("kind", ["model", "adapter_model"])
def test_a_header_costs_little_whatever_it_says(micro, tmp_path, kind, header, said):
    folder = micro.original(tmp_path / "it")
    if kind == "adapter_model":
        (folder / "model.safetensors").unlink()
        write_json(folder / "adapter_config.json", {"peft_type": "LORA"})
    _header(folder / f"{kind}.safetensors", header)
    with pytest.raises(CheckpointError, match=said) as caught:
        inspect_checkpoint(folder)
    assert len(str(caught.value)) < 400


def test_the_library_never_sees_a_header_that_is_too_large(micro, tmp_path, monkeypatch):
    folder = micro.original(tmp_path / "it")
    _header(folder / "model.safetensors", b" " * (MAX_HEADER + 1))
    monkeypatch.setattr("safetensors.safe_open", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(CheckpointError, match="header"):
        inspect_checkpoint(folder)


def test_shards_are_files_of_the_folder_and_not_many(micro, tmp_path):
    folder = micro.original(tmp_path / "it")
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    for names, said in (
        (["x" * 5_000 + ".safetensors"], "missing"),
        (["a\0b.safetensors"], "missing"),
        ([".."], "outside its folder"),
        (["a/b.safetensors"], "outside its folder"),
        ([f"{i}.safetensors" for i in range(MAX_SHARDS + 1)], "101 files"),
    ):
        for name in names if "files" in said else ():
            (folder / name).touch()
        write_json(index, {"weight_map": {str(i): name for i, name in enumerate(names)}})
        with pytest.raises(CheckpointError, match=said) as caught:
            inspect_checkpoint(folder)
        assert len(str(caught.value)) < 300


LONG = "<img src=x>[a](b)\n" + "x" * 500_000
QUOTED = {
    "the model's kind": ("config.json", "", {"model_type": LONG}),
    "the features": ("config.json", "vision_config", {"image_feature_source": [LONG]}),
    "the positions": ("config.json", "vision_config", {"image_pos_embed": {"type": LONG}}),
    "the function": ("config.json", "text_config", {"activation_function": LONG}),
    "the adapter's kind": ("adapter_config.json", "", {"peft_type": LONG}),
    "the tokenizer's kind": ("tokenizer.json", "model", {"type": LONG}),
    "the merges": ("tokenizer.json", "model", {"merges": [["q" + LONG, "b"]]}),
    "an index": ("model.safetensors.index.json", "", {"weight_map": {"a": LONG}}),
    "what it began from": ("config.json", "", {"_name_or_path": LONG, "model_type": "x"}),
}


@pytest.mark.parametrize(("file", "section", "values"), QUOTED.values(), ids=QUOTED)
def test_what_a_stranger_wrote_is_quoted_short_and_plain(micro, tmp_path, file, section, values):
    folder = micro.original(tmp_path / "it")
    if file.startswith(("adapter", "model")):
        (folder / "model.safetensors").unlink()
        write_json(folder / file, values)
    else:
        saved = json.loads((folder / file).read_text(encoding="utf-8"))
        (saved[section] if section else saved).update(values)
        write_json(folder / file, saved)
    with pytest.raises(CheckpointError) as caught:
        open_folder(folder)
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 400
    assert "<img" not in text
    assert "](" not in text


def test_a_card_is_short_and_plain(micro, tmp_path):
    folder = micro.original(tmp_path / "it", _name_or_path=LONG)
    for i in range(300):
        (folder / f"{'<b>' * 20}{i}.py").touch()
    text = " ".join(inspect_checkpoint(folder).sentences())
    assert len(text) < 1_500
    assert text.isprintable()
    assert "<" not in text


@pytest.mark.golden
def test_the_legacy_folder(golden):
    info = inspect_checkpoint(golden / "legacy-tiny")
    assert (info.layout, info.tokens, info.parameters) == ("original", 51289, 2_500_576)
