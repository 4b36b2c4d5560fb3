"""Whether a model is as often right as it says, and the curves that make it so.

Knows answered rows and what is right in them: a thing found is right where a true one of its name
overlaps it by half. Does not know how a curve looks (``engine.confidence``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from florence_demo.data.example import Example
from florence_demo.engine.confidence import LEAST, Confidence, Curve
from florence_demo.evaluation import metrics
from florence_demo.evaluation.report import Reliability
from florence_demo.prediction import Prediction
from florence_demo.tasks import task_named

_NAMED = ("BOXES", "PHRASES", "QUADS")
"""Answers in which the name can be wrong; elsewhere the question says it."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Hold what was found in the answers to one task, N things in all.

    Attributes:
        scores: How sure the model said it was, (N,).
        places: Its probabilities of the places, (N,).
        names: Its probabilities of the names, (N,).
        right: Which of them are right, (N,) bool.
        row: Which answer each is of, (N,) int.
    """

    scores: NDArray[np.float64]
    places: NDArray[np.float64]
    names: NDArray[np.float64]
    right: NDArray[np.bool_]
    row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.right)


def outcomes(answered: Sequence[tuple[Example, Prediction]]) -> dict[str, Outcomes]:
    """Return what was found and whether it is right, by task; tasks without scores are left out."""
    columns: dict[str, list[tuple[float, float, float, float, int]]] = defaultdict(list)
    for row, (example, prediction) in enumerate(answered):
        found, task = prediction.detections, task_named(example.task)
        # A text only repeats the region it was asked about.
        if task.answer.name == "TEXT" or found.scores is None:
            continue
        if found.place_scores is None or found.label_scores is None:
            continue
        right = metrics.things_right(found, example.detections, task.answer.name in _NAMED)
        numbers = (found.scores, found.place_scores, found.label_scores, right.astype(float))
        columns[task.name] += [(a, b, c, d, row) for a, b, c, d in np.stack(numbers, 1).tolist()]
    return {task: _columns(rows) for task, rows in columns.items()}


def _columns(rows: list[tuple[float, float, float, float, int]]) -> Outcomes:
    scores, places, names, right, row = (np.array(column) for column in zip(*rows, strict=True))
    return Outcomes(scores, places, names, right > 0, row)


def reliability(found: Mapping[str, Outcomes]) -> tuple[Reliability, ...]:
    """Return how often each task's things are right, by tenths of how sure the model was."""
    return tuple(_tenths(task, o.scores, o.right) for task, o in found.items())


def calibrate(
    found: Mapping[str, Outcomes],
) -> tuple[Confidence, tuple[Reliability, ...]]:
    """Return a curve for each task with enough answers, and how well such curves do.

    A curve is fitted to all answers. How well it does is measured with two others: each fitted to
    one half of the rows and tried on the other.
    """
    curves: dict[str, Curve] = {}
    held: list[Reliability] = []
    for task, o in found.items():
        if len(o) < LEAST:
            continue
        curves[task] = Curve.fit(o.places, o.names, o.right)
        scores = np.zeros(len(o))
        for half in (0, 1):
            mine = o.row % 2 == half
            curve = Curve.fit(o.places[~mine], o.names[~mine], o.right[~mine])
            scores[mine] = curve(o.places[mine], o.names[mine])
        held.append(_tenths(task, scores, o.right))
    return Confidence(curves), tuple(held)


def _tenths(task: str, scores: NDArray[np.float64], right: NDArray[np.bool_]) -> Reliability:
    tenth = np.minimum((scores * 10).astype(int), 9)
    points = tuple(
        (float(scores[tenth == t].mean()), float(right[tenth == t].mean()), int((tenth == t).sum()))
        for t in range(10)
        if (tenth == t).any()
    )
    return Reliability(task, points)
