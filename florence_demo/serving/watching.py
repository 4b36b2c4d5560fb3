"""What becomes of each question, noted once for all who look at it later.

Knows when a question came, was in work and ended, and how. Does not know the pictures or the words.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from florence_demo.engine.engine import Engine
from florence_demo.engine.request import OnStep
from florence_demo.errors import FlorenceDemoError, InputError
from florence_demo.models.catalogue import MODELS, Named
from florence_demo.models.devices import is_lost
from florence_demo.models.fetching import DownloadStopped
from florence_demo.serving.fair_queue import Busy
from florence_demo.serving.health import Health
from florence_demo.serving.logs import FIELDS

log = logging.getLogger(__name__)

Outcome = Literal["answered", "refused", "failed", "stopped", "busy"]

LOST = "The GPU has failed, and this process cannot use it any more: start the server again."

OTHER = "other"
"""What every model is called here that is none of the catalogue's: a visitor may name any."""


@dataclass(frozen=True)
class Ended:
    """Hold how a question ended; nothing of it is a visitor's word.

    Attributes:
        task: Its name.
        model: The name of a model of the catalogue, or "other".
        outcome: How it ended.
        seconds: In work.
        queued: Seconds in the line; None where its turn never came.
        tokens: Of the answers.
        error: What ended it, "" where nothing did.
    """

    task: str
    model: str
    outcome: Outcome
    seconds: float
    queued: float | None
    tokens: int
    error: str

    def fields(self) -> dict[str, Any]:
        """Return everything, as the log's readers look for it."""
        return {
            "task": self.task,
            "model": self.model,
            "status": self.outcome,
            "seconds": round(self.seconds, 3),
            "tokens": self.tokens,
            "queue_seconds": None if self.queued is None else round(self.queued, 3),
            **({"error": self.error} if self.error else {}),
        }

    def words(self) -> str:
        """Return everything in a line for people."""
        queued = "no turn" if self.queued is None else f"{self.queued:.2f} s in the line"
        why = f" ({self.error})" if self.error else ""
        return (
            f"{self.task}, {self.model}: {self.outcome}{why}, {queued}, {self.seconds:.2f} s,"
            f" {self.tokens} tokens"
        )


class Life:
    """Follow one question from its coming to its end.

    Args:
        watch: Who is told of it.
        task: Its name.
        model: As for ``Ended``.
    """

    def __init__(self, watch: Watch, task: str, model: str) -> None:
        self._watch, self._task, self._model = watch, task, model
        self._came: float | None = None
        self._turn: float | None = None
        self._ended = False

    def waits(self) -> None:
        """Say that the question is in the line."""
        self._came = time.monotonic()

    def turn(self) -> None:
        """Say that its turn has come."""
        self._turn = time.monotonic()

    @contextmanager
    def working(self, engine: Engine, on_step: OnStep) -> Iterator[OnStep]:
        """Watch over the thread that works; yield what notes a step, then tells it on.

        Args:
            engine: Who answers.
            on_step: Who is told of steps.
        """

        def moved() -> float:
            return getattr(engine, "moved", 0.0)

        with self._watch.health.working(engine.loaded.title, moved) as pulse:

            def step(partial: Callable[[], Any]) -> bool:
                pulse.beat()
                return on_step(partial)

            yield step

    def answered(self, found: Any) -> None:
        """Say that the answer is there; whatever comes later is none of the question's.

        Args:
            found: A prediction, or several.
        """
        self._watch.health.ready()
        several = found if isinstance(found, list) else [found]
        self.end("answered", tokens=sum(each.tokens for each in several))

    def end(self, outcome: Outcome, error: str = "", tokens: int = 0) -> None:
        """Say how it ended; the first word counts.

        Args:
            outcome: How.
            error: The kind of what ended it.
            tokens: Of the answers.
        """
        if self._ended:
            return
        self._ended = True
        now, came, turn = time.monotonic(), self._came, self._turn
        queued = None if came is None or turn is None else turn - came
        seconds = 0.0 if turn is None else now - turn
        ended = Ended(self._task, self._model, outcome, seconds, queued, tokens, error)
        log.info("question: %s", ended.words(), extra={FIELDS: ended.fields()})
        self._watch.tell(ended)


class Watch:
    """Note what becomes of questions.

    Args:
        health: Told of steps and of a lost GPU.
        tell: Told of each question's end.
    """

    def __init__(self, health: Health, tell: Callable[[Ended], None] = lambda _: None) -> None:
        self.health, self.tell = health, tell

    @contextmanager
    def question(self, task: str, model: Named) -> Iterator[Life]:
        """Follow a question; what it raises is its end.

        Args:
            task: Its name.
            model: Who is asked.
        """
        life = Life(self, task, label_of(model))
        try:
            yield life
        except Exception as exc:
            self._look(exc)
            outcome = _outcome(exc)
            life.end(outcome, "" if outcome == "stopped" else type(exc).__name__)
            raise
        finally:
            life.end("stopped")  # unless it ended before

    def _look(self, exc: Exception) -> None:
        if not isinstance(exc, InputError | Busy) and is_lost(exc):
            log.error("%s", LOST)
            self.health.lost(LOST)


def label_of(model: Named) -> str:
    """Return a model's name where the catalogue has it, else ``OTHER``."""
    name = model if isinstance(model, str) else model.name
    return name if name in MODELS else OTHER


def _outcome(exc: Exception) -> Outcome:
    if isinstance(exc, Busy):
        return "busy"
    if isinstance(exc, DownloadStopped):
        return "stopped"
    return "refused" if isinstance(exc, FlorenceDemoError) else "failed"
