"""What of an answer is kept: things that are sure enough, of names that are on, each once.

Knows answers and what a browser says of them. Does not know sliders: the page hides by itself, by
the same rule, and what it hides goes into no download.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from florence_demo.codec import BOXES, QUADS, TEXT
from florence_demo.errors import InputError
from florence_demo.output.merging import absorbed, same_name
from florence_demo.prediction import Detections, Prediction
from florence_demo.tasks import TASKS

MERGE_IOU = 0.7
"""Overlap from which the page merges boxes of one name."""


@dataclass(frozen=True)
class Filter:
    """Say what is kept of an answer.

    Attributes:
        least: How sure a thing must be, in whole percent; things without a score stay.
        off: Names that are switched off, each by the index of its first thing.
        merge: Whether overlapping boxes of one name are merged, at ``MERGE_IOU``.
    """

    least: int = 0
    off: frozenset[int] = frozenset()
    merge: bool = False

    @classmethod
    def given(cls, value: Any, found: Detections) -> Filter:
        """Return the filter that a browser sent for an answer; nothing sent keeps everything.

        Args:
            value: {"least": 0..100, "off": indices, "merge": bool, "of": how many things it has}.
            found: The answer's things.

        Raises:
            InputError: It is no filter, or one of another answer.
        """
        if not value:
            return cls()
        told: dict[str, Any] = value if isinstance(value, dict) else {"of": None}
        least, off, merge = told.get("least", 0), told.get("off", []), told.get("merge", False)
        fine = (
            _is_whole(least, 100)
            and isinstance(off, list)
            and len(off) <= len(found)
            and all(_is_whole(index, len(found) - 1) for index in off)
            and isinstance(merge, bool)
        )
        if not fine or told.get("of", len(found)) != len(found):
            raise InputError(
                "What is filtered does not fit this answer: set the filter again, or ask again."
            )
        return cls(least, frozenset(off), merge)


def _is_whole(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def name_groups(found: Detections) -> list[int]:
    """Return for each thing the index of the first one of its name."""
    first: dict[str, int] = {}
    return [first.setdefault(same_name(label), i) for i, label in enumerate(found.labels)]


def percent(score: float) -> int:
    """Return a score as a person reads it, in whole percent; a half is rounded up."""
    return math.floor(100 * float(score) + 0.5)


def kept_of(found: Prediction, by: Filter) -> list[int]:
    """Return the indices of what is kept of an answer, in their old order."""
    things = found.detections
    names = name_groups(things)
    into = merges_of(found) if by.merge else [None] * len(things)
    off = {names[index] for index in by.off}
    return [
        i
        for i in range(len(things))
        if names[i] not in off
        and into[i] is None
        and (things.scores is None or percent(things.scores[i]) >= by.least)
    ]


def merges_of(found: Prediction) -> list[int | None]:
    """Return which other thing each one goes into where boxes are merged; None where it stays.

    The places of an answer in words are the boxes that a person drew: they stay.
    """
    if TASKS[found.task].answer is TEXT:
        return [None] * len(found.detections)
    return absorbed(found.detections, MERGE_IOU)


def filtered(found: Prediction, by: Filter) -> Prediction:
    """Return what is kept of an answer as an answer, which a notice tells.

    The string that the model wrote is left out: it tells of all.

    Raises:
        InputError: Nothing is kept.
    """
    kept = kept_of(found, by)
    if len(kept) == len(found.detections):
        return found
    if not kept:
        raise InputError(
            "The filter leaves nothing of this answer: move the slider back, or switch a name on."
        )
    task, things = TASKS[found.task], found.detections.select(kept)
    lines = task.answer in (QUADS, TEXT)  # of what was read, or said about each box
    text = "\n".join(things.labels) if lines else found.text
    # Words about several boxes are written as boxes with labels.
    form = BOXES if task.answer is TEXT else task.answer
    there = {same_name(label) for label in things.labels}
    before = {same_name(label) for label in found.detections.labels}
    return replace(
        found,
        raw="",
        text=text,
        detections=things,
        parsed=task.parse(form.value(text, things)),
        # Of a name that is switched off nobody can say that it is not there.
        names=tuple(n for n in found.names if same_name(n) in there or same_name(n) not in before),
        notices=(*found.notices, f"Filtered: {len(kept)} of {len(found.detections)} are kept."),
    )
