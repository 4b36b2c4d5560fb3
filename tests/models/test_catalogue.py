"""A model is added in one place: it is in every menu and in the help by itself."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import gradio as gr
import pytest

from florence_demo import __main__ as cli
from florence_demo.errors import CheckpointError
from florence_demo.models.catalogue import MODELS, ModelSpec, as_base, spec_of
from florence_demo.models.finding import spec_of_base
from florence_demo.models.shapes import is_small, shape_of
from florence_demo.serving.asking import Service
from florence_demo.serving.config import AppConfig
from florence_demo.trust import OPERATOR, VISITOR
from florence_demo.ui import build_app
from tests.fakes import FakeEngines

NEW = ModelSpec(
    "docvqa",
    "Florence-2-DocVQA",
    "owner/Florence-2-DocVQA",
    note="It answers questions about documents.",
    size="large",
)


@pytest.fixture(autouse=True)
def _added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, NEW.name, NEW)


@pytest.mark.parametrize("label", ["Model", "Model to measure", "Start from"])
def test_it_is_in_every_menu_of_the_page(tmp_path: Path, label: str) -> None:
    config = AppConfig(checkpoints=tmp_path, data=tmp_path, public=True, training=True)
    app = build_app(service=Service(config, FakeEngines()))  # type: ignore[arg-type]
    menus = [b for b in app.blocks.values() if isinstance(b, gr.Dropdown) and b.label == label]
    assert menus
    for menu in menus:
        assert menu.choices == [(s.label, s.name) for s in MODELS.values()]
    assert (NEW.label, NEW.name) in menus[0].choices


def test_the_command_line_lists_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models"]) == 0
    assert NEW.note in capsys.readouterr().out
    assert cli.main(["models", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert NEW.source in [row["source"] for row in rows]


def test_the_sentences_that_list_the_models_name_it() -> None:
    for trust in (OPERATOR, VISITOR):
        with pytest.raises(CheckpointError, match=NEW.name):
            spec_of("nope", trust)


def test_it_may_be_asked_for_and_built_upon() -> None:
    for trust in (OPERATOR, VISITOR):
        assert spec_of(NEW.name, trust) is NEW
        assert spec_of_base(NEW.name, trust) is NEW


def test_its_size_is_told_before_it_is_here() -> None:
    assert shape_of(NEW.name) == shape_of(NEW) == shape_of("large")
    assert not is_small(NEW.name)
    unknown = ModelSpec("x", "X", "owner/x")
    assert shape_of(unknown) is None


@pytest.mark.parametrize(
    ("name", "source", "revision"),
    [
        ("owner/name@v1.0", "owner/name", "v1.0"),
        ("owner/name@refs/pr/3", "owner/name", "refs/pr/3"),
        ("large-ft@main", MODELS["large-ft"].source, "main"),
    ],
)
def test_a_name_of_the_hub_may_tell_its_revision(name: str, source: str, revision: str) -> None:
    for trust in (OPERATOR, VISITOR):
        spec = spec_of(name, trust)
        assert (spec.source, spec.revision, spec.public) == (source, revision, False)
        assert str(spec) == name
    with pytest.raises(CheckpointError, match="There is no model"):
        spec_of(name, replace(VISITOR, hub=False))


@pytest.mark.parametrize("name", ["owner/name@", "owner/name@../x", "nano@main", "a/b@c d", "@x"])
def test_what_is_no_revision_is_no_model(name: str) -> None:
    with pytest.raises(CheckpointError, match="owner/name@revision"):
        spec_of(name, OPERATOR)


def test_an_adapter_calls_its_base_by_name_and_commit() -> None:
    commit = "a" * 40
    assert as_base(MODELS["nano"], Path(MODELS["nano"].source)) == ("nano", None)
    large = MODELS["large-ft"]
    assert as_base(large, Path("/hub/snapshots", commit)) == (large.source, commit)
    assert as_base(spec_of("owner/name@v1", VISITOR), Path("x")) == ("owner/name", "v1")


def test_what_a_model_learned_travels_as_json() -> None:
    own = replace(NEW, name="mine", public=False, learned=("docvqa",))
    assert ModelSpec.from_json(json.loads(json.dumps(asdict(own)))) == own


@pytest.mark.parametrize("learned", ["docvqa", {"vqa": 1}, [1], ["v\0"]], ids=str)
def test_what_a_model_learned_are_names(learned: object) -> None:
    told = {**asdict(replace(NEW, name="mine", public=False)), "learned": learned}
    with pytest.raises(ValueError, match=r"list of names|are texts"):
        ModelSpec.from_json(told)
