"""The tabs "Fine-tune" and "How good is it?" without a browser: choices and settings."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from florence_demo.data.chosen import Data, Upload
from florence_demo.data.forms import DEMO_FORMS, DEMO_FORMS_HELD
from florence_demo.data.source import DATA_LIMITS, DataLimits, DataSource
from florence_demo.errors import FlorenceDemoError, InputError
from florence_demo.models.catalogue import ASSETS, spec_at
from florence_demo.serving.asking import Service
from florence_demo.serving.own_models import choice_of, model_of
from florence_demo.training.config import TrainConfig
from florence_demo.training.runs import Runs
from florence_demo.ui import AppConfig, build_app, train_settings
from florence_demo.ui.finetune_tab import NOT_HERE
from florence_demo.ui.pickers import (
    UPLOAD,
    DataPicker,
    _hub_source,
    build_data_picker,
    model_choices,
)
from florence_demo.ui.train_settings import PASSES, STEPS, config_of, number_setting
from tests.data.test_folders import ROW, jsonl, pack, png
from tests.fakes import FakeEngines
from tests.ui.test_numbers import ODD

FORMS_DATA = Data(DEMO_FORMS, "forms", DEMO_FORMS_HELD)


def service(tmp_path: Path, engine: Any = None, **config: Any) -> Service:
    roots = {"checkpoints": tmp_path / "checkpoints", "data": tmp_path / "data"}
    return Service(AppConfig(**{**roots, **config}), FakeEngines(engine))


def picker(given: Service) -> DataPicker:
    nothing: Any = None
    return DataPicker(given, nothing, nothing, nothing, nothing)


def values(**changes: Any) -> list[Any]:
    """Values of the settings' components, in their order."""
    start = {
        "model": "nano", "mode": "full", "once": False, "length": 12, "unit": STEPS, "batch": 4,
        "rate": 1e-3, "limit": 0, "answers": 2, "every": 0, "tokens": 16, "precision": "fp32",
        "saving": False,
    }  # fmt: skip
    return list({**start, **changes}.values())


# -- a model and data -----------------------------------------------------------------------------


def test_checkpoints_under_the_root_can_be_chosen(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "mine"
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("")
    given = service(tmp_path)
    assert [value for _, value in model_choices(given)] == [
        "nano", "base-ft", "large-ft", "base", "large", "checkpoint: mine"
    ]  # fmt: skip
    assert model_of(given, "checkpoint: mine") == spec_at(folder)


@pytest.mark.parametrize(
    "name", ["checkpoint: ../secret", "checkpoint: /etc", "checkpoint: ", "/etc", "", None, "nope"]
)
def test_no_other_folder_can_be_named_as_a_model(tmp_path: Path, name: str | None) -> None:
    (tmp_path / "secret").mkdir()
    with pytest.raises(FlorenceDemoError):
        model_of(service(tmp_path), name)


def test_a_model_is_chosen_by_the_value_that_names_it(tmp_path: Path) -> None:
    given = service(tmp_path)
    run = tmp_path / "checkpoints" / "runs" / "mine"
    run.mkdir(parents=True)
    cases = {"nano": "nano", "base-ft": "base-ft", "owner/name@v2": "owner/name@v2"}
    cases |= {str(run): "checkpoint: runs/mine"}
    assert {name: choice_of(given, name) for name in cases} == cases
    assert choice_of(given, spec_at(run)) == "checkpoint: runs/mine"
    assert model_of(given, choice_of(given, spec_at(run))) == spec_at(run)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(InputError, match="not under checkpoints/"):
        choice_of(given, spec_at(elsewhere))


def test_every_kind_of_data_is_found(tmp_path: Path) -> None:
    (tmp_path / "data" / "mine").mkdir(parents=True)
    (tmp_path / "data" / "mine" / "annotations.jsonl").write_text(jsonl(ROW))
    upload = Upload(DataSource("jsonl", "/tmp/x", limits=DATA_LIMITS), rows=7)
    chosen = picker(service(tmp_path)).chosen
    assert chosen("forms", "", None, "").source == DEMO_FORMS
    assert chosen("heldout", "", None, "").source.location == str(ASSETS / "heldout")
    assert chosen("folder", "mine", None, "").source.location == str(tmp_path / "data" / "mine")
    assert chosen("upload", "", upload, "").upload == Path("/tmp/x")
    assert chosen("upload", "", upload, "").rows == 7
    hub = chosen("hub", "", None, " owner/name#validation ")
    assert (hub.source, hub.remote) == (DataSource("hub", "owner/name", "validation"), True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(("upload", "", None, ""), "Upload your data first", id="no upload"),
        pytest.param(("folder", "", None, ""), "Choose a folder", id="no folder"),
        pytest.param(("folder", "../x", None, ""), "There is no data", id="out of the root"),
        pytest.param(("hub", "", None, ""), "id of a data set", id="no id"),
        pytest.param(("hub", "", None, "/etc/passwd"), "id of a data set", id="a path"),
        pytest.param(("hub", "", None, "../x"), "id of a data set", id="a relative path"),
        pytest.param(("odd", "", None, ""), "Choose what the data is", id="odd"),
    ],
)
def test_what_is_not_chosen_is_asked_for(
    tmp_path: Path, arguments: tuple[Any, ...], words: str
) -> None:
    with pytest.raises(FlorenceDemoError, match=words):
        picker(service(tmp_path)).chosen(*arguments)


