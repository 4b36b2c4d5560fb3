"""What a job's seconds went into: the model's work, and waiting for pictures.

Knows seconds. Does not know who works or what is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass
class Spent:
    """Count seconds.

    Attributes:
        worked: Those in which the model answered, from a question's tokens to its answer's.
        waited: Those in which it had to wait until pictures were open.
    """

    worked: float = 0.0
    waited: float = 0.0

    def waiting_for(self, things: Iterator[T]) -> Iterator[T]:
        """Yield things, and count how long each was waited for."""
        while True:
            began = time.perf_counter()
            try:
                thing = next(things)
            except StopIteration:
                return
            finally:
                self.waited += time.perf_counter() - began
            yield thing

    def add(self, other: Spent) -> None:
        """Count what another one counted."""
        self.worked += other.worked
        self.waited += other.waited

    def utilisation(self, seconds: float) -> float:
        """Return the share of some seconds in which the model worked, 0 to 1."""
        return _share(self.worked, seconds)

    def waiting(self, seconds: float) -> float:
        """Return the share of some seconds in which the model waited for pictures, 0 to 1."""
        return _share(self.waited, seconds)


def _share(part: float, seconds: float) -> float:
    return min(1.0, part / seconds) if seconds > 0 else 0.0
