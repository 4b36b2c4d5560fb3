"""A set that grows by corrected answers: every row once, every picture once, nothing lost."""

from __future__ import annotations

import errno

import numpy as np
import pytest
from PIL import Image

import florence_demo.data.own_set as own_set
from florence_demo.data.example import Example
from florence_demo.data.folders import data_under, list_data, take_data
from florence_demo.data.own_set import NAME, Counted, OwnLimits, OwnSet
from florence_demo.data.reading import open_data
from florence_demo.errors import DatasetError, InputError
from florence_demo.prediction import Detections

TEAL, RED = (Image.new("RGB", (400, 300), name) for name in ("teal", "red"))
BOX = Detections(np.array([[10, 20, 110, 220]], np.float32), ("Zebra ñ 斑马",))


def boxes(image=TEAL, found=BOX) -> Example:
    return Example(image, "od", detections=found)


def words(answer: str, question: str = "What is it?", image=TEAL) -> Example:
    return Example(image, "vqa", question, answer=answer)


@pytest.fixture
def kept(tmp_path) -> OwnSet:
    return OwnSet(tmp_path / "data" / NAME, OwnLimits())


def test_rows_are_read_back_as_data(kept, tmp_path):
    assert kept.add(boxes(), "a1") == Counted(1, 1)
    assert kept.add(words("a wall"), "a1") == Counted(2, 1)
    assert kept.add(boxes(RED, Detections.empty()), "b2") == Counted(3, 2)
    assert list_data(tmp_path / "data") == [NAME]
    first, second, third = open_data(data_under(tmp_path / "data", NAME))
    assert first.detections.labels == ("Zebra ñ 斑马",)
    np.testing.assert_allclose(first.detections.xyxy, BOX.xyxy, atol=0.5)
    assert (second.text, second.answer) == ("What is it?", "a wall")
    assert len(third.detections) == 0
    assert third.size() == (400, 300)


def test_the_same_question_is_answered_anew(kept):
    kept.add(words("a wall"), "a1")
    kept.add(words("a door", "And this?"), "a1")
    assert kept.add(words("a sea"), "a1") == Counted(2, 1)
    assert kept.counted().words() == ("2 answers", "1 picture")
    assert [row["suffix"] for row in kept._lines()] == ["a door", "a sea"]


def test_a_row_that_cannot_be_learned_from_changes_nothing(kept):
    with pytest.raises(DatasetError, match="empty"):
        kept.add(words(" "), "a1")
    assert not kept.folder.exists()


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        (OwnLimits(rows=1), "1 answers"),
        (OwnLimits(picture_bytes=3_000), "room"),
    ],
    ids=["rows", "bytes"],
)
def test_it_grows_no_further_than_it_may(tmp_path, limits, problem):
    kept = OwnSet(tmp_path / NAME, limits)
    kept.add(boxes(), "a1")
    with pytest.raises(DatasetError, match=problem):
        kept.add(boxes(RED), "b2")
    kept.add(boxes(), "a1")  # in the place of the first
    assert kept.counted() == Counted(1, 1)


def test_a_full_disk_loses_nothing(kept, monkeypatch):
    kept.add(boxes(), "a1")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(own_set, "write_text", full)
        with pytest.raises(InputError, match="disk is full"):
            kept.add(boxes(RED), "b2")
    assert kept.counted() == Counted(1, 1)
    assert len(list((kept.folder / "images").iterdir())) == 1


def test_it_is_handed_out_as_a_zip_that_can_be_uploaded(kept, tmp_path):
    with pytest.raises(DatasetError, match="empty"):
        kept.pack(tmp_path / "my-data.zip")
    kept.add(boxes(), "a1")
    kept.add(words("a wall", image=RED), "b2")
    _, rows = take_data([kept.pack(tmp_path / "my-data.zip")], tmp_path / "upload")
    assert [row.task for row in rows] == ["od", "vqa"]
