from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from florence_demo.data.forms import DEMO_FORMS
from florence_demo.models import shapes
from florence_demo.models.catalogue import ASSETS
from florence_demo.models.shapes import is_small, shape_of
from florence_demo.training import estimate as module
from florence_demo.training.config import TrainConfig
from florence_demo.training.estimate import estimate, in_time
from florence_demo.training.recipes import first_mode, recipe

BASE = TrainConfig(model="base-ft", batch_size=8, device="cpu")


@pytest.fixture(autouse=True)
def _known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_speed", lambda kind: 1e11)


@pytest.mark.parametrize(
    ("model", "millions"), [("base-ft", 231), ("large", 777)], ids=["base", "large"]
)
def test_a_models_parameters_come_out_of_its_sizes(model: str, millions: int) -> None:
    shape = shape_of(model)
    assert shape is not None
    assert (shape.tower + shape.language) / 1e6 == pytest.approx(millions, rel=0.06)


def test_nanos_sizes_are_read_from_its_folder(tmp_path: Path) -> None:
    shape = shape_of("nano")
    assert shape is not None
    config = json.loads((ASSETS / "nano/config.json").read_text())
    assert shape.d_model == config["text_config"]["d_model"]
    assert is_small("nano")
    assert not is_small("base-ft")
    assert shape_of(str(tmp_path)) is None


def test_steps_come_from_passes_rows_and_batch() -> None:
    found = estimate(replace(BASE, epochs=2), 80)
    assert found is not None
    assert found.steps == 20
    limited = estimate(replace(BASE, epochs=2, limit=40), 80)
    assert limited is not None
    assert limited.steps == 10
    assert estimate(BASE, None) is None
    assert estimate(replace(BASE, steps=7), None) is not None


@pytest.mark.parametrize(
    "cheaper",
    [
        pytest.param({"mode": "lora"}, id="adapter"),
        pytest.param({"mode": "language"}, id="frozen tower"),
        pytest.param({"batch_size": 4, "epochs": 0.5}, id="smaller batch"),
        pytest.param({"checkpointing": True}, id="computing twice"),
        pytest.param({"accumulation": 4}, id="in parts"),
    ],
)
def test_what_saves_memory_is_told_to_save_it(cheaper: dict[str, object]) -> None:
    dear = estimate(replace(BASE, mode="full"), 80)
    cheap = estimate(replace(replace(BASE, mode="full"), **cheaper), 80)  # type: ignore[arg-type]
    assert dear is not None
    assert cheap is not None
    assert cheap.memory < dear.memory


def test_more_learning_takes_longer_and_is_told_to_fit_or_not() -> None:
    short, long = (estimate(replace(BASE, steps=n), 80) for n in (10, 100))
    assert short is not None
    assert long is not None
    assert long.seconds > 1.5 * short.seconds
    whole = estimate(replace(BASE, steps=100, mode="full"), 80)
    assert whole is not None
    assert whole.seconds > long.seconds
    assert replace(short, memory=1, free=2).fits
    assert not replace(short, memory=2, free=1).fits
    assert "10 steps: about" in short.sentence()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 second"),
        (40, "40 seconds"),
        (600, "10 minutes"),
        (3 * 3600, "3 hours"),
        (5 * 86400, "5 days"),
    ],
)
def test_a_time_as_people_say_it(seconds: float, words: str) -> None:
    assert in_time(seconds) == words


@pytest.mark.parametrize("mode", ["full", "language", "lora"])
@pytest.mark.parametrize("model", ["nano", "base-ft"])
@pytest.mark.parametrize("data", [DEMO_FORMS, "somewhere"])
def test_every_recipe_makes_sense(data: str, model: str, mode: str) -> None:
    found = recipe(model, data, mode)  # type: ignore[arg-type]
    found.check()
    assert (found.model, found.data, found.mode) == (model, data, mode)


def test_a_large_model_begins_with_an_adapter() -> None:
    assert first_mode("nano") == "full"
    assert first_mode("large-ft") == "lora"


ABSURD: dict[str, dict[str, object]] = {
    "strides of nothing": {"patch_stride": [0, 0, 0]},
    "as many blocks as there are stars": {"depths": [10**30] * 3},
    "widths of 400 digits": {"embed_dim": [10**400] * 3},
    "a million stages": {k: [1] * 60_000 for k in ("patch_stride", "embed_dim", "depths")},
    "stages that do not fit": {"depths": [1, 1]},
    "widths that are a text": {"embed_dim": "abc"},
    "a width that is a text": {"embed_dim": ["a", "b", "c"]},
    "depths below nothing": {"depths": [-1, -1, -1]},
}


@pytest.mark.parametrize("vision", ABSURD.values(), ids=ABSURD)
def test_absurd_sizes_are_no_sizes(tmp_path: Path, vision: dict[str, object]) -> None:
    for name in ("config.json", "processor_config.json"):
        values = json.loads((ASSETS / "nano" / name).read_text())
        if "vision_config" in values:
            values["vision_config"] |= vision
        (tmp_path / name).write_text(json.dumps(values))
    assert shapes._shape_in(tmp_path) is None


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "5", '{"vision_config": 5}', "{" + " " * 2_000_000]
)
def test_a_configuration_that_is_none_has_no_sizes(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert shapes._shape_in(tmp_path) is None
