"""Pickled weights: opened where allowed, in another process, and never run."""

from __future__ import annotations

import os
import pickle
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from florence_demo.checkpoints.inspection import inspect_checkpoint
from florence_demo.checkpoints.pickles import unpickled
from florence_demo.errors import CheckpointError
from tests.checkpoint_makers import (
    PICKLES,
    convert_folder,
    edit_json,
    open_folder,
    original_tensors,
    write_json,
)

SHARED = "language_model.model.shared.weight"


def pickled(micro, folder: Path, *, shards: bool = False, **how) -> Path:
    micro.original(folder)
    (folder / "model.safetensors").unlink()
    tensors = original_tensors(micro.model)
    # As the 2024 code holds them: one tensor under four names.
    for name in ("model.encoder.embed_tokens", "model.decoder.embed_tokens", "lm_head"):
        tensors[f"language_model.{name}.weight"] = tensors[SHARED]
    if not shards:
        torch.save(tensors, folder / "pytorch_model.bin", **how)
        return folder
    weight_map = {name: f"pytorch_model-{i % 2}.bin" for i, name in enumerate(sorted(tensors))}
    for file in set(weight_map.values()):
        part = {name: tensors[name] for name in tensors if weight_map[name] == file}
        torch.save(part, folder / file)
    write_json(folder / "pytorch_model.bin.index.json", {"weight_map": weight_map})
    return folder


@pytest.mark.parametrize(
    "how",
    [{}, {"_use_new_zipfile_serialization": False}, {"shards": True}],
    ids=["zip", "before torch 1.6", "shards"],
)
def test_it_opens_where_it_is_allowed(micro, tmp_path, how):
    folder = pickled(micro, tmp_path / "it", **how)
    info = inspect_checkpoint(folder)
    assert info.pickled
    assert info.layout == "original"
    assert "pickle" in info.problems[0]
    with pytest.raises(CheckpointError, match="pickle"):
        open_folder(folder)
    got = open_folder(folder, trust=PICKLES).model.state_dict()
    assert all(torch.equal(got[k], v) for k, v in micro.model.state_dict().items())


@pytest.mark.parametrize("name", ["state_dict", "model_state_dict"])
def test_a_trainers_own_file_opens_by_its_table(micro, tmp_path, name):
    folder = pickled(micro, tmp_path / "it")
    table = torch.load(folder / "pytorch_model.bin")
    held = {f"model.{key}": value for key, value in table.items()}
    state = {name: held, "epoch": 3, "optimizer_states": [{"step": 1}], "hyper_parameters": {}}
    torch.save(state, folder / "pytorch_model.bin")
    got = open_folder(folder, trust=PICKLES).model.state_dict()
    assert all(torch.equal(got[k], v) for k, v in micro.model.state_dict().items())
    torch.save({**state, "state_dict": held, "model_state_dict": held}, folder / "two.bin")
    (folder / "two.bin").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="not a table"):
        open_folder(folder, trust=PICKLES)


def test_a_refused_pickle_names_the_flag(micro, tmp_path):
    folder = pickled(micro, tmp_path / "it")
    with pytest.raises(CheckpointError, match="--allow-pickle"):
        open_folder(folder)


def test_the_copy_is_converted_and_the_pickle_stays(micro, tmp_path):
    folder = pickled(micro, tmp_path / "it")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    info = convert_folder(folder, tmp_path / "native", trust=PICKLES)
    assert info.files == ("model.safetensors",)
    assert not info.pickled
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


class Runs:
    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self):
        return exec, (self.code,)


def _program(file, marker):
    torch.save({"a": Runs(f"open({str(marker)!r}, 'w')")}, file)


def _plain_program(file, marker):
    file.write_bytes(pickle.dumps(Runs(f"open({str(marker)!r}, 'w')")))


def _truncated(file, marker):
    torch.save({"a": torch.ones(1000)}, file)
    os.truncate(file, file.stat().st_size // 2)


def _expanded(file, marker):
    # A few bytes that claim to be a terabyte.
    torch.save({"a": torch.ones(1).expand(1 << 38)}, file)


def _zip_bomb(file, marker):
    torch.save({"a": torch.zeros(1 << 22)}, file)
    with zipfile.ZipFile(file) as source:
        entries = [(e.filename, source.read(e)) for e in source.infolist()]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in entries:
            packed.writestr(name, data)


BAD = {
    "a program": (_program, "more than tensors"),
    "a program without torch": (_plain_program, "cannot be opened"),
    "truncated": (_truncated, "damaged"),
    "nothing": (lambda file, _: file.write_bytes(b""), "damaged"),
    "a text": (lambda file, _: file.write_text("hello"), "cannot be opened"),
    "a list": (lambda file, _: torch.save([torch.ones(2)], file), "not a table"),
    "a trainer's state": (lambda file, _: torch.save({"step": 3}, file), "not a table"),
    "a tensor of nothing": (_expanded, "more memory"),
    "a packed zip": (_zip_bomb, "cannot be opened"),
}


@pytest.mark.parametrize(("make", "said"), BAD.values(), ids=BAD)
def test_what_is_no_table_of_tensors_is_refused(tmp_path, make, said):
    marker, private = tmp_path / "ran", tmp_path / "private"
    private.mkdir()
    make(tmp_path / "pytorch_model.bin", marker)
    with pytest.raises(CheckpointError, match=said) as caught:
        unpickled([tmp_path / "pytorch_model.bin"], private)
    assert not marker.exists()
    assert str(caught.value).endswith(".")


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits there")
def test_the_process_has_ceilings(tmp_path, monkeypatch):
    # Were the filter to fail, what runs is still confined: ask it from inside.
    code = (
        "import os, resource as r;"
        "from florence_demo.checkpoints.pickles import _confine; _confine(1000);"
        "a = r.getrlimit(r.RLIMIT_AS)[0]; f = r.getrlimit(r.RLIMIT_FSIZE)[0];"
        "print(0 < a < 1 << 40, 0 < f < 1 << 31, r.getrlimit(r.RLIMIT_CORE))"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "(0,", "0)"]


def test_an_adapter_may_be_a_pickle_too(micro, tmp_path):
    base = micro.native(tmp_path / "base")
    folder = tmp_path / "adapter"
    folder.mkdir()
    q = "base_model.model.model.language_model.encoder.layers.0.self_attn.q_proj.lora_"
    tensors = {f"{q}A.weight": torch.ones(2, 16), f"{q}B.weight": torch.ones(16, 2)}
    torch.save(tensors, folder / "adapter_model.bin")
    write_json(folder / "adapter_config.json", {"peft_type": "LORA", "r": 2, "lora_alpha": 2})
    edit_json(folder / "adapter_config.json", base_model_name_or_path="b")
    with pytest.raises(CheckpointError, match="pickle"):
        open_folder(folder, base)
    opened = open_folder(folder, base, trust=PICKLES)
    name = "model.language_model.encoder.layers.0.self_attn.q_proj.weight"
    assert torch.equal(opened.model.get_parameter(name), micro.model.get_parameter(name) + 2)
