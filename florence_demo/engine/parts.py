"""A question that is asked in parts: some parts at a time, and what their answers say together.

Knows requests and predictions. Does not know what the parts are: tiles, names or boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol

from florence_demo.codec import Decoded
from florence_demo.engine.request import USUAL, OnStep, Options, Request, Stopped
from florence_demo.prediction import Detections, Prediction

MAX_BATCH = 16
"""Most questions of several callers decoded together, and pictures encoded together."""


class Responder(Protocol):
    """Answer several questions at once: the engine, or a fake in a test."""

    def predict_batch(
        self,
        requests: Sequence[Request],
        options: Options = USUAL,
        *,
        on_step: OnStep | None = None,
    ) -> list[Prediction]:
        """Return the answers in the order of the questions."""


def in_parts(
    engine: Responder,
    requests: Iterable[Request],
    options: Options,
    on_step: OnStep | None,
    said: Callable[[int], str],
) -> Iterator[Prediction]:
    """Yield the answer to each part, as many at a time as the engine batches.

    Args:
        engine: Who answers.
        requests: The parts; drawn a batch at a time.
        options: How answers are searched.
        on_step: Called while answers grow; what it can ask for is how many parts are done.
        said: Returns that in words.

    Raises:
        Stopped: ``on_step`` returned False.
    """
    left, done = iter(requests), 0
    while part := list(islice(left, MAX_BATCH)):
        step = _telling(on_step, said(done)) if on_step else None
        if step and not step(lambda: Decoded("", Detections.empty(), None)):
            raise Stopped
        yield from engine.predict_batch(part, options, on_step=step)
        done += len(part)


def _telling(on_step: OnStep, said: str) -> OnStep:
    """Return what offers how far the work is, instead of one part's answer so far."""
    return lambda _partial: on_step(lambda: Decoded(said, Detections.empty(), None))


def as_one(answers: Sequence[Prediction], **changes: Any) -> Prediction:
    """Return the first answer with the time and the course of all of them, and some changes."""
    with_places = [each for each in answers if len(each.detections)]
    return replace(
        answers[0],
        seconds=sum(each.seconds for each in answers),
        tokens=sum(each.tokens for each in answers),
        truncated=any(each.truncated for each in answers),
        looped=any(each.looped for each in answers),
        calibrated=bool(with_places) and all(each.calibrated for each in with_places),
        **changes,
    )
