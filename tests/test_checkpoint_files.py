"""What a folder says about itself, told without torch and without reading its weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from safetensors.torch import load_file, save_file

from florence_demo.checkpoint_files import inspect_checkpoint
from florence_demo.errors import CheckpointError
from tests.checkpoint_makers import Micro, edit_json


@pytest.fixture(scope="module")
def micro() -> Micro:
    return Micro()


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
        "import sys; from pathlib import Path; "
        "from florence_demo.checkpoints import inspect_checkpoint as look; "
        "print(look(Path(sys.argv[1])).tokens, {'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True
    )
    assert done.stdout.split(maxsplit=1) == [f"{len(micro.processor.tokenizer)}", "set()\n"]


@pytest.mark.golden
def test_the_legacy_folder(golden):
    info = inspect_checkpoint(golden / "legacy-tiny")
    assert (info.layout, info.tokens, info.parameters) == ("original", 51289, 2_500_576)
