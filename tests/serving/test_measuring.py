"""A measurement: what is told on the way, how it ends, and what the report says to a person."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from florence_demo.data.chosen import Data
from florence_demo.data.folders import unpack_data
from florence_demo.data.forms import DEMO_FORMS, DEMO_FORMS_HELD
from florence_demo.errors import FlorenceDemoError
from florence_demo.evaluation.report import TOO_FEW, Report
from florence_demo.prediction import Prediction
from florence_demo.serving.asking import Service
from florence_demo.serving.config import AppConfig
from florence_demo.serving.measuring import Wish, measure, write_report
from florence_demo.tasks import TASKS
from florence_demo.ui.report_panel import report_panel
from tests.data.test_folders import ROW, jsonl, pack, png
from tests.fakes import FakeEngine, FakeEngines

EVIL = "<img src=x onerror=alert(1)>"
FORMS_DATA = Data(DEMO_FORMS, "forms", DEMO_FORMS_HELD)


def service(tmp_path: Path, engine: Any = None) -> Service:
    config = AppConfig(checkpoints=tmp_path / "checkpoints", data=tmp_path / "data")
    return Service(config, FakeEngines(engine))


class Reader(FakeEngine):
    """Answer with the question, so that another question changes the answer."""

    def predict(self, image, task, text="", region=None, options=None, *, on_step=None):
        found = super().predict(image, task, text, region, options)
        return replace(found, text=text)


def measured(given: Service, **wish: Any) -> tuple[list[tuple[int, int, str]], Report]:
    *news, report = measure(given, Wish("nano", FORMS_DATA, **wish))
    assert isinstance(report, Report)
    return [n for n in news if not isinstance(n, Report)], report


def test_a_measurement_tells_how_far_it_is_and_ends_in_a_report(tmp_path: Path) -> None:
    news, report = measured(service(tmp_path, Reader()), limit=10)
    assert news[0][2] == "Opening the data"
    assert (10, 10) in {(done, total) for done, total, _ in news}
    assert len(report.judged) == 10
    # Forms that no training drew, spread over all of them.
    where = [j.example.where for j in report.judged]
    assert where[0] == "form 1000000"
    assert len(set(where)) == 10
    page = report_panel(report)
    said, _, details = page.partition("<details")
    title = TASKS["custom"].title
    assert f"{title}: answers right, letter by letter" in re.sub("<[^>]+>", "", said)
    assert f"{title}: ANLS" not in said
    assert f"{title}: ANLS" in details
    assert "it reads the question" in page
    assert TOO_FEW not in page
    names = [Path(p).name for p in write_report(report, tmp_path)]
    assert names == ["report.html", "report.json", "report.md"]


def test_a_model_that_does_not_read_is_told(tmp_path: Path) -> None:
    _, report = measured(service(tmp_path), limit=12)
    assert "hardly reads the question" in report_panel(report)


def test_closing_a_measurement_ends_it_after_the_batch(tmp_path: Path) -> None:
    closed = threading.Event()

    class Waiting(FakeEngine):
        def predict(self, *args: Any, **kwargs: Any) -> Prediction:
            if len(self.asked) == 8:  # the first of the second batch
                closed.wait()
            return super().predict(*args, **kwargs)

    engine = Waiting()
    running = measure(service(tmp_path, engine), Wish("nano", FORMS_DATA, limit=100))
    next(news for news in running if not isinstance(news, Report) and news[0] == 8)
    running.close()  # type: ignore[attr-defined]
    closed.set()
    for thread in threading.enumerate():
        if thread.name == "measurement":
            thread.join()
    assert len(engine.asked) == 16


def test_tasks_that_the_data_has_not_are_told(tmp_path: Path) -> None:
    with pytest.raises(FlorenceDemoError, match="no usable row"):
        measured(service(tmp_path), tasks=("od",))


def test_an_upload_is_measured_and_its_path_stays_here(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "annotations.jsonl": jsonl(ROW, {**ROW, "image": "images/gone.png"}),
        "images/a.png": png(),
    }
    source = unpack_data([pack(tmp_path / "a.zip", files)], tmp_path / "new")
    data = Data(source, "upload")
    *_, report = measure(service(tmp_path), Wish("nano", data))
    assert isinstance(report, Report)
    assert len(report.judged) == 1
    assert "gone.png" in report.failures[0]
    assert str(tmp_path) not in report.to_html() + report.to_markdown() + report_panel(report)


def test_names_of_models_and_rows_are_no_markup(tmp_path: Path) -> None:
    _, report = measured(service(tmp_path), limit=2)
    page = report_panel(replace(report, model=EVIL, data=EVIL, failures=(EVIL,)))
    assert EVIL not in page
    assert page.count("&lt;img") == 3


@pytest.mark.parametrize("count", [1, 9])
def test_few_questions_are_no_ground_for_an_interval(tmp_path: Path, count: int) -> None:
    _, report = measured(service(tmp_path, Reader()), limit=count)
    page = report_panel(report)
    assert "too few to say how good the model is: ask at least ten" in page
    assert "fd-interval" not in page
    assert not re.search(r"\d%? to \d", page)
    # As it is taken home, and as the command line prints it.
    for text in (report.to_markdown(), report.to_html()):
        assert TOO_FEW in text
        assert not re.search(r"\d to \d", text)
    assert {row["low"] for row in report.to_json()["metrics"].values()} == {None}


def test_a_bug_reaches_the_page_as_an_error(tmp_path: Path) -> None:
    class Broken(FakeEngine):
        def predict(self, *args: Any, **kwargs: Any) -> Prediction:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        measured(service(tmp_path, Broken()), limit=2)
