"""The one way of a question to its answer, whoever asks: page, programs, comparisons.

Knows that a model may have to be loaded first, that there is a line, and that a shared GPU answers
in a process of its own. Does not know who shows the answer, nor how.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from PIL import Image

from florence_demo.engine.engine import MAX_BATCH, Engine
from florence_demo.engine.many import Answerer
from florence_demo.engine.question import Question, ask
from florence_demo.engine.request import OnStep, Options, Request
from florence_demo.models.catalogue import Named
from florence_demo.prediction import Prediction
from florence_demo.regions import Region
from florence_demo.serving.engines import EngineCache
from florence_demo.serving.fair_queue import Ending, FairQueue
from florence_demo.serving.health import Health
from florence_demo.serving.lending import Lent, on_zero_gpu, seconds_for, with_gpu
from florence_demo.serving.loading import Loads
from florence_demo.serving.streaming import Line, stream
from florence_demo.serving.watching import Life, Watch
from florence_demo.tasks import TASKS

TICK = 0.2
"""Seconds between two looks at a running answer."""

PICTURE_TASKS = tuple(task for task in TASKS.values() if task.needs == "nothing")
"""What can be asked of a picture alone."""

EVERYTHING = "everything"
"""What all of them together are called where questions are counted."""

_R = TypeVar("_R")


@dataclass(frozen=True)
class Caller:
    """Hold who asks.

    Attributes:
        progress: Told about downloads.
        visitor: Who it is, for the line; "" where it is not known.
    """

    progress: Callable[[float, str], None] | None = None
    visitor: str = ""


NOBODY = Caller()


@dataclass(frozen=True)
class News:
    """Hold what there is to tell of a question on its way; nothing, where it only goes on.

    Attributes:
        hint: What is being done.
        text: The answer so far.
    """

    hint: str = ""
    text: str = ""


@dataclass(frozen=True, eq=False)
class Answered(Generic[_R]):
    """Hold an answer, and who gave it."""

    found: _R
    engine: Engine


@dataclass(frozen=True, eq=False)
class Asked(Generic[_R]):
    """Hold a question on its way.

    Attributes:
        task: Its name.
        check: Raises where it is wrong, before anything is done for it.
        predict: Answers it.
    """

    task: str
    check: Callable[[], None]
    predict: Callable[..., _R]


class Answering:
    """Lead questions to the engines of a cache."""

    def __init__(self, engines: EngineCache, watch: Watch | None = None) -> None:
        self.engines = engines
        self.watch = watch or Watch(Health())
        self.queue = FairQueue(MAX_BATCH)
        self._stopping = False
        self.loads = Loads(lambda model, told: self.engines.get(model, told))
        self._predict = with_gpu(self._predict_here, _seconds)
        self._predict_all = with_gpu(
            self._predict_all_here,
            lambda model, image, options: seconds_for(PICTURE_TASKS, options, len(PICTURE_TASKS)),
        )
        self._predict_many = with_gpu(
            self._predict_many_here,
            lambda model, requests, options: seconds_for(
                [r.task for r in requests], options, len(requests)
            ),
        )

    def ask(
        self, question: Question, model: Named, options: Options, caller: Caller = NOBODY
    ) -> Iterator[News | Answered[Prediction]]:
        """Yield news of one question, then its answer; closing the generator ends it.

        Args:
            question: The question.
            model: What ``Service.check_model`` returned, or a folder of ours.
            options: How the answer is searched.
            caller: Who asks.

        Raises:
            InputError: The question does not fit the task or the model.
            CheckpointError: The model cannot be loaded.
            Busy: Too many wait.
        """
        q = question
        told = (model, q.image, q.task.name, q.text, q.regions, options, q.tiles)

        def check() -> None:
            question.check()
            options.check()

        asked = Asked(q.task.name, check, partial(self._predict, *told))
        yield from self._answered(asked, model, caller)

    def ask_all(
        self, image: Image.Image, model: Named, options: Options, caller: Caller = NOBODY
    ) -> Iterator[News | Answered[list[Prediction]]]:
        """Ask every task that needs a picture alone, as one batch: the picture is encoded once.

        Args:
            image: The picture.
            model: As for ``ask``.
            options: How the answers are searched.
            caller: Who asks.
        """
        predict = partial(self._predict_all, model, image, options)
        yield from self._answered(Asked(EVERYTHING, options.check, predict), model, caller)

    def close(self) -> None:
        """Take no more questions, and refuse those that wait; those in work go on."""
        self.queue.close()

    def stop(self) -> None:
        """End the questions in work."""
        self._stopping = True

    def answerer(self, model: Named) -> Answerer:
        """Return who answers many questions: the engine, or who sends them to a shared GPU.

        Raises:
            CheckpointError: There is no such model.
        """
        engine = self.engines.get(model)
        return Lent(engine.loaded, partial(self._predict_many, model)) if on_zero_gpu() else engine

    def _answered(
        self, asked: Asked[_R], model: Named, caller: Caller
    ) -> Iterator[News | Answered[_R]]:
        with self.watch.question(asked.task, model) as life:
            # Wrong input is told before a model is loaded for it.
            asked.check()
            engine: Engine | None = None
            for engine, words in self.loads.awaited(model, caller.progress, TICK):
                if self.queue.closed:
                    raise Ending
                if engine is None:
                    yield News(hint=words)
            assert engine is not None
            life.waits()
            with self.queue.enter(caller.visitor) as place:
                while not place.wait(TICK):
                    yield News(hint=place.words())
                life.turn()
                yield from self._worked(life, asked.predict, engine)

    def _worked(
        self, life: Life, predict: Callable[..., _R], engine: Engine
    ) -> Iterator[News | Answered[_R]]:
        """Yield what an engine says once the turn has come."""
        if on_zero_gpu():
            found = predict()
            life.answered(found)
            yield Answered(found, engine)
            return

        def work(on_step: OnStep) -> _R:
            with life.working(engine, on_step) as step:
                return predict(on_step=step)

        for text, whole in _stream(work):
            if whole is None and self._stopping:
                raise Ending
            if whole is None:
                yield News(text=text)
            else:
                life.answered(whole)
                yield Answered(whole, engine)

    # A shared GPU's process is sent these arguments; an engine could not be, its model's spec can.

    def _predict_here(
        self,
        model: Named,
        image: Image.Image,
        task: str,
        text: str,
        regions: tuple[Region, ...],
        options: Options,
        tiles: str,
        *,
        on_step: OnStep | None = None,
    ) -> Prediction:
        question = Question(image, TASKS[task], text, regions, tiles)
        return ask(self.engines.get(model), question, options, on_step=on_step)

    def _predict_all_here(
        self,
        model: Named,
        image: Image.Image,
        options: Options,
        *,
        on_step: OnStep | None = None,
    ) -> list[Prediction]:
        asked = [Request(image, task) for task in PICTURE_TASKS]
        return self.engines.get(model).predict_batch(asked, options, on_step=on_step)

    def _predict_many_here(
        self, model: Named, requests: Sequence[Request], options: Options
    ) -> list[Prediction]:
        return self.engines.get(model).predict_batch(requests, options)


def _seconds(
    model: Named,
    image: Image.Image,
    task: str,
    text: str,
    regions: tuple[Region, ...],
    options: Options,
    tiles: str,
) -> int:
    """Return for how long a shared GPU answers one question."""
    question = Question(image, TASKS[task], text, regions, tiles)
    return seconds_for([question.task], options, question.parts, bool(tiles))


def _stream(work: Callable[[OnStep], _R]) -> Iterator[tuple[str, _R | None]]:
    """Yield the text so far some times a second, "" where there is none yet, then the result."""

    def telling(line: Line[str]) -> _R:
        last = time.monotonic()

        def on_step(partial: Callable[[], Any]) -> bool:
            nonlocal last
            # Quick answers come whole; slow ones are shown while they grow.
            if time.monotonic() - last > TICK:
                line.tell(partial().text)
                last = time.monotonic()
            return not line.closed

        return work(on_step)

    # Closing the page or pressing Stop closes this generator, at a yield.
    for text, result in stream(telling, tick=TICK):
        yield text or "", result
