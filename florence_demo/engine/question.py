"""A question as a person asks it: with a list of names, several boxes, or a close look.

Knows which way a question goes. How each way works is ``several``'s and ``closely``'s business.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image

from florence_demo.engine.closely import Look, Looker, look_closely
from florence_demo.engine.request import USUAL, OnStep, Options, Request
from florence_demo.engine.seen import Seen
from florence_demo.engine.several import (
    answered_as_one,
    ask_names,
    ask_regions,
    check_count,
    check_regions,
    names_in,
)
from florence_demo.errors import InputError
from florence_demo.prediction import Prediction
from florence_demo.regions import Region
from florence_demo.tasks import Task

Regions = Region | Sequence[Region] | None
"""One box, several, or none."""


class Answering(Looker, Protocol):
    """Answer questions one by one and several at once: the engine, or a fake in a test."""

    def predict(
        self,
        image: Image.Image | Seen,
        task: Task,
        text: str = "",
        region: Region | None = None,
        options: Options = USUAL,
        *,
        on_step: OnStep | None = None,
    ) -> Prediction:
        """Return the answer."""


@dataclass(frozen=True, eq=False)
class Question:
    """Hold a question.

    Attributes:
        image: The picture.
        task: The task.
        text: Words, or a list of names where the task takes one.
        regions: Boxes in pixels.
        tiles: "auto" or rows by columns looks closely; "" at the whole picture alone.
    """

    image: Image.Image
    task: Task
    text: str = ""
    regions: tuple[Region, ...] = ()
    tiles: str = ""

    @classmethod
    def of(cls, image: Image.Image, task: Task, text: str = "", region: Regions = None) -> Question:
        """Return a question about one box, several, or none."""
        return cls(image, task, text, as_regions(region))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its list; its words alone where the task takes no lists.

        Raises:
            InputError: They are too many.
        """
        return names_in(self.task, self.text)

    @property
    def parts(self) -> int:
        """How many questions it is to a model, tiles aside."""
        return max(len(self.names), len(self.regions), 1)

    def check(self) -> None:
        """Raise InputError where the input does not fit the task; no model is needed for that."""
        if self.tiles:
            Look(self.task, self.text, self.tiles).check()
            if self.regions:
                raise InputError("A close look takes no box: leave one of them out.")
        if self.task.after:
            return  # its words are another task's answer
        check_regions(self.regions, self.image.size, self.task)
        region = self.regions[0] if self.regions else None
        for name in self.names:
            self.task.build_prompt(name, region, self.image.size)


def as_regions(region: Any) -> tuple[Region, ...]:
    """Return what is given as one box, several or none as several; whoever uses one checks it."""
    if region is None:
        return ()
    if isinstance(region, np.ndarray):  # as ``Detections.xyxy`` holds them
        region = region.tolist()
    several = isinstance(region, list | tuple) and all(hasattr(r, "__len__") for r in region)
    return tuple(region) if several else (region,)


def regions_given(value: Any) -> tuple[Region, ...]:
    """Return the boxes that a stranger's value names; whether they fit a picture is checked later.

    Args:
        value: {"boxes": [[x1, y1, x2, y2], ...]}, {"box": [x1, y1, x2, y2]}, one box or nothing.

    Raises:
        InputError: There are too many, or one is not four finite numbers.
    """
    several = value.get("boxes") if isinstance(value, dict) else None
    if not several:
        one = value.get("box") if isinstance(value, dict) else value
        several = [] if one is None or one == [] else [one]
    if not isinstance(several, list):
        several = [several]
    check_count(len(several))
    return tuple(
        _four(box, f"Box {number}" if len(several) > 1 else "The region")
        for number, box in enumerate(several, 1)
    )


def _four(box: Any, title: str) -> Region:
    try:
        x1, y1, x2, y2 = (float(v) for v in box)
        finite = all(math.isfinite(v) for v in (x1, y1, x2, y2))
    except (TypeError, ValueError, OverflowError):
        finite = False
    if not finite or isinstance(box, str):
        raise InputError(f"{title} must be four numbers: x1, y1, x2, y2 in pixels.")
    return x1, y1, x2, y2


def ask(
    engine: Answering,
    question: Question,
    options: Options = USUAL,
    *,
    on_step: OnStep | None = None,
) -> Prediction:
    """Answer a question, whatever it is made of, by one prediction.

    Args:
        engine: Who answers.
        question: The question.
        options: How answers are searched.
        on_step: Called while the answer grows.

    Raises:
        InputError: The input does not fit the task or the model.
        Stopped: ``on_step`` returned False.
    """
    question.check()
    options.check()
    image, task, names = question.image, question.task, question.names
    if question.tiles:
        looks = [Look(task, name, question.tiles, options) for name in names]
        answers = [look_closely(engine, image, look, on_step=on_step) for look in looks]
        return answers[0] if len(names) == 1 else answered_as_one(task, names, answers)
    if len(names) > 1:
        request = Request(image, task, question.text)
        return ask_names(engine, request, options, on_step=on_step)
    if len(question.regions) > 1:
        request = Request(image, task)
        return ask_regions(engine, request, question.regions, options, on_step=on_step)
    region = question.regions[0] if question.regions else None
    return engine.predict(image, task, names[0], region, options, on_step=on_step)
