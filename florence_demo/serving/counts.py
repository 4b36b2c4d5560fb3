"""How often each visitor did something of late."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable


class Counts:
    """Count what each of the last visitors did within a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = 10_000) -> None:
        self._clock, self._most = clock, most
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def of(self, visitor: str) -> int:
        """Return how many there are in this minute."""
        began, count = self._seen.get(visitor, (0.0, 0))
        return count if self._clock() - began < 60 else 0

    def add(self, visitor: str) -> int:
        """Count one more and return how many there are in this minute."""
        began, count = self._seen.pop(visitor, (self._clock(), 0))
        if self._clock() - began >= 60:
            began, count = self._clock(), 0
        self._seen[visitor] = (began, count + 1)
        while len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return count + 1
