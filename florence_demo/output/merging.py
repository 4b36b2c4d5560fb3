"""Of boxes of one name that overlap, the surest stays.

Knows boxes and names. Does not know why a model wrote a thing twice. This is non-maximum
suppression, name by name.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from florence_demo.codec import QUADS, TEXT
from florence_demo.errors import InputError
from florence_demo.prediction import Detections, Prediction, box_iou
from florence_demo.tasks import TASKS


def same_name(label: str) -> str:
    """Return what labels of one name have in common: capitals and spaces make no other one."""
    return " ".join(label.split()).casefold()


def check_merge(iou: float) -> None:
    """Raise InputError where a number is no overlap that boxes could be merged at."""
    if not 0 < iou <= 1:  # which NaN is not
        raise InputError("The overlap to merge at must be above 0 and at most 1, such as 0.7.")


def absorbed(found: Detections, iou: float) -> list[int | None]:
    """Return which other thing each one goes into when overlapping boxes of a name are merged.

    Args:
        found: Things of any names; capitals and spaces make no other name.
        iou: Intersection over union, in 0..1, from which two boxes are one thing.

    Returns:
        For each thing the index of the one that stands for it; None where it stays itself. The
        surest of each stays, the first where there are no scores.

    Raises:
        InputError: ``iou`` is no overlap.
    """
    check_merge(iou)
    n = len(found)
    names = [same_name(label) for label in found.labels]
    sure = np.zeros(n) if found.scores is None else found.scores
    overlap = box_iou(found.xyxy, found.xyxy)
    into: list[int | None] = [None] * n
    kept: list[int] = []
    for i in np.argsort(-sure, kind="stable").tolist():
        same = [k for k in kept if names[k] == names[i] and overlap[k, i] >= iou]
        if same:
            into[i] = max(same, key=lambda k: float(overlap[k, i]))
        else:
            kept.append(i)
    return into


def merged(found: Detections, iou: float) -> tuple[Detections, list[int]]:
    """Return what is left when overlapping boxes of one name are merged, as ``absorbed`` says.

    Returns:
        Those that stay, in their old order, and how many others each of them stands for.

    Raises:
        InputError: ``iou`` is no overlap.
    """
    into = absorbed(found, iou)
    kept = [i for i, other in enumerate(into) if other is None]
    return found.select(kept), [into.count(i) for i in kept]


def with_merged(found: Prediction, iou: float) -> Prediction:
    """Return an answer with overlapping boxes of one name merged, which a notice tells.

    Raises:
        InputError: ``iou`` is no overlap.
    """
    left, others = merged(found.detections, iou)
    task, count = TASKS[found.task], sum(others)
    # The places of an answer in words are the boxes that a person drew.
    if not count or task.answer is TEXT:
        return found
    text = "\n".join(left.labels) if task.answer is QUADS else found.text
    boxes = "box" if count == 1 else "boxes"
    notice = f"{count} overlapping {boxes} merged at IoU {iou:g}."
    return replace(
        found,
        text=text,
        detections=left,
        parsed=task.parse(task.answer.value(text, left)),
        notices=(*found.notices, notice),
    )
