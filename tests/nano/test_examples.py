"""The examples of the page: what the embedded model answers to each is right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from florence_demo.data.example import Example
from florence_demo.data.reading import open_data
from florence_demo.engine.request import USUAL
from florence_demo.evaluation.metrics import box_iou, normal, outline_iou
from florence_demo.prediction import Prediction
from florence_demo.serving.asking import EXAMPLES, load_examples
from florence_demo.tasks import TASKS

ROWS = load_examples()
LEAST = 0.75
"""Overlap of a place with the true one, from which nobody would call it wrong."""
THIN = 0.5
"""The same of a line of text, which is a few pixels high where the model looks."""


def asked(file: str, row: Mapping[str, Any]) -> tuple[Any, ...]:
    return file, row["task"], row["text"], tuple(row["region"] or ())


TRUTHS = {
    asked(e.image.name, {"task": e.task, "text": e.text, "region": e.region}): e
    for e in open_data(str(EXAMPLES))
}


def misses(truth: Example, found: Prediction) -> list[str]:
    """Return in words what is wrong with an answer; nothing where it is right."""
    if truth.answer:
        right = normal(found.text) == normal(truth.answer)
        return [] if right else [f"“{found.text}” instead of “{truth.answer}”"]
    got, true = found.detections, truth.detections
    named = not (any(true.polygons) and not any(true.labels))  # an outline has no name
    if named and sorted(got.labels) != sorted(true.labels):
        return [f"{got.labels} instead of {true.labels}"]
    if len(got) != len(true):
        return [f"{len(got)} places instead of {len(true)}"]
    wrong = []
    for i, label in enumerate(true.labels):
        same = [j for j in range(len(got)) if not named or got.labels[j] == label]
        if true.polygons[i]:
            least = THIN if label else LEAST
            best = max(outline_iou(got.polygons[j], true.polygons[i]) for j in same)
        else:
            least = LEAST
            best = box_iou(got.xyxy[same], true.xyxy[[i]]).max()
        if best < least:
            wrong.append(f"place {i} ({label}) overlaps by {best:.2f}")
    return wrong


def test_every_example_has_its_true_answer():
    assert {asked(row["file"], row) for row in ROWS} == set(TRUTHS)
    assert len(TRUTHS) == len(ROWS), "each is asked once"
    assert {p.name for p in EXAMPLES.glob("*.webp")} == {row["file"] for row in ROWS}
    assert len({row["title"] for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["title"])
def test_nano_answers_every_example_rightly(nano, row):
    truth = TRUTHS[asked(row["file"], row)]
    found = nano.predict(truth.load(), TASKS[row["task"]], row["text"], truth.region, USUAL)
    assert found.notices == ()
    assert not found.truncated
    assert misses(truth, found) == []
