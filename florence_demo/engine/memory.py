"""Too little memory for a batch: asked again in smaller ones, and at last a sentence.

Knows how memory that is not there is told, on a GPU or here. Does not know what a batch is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from florence_demo.errors import InputError
from florence_demo.machine import release_memory

log = logging.getLogger(__name__)

_Q = TypeVar("_Q")
_A = TypeVar("_A")

NO_MEMORY = (
    "There is too little memory for this picture at this moment: try again, ask with less care, or"
    " choose a smaller model."
)


def in_halves(answer: Callable[[Sequence[_Q]], list[_A]], asked: Sequence[_Q]) -> list[_A]:
    """Return the answers to some questions, in as few batches as there is memory for.

    Args:
        answer: Answers a batch.
        asked: The questions, at least one.

    Raises:
        InputError: There is too little memory for one of them alone.
    """
    try:
        return answer(asked)
    except (MemoryError, RuntimeError) as exc:
        if not is_full(exc):
            raise
        log.warning("too little memory for a batch of %d", len(asked))
    # Out of the handler: what was raised holds the frames with the batch's tensors.
    release_memory()
    if len(asked) == 1:
        raise InputError(NO_MEMORY)
    half = (len(asked) + 1) // 2
    return [each for part in (asked[:half], asked[half:]) for each in in_halves(answer, part)]


def is_full(exc: BaseException) -> bool:
    """Say whether an error is of memory that is not there, on a GPU or here."""
    told = str(exc).lower()
    return isinstance(exc, MemoryError) or "out of memory" in told or "allocate memory" in told
