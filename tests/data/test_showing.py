"""Rows that a person sees: which are chosen, and where their answers are drawn."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from florence_demo.data.example import Example
from florence_demo.data.parts import TEST, TRAIN, VALIDATION
from florence_demo.data.showing import drawn_row, parts_said, varied
from florence_demo.prediction import Detections


def rows_of(tasks: str) -> list[Example]:
    """Return a row for each letter: its task is the letter; two neighbours share a picture."""
    return [Example(Path(f"{i // 2}.png"), task, where=str(i)) for i, task in enumerate(tasks)]


@pytest.mark.parametrize(
    ("tasks", "found"),
    [
        ("", ""),
        ("a", "a"),
        ("aaaa", "aaa"),
        ("aaaaaaaab", "aab"),
        ("aabbccdd", "abd"),
        ("ab" * 500, "aab"),
    ],
)
def test_rows_of_different_tasks_and_pictures_come_first(tasks: str, found: str) -> None:
    chosen = varied(rows_of(tasks), 3)
    assert len(set(map(id, chosen))) == len(chosen)
    assert len({row.task for row in chosen}) == min(len(set(tasks)), 3) == len(set(found))
    assert len(chosen) == len(found)
    pictures = Counter(row.shown for row in chosen)
    assert len(tasks) < 6 or max(pictures.values()) == 1


def test_an_answer_is_drawn_where_it_is_in_a_smaller_picture() -> None:
    image = Image.new("RGB", (1000, 500), "white")
    box = Detections(np.array([[500, 100, 900, 400]], np.float32), ("",), ((),))
    drawn, truth = drawn_row(Example(image, "od", detections=box), 200)
    assert drawn.size == (200, 100)
    changed = np.argwhere(np.asarray(drawn).min(axis=2) < 250)
    (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
    assert np.abs(np.array([left, top, right, bottom]) - (100, 20, 180, 80)).max() <= 4
    assert truth.size == (1000, 500)
    assert image.getextrema() == ((255, 255),) * 3


def test_what_becomes_of_a_part_is_said() -> None:
    assert parts_said([TRAIN, VALIDATION, TEST, "odd"]) == (
        "train is learned from; validation is measured on while learning; test is kept for"
        " evaluate; odd"
    )
