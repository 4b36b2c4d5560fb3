from __future__ import annotations

import pytest

from florence_demo.errors import CheckpointError
from florence_demo.models import (
    MODELS,
    choose_device,
    choose_dtype,
    folder_of,
    in_bytes,
    load_model,
    resolve_spec,
)


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


def test_an_unknown_dtype_is_told():
    with pytest.raises(CheckpointError, match="fp32, bf16 or fp16"):
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
    monkeypatch.setattr("florence_demo.models.download", lambda spec, progress: spec.source)
    name, found = (str(tmp_path) if v == "FOLDER" else v for v in (name, found))
    if found is None:
        with pytest.raises(CheckpointError, match="another machine"):
            folder_of(name, paths=paths)
    else:
        assert str(folder_of(name, paths=paths)) == found


def test_microsofts_own_name_is_the_catalogues_model(monkeypatch):
    monkeypatch.setattr("florence_demo.models.download", lambda spec, progress: spec.source)
    assert folder_of("microsoft/Florence-2-base-ft") == MODELS["base-ft"].source
