"""A waiting line that is fair among visitors: who has asked much does not keep others waiting.

Knows visitors, places and how long questions took of late. Does not know what is asked. A free
place goes to the visitor with the fewest questions in work, and among equals to the one whose turn
is longest ago; each visitor's own questions go in their order. Who comes anew goes before who has
just had a turn, and after all who wait longer: a stream of newcomers keeps nobody waiting.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from florence_demo.errors import FlorenceDemoError
from florence_demo.serving.health import ENDING

_USUAL = 1.0
"""Seconds that a question is taken to last before the first has ended."""
_WEIGHT = 0.1
"""What the newest question counts for in the mean of the seconds."""


class Busy(FlorenceDemoError):
    """Say that too many wait already.

    Attributes:
        seconds: After which it may be tried again.
    """

    def __init__(self, waiting: int, seconds: float) -> None:
        self.seconds = max(1, round(seconds))
        super().__init__(
            f"Busy: {waiting:,} questions wait already. Nothing is lost: try again in about"
            f" {self.seconds} seconds."
        )


class Ending(Busy):
    """Say that the server takes no more questions, for it ends."""

    def __init__(self) -> None:
        self.seconds = 60
        FlorenceDemoError.__init__(self, ENDING)


class Place:
    """Hold a question's place in the line; a context manager that gives it back at its end."""

    def __init__(self, queue: FairQueue, visitor: str) -> None:
        self.visitor = visitor
        self._queue = queue
        self._turn = threading.Event()
        self._began: float | None = None
        self._refused = False

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the turn; say whether it has come.

        Args:
            seconds: How long at most, None for as long as it takes.

        Raises:
            Ending: It will not come.
        """
        came = self._turn.wait(seconds)
        if self._refused:
            raise Ending
        return came

    def words(self) -> str:
        """Return how long it is still, for a person: "Busy: 3 before you, about 4 seconds"."""
        before = self._queue.before(self)
        seconds = max(1, round(self._queue.estimate(before)))
        when = f"{before} before you" if before else "you are next"
        return f"Busy: {when}, about {seconds} second{'s' if seconds > 1 else ''}"

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self._queue._leave(self)


class FairQueue:
    """Let some questions be in work at a time, and the others wait.

    Args:
        at_once: Questions in work at a time.
        most: Questions that may wait; further ones are refused.
        clock: Seconds.
    """

    def __init__(
        self, at_once: int, most: int = 256, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.at_once, self.most = at_once, most
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[Place]] = {}
        self._working: Counter[str] = Counter()
        self._turns: dict[str, int] = {}  # the last one of each who waits or is in work
        self._turn = 0
        self._seconds = _USUAL
        self._closed = False

    def enter(self, visitor: str) -> Place:
        """Return a place in the line, at its end or at once in work.

        Raises:
            Busy: Too many wait already, or the line is closed.
        """
        place = Place(self, visitor)
        with self._lock:
            if self._closed:
                raise Ending
            waiting = self._count()
            if waiting >= self.most:
                raise Busy(waiting, self.estimate(waiting))
            self._waiting.setdefault(visitor, deque()).append(place)
            self._turns.setdefault(visitor, self._turn - 1)  # just before the last that began
            self._fill()
        return place

    def close(self) -> None:
        """Refuse those who wait and those who come; those in work go on."""
        with self._lock:
            self._closed = True
            for place in (place for line in self._waiting.values() for place in line):
                place._refused = True
                place._turn.set()
            self._waiting.clear()

    @property
    def closed(self) -> bool:
        """Whether nobody is taken any more."""
        return self._closed

    def waiting(self) -> int:
        """Return how many wait."""
        with self._lock:
            return self._count()

    def working(self) -> int:
        """Return how many are in work."""
        with self._lock:
            return self._working.total()

    def before(self, place: Place) -> int:
        """Return how many of those who wait come before a place."""
        with self._lock:
            if place not in self._waiting.get(place.visitor, ()):
                return 0
            order = sorted(self._waiting, key=self._rank)
            ahead, own = self._waiting[place.visitor].index(place), order.index(place.visitor)
            # Lines go in turn: of those that come first one more than of the others.
            shares = (min(len(self._waiting[v]), ahead + (i < own)) for i, v in enumerate(order))
            return sum(shares)

    def estimate(self, before: int) -> float:
        """Return about how many seconds it takes until so many have gone."""
        return self._seconds * (before + 1) / self.at_once

    def _count(self) -> int:
        return sum(map(len, self._waiting.values()))

    def _rank(self, visitor: str) -> tuple[int, int]:
        return self._working[visitor], self._turns[visitor]

    def _fill(self) -> None:
        while self._waiting and self._working.total() < self.at_once:
            visitor = min(self._waiting, key=self._rank)
            place = self._waiting[visitor].popleft()
            if not self._waiting[visitor]:
                del self._waiting[visitor]
            self._working[visitor] += 1
            self._turns[visitor] = self._turn = self._turn + 2
            place._began = self._clock()
            place._turn.set()

    def _leave(self, place: Place) -> None:
        visitor = place.visitor
        with self._lock:
            if place._began is None:
                line = self._waiting.get(visitor, deque())
                if place in line:
                    line.remove(place)
                if not line:
                    self._waiting.pop(visitor, None)
            else:
                took = self._clock() - place._began
                self._seconds += _WEIGHT * (took - self._seconds)
                self._working[visitor] -= 1
                self._working += Counter()  # forgets who has nothing in work
                self._fill()
            if visitor not in self._waiting and visitor not in self._working:
                self._turns.pop(visitor, None)
