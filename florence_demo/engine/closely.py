"""A large picture looked at closely: asked about as a whole and tile by tile, answered as one.

Knows the order of the work: cut, ask, move to the picture's pixels, merge. Does not know where
tiles lie (``tiles``), how answers are merged (``things``, ``lines``) or how a model answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

from florence_demo.codec import BOXES, BOXES_OR_POLYGONS, QUADS
from florence_demo.engine.lines import merge_lines
from florence_demo.engine.parts import Responder, as_one, in_parts
from florence_demo.engine.request import USUAL, OnStep, Options, Request
from florence_demo.engine.things import View, merge_things
from florence_demo.engine.tiles import AUTO, Plan, Tile, check_tiles, plan, squeezed
from florence_demo.errors import InputError
from florence_demo.prediction import Detections, Prediction
from florence_demo.tasks import TASKS, Task

_MERGE: dict[str, Callable[[Sequence[View], Plan], Detections]] = {
    BOXES.name: merge_things,
    BOXES_OR_POLYGONS.name: merge_things,
    QUADS.name: merge_lines,
}
"""How answers of a kind are merged; those of other kinds are about the whole picture alone."""


@runtime_checkable
class Looker(Responder, Protocol):
    """Answer several questions at once, and say how much of a picture is seen."""

    @property
    def side(self) -> int:
        """Return how many pixels a side the model sees."""


@dataclass(frozen=True)
class Look:
    """Hold what is asked about a picture, and how closely.

    Attributes:
        task: One whose answer is places, or whose text has places: see ``check``.
        text: Words, for a task that needs them.
        tiles: "auto", or rows by columns, "3x4".
        options: How each answer is searched.
    """

    task: Task
    text: str = ""
    tiles: str = AUTO
    options: Options = USUAL

    @property
    def asked(self) -> Task:
        """Return the task that each tile is asked: one whose answer has places."""
        return TASKS[self.task.placed] if self.task.placed else self.task

    def check(self) -> None:
        """Raise InputError where tiles cannot answer the task, or ``tiles`` are none."""
        check_tiles(self.tiles)
        if not can_look_closely(self.task):
            able = ", ".join(name for name, task in TASKS.items() if can_look_closely(task))
            raise InputError(
                f"“{self.task.title}” cannot be answered by tiles of a picture: leave the tiles"
                f" out, or ask one of {able}."
            )


def can_look_closely(task: Task) -> bool:
    """Return whether a task's answers about tiles make one about the picture."""
    return Look(task).asked.answer.name in _MERGE


def look_closely(
    looker: Looker, image: Image.Image, look: Look, *, on_step: OnStep | None = None
) -> Prediction:
    """Answer a question about a picture by its tiles and by the whole of it.

    A picture that needs no cutting is asked about as ever.

    Args:
        looker: The engine.
        image: The picture, any size.
        look: What is asked.
        on_step: Called while answers grow; what it can ask for is how many tiles are done.

    Raises:
        InputError: The input does not fit the task or the model, or the tiles do not fit either.
        Stopped: ``on_step`` returned False.
    """
    look.check()
    look.options.check()
    cut = plan(image.size, looker.side, look.tiles)
    if cut.whole:
        request = Request(image, look.task, look.text)
        return looker.predict_batch([request], look.options, on_step=on_step)[0]
    look.asked.build_prompt(look.text, None, image.size)  # wrong words are told before any work
    places: list[Tile] = [(0, 0, *image.size), *cut.tiles]
    answers = list(_answers(looker, image, (look, places), on_step))
    views = [
        View(tile, _moved(answer.detections, tile))
        for tile, answer in zip(places, answers, strict=True)
    ]
    found = _MERGE[look.asked.answer.name](views, cut)
    return _prediction(look, cut, answers, found, looker.side)


def _answers(
    looker: Looker,
    image: Image.Image,
    asked: tuple[Look, Sequence[Tile]],
    on_step: OnStep | None,
) -> Iterator[Prediction]:
    """Return the answer about each part of a picture, cut out when its turn comes."""
    look, places = asked
    requests = (
        Request(image if tile == (0, 0, *image.size) else image.crop(tile), look.asked, look.text)
        for tile in places
    )

    def said(done: int) -> str:
        return f"{done} of {len(places)} looks at the picture are done."

    return in_parts(looker, requests, look.options, on_step, said)


def _moved(found: Detections, tile: Tile) -> Detections:
    """Return what was found in a tile in pixels of the picture."""
    start = np.array(tile[:2], np.float32)
    return replace(
        found,
        xyxy=found.xyxy + np.tile(start, 2),
        polygons=tuple(tuple(ring + start for ring in rings) for rings in found.polygons),
    )


def _prediction(
    look: Look, cut: Plan, answers: Sequence[Prediction], found: Detections, side: int
) -> Prediction:
    task = look.task
    text = "\n".join(found.labels) if look.asked.answer is QUADS else ""
    # A task whose answer is words alone has no places to show.
    shown = Detections.empty() if task.placed else found
    names = ["the whole", *(f"tile {x1},{y1} to {x2},{y2}" for x1, y1, x2, y2 in cut.tiles)]
    raws = (f"{name}: {each.raw}" for name, each in zip(names, answers, strict=True))
    return as_one(
        answers,
        task=task.name,
        prompt=task.build_prompt(look.text, None, cut.size),
        raw="\n".join(raws),
        text=text,
        size=cut.size,
        detections=shown,
        parsed=task.parse(task.answer.value(text, shown)),
        notices=tuple(_notices(cut, answers, found, side)),
    )


def _notices(
    cut: Plan, answers: Sequence[Prediction], found: Detections, side: int
) -> Iterator[str]:
    """Yield what a person reads beside the answer: how it came about, then what parts said."""
    yield f"Looked at in {len(cut.tiles)} overlapping tiles."
    x1, y1, x2, y2 = cut.tiles[0]
    still = squeezed((x2 - x1, y2 - y1), side)
    if still:
        yield f"Of each tile too: {still[0].lower()}{still[1:]}"
    # An empty tile is no news where others are not.
    said = Counter(
        notice
        for each in answers
        for notice in each.notices
        if len(each.detections) or not len(found)
    )
    for notice, count in said.items():
        of_all = count == len(answers)
        yield notice if of_all else f"In {count} of {len(answers)} looks: {notice}"
