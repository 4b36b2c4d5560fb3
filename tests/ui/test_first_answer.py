"""From a run to a first answer, without a browser: what is filled in, and who may see it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from florence_demo.data.example import Example
from florence_demo.errors import FlorenceDemoError, InputError
from florence_demo.pictures.images import open_image
from florence_demo.serving.asking import Service
from florence_demo.serving.config import AppConfig
from florence_demo.training.runs import Run
from florence_demo.ui import build_app
from florence_demo.ui.first_answer import shows_data, values
from florence_demo.ui.run_view import pressed, pressing
from tests.fakes import FakeEngines
from tests.run_makers import finished_run

SPOT = Example(
    Image.new("RGB", (90, 60), "teal"),
    "region_to_category",
    region=(10.0, 10.0, 40.0, 40.0),
    answer="cat",
)


def service(tmp_path: Path, **changes: Any) -> Service:
    config = AppConfig(checkpoints=tmp_path / "runs", data=tmp_path / "data", **changes)
    return Service(config, FakeEngines())  # type: ignore[arg-type]


def run(tmp_path: Path, *rows: Example, **told: Any) -> Run:
    return finished_run(tmp_path / "runs" / "mine", rows, **told)


def test_a_question_is_filled_in_and_left_to_be_asked(tmp_path: Path) -> None:
    file, picker, task, text, view, *answer = values(
        service(tmp_path), run(tmp_path, SPOT, model=True), None
    )
    assert open_image(Path(file)).size == (90, 60)
    assert (picker["box"], picker["size"]) == ((10.0, 10.0, 40.0, 40.0), [90, 60])
    assert (task, text) == ("region_to_category", "")
    assert "Press Ask" in view["hint"]
    assert "sentence" not in view
    assert answer == [None, "", None]


def test_a_sample_is_shown_with_both_answers(tmp_path: Path) -> None:
    *_, view, parsed, raw, found = values(service(tmp_path), run(tmp_path, SPOT), 0)
    assert (view["sentence"], view["notices"][:1]) == ("cat", ["Wanted: cat"])
    assert view["notices"][1].startswith("Answered by mine, after step 20.")
    assert (raw, found.text) == ("cat", "cat")
    assert parsed == {"<REGION_TO_CATEGORY>": "cat"}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        pytest.param({"state": "training"}, "has ended", id="it goes on"),
        pytest.param({"state": "failed"}, "kept no model", id="it failed"),
    ],
)
def test_a_run_without_a_model_says_so(tmp_path: Path, told: dict[str, str], words: str) -> None:
    import os

    given = run(tmp_path, SPOT, model=False, pid=os.getpid(), **told)
    assert words in values(service(tmp_path), given, 0)[4]["notices"][1]


def test_a_sample_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sample"):
        values(service(tmp_path), run(tmp_path, SPOT), 9)


@pytest.mark.parametrize(
    ("public", "training", "seen"),
    [
        pytest.param(False, None, True, id="one's own page"),
        pytest.param(False, False, True, id="one's own, without training"),
        pytest.param(True, True, True, id="strangers who may train"),
        pytest.param(True, None, False, id="strangers who may not"),
    ],
)
def test_strangers_see_what_models_learned_from_only_where_they_may_train(
    tmp_path: Path, public: bool, training: bool | None, seen: bool
) -> None:
    given = service(tmp_path, public=public, training=training)
    assert shows_data(given.config) is seen
    made = run(tmp_path, SPOT)
    app = build_app(service=given)
    (describe,) = (f for f in app.fns.values() if f.api_name == "describe_checkpoint")
    _, card = describe.fn("mine")
    assert ("data-sample" in card) is seen
    # Whatever a browser sends.
    if seen:
        assert values(given, made, 0)[3] == ""
    else:
        with pytest.raises(InputError, match="no sample"):
            values(given, made, 0)
        assert "kept no sample" in values(given, made, None)[4]["hint"]


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"run": 7},
        {"run": "mine", "sample": "0"},
        {"run": "mine", "sample": -1},
        {"run": "mine", "sample": True},
        {"run": "mine", "sample": 10**9},
        {"run": ["mine"], "sample": 0},
    ],
    ids=repr,
)
def test_what_says_no_run_is_a_sentence(data: Any) -> None:
    with pytest.raises(InputError, match="no longer here"):
        pressed(SimpleNamespace(_data=data))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["../x", "/etc", "gone", "", "a\0b", "mine/../.."])
def test_a_run_elsewhere_is_not_opened(tmp_path: Path, name: str) -> None:
    run(tmp_path, SPOT)
    app = build_app(service=service(tmp_path))
    for event in [f for f in app.fns.values() if f.fn and f.fn.__name__ == "open_run"]:
        if not any(target[1] == "pick" for target in event.targets):
            continue
        with pytest.raises(Exception, match=r"no longer here|There is no") as told:
            event.fn(SimpleNamespace(_data={"run": name, "sample": 0}))
        assert isinstance(told.value.__cause__, FlorenceDemoError)


def test_a_name_is_an_attribute_and_no_markup() -> None:
    assert pressing('"><img src=x>', 1).count("<") == 0
