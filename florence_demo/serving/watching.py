"""What becomes of each question, noted once for all who look at it later.

Knows when a question came, was in work and ended, and how. Does not know the pictures or the words.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from florence_demo.engine.engine import Engine
from florence_demo.engine.request import OnStep
from florence_demo.errors import FlorenceDemoError, InputError
from florence_demo.models.devices import is_lost
from florence_demo.serving.fair_queue import Busy
from florence_demo.serving.health import Health

log = logging.getLogger(__name__)

Outcome = Literal["answered", "refused", "failed", "stopped", "busy"]

LOST = "The GPU has failed, and this process cannot use it any more: start the server again."


class Life:
    """Follow one question from its coming to its end.

    Args:
        watch: Who is told of it.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._ended = False

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
        self.end("answered")

    def end(self, outcome: Outcome) -> None:
        """Say how it ended; the first word counts."""
        self._ended = True


class Watch:
    """Note what becomes of questions.

    Args:
        health: Told of steps and of a lost GPU.
    """

    def __init__(self, health: Health) -> None:
        self.health = health

    @contextmanager
    def question(self) -> Iterator[Life]:
        """Follow a question; what it raises is its end."""
        life = Life(self)
        try:
            yield life
        except Busy:
            life.end("busy")
            raise
        except FlorenceDemoError as exc:
            self._look(exc)
            life.end("refused")
            raise
        except Exception as exc:
            self._look(exc)
            life.end("failed")
            raise
        finally:
            life.end("stopped")  # unless it ended before

    def _look(self, exc: Exception) -> None:
        if not isinstance(exc, InputError) and is_lost(exc):
            log.error("%s", LOST)
            self.health.lost(LOST)
