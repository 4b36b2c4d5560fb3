"""A question and how it is asked; what tests and others implement to answer one.

Knows pictures, tasks and options. Does not know a model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image

from florence_demo.codec import Decoded
from florence_demo.engine.seen import Seen
from florence_demo.errors import InputError
from florence_demo.prediction import Prediction
from florence_demo.regions import Region
from florence_demo.tasks import Task

_MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Options:
    """Hold how an answer is searched; the defaults are those of Florence-2's model card.

    Attributes:
        max_new_tokens: Longest answer, in tokens.
        num_beams: Hypotheses kept in parallel; 1 is greedy.
        do_sample: Draw tokens at random instead of taking the likeliest.
        temperature: Above 1 flatter, below 1 sharper; only with ``do_sample``.
        seed: Makes drawing repeatable; only with ``do_sample``.
        loop_guard: End an answer that only repeats itself, and keep its first round.
    """

    max_new_tokens: int = 1024
    num_beams: int = 3
    do_sample: bool = False
    temperature: float = 1.0
    seed: int | None = None
    loop_guard: bool = True

    @classmethod
    def given(
        cls,
        max_new_tokens: Any = 1024,
        num_beams: Any = 3,
        do_sample: Any = False,
        temperature: Any = 1.0,
        seed: Any = None,
    ) -> Options:
        """Return the options of what came from outside: of any type, where 3.0 means 3.

        Raises:
            InputError: One is not of its kind, or outside what makes sense.
        """
        tokens, beams, number = (
            int(value) if isinstance(value, float) and value.is_integer() else value
            for value in (max_new_tokens, num_beams, seed)
        )
        options = cls(tokens, beams, do_sample, temperature, number)
        options.check()
        return options

    def check(self) -> None:
        """Raise InputError where a value is not of its kind, or outside what makes sense."""
        for name, low, high in (("max_new_tokens", 1, 4096), ("num_beams", 1, 10)):
            if not _is_whole(getattr(self, name), low, high):
                raise InputError(f"{name} must be a whole number between {low} and {high}.")
        warmth: Any = self.temperature  # NaN lies between no two numbers
        is_number = isinstance(warmth, int | float | np.number) and not isinstance(warmth, bool)
        if not is_number or not 0.01 <= warmth <= 5:
            raise InputError("temperature must be a number between 0.01 and 5.0.")
        for name in ("do_sample", "loop_guard"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise InputError(f"{name} must be true or false.")
        if self.seed is not None and not _is_whole(self.seed, 0, _MAX_SEED):
            raise InputError("The seed must be a whole number between 0 and 2 to the power of 63.")


USUAL = Options()


def _is_whole(value: Any, low: int, high: int) -> bool:
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        return False  # True is 1 to Python, not to a person
    return bool(low <= value <= high)


@dataclass(frozen=True, eq=False)
class Request:
    """Hold one question: a picture, or what a model sees of it, a task, and what the task takes."""

    image: Image.Image | Seen
    task: Task
    text: str = ""
    region: Region | None = None


OnStep = Callable[[Callable[[], Decoded]], bool]
"""Takes a function that returns the answer so far; returns False to stop.

It is asked after each token, and before each block of the vision tower, where the answer is empty.
"""


class Predictor(Protocol):
    """Answer a question about a picture: the engine, or a fake in a test."""

    def predict(
        self,
        image: Image.Image | Seen,
        task: Task,
        text: str = "",
        region: Region | None = None,
        options: Options = USUAL,
    ) -> Prediction:
        """Return the answer."""


class Stopped(Exception):
    """Say that the person asked to stop; there is no answer."""
