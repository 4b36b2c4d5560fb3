from __future__ import annotations

import weakref

import pytest
import torch

from florence_demo import machine
from florence_demo.errors import CheckpointError
from florence_demo.machine import in_bytes
from florence_demo.models import devices as models
from florence_demo.models.catalogue import MODELS, spec_of
from florence_demo.models.devices import BF16_FROM, choose_device, choose_dtype, usual_model
from florence_demo.models.loading import load_model
from florence_demo.serving.engines import EngineCache
from florence_demo.trust import OPERATOR, VISITOR

ADAPTER = "adapter_model.safetensors"


@pytest.mark.parametrize("spec", MODELS.values(), ids=lambda s: s.name)
def test_every_model_says_what_it_is(spec):
    assert spec.title
    assert spec.note.endswith(".")
    assert spec_of(spec.name, VISITOR) is spec


def test_nano_is_not_presented_as_microsofts():
    assert "drawings only" in MODELS["nano"].label
    assert "Microsoft" not in MODELS["nano"].note
    assert all("Microsoft" in s.note for s in MODELS.values() if s.name != "nano")


def test_a_folder_and_a_hub_id_are_models_too(tmp_path):
    assert spec_of(str(tmp_path), OPERATOR).source == str(tmp_path)
    assert spec_of("somebody/florence", OPERATOR).source == "somebody/florence"


@pytest.mark.parametrize("name", ["nope", "./missing", "/missing/folder", "a/b/c", ""])
def test_an_unknown_name_lists_the_known(name):
    with pytest.raises(CheckpointError, match="base-ft"):
        spec_of(name, OPERATOR)


def test_without_a_hub_one_sentence_points_to_nano(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"cannot be reached.*nano"):
        load_model("somebody/there-is-no-such-model")


def test_a_device_that_is_not_there_is_told():
    with pytest.raises(CheckpointError, match="cannot be used"):
        choose_device("cuda:99")


@pytest.mark.parametrize(("wanted", "dtype"), [("auto", "float32"), ("bf16", "bfloat16")])
def test_dtype_on_a_cpu(wanted, dtype):
    assert str(choose_dtype(wanted, choose_device("cpu"))) == f"torch.{dtype}"


@pytest.mark.parametrize(
    ("wanted", "parameters", "has_bf16", "dtype"),
    [
        pytest.param("auto", 231_000_000, True, "bfloat16", id="base where bf16 is fast"),
        pytest.param("auto", 231_000_000, False, "float32", id="base where it is emulated"),
        pytest.param("auto", 4_000_000, True, "float32", id="a small model stays exact"),
        pytest.param("fp32", 231_000_000, True, "float32", id="exactness that was asked for"),
        pytest.param("bf16", 4_000_000, False, "bfloat16", id="bf16 that was asked for"),
    ],
)
def test_bf16_on_a_cpu_where_it_pays(wanted, parameters, has_bf16, dtype, monkeypatch):
    monkeypatch.setattr(machine, "fast_bf16", lambda: has_bf16)
    assert str(choose_dtype(wanted, choose_device("cpu"), parameters)) == f"torch.{dtype}"


@pytest.mark.parametrize(
    ("smallest", "dtype"), [(BF16_FROM, "float32"), (1_000_000, "bfloat16")], ids=str
)
def test_the_size_of_what_is_loaded_decides(smallest, dtype, monkeypatch):
    monkeypatch.setattr(machine, "fast_bf16", lambda: True)
    monkeypatch.setattr(models, "BF16_FROM", smallest)
    assert str(load_model("nano", device="cpu").dtype) == f"torch.{dtype}"


def test_an_unknown_dtype_is_told():
    with pytest.raises(CheckpointError, match="fp32, bf16, fp16 or int8"):
        choose_dtype("int3", choose_device("cpu"))


@pytest.mark.parametrize(("count", "text"), [(11.4e6, "11 MB"), (1.62e9, "1.6 GB")])
def test_bytes_as_people_write_them(count, text):
    assert in_bytes(count) == text


def test_a_load_that_fails_leaves_nothing(tmp_path, monkeypatch):
    """Nor does its error, which whoever shows it may keep for a while."""
    held = []

    def load(*_):
        model = torch.nn.Linear(3, 3)
        held.append(weakref.ref(model))
        try:
            raise ValueError("half way")
        except ValueError as exc:
            raise CheckpointError(f"{len(model.weight)} rows are broken.") from exc

    monkeypatch.setattr("florence_demo.serving.engines.load", load)
    cache = EngineCache(device="cpu")
    with pytest.raises(CheckpointError, match="broken") as caught:
        cache.get("nano")
    assert caught.value.__cause__ is not None
    assert held[0]() is None
    assert cache.loaded() == []


def test_a_model_that_is_dropped_leaves_nothing():
    cache = EngineCache(device="cpu")
    model = weakref.ref(cache.get("nano").loaded.model)
    assert cache.drop("nano")
    assert model() is None


# Which model suits the machine


SUITS = {
    "a processor": ({}, False, "auto", "nano"),
    "a GPU": ({}, True, "auto", "base-ft"),
    "a GPU that is not to be used": ({}, True, "cpu", "nano"),
    "a second GPU": ({}, True, "cuda:1", "base-ft"),
    "a Space": ({"SPACE_ID": "owner/name"}, False, "auto", "base-ft"),
}


@pytest.mark.parametrize(("told", "gpu", "device", "name"), SUITS.values(), ids=SUITS)
def test_a_model_suits_the_machine(monkeypatch, told, gpu, device, name):
    monkeypatch.delenv("SPACE_ID", raising=False)
    for key, value in told.items():
        monkeypatch.setenv(key, value)

    def library(_name: str) -> None:
        if not gpu:
            raise OSError("no driver")

    monkeypatch.setattr(models.ctypes, "CDLL", library)
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    assert usual_model(device)[0] == name
