"""What a run answers on the way: written beside it, and read again whoever wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from florence_demo.data.example import Example
from florence_demo.prediction import Detections
from florence_demo.tasks import TASKS
from florence_demo.training.samples import Sample, record, samples_of
from florence_demo.training.status import SAMPLES_FOLDER, Status
from tests.run_makers import answered

SIZE = (200, 160)
CATS = Detections(np.array([[20, 16, 60, 64]], np.float32), ("cat",))
SCENE = Image.new("RGB", SIZE, "teal")


def written(folder: Path, row: Example, raw: str, score: float = 0.5) -> Sample:
    folder.mkdir(exist_ok=True)
    told = record(answered(row, raw, score), 0, folder)
    (sample,) = samples_of(folder, Status(samples=({**told, "step": 7},)))
    return sample


def test_words_are_read_as_they_were_written(tmp_path: Path) -> None:
    row = Example(SCENE, "custom", "<FORM>Which drink?", answer="tea")
    sample = written(tmp_path, row, "milk")
    assert (sample.task, sample.text, sample.step) == ("custom", "<FORM>Which drink?", 7)
    assert (sample.words, sample.answer, sample.truth) == ("Which drink?", "milk", "tea")
    assert sample.can_be_asked
    assert sample.given(SIZE, "mine").sentence() == "milk"
    assert sample.wanted(SIZE).sentence() == "tea"
    assert sample.whole is not None
    with Image.open(sample.whole) as whole:
        assert whole.size == SIZE


def test_places_and_a_region_are_read_as_they_were_written(tmp_path: Path) -> None:
    sample = written(tmp_path, Example(SCENE, "od", detections=CATS), "dog<loc_1><loc_2><loc_3>")
    assert sample.wanted(SIZE).detections.labels == ("cat",)
    assert np.allclose(sample.wanted(SIZE).detections.xyxy, CATS.xyxy, atol=0.2)
    # What is no whole place is none.
    assert len(sample.given(SIZE, "").detections) == 0
    spot = Example(SCENE, "region_to_category", region=(1.0, 2.0, 30.0, 40.0), answer="cat")
    sample = written(tmp_path / "spot", spot, "cat")
    assert sample.region == (1.0, 2.0, 30.0, 40.0)
    assert (sample.words, sample.title) == ("", TASKS["region_to_category"].title)


@pytest.mark.parametrize(
    "name",
    ["../../secret.jpg", "/etc/hostname", "link.jpg", "", "\0", "a" * 5000, 7, None, ["0.jpg"]],
    ids=repr,
)
def test_a_picture_outside_the_run_is_none(tmp_path: Path, name: Any) -> None:
    folder = tmp_path / "mine"
    (folder / SAMPLES_FOLDER).mkdir(parents=True)
    SCENE.save(tmp_path / "secret.jpg")
    (folder / SAMPLES_FOLDER / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    told = {"question": "vqa What?", "picture": name, "whole": name}
    (sample,) = samples_of(folder, Status(samples=(told,)))
    assert (sample.small, sample.whole, sample.can_be_asked) == (None, None, False)


@pytest.mark.parametrize(
    "value",
    [None, "x", [1, 2, 3], [1, 2, 3, "4"], [1, 2, 3, 1e300], [1, 2, 3, float("nan")], {"a": 1}],
    ids=repr,
)
def test_what_is_no_region_is_none(tmp_path: Path, value: Any) -> None:
    (sample,) = samples_of(tmp_path, Status(samples=({"question": "od", "region": value},)))
    assert sample.region is None


def test_what_an_older_run_told_is_read(tmp_path: Path) -> None:
    row = Example(SCENE, "vqa", "How many?", answer="one")
    written(tmp_path, row, "two")
    told = {"question": "vqa How many?", "answer": "two", "truth": "one", "picture": "0.jpg"}
    (older,) = samples_of(tmp_path, Status(samples=(told,)))
    assert older.can_be_asked
    assert older.whole == older.small
    assert older.given(SIZE, "").sentence() == "two"


def test_a_task_that_nobody_knows_cannot_be_asked(tmp_path: Path) -> None:
    written(tmp_path, Example(SCENE, "vqa", "How many?", answer="one"), "two")
    told = {"question": "invented What?", "picture": "0.jpg"}
    (sample,) = samples_of(tmp_path, Status(samples=(told,)))
    assert not sample.can_be_asked
    assert sample.words == "What?"
