"""One question about several names or several boxes: each asked by itself, answered as one.

Knows what a list of names is and what the merged answer says. Does not know how a model answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from florence_demo.codec import BOXES, TEXT
from florence_demo.engine.notices import NOTHING
from florence_demo.engine.parts import Responder, as_one, in_parts
from florence_demo.engine.request import USUAL, OnStep, Options, Request
from florence_demo.engine.things import together
from florence_demo.errors import InputError
from florence_demo.prediction import Detections, Prediction
from florence_demo.regions import Region, check_region
from florence_demo.tasks import Task

MOST_NAMES = 50
"""Names of one list."""
MOST_REGIONS = 20
"""Boxes of one question."""

# "1,000" is a number, not two names.
_BETWEEN = re.compile(r",(?!(?<=\d,)\d{3}(?!\d))|[;\r\n]")
# "a cat, and a dog": the word belongs to the list; "a cat and a dog" may be one thing.
_AND = re.compile(r"^and\s+(?=\S)", re.IGNORECASE)
_TOLD = 3


def names_in(task: Task, text: str) -> tuple[str, ...]:
    """Return the names of a text; the text as it is where the task takes no lists.

    Names stand between commas, semicolons and line ends. Each is there once.

    Raises:
        InputError: They are too many.
    """
    if not task.lists or not isinstance(text, str):
        return (text,)
    parts = [" ".join(part.split()) for part in _BETWEEN.split(text)]
    given = [part for part in parts if part]
    names = [*given[:1], *(_AND.sub("", part) for part in given[1:])]
    once: dict[str, str] = {}
    for name in names:
        once.setdefault(name.casefold(), name)
    if len(once) > MOST_NAMES:
        raise InputError(
            f"The list has {len(once):,} names, {MOST_NAMES} are allowed: ask for the first"
            f" {MOST_NAMES}, then for the others."
        )
    return tuple(once.values()) or ("",)


def check_count(boxes: int) -> None:
    """Raise InputError where boxes are too many for one question."""
    if boxes > MOST_REGIONS:
        raise InputError(
            f"There are {boxes:,} boxes, {MOST_REGIONS} are allowed: ask about the first"
            f" {MOST_REGIONS}, then about the others."
        )


def check_regions(regions: Sequence[Region], size: tuple[int, int], task: Task) -> None:
    """Raise InputError where one of several boxes cannot be asked about, or they are too many."""
    check_count(len(regions))
    for number, region in enumerate(regions, 1):
        try:
            task.build_prompt("", region, size)
        except InputError as exc:
            raise exc if len(regions) == 1 else InputError(f"Box {number}: {exc}") from exc


def answered_as_one(task: Task, names: Sequence[str], answers: Sequence[Prediction]) -> Prediction:
    """Return the answers about several names as one, in which things have the names asked for.

    Args:
        task: The task.
        names: What was asked for.
        answers: To each of them.
    """
    found = together(
        [
            replace(each.detections, labels=(name,) * len(each.detections))
            for name, each in zip(names, answers, strict=True)
        ]
    )
    # That a name was not found is in the sentence.
    told = [
        replace(each, notices=tuple(n for n in each.notices if n != NOTHING)) for each in answers
    ]
    return as_one(
        answers,
        **_written(names, answers),
        detections=found,
        parsed=task.parse(task.answer.value("", found)),
        notices=tuple(_notices(names, told)),
        names=tuple(names),
    )


def ask_names(
    engine: Responder,
    request: Request,
    options: Options = USUAL,
    *,
    on_step: OnStep | None = None,
) -> Prediction:
    """Ask for each name of a list by itself, in one batch, and answer as one.

    Args:
        engine: Who answers.
        request: The picture, a task that takes lists, and the list.
        options: How answers are searched.
        on_step: Called while answers grow; what it can ask for is how many names are done.

    Raises:
        InputError: The list is too long, or a name does not fit the task or the model.
        Stopped: ``on_step`` returned False.
    """
    task, names = request.task, names_in(request.task, request.text)
    asked = [replace(request, text=name) for name in names]
    answers = list(
        in_parts(engine, asked, options, on_step, lambda n: f"{n} of {len(names)} names are done.")
    )
    return answered_as_one(task, names, answers)


def ask_regions(
    engine: Responder,
    request: Request,
    regions: Sequence[Region],
    options: Options = USUAL,
    *,
    on_step: OnStep | None = None,
) -> Prediction:
    """Ask about each of several boxes, in one batch, and answer as one.

    Where the task answers in words, the boxes are the places found and the words their labels.

    Args:
        engine: Who answers.
        request: The picture and a task about a region.
        regions: The boxes, in pixels.
        options: How answers are searched.
        on_step: Called while answers grow; what it can ask for is how many boxes are done.

    Raises:
        InputError: A box is none, or they are too many.
        Stopped: ``on_step`` returned False.
    """
    task, size = request.task, request.image.size
    check_regions(regions, size, task)
    asked = [replace(request, region=region) for region in regions]
    answers = list(
        in_parts(
            engine, asked, options, on_step, lambda n: f"{n} of {len(regions)} boxes are done."
        )
    )
    titles = [f"box {number}" for number in range(1, len(regions) + 1)]
    text = ""
    if task.answer is TEXT:
        boxes = np.array([check_region(region, size) for region in regions], np.float32)
        labels = tuple(" ".join(each.text.split()) for each in answers)
        found, text = Detections(boxes, labels), "\n".join(each.text for each in answers)
        repeated = [each.detections for each in answers]
        # A model may repeat the box behind its words, which tells how sure it is.
        if all(len(each) == 1 for each in repeated):
            found = replace(together(repeated), xyxy=boxes, labels=labels)
        # Words have no form for several places; that of boxes with labels does.
        value = BOXES.value("", found)
    else:
        found = together([each.detections for each in answers])
        value = task.answer.value("", found)
    one = as_one(
        answers,
        **_written(titles, answers),
        text=text,
        detections=found,
        parsed=task.parse(value),
        notices=tuple(_notices(titles, answers)),
    )
    return replace(one, calibrated=one.calibrated and found.scores is not None)


def _written(titles: Sequence[str], answers: Sequence[Prediction]) -> dict[str, str]:
    """Return what the model read and wrote, a line a part."""
    raws = (f"{title}: {each.raw}" for title, each in zip(titles, answers, strict=True))
    return {"prompt": "\n".join(each.prompt for each in answers), "raw": "\n".join(raws)}


def _notices(titles: Sequence[str], answers: Sequence[Prediction]) -> Iterator[str]:
    """Yield what was said beside some answers, once each, with the parts it is about."""
    about: dict[str, list[str]] = {}
    for title, each in zip(titles, answers, strict=True):
        for notice in each.notices:
            about.setdefault(notice, []).append(title)
    for notice, parts in about.items():
        more = f" and {len(parts) - _TOLD} more" if len(parts) > _TOLD else ""
        some = f"Of {', '.join(parts[:_TOLD])}{more}: {notice}"
        yield notice if len(parts) == len(answers) else some
