"""An answer that a person put right: what may be changed of it, and what comes back.

Knows predictions and what a browser sent. Does not know the page; where corrected answers are kept
is ``data.own_set``'s matter.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from florence_demo.codec import BOXES_OR_POLYGONS, POLYGONS, QUADS, TEXT
from florence_demo.data.example import MAX_LETTERS, MAX_PLACES, MAX_POINTS, Example
from florence_demo.data.own_set import NAME, Counted, OwnLimits, OwnSet
from florence_demo.engine.feature_cache import fingerprint
from florence_demo.errors import InputError
from florence_demo.prediction import Detections, FloatArray, Prediction
from florence_demo.serving.asking import Service, same_picture
from florence_demo.tasks import TASKS, Task

BY_HAND = "corrected by hand"
"""What stands in the place of a model's name."""

_STRANGERS = OwnLimits(rows=500, picture_bytes=64 << 20)
"""What a visitor of a page for strangers may gather."""


def form_of(found: Prediction) -> dict[str, Any]:
    """Return what an editor must know of an answer: its form, the picture's size, the box asked.

    Raises:
        InputError: It answers several questions at once.
    """
    task = _plain(TASKS[found.task])
    _check_one_question(found, task)
    _, region = TASKS[found.task].asked(found.prompt, found.size)
    return {
        "kind": _kind(task),
        "named": task.named,
        "size": list(found.size),
        "asked": region and list(region),
    }


def editable(found: Prediction) -> dict[str, Any]:
    """Return what can be edited of an answer, as ``corrected`` takes it back.

    Raises:
        InputError: It answers several questions at once.
    """
    task = _plain(TASKS[found.task])
    _check_one_question(found, task)
    return {
        "text": found.text if task.answer is TEXT else "",
        "things": [
            {"label": row["label"], "rings": row["polygons"]}
            if row["polygons"]
            else {"label": row["label"], "box": row["box"]}
            for row in (() if task.answer is TEXT else found.detections.to_json())
        ],
    }


def corrected(image: Image.Image, found: Prediction, given: Any) -> Example:
    """Return the row that an editor's value makes of an answer.

    Args:
        image: The picture that the answer is about.
        found: The answer, whose question stays.
        given: {"text": str} or {"things": [{"label", "box": [x1, y1, x2, y2]} or {"label",
            "rings": [[x, y, ...]]}]} in pixels, from a browser, so not to be believed.

    Raises:
        InputError: The value is no answer to this question, in one sentence.
    """
    task = _plain(TASKS[found.task])
    _check_one_question(found, task)
    value = given if isinstance(given, dict) else {}
    text, region = TASKS[found.task].asked(found.prompt, found.size)
    row = Example(image, task.name, text, region, where="your answer")
    if task.answer is TEXT:
        words = value.get("text")
        if not isinstance(words, str) or not words.strip():
            raise InputError("The answer is empty: write the right one.")
        if len(words) > MAX_LETTERS:
            raise InputError(f"The answer has more than {MAX_LETTERS:,} letters: shorten it.")
        return replace(row, answer=words.strip())
    return replace(row, detections=_detections(value.get("things"), task, found.size))


def _check_one_question(found: Prediction, task: Task) -> None:
    # A row of data has one question.
    if found.names or (task.needs == "region" and "\n" in found.prompt):
        raise InputError(
            "This answers several questions in one go: ask for one name, or about one box, to put"
            " its answer right."
        )


def own_set(service: Service, session: str) -> OwnSet:
    """Return where a visitor's corrected answers are kept.

    On one's own page that is a set under the data folder, which can be learned from. On a page for
    strangers it belongs to the visitor alone and goes with everything temporary.

    Args:
        service: The page's.
        session: What tells this visitor's page from others.
    """
    if not service.config.public:
        return OwnSet(service.config.data / NAME, OwnLimits())
    digest = hashlib.blake2b(session.encode(), digest_size=16).hexdigest()
    folder: Path = service.scratch.private / f"{NAME}-{digest}"
    service.scratch.touch(folder)
    return OwnSet(folder, _STRANGERS)