def test_the_hub_is_for_open_apps_only(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        picker(service(tmp_path, open_hub=False)).chosen("hub", "", None, "owner/name")


# -- settings -------------------------------------------------------------------------------------


def test_settings_become_a_configuration(tmp_path: Path) -> None:
    found = config_of(service(tmp_path, device="cpu"), FORMS_DATA, values(limit=8, every=6))
    assert (str(found.model), found.data, found.eval_data) == ("nano", DEMO_FORMS, DEMO_FORMS_HELD)
    assert (found.steps, found.batch_size, found.limit, found.eval_every) == (12, 4, 8, 6)
    assert (found.device, found.log_every, found.max_new_tokens) == ("cpu", 1, 16)
    by_passes = config_of(service(tmp_path), FORMS_DATA, values(length=1.5, unit=PASSES))
    assert (by_passes.steps, by_passes.epochs, by_passes.device) == (None, 1.5, "auto")


@pytest.mark.parametrize("name", ["length", "batch", "rate", "answers", "tokens"])
@pytest.mark.parametrize("value", [None, 0])
def test_an_empty_number_is_asked_for(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(InputError, match="Fill in “"):
        config_of(service(tmp_path), FORMS_DATA, values(**{name: value}))


@pytest.mark.parametrize("changes", [{"mode": "odd"}, {"precision": "fp8"}, {"model": "/etc"}])
def test_what_is_not_offered_is_refused(tmp_path: Path, changes: dict[str, str]) -> None:
    with pytest.raises(FlorenceDemoError):
        config_of(service(tmp_path), FORMS_DATA, values(**changes))


def test_a_setting_is_added_in_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added = number_setting("adapter_rank", "lora_rank", "Rank of the adapter", row=7)
    monkeypatch.setattr(train_settings, "SETTINGS", (*train_settings.SETTINGS, added))
    started: list[TrainConfig] = []
    monkeypatch.setattr(Runs, "start", lambda self, config, *_: started.append(config))
    given = service(tmp_path)
    app = build_app(service=given)
    (event,) = (f for f in app.fns.values() if f.api_name == "start_training")
    # The component, filled in by the first recipe.
    component = next(c for c in event.inputs if getattr(c, "label", "") == "Rank of the adapter")
    assert component.value == 16
    # The handler, and what it starts.
    event.fn("forms", "", None, "", *values(mode="lora"), 4, "mine")
    assert [config.lora_rank for config in started] == [4]
    # What is no number for it is told by the page's name of it.
    for value, words in ((0, "Fill in .*“Rank of the adapter”"), (1e9, "^“Rank of the adapter”")):
        with pytest.raises(InputError, match=words):
            config_of(given, FORMS_DATA, [*values(), value])
    # A recipe fills it in, for whatever is chosen.
    advised = [f for f in app.fns.values() if component in f.outputs]
    assert len(advised) == 2
    for data, rank in (("forms", 16), ("upload", 8)):
        filled = advised[0].fn(data, "", None, "", "nano")
        assert filled[advised[0].outputs.index(component)] == rank


def test_pictures_are_looked_at_once_where_their_features_are_known_to_fit(tmp_path: Path) -> None:
    app = build_app(service=service(tmp_path))
    component = next(
        c for c in app.blocks.values() if getattr(c, "label", "") == "Look at each picture once"
    )
    by_mode = next(f for f in app.fns.values() if component in f.outputs and len(f.inputs) == 6)
    place, source = (by_mode.outputs.index(component), -1)
    for mode, once in (("full", False), ("language", True), ("lora", True)):
        filled = by_mode.fn("forms", "", None, "", "nano", mode)
        assert filled[place] is once
        assert ("21.7 times on an H100" in filled[source]) is (mode != "full")
        assert "Measured here" in filled[source]
    # Nobody knows yet how large a set of the hub is.
    assert by_mode.fn("hub", "", None, "owner/name", "base-ft", "lora")[place] is False
    given = config_of(service(tmp_path), FORMS_DATA, values(once=True, mode="lora"))
    assert given.cache
    with pytest.raises(FlorenceDemoError, match="does not learn"):
        config_of(service(tmp_path), FORMS_DATA, values(once=True, mode="full"))


def test_strangers_do_not_train_where_it_is_off(tmp_path: Path) -> None:
    def built(training: bool) -> tuple[set[str], bool]:
        config = AppConfig(
            checkpoints=tmp_path / "checkpoints", data=tmp_path / "data", training=training
        )
        app = build_app(config, Service(config, FakeEngines()))  # type: ignore[arg-type]
        said = any(getattr(block, "value", None) == NOT_HERE for block in app.blocks.values())
        return {str(f.api_name) for f in app.fns.values()}, said

    names = {"start_training", "stop_training", "resume_training", "upload_training_data"}
    on, told_on = built(training=True)
    off, told_off = built(training=False)
    assert names <= on
    assert not names & off
    assert (told_on, told_off) == (False, True)


# -- what strangers send ---------------------------------------------------------------------------


@pytest.mark.parametrize("value", ODD, ids=lambda v: str(v)[:9])
@pytest.mark.parametrize("name", ["length", "batch", "rate", "limit", "answers", "every", "tokens"])
@pytest.mark.parametrize("unit", [STEPS, PASSES])
def test_an_absurd_setting_is_told_in_a_sentence(
    tmp_path: Path, name: str, value: Any, unit: str
) -> None:
    if not value and name in ("limit", "every"):
        return  # left out
    with pytest.raises(FlorenceDemoError, match=r"must be|Fill in “"):
        config_of(service(tmp_path), FORMS_DATA, values(**{name: value, "unit": unit}))


@pytest.mark.parametrize("steps", [1e7, 0.2])
def test_the_longest_and_the_shortest_run_are_taken(tmp_path: Path, steps: float) -> None:
    found = config_of(service(tmp_path), FORMS_DATA, values(length=steps))
    assert found.steps == max(1, round(steps))


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The page's events by the names of their endpoints."""
    root = tmp_path_factory.mktemp("page")
    config = AppConfig(checkpoints=root / "checkpoints", data=root / "data")
    app = build_app(config, Service(config, FakeEngines()))  # type: ignore[arg-type]
    return {str(f.api_name): f for f in app.fns.values()}


@pytest.mark.parametrize("value", ODD, ids=lambda v: str(v)[:9])
@pytest.mark.parametrize("place", [6, 7, 8], ids=["most questions", "beams", "longest answer"])
def test_an_absurd_number_of_a_measurement_is_told(
    events: dict[str, Any], place: int, value: Any
) -> None:
    event = events["evaluate"]
    given: list[Any] = ["forms", "", None, "", "nano", [], 2, 1, 16]
    given[place] = value
    arrived = [c.preprocess(v) for c, v in zip(event.inputs[6:], given[6:], strict=True)]
    with pytest.raises(gr.Error, match="must be more than 0 and at most"):
        next(event.fn(*given[:6], *arrived))


def test_nobody_waits_for_anothers_upload_and_nothing_holds_the_event_loop(
    events: dict[str, Any],
) -> None:
    for name in ("upload_training_data", "upload_evaluation_data"):
        assert events[name].concurrency_limit > 1
        assert events[name].concurrency_id == "data uploads"
    for event in events.values():
        assert not inspect.iscoroutinefunction(event.fn)


def test_the_page_says_who_sees_an_upload(events: dict[str, Any]) -> None:
    says = {
        "upload_training_data": "Once a model learns from it, whoever opens this page sees some of"
        " its pictures, questions and answers, and may ask the model.",
        "upload_evaluation_data": "Nobody else sees it.",
    }
    for name, words in says.items():
        event = events[name]
        _, note = event.outputs
        # Beside the place for files, before there is one and when they are taken away.
        (place,) = event.inputs
        assert note.parent is place.parent
        assert note.visible
        assert words in note.value
        assert event.fn(None) == (None, note.value)


def test_an_upload_is_bounded_by_the_pages_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = DataLimits(rows=2)
    monkeypatch.setattr(AppConfig, "data_limits", lambda self: limits)
    with gr.Blocks() as app:
        build_data_picker(service(tmp_path), (UPLOAD,), api="upload", seen="")
    (event,) = (f for f in app.fns.values() if f.api_name == "upload")
    files: dict[str, bytes | str] = {"annotations.jsonl": jsonl(*[ROW] * 3), "images/a.png": png()}
    with pytest.raises(gr.Error, match="more than 2 rows"):
        event.fn([pack(tmp_path / "a.zip", files)])
    files["annotations.jsonl"] = jsonl(ROW)
    upload, told = event.fn([pack(tmp_path / "b.zip", files)])
    assert (upload.rows, upload.source.limits) == (1, limits)
    assert "1 rows are fine" in told


@pytest.mark.parametrize(
    "name", ["owner/name#train[:9]", "a/b#c#d", "../x", "a/" + "b" * 200, "a/b#" + "c" * 200]
)
def test_an_id_of_the_hub_is_an_id_and_a_part_a_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="id of a data set"):
        picker(service(tmp_path)).chosen("hub", "", None, name)


@pytest.mark.parametrize(
    ("typed", "location", "part"),
    [
        ("owner/name", "owner/name", ""),
        (" owner/name#val ", "owner/name", "val"),
        ("owner/name@main#val", "owner/name@main", "val"),
        ("owner/name@refs/convert/parquet", "owner/name@refs/convert/parquet", ""),
        ("owner/name@../../x", None, ""),
        ("owner/name@", None, ""),
        ("/etc/passwd", None, ""),
        ("owner", None, ""),
    ],
    ids=str,
)
def test_a_set_of_the_hub_is_named_with_its_revision(typed, location, part):
    if location is None:
        with pytest.raises(InputError, match="owner/name@revision"):
            _hub_source(typed)
    else:
        assert _hub_source(typed) == DataSource("hub", location, part)
