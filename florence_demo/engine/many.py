"""Many questions to one model: several at once, the pictures opened meanwhile, none lost by others.

Knows how large a batch may be, what becomes of one that is too large, and how a picture is made
ready ahead. Does not know where pictures come from or where answers go.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from PIL import Image

from florence_demo.engine.memory import Room, in_room
from florence_demo.engine.request import USUAL, Options, Request
from florence_demo.engine.seen import Seen
from florence_demo.errors import FlorenceDemoError, InputError
from florence_demo.machine import free_memory, usable_cores
from florence_demo.pictures.ahead import Ahead, read_ahead
from florence_demo.pictures.images import Source, open_image
from florence_demo.prediction import Prediction
from florence_demo.tasks import Task, task_named

log = logging.getLogger(__name__)

_LIGHT = 100_000_000
"""Bytes of weights below which a model is one of nano's size."""
_A_PICTURE, _A_LIGHT_PICTURE = 250_000_000, 50_000_000
"""Bytes that a pass of the vision tower may take for a picture, of large and of nano."""
_MOST_LIGHT, _MOST_HERE, _MOST_THERE = 32, 4, 64
_HELD = 400_000_000
"""Bytes of pictures made ready and not asked about yet."""


class Answerer(Protocol):
    """Answer many questions: the engine, or a fake in a test."""

    @property
    def loaded(self) -> Any:
        """Return the model."""

    def prepare(self, image: Image.Image) -> Image.Image | Seen:
        """Return a picture made ready to be asked about; called from several threads."""

    def predict_batch(
        self, requests: Sequence[Request], options: Options = USUAL
    ) -> list[Prediction]:
        """Return the answers of some questions, in their order."""


def usual_batch(engine: Answerer) -> int:
    """Return how many pictures are asked about at once where nobody says it.

    On a processor a model of nano's size gains by large batches, one of base size hardly any; on a
    GPU the free memory decides.
    """
    device = engine.loaded.device
    light = engine.loaded.weight_bytes < _LIGHT
    there = str(device).startswith("cuda")
    most = _MOST_THERE if there else _MOST_LIGHT if light else _MOST_HERE
    each = _A_LIGHT_PICTURE if light else _A_PICTURE
    return max(1, min(most, free_memory(device) // 2 // each))


def reading_ahead(batch: int, workers: int | None = None) -> Ahead:
    """Return how far pictures are opened ahead of batches of a size."""
    threads = workers or max(2, min(8, usable_cores()))
    return Ahead(threads, 2 * batch + threads, _HELD)


def weight_of(ready: object) -> int:
    """Return the bytes of a picture that was made ready; nothing else weighs anything."""
    if isinstance(ready, Seen):
        return ready.bytes
    return 3 * ready.width * ready.height if isinstance(ready, Image.Image) else 0


def answer_all(
    engine: Answerer,
    requests: Sequence[Request],
    options: Options = USUAL,
    room: Room | None = None,
) -> list[Prediction | InputError]:
    """Return each question's answer, or why it has none: no question takes others with it.

    Args:
        engine: Who answers.
        requests: The questions; a batch that is refused is asked again in halves.
        options: How answers are searched.
        room: What there was memory for before; learns of less.
    """
    if not requests:
        return []
    room = room or Room()

    def answer(part: Sequence[Request]) -> list[Prediction]:
        found = engine.predict_batch(part, options)
        for each in found:
            if each.room is not None:  # the engine made smaller batches of it
                room.shrink(each.room)
        return found

    try:
        return [*in_room(answer, requests, room)]
    except FlorenceDemoError as exc:
        problem = InputError(str(exc))
    except Exception as exc:  # a bug of ours is one picture's failure, told in the log
        log.warning("a batch of %d failed", len(requests), exc_info=True)
        problem = InputError(
            f"Something went wrong with this picture ({type(exc).__name__}): the log says what."
        )
    if len(requests) == 1:
        return [problem]
    half = (len(requests) + 1) // 2
    parts = (requests[:half], requests[half:])
    return [answer for part in parts for answer in answer_all(engine, part, options, room)]


@dataclass(frozen=True)
class Asked:
    """Say what is asked about each of many pictures.

    Attributes:
        tasks: In the order of the answers.
        text: Words, for those tasks that need them.
        options: How answers are searched.
    """

    tasks: tuple[Task, ...]
    text: str = ""
    options: Options = USUAL

    @classmethod
    def of(cls, tasks: Sequence[str], text: str = "", options: Options = USUAL) -> Asked:
        """Return what is asked by the names of the tasks.

        Raises:
            InputError: There is no such task, or what it needs is not there.
        """
        found = tuple(dict.fromkeys(task_named(name) for name in tasks))
        if not found:
            raise InputError("Nothing is asked: name a task, such as od.")
        options.check()
        for task in found:
            if task.asks == "region":
                raise InputError(
                    f"“{task.title}” is about a region, which is another in each picture: ask it"
                    " picture by picture."
                )
        wordy = [task for task in found if task.asks == "text"]
        for task in wordy or found[:1]:
            task.build_prompt(text, None, (1, 1))
        return cls(found, text, options)

    def about(self, task: Task, picture: Image.Image | Seen) -> Request:
        """Return the question of one of the tasks about a picture."""
        return Request(picture, task, self.text if task.asks == "text" else "")


def ask_each(
    engine: Answerer,
    pictures: Sequence[Image.Image | Seen],
    asked: Asked,
    room: Room | None = None,
) -> list[tuple[Prediction | InputError, ...]]:
    """Return the answers of all tasks about each picture, those of a task found together.

    Args:
        engine: Who answers.
        pictures: As many as are asked about at once.
        asked: What is asked.
        room: What there was memory for before; learns of less.
    """
    columns = [
        answer_all(engine, [asked.about(task, each) for each in pictures], asked.options, room)
        for task in asked.tasks
    ]
    return list(zip(*columns, strict=True))


def ask_many(
    engine: Answerer, pictures: Iterable[Source], asked: Asked, batch: int | None = None
) -> Iterator[tuple[Prediction | InputError, ...]]:
    """Yield the answers about each picture, in order; the next ones are opened meanwhile.

    Args:
        engine: Who answers.
        pictures: From anywhere but the web; may be endless, and is drawn by a thread of its own.
        asked: What is asked.
        batch: Pictures asked about at once.
    """
    size, room = batch or usual_batch(engine), Room()

    def ready(picture: Source) -> Image.Image | Seen | InputError:
        try:
            return engine.prepare(open_image(picture))
        except InputError as exc:
            return exc

    reading = read_ahead(pictures, ready, reading_ahead(size), weight_of)
    while part := list(islice(reading, size)):
        opened = [each for each in part if not isinstance(each, InputError)]
        answers = iter(ask_each(engine, opened, asked, room))
        for each in part:
            if isinstance(each, InputError):
                yield (each,) * len(asked.tasks)
            else:
                yield next(answers)
