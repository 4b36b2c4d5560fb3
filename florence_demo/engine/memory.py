"""Too little memory for a batch: asked again in smaller ones, and at last a sentence.

Knows how memory that is not there is told, on a GPU or here. Does not know what a batch is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


@dataclass
class Room:
    """Hold how many questions there is memory for at once, as far as that was met.

    Attributes:
        most: None until there was too little for a batch.
    """

    most: int | None = None

    def shrink(self, most: int) -> None:
        """Ask about no more than so many at once from now on."""
        self.most = most if self.most is None else min(self.most, most)


def in_room(
    answer: Callable[[Sequence[_Q]], list[_A]], asked: Sequence[_Q], room: Room | None = None
) -> list[_A]:
    """Return the answers to some questions, in as few batches as there is memory for.

    Args:
        answer: Answers a batch.
        asked: The questions.
        room: What earlier batches met; a batch that is too large halves it.

    Raises:
        InputError: There is too little memory for one of them alone.
    """
    room = room or Room()
    answers: list[_A] = []
    while len(answers) < len(asked):
        part = asked[len(answers) :][: room.most]
        try:
            answers += answer(part)
            continue
        except (MemoryError, RuntimeError) as exc:
            if not is_full(exc):
                raise
            log.warning("too little memory for a batch of %d", len(part))
        # Out of the handler: what was raised holds the frames with the batch's tensors.
        release_memory()
        if len(part) == 1:
            raise InputError(NO_MEMORY)
        room.shrink((len(part) + 1) // 2)
    return answers


def is_full(exc: BaseException) -> bool:
    """Say whether an error is of memory that is not there, on a GPU or here."""
    told = str(exc).lower()
    return isinstance(exc, MemoryError) or "out of memory" in told or "allocate memory" in told
