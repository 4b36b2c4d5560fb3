from __future__ import annotations

import json
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from florence_demo import machine
from florence_demo.errors import CheckpointError
from florence_demo.machine import in_bytes
from florence_demo.models import devices as models
from florence_demo.models.catalogue import MODELS, resolve_spec
from florence_demo.models.devices import BF16_FROM, choose_device, choose_dtype
from florence_demo.models.finding import count_parameters, folder_of
from florence_demo.models.loading import load_model
from florence_demo.serving.engines import EngineCache

ADAPTER = "adapter_model.safetensors"


@pytest.mark.parametrize("spec", MODELS.values(), ids=lambda s: s.name)
def test_every_model_says_what_it_is(spec):
    assert spec.title
    assert spec.note.endswith(".")
    assert resolve_spec(spec.name) is spec


def test_nano_is_not_presented_as_microsofts():
    assert "embedded" in MODELS["nano"].title
    assert "Microsoft" not in MODELS["nano"].note
    assert all("Microsoft" in s.note for s in MODELS.values() if s.name != "nano")


def test_a_folder_and_a_hub_id_are_models_too(tmp_path):
    assert resolve_spec(str(tmp_path)).source == str(tmp_path)
    assert resolve_spec("somebody/florence").source == "somebody/florence"


@pytest.mark.parametrize("name", ["nope", "./missing", "/missing/folder", "a/b/c", ""])
def test_an_unknown_name_lists_the_known(name):
    with pytest.raises(CheckpointError, match="base-ft"):
        resolve_spec(name)


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


def test_an_adapter_counts_as_its_base(tmp_path):
    settings = {"peft_type": "LORA", "base_model_name_or_path": "nano", "r": 1, "lora_alpha": 1}
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({**settings, "target_modules": ["q_proj"]})
    )
    save_file({"base_model.model.x.lora_A.weight": torch.zeros(1, 8)}, tmp_path / ADAPTER)
    nano = Path(MODELS["nano"].source)
    assert count_parameters(tmp_path, folder_of) == count_parameters(nano, folder_of) > 1_000_000


def test_an_unknown_dtype_is_told():
    with pytest.raises(CheckpointError, match="fp32, bf16, fp16 or int8"):
        choose_dtype("int3", choose_device("cpu"))


@pytest.mark.parametrize(("count", "text"), [(11.4e6, "11 MB"), (1.62e9, "1.6 GB")])
def test_bytes_as_people_write_them(count, text):
    assert in_bytes(count) == text


@pytest.mark.parametrize(
    ("name", "paths", "found"),
    [
        pytest.param("nano", False, MODELS["nano"].source, id="catalogue"),
        pytest.param("FOLDER", True, "FOLDER", id="path of a trusted checkpoint"),
        pytest.param("FOLDER", False, None, id="path of a stranger's checkpoint"),
    ],
)
def test_the_base_that_an_adapter_names(name, paths, found, tmp_path, monkeypatch):
    monkeypatch.setattr("florence_demo.models.finding.download", lambda source, *_: source)
    name, found = (str(tmp_path) if v == "FOLDER" else v for v in (name, found))
    if found is None:
        with pytest.raises(CheckpointError, match="another machine"):
            folder_of(name, paths=paths)
    else:
        assert str(folder_of(name, paths=paths)) == found


def test_microsofts_own_name_is_the_catalogues_model(monkeypatch):
    monkeypatch.setattr("florence_demo.models.finding.download", lambda source, *_: source)
    assert folder_of("microsoft/Florence-2-base-ft") == MODELS["base-ft"].source


@pytest.mark.parametrize("open_hub", [True, False], ids=["open", "a Space"])
def test_what_an_upload_names_is_fetched_where_visitors_may_fetch_it(open_hub, monkeypatch):
    monkeypatch.setattr("florence_demo.models.finding.download", lambda source, *_: source)
    assert folder_of("base-ft", paths=False, open_hub=open_hub)
    if open_hub:
        assert folder_of("owner/huge", paths=False, open_hub=True) == "owner/huge"
    else:
        with pytest.raises(CheckpointError, match="not fetched here"):
            folder_of("owner/huge", paths=False, open_hub=False)


def test_an_uploaded_adapter_cannot_fetch_a_base_of_its_choice(tmp_path, monkeypatch):
    settings = {"peft_type": "LORA", "base_model_name_or_path": "owner/huge", "r": 1}
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({**settings, "lora_alpha": 1, "target_modules": ["q_proj"]})
    )
    save_file({"base_model.model.x.lora_A.weight": torch.zeros(1, 8)}, tmp_path / ADAPTER)
    monkeypatch.setattr(
        "florence_demo.models.finding.download", lambda *_: pytest.fail("the hub was asked")
    )
    cache = EngineCache(device="cpu", trusted=False, open_hub=False)
    with pytest.raises(CheckpointError, match="not fetched here"):
        cache.get(str(tmp_path))


@pytest.mark.parametrize(
    "name",
    ["~nobody_of_this_name/model", "x" * 300, "zero\0byte"],
    ids=["no such home", "long", "zero byte"],
)
def test_a_name_that_no_file_system_takes_is_told(name):
    with pytest.raises(CheckpointError, match="There is no model") as caught:
        folder_of(name)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("error", [OSError("x"), RuntimeError("x")], ids=repr)
def test_whatever_the_hub_raises_is_a_sentence(error, monkeypatch):
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(CheckpointError, match="cannot be reached"):
        folder_of("owner/model")


PATHS = {
    "a folder": lambda root: root,
    "a file": lambda root: root / "here",
    "nothing": lambda root: root / "gone",
    "a home": lambda _: "~root",
    "a folder beside": lambda _: "florence_demo",
    "a nested folder": lambda _: "assets/nano/..",
    "a long name": lambda _: "x/" * 5_000,
    "markup": lambda _: "<img src=x>/[a](b)",
}


@pytest.mark.parametrize("name", PATHS.values(), ids=PATHS)
def test_a_base_tells_nothing_about_this_machine(name, tmp_path, monkeypatch):
    (tmp_path / "here").touch()
    monkeypatch.setattr("florence_demo.models.finding.download", lambda *_: pytest.fail("hub"))
    monkeypatch.setattr(Path, "is_dir", lambda _: pytest.fail("the disk was looked at"))
    with pytest.raises(CheckpointError, match="another machine") as caught:
        folder_of(str(name(tmp_path)), paths=False)
    assert len(str(caught.value)) < 400
    assert "<" not in str(caught.value)


def test_a_folder_of_this_machine_is_no_id_of_the_hub(tmp_path, monkeypatch):
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("florence_demo.models.finding.download", lambda *_: "fetched")
    assert folder_of("owner/name", paths=False) == "fetched"
    assert folder_of("owner/name") == Path("owner/name")


def test_a_load_that_fails_leaves_nothing(tmp_path, monkeypatch):
    """Nor does its error, which whoever shows it may keep for a while."""
    held = []

    def load(name, **_):
        model = torch.nn.Linear(3, 3)
        held.append(weakref.ref(model))
        try:
            raise ValueError("half way")
        except ValueError as exc:
            raise CheckpointError(f"{len(model.weight)} rows are broken.") from exc

    monkeypatch.setattr("florence_demo.serving.engines.load_model", load)
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
