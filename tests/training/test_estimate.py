from __future__ import annotations

from dataclasses import replace

import pytest

from florence_demo.data.forms import DEMO_FORMS
from florence_demo.data.source import DataSource
from florence_demo.models.shapes import shape_of
from florence_demo.training import estimate as module
from florence_demo.training.config import TrainConfig
from florence_demo.training.estimate import cache_fits, estimate, fitted, in_time
from florence_demo.training.recipes import first_mode, recipe, source_of
from florence_demo.training.trainable import Mode

BASE = TrainConfig(model="base-ft", batch_size=8, device="cpu")


@pytest.fixture(autouse=True)
def _known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_speed", lambda kind: 1e11)


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


@pytest.mark.parametrize("mode", ["full", "language", "lora"])
@pytest.mark.parametrize("model", ["nano", "base-ft"])
@pytest.mark.parametrize("data", [DEMO_FORMS, DataSource("coco", "x"), DataSource("hub", "a/b")])
def test_every_recipe_says_where_its_numbers_come_from(
    data: DataSource, model: str, mode: Mode
) -> None:
    said = source_of(model, data, mode)
    found = recipe(model, data, mode)
    if data != DEMO_FORMS and model != "nano":
        cited = "roboflow/maestro#162" if mode == "lora" else "finetune-florence2.md"
        assert cited in said
        # What may be endless is gone through once; a person's few rows until it gets no better.
        assert (found.epochs, bool(found.patience)) in {
            "hub": {(1.0, False)}, "coco": {(7.0, True), (10.0, True)}
        }[data.format]  # fmt: skip
    else:
        assert "easured" in said


@pytest.mark.parametrize(
    ("free", "parts", "twice"),
    [(1e12, 1, False), (0.6, 2, False), (0.3, 8, True), (0.01, 1, False)],
    ids=["enough", "half a batch", "little", "far too little"],
)
def test_a_step_is_made_to_fit_into_memory(
    monkeypatch: pytest.MonkeyPatch, free: float, parts: int, twice: bool
) -> None:
    shape = shape_of("base-ft")
    assert shape is not None
    config = replace(BASE, mode="full")
    whole, least = (module._memory(config, shape, b, "cpu") for b in (8, 0))
    smallest = module._memory(replace(config, checkpointing=True), shape, 1, "cpu")
    known = {0.6: (whole + least) / 2 + 1e9, 0.3: smallest + 1e6, 0.01: 1e6}
    monkeypatch.setattr(module, "_device", lambda _: ("cpu", "here", known.get(free, free)))
    found, said = fitted(config, 80)
    assert (found.accumulation, found.checkpointing) == (parts, twice)
    assert ("in 2 parts" in said, "twice" in said) == (parts == 2, twice)
    assert bool(said) is (found != config)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert fitted(config, 80) == (config, "")


@pytest.mark.parametrize(
    ("changes", "rows", "fits"),
    [
        ({"mode": "lora"}, 100, True),
        ({"mode": "language"}, 100, True),
        ({"mode": "full"}, 100, False),
        ({"mode": "lora", "augment": ("flip",)}, 100, False),
        ({"mode": "lora"}, 100_000, False),
        ({"mode": "lora"}, None, False),
    ],
)
def test_features_are_kept_where_they_are_known_to_fit(
    changes: dict[str, object], rows: int | None, fits: bool
) -> None:
    assert cache_fits(replace(BASE, **changes), rows) is fits  # type: ignore[arg-type]


def test_a_large_model_begins_with_an_adapter() -> None:
    assert first_mode("nano") == "full"
    assert first_mode("large-ft") == "lora"