def add_corrected(
    service: Service, kept: OwnSet, image: Image.Image | None, found: Prediction | None, given: Any
) -> tuple[Prediction, Counted]:
    """Add a corrected answer to a set and return it as an answer, with what the set has now.

    Raises:
        FlorenceDemoError: It is no answer to the question, or there is no room.
    """
    picture, about = same_picture(image, found)
    row = corrected(picture, about, given)
    if service.room() < 1 << 20:
        raise InputError("There is no room on this server for more: try again later.")
    counted = kept.add(row, about.picture or fingerprint(picture))
    return replace(row.truth(about.size), model=BY_HAND, picture=about.picture), counted


def _plain(task: Task) -> Task:
    """Return the task whose answer it is: of one that asks two, the second."""
    if not task.after:
        return task
    return next(t for t in TASKS.values() if t.token == task.token and not t.after)


def _kind(task: Task) -> str:
    if task.answer is TEXT:
        return "text"
    if task.answer is QUADS:
        return "quads"
    return "outlines" if task.answer is POLYGONS else "boxes"


def _detections(things: Any, task: Task, size: tuple[int, int]) -> Detections:
    if not isinstance(things, list) or len(things) > MAX_PLACES:
        raise InputError(f"An answer has at most {MAX_PLACES:,} places: remove some.")
    boxes, labels, polygons = [], [], []
    points = 0
    for number, thing in enumerate(things, 1):
        given = thing if isinstance(thing, dict) else {}
        labels.append(_label(given.get("label"), number, task))
        rings = _rings(given.get("rings"), number, size)
        points += sum(map(len, rings))
        if points > MAX_POINTS:
            raise InputError(f"An answer has at most {MAX_POINTS:,} points: remove some.")
        _check_form(rings, number, task)
        corners = np.concatenate(rings) if rings else _box(given.get("box"), number, size)
        boxes.append([*corners.min(axis=0), *corners.max(axis=0)])
        if min(boxes[-1][2] - boxes[-1][0], boxes[-1][3] - boxes[-1][1]) < 1:
            raise InputError(f"Place {number} has no area: drag it larger, or remove it.")
        polygons.append(rings)
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), tuple(labels), tuple(polygons))


def _label(given: Any, number: int, task: Task) -> str:
    label = " ".join(given.split()) if isinstance(given, str) else ""
    if not task.named:
        return ""
    if not label:
        raise InputError(f"Place {number} has no name: type one, or remove it.")
    if len(label) > MAX_LETTERS:
        raise InputError(f"The name of place {number} is too long: shorten it.")
    return label


def _check_form(rings: tuple[FloatArray, ...], number: int, task: Task) -> None:
    """Check that a place is of the form that the task's answers have.

    Raises:
        InputError: It is not.
    """
    if task.answer is QUADS and [len(ring) for ring in rings] != [4]:
        raise InputError(f"Place {number} needs four corners.")
    if task.answer is POLYGONS and not rings:
        raise InputError(f"Place {number} needs an outline.")
    if rings and task.answer not in (QUADS, POLYGONS, BOXES_OR_POLYGONS):
        raise InputError(f"Place {number} must be a box.")


def _box(given: Any, number: int, size: tuple[int, int]) -> FloatArray:
    """Return the two corners (2, 2) of a box, inside the picture."""
    return _points(given, number, size, least=2, most=2)


def _rings(given: Any, number: int, size: tuple[int, int]) -> tuple[FloatArray, ...]:
    rings = [] if given is None else given
    if not isinstance(rings, list) or len(rings) > MAX_PLACES:
        raise InputError(f"Place {number} is no outline: draw it again.")
    return tuple(_points(ring, number, size, least=3, most=MAX_POINTS) for ring in rings)


def _points(given: Any, number: int, size: tuple[int, int], *, least: int, most: int) -> FloatArray:
    """Return points (n, 2) float32 inside the picture, of numbers that alternate x and y."""
    flat = given if isinstance(given, list) and len(given) <= 2 * most else []
    numbers = [v for v in flat if isinstance(v, int | float) and not isinstance(v, bool)]
    fine = len(numbers) == len(flat) and len(flat) % 2 == 0 and len(flat) >= 2 * least
    if not fine or not all(abs(v) < 1e9 for v in numbers):  # which NaN is not
        raise InputError(f"Place {number} is not drawn in pixels of the picture: draw it again.")
    points = np.asarray(numbers, np.float32).reshape(-1, 2)
    return np.clip(points, 0, np.asarray(size, np.float32))
