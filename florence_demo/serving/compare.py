"""One question to several models about the same picture, and where their answers differ.

Knows answers and how they are matched. Does not know how they look. The first model that answers
is the one that the others are compared with.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from rapidfuzz.distance import LCSseq

from florence_demo.codec import TEXT
from florence_demo.engine.question import Question
from florence_demo.engine.request import Options
from florence_demo.errors import FlorenceDemoError, InputError
from florence_demo.evaluation.metrics import match
from florence_demo.models.catalogue import Named
from florence_demo.prediction import Detections, Prediction, box_iou
from florence_demo.serving.answering import NOBODY, Caller
from florence_demo.serving.asking import Service
from florence_demo.tasks import TASKS

log = logging.getLogger(__name__)

LEAST, MOST = 2, 4
"""Models of one comparison."""

Word = tuple[Literal["same", "first", "here"], str]
"""Words that two answers have in common, or that only the first, or only this one, has."""


@dataclass(frozen=True, eq=False)
class Contender:
    """Hold a model that is to answer.

    Attributes:
        title: What a person calls it.
        resolve: Returns it; raises where it is not there.
    """

    title: str
    resolve: Callable[[], Named]


@dataclass(frozen=True)
class Agreement:
    """Hold which things two answers have in common: at the same place, by the same name.

    Attributes:
        both: Pairs of indices, of the first answer and of this one.
        first: Indices of those that only the first has.
        here: Indices of those that only this one has.
    """

    both: tuple[tuple[int, int], ...]
    first: tuple[int, ...]
    here: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Column:
    """Hold what one model answered.

    Attributes:
        title: What a person calls the model.
        found: Its answer; None where there is none yet, or where it failed.
        shown: The answer as its pane shows it.
        problem: Why there is none, in a sentence.
        growing: The answer so far.
        memory: Bytes of the model's weights.
        words: Its text beside the first answer's; empty for the first one itself.
        things: Its things beside the first answer's; None for the first one itself.
    """

    title: str
    found: Prediction | None = None
    shown: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    growing: str = ""
    memory: int = 0
    words: tuple[Word, ...] = ()
    things: Agreement | None = None


def compare(
    service: Service,
    question: Question,
    contenders: Sequence[Contender],
    options: Options,
    caller: Caller = NOBODY,
) -> Iterator[tuple[Column, ...] | None]:
    """Yield the columns as the models answer one after another, None where there is no news.

    A model that cannot answer says so in its column, and the others go on. Closing this generator
    ends the running answer.

    Args:
        service: Who asks.
        question: What all of them are asked.
        contenders: Two to four models.
        options: How answers are searched.
        caller: Who asks.

    Raises:
        InputError: They are too few or too many, or the input does not fit the task.
    """
    yield None
    check_number([each.title for each in contenders])
    question.check()
    options.check()
    columns = [Column(each.title) for each in contenders]
    yield tuple(columns)
    for i, contender in enumerate(contenders):
        for column in _answered(service, question, contender, (options, caller)):
            if column is None:
                yield None
                continue
            columns[i] = column
            yield tuple(against_first(columns))


def check_number(titles: Sequence[str]) -> None:
    """Raise InputError where models are too few or too many, or one stands there twice."""
    count = len(set(titles))
    if not LEAST <= count <= MOST or count != len(titles):
        raise InputError(f"Choose two to four different models to compare, not {count}.")


def _answered(
    service: Service,
    question: Question,
    contender: Contender,
    how: tuple[Options, Caller],
) -> Iterator[Column | None]:
    """Yield one model's column as it grows, None where there is no news."""
    column = Column(contender.title)
    q = question
    try:
        model = contender.resolve()
        asked = service.ask(q.image, q.task.name, q.text, q.regions, model, *how, q.tiles)
        with closing(asked) as answers:  # type: ignore[type-var]
            for shown, found in answers:
                if found is None:
                    growing = shown.get("sentence") or shown.get("hint", "")
                    yield replace(column, growing=growing) if growing else None
                    continue
                memory = int(service.engines.get(model).loaded.weight_bytes)
                yield replace(column, found=found, shown=shown, memory=memory)
    except FlorenceDemoError as exc:
        yield replace(column, problem=str(exc))
    except Exception as exc:  # one model's failure is none of the others', and told in the log
        log.warning("%s could not answer", contender.title, exc_info=True)
        said = f"Something went wrong with this model ({type(exc).__name__}): the log says what."
        yield replace(column, problem=said)


def against_first(columns: Sequence[Column]) -> list[Column]:
    """Return the columns, each beside the first that has an answer."""
    first = next((c for c in columns if c.found is not None), None)
    if first is None or first.found is None:
        return list(columns)
    result = []
    for column in columns:
        if column is first or column.found is None:
            result.append(replace(column, words=(), things=None))
            continue
        one, other = first.found, column.found
        words = differing(one.text, other.text) if one.text or other.text else ()
        placed = TASKS[one.task].answer is not TEXT or one.detections.labels
        things = agreement(one.detections, other.detections) if placed else None
        result.append(replace(column, words=words, things=things))
    return result


def differing(first: str, here: str) -> tuple[Word, ...]:
    """Return the words of two texts in their order: common ones, the first's own, this one's own.

    As many as possible are common ones: the longest common subsequence.
    """
    ours, theirs = first.split(), here.split()
    parts: list[Word] = []
    a = b = 0
    for block in LCSseq.editops(ours, theirs).as_matching_blocks():
        parts += _apart(ours[a : block.a], theirs[b : block.b])
        a, b = block.a + block.size, block.b + block.size
        if block.size:  # the last one is the end
            parts.append(("same", " ".join(ours[block.a : a])))
    return tuple(parts)


def _apart(first: list[str], here: list[str]) -> list[Word]:
    """Return what stands between two common parts: what the first has, then what this one has."""
    said: list[Word] = [("first", " ".join(first)), ("here", " ".join(here))]
    return [part for part in said if part[1]]


def agreement(first: Detections, here: Detections, least: float = 0.5) -> Agreement:
    """Return which things two answers have in common.

    Args:
        first: Of the first answer.
        here: Of another one.
        least: Intersection over union from which two places are the same.
    """
    names, others = (_names(each) for each in (first, here))
    same = np.array([[a == b for b in others] for a in names], bool)
    iou = box_iou(first.xyxy, here.xyxy) * same.reshape(len(first), len(here))
    both = tuple(sorted(match(iou, least)))
    tied, tied_here = {i for i, _ in both}, {j for _, j in both}
    return Agreement(
        both,
        tuple(i for i in range(len(first)) if i not in tied),
        tuple(j for j in range(len(here)) if j not in tied_here),
    )


def _names(found: Detections) -> list[str]:
    return [" ".join(label.split()).casefold() for label in found.labels]
