"""How often each visitor did something of late."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from florence_demo.errors import FlorenceDemoError


class TooOften(FlorenceDemoError):
    """Say that a visitor asked for more than a minute allows.

    Attributes:
        seconds: After how many to try again.
    """

    seconds = 10


class Counts:
    """Count what each of the last visitors did within a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = 10_000) -> None:
        self._clock, self._most = clock, most
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def of(self, visitor: str) -> int:
        """Return how many there are in this minute."""
        began, count = self._seen.get(visitor, (0.0, 0))
        return count if self._clock() - began < 60 else 0

    def add(self, visitor: str, more: int = 1) -> int:
        """Count some more and return how many there are in this minute."""
        with self._lock:
            began, count = self._seen.pop(visitor, (self._clock(), 0))
            if self._clock() - began >= 60:
                began, count = self._clock(), 0
            self._seen[visitor] = (began, count + more)
            while len(self._seen) > self._most:
                self._seen.popitem(last=False)
            return count + more

    def take(self, visitor: str, most: int, more: int) -> None:
        """Count questions that a request turned out to hold.

        Args:
            visitor: Whose they are.
            most: How many a minute allows, 0 for any number.
            more: How many they are.

        Raises:
            TooOften: They are too many; they are not counted.
        """
        if most and self.of(visitor) + more > most:
            raise TooOften(
                f"Only {most:,} questions are taken within a minute: ask fewer at a time, or wait"
                " a little."
            )
        self.add(visitor, more)
