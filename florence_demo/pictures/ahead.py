"""Reading ahead: threads open what comes next while the caller works on what it has.

Knows threads and how much may be held. Does not know pictures: what is read and how heavy it is are
given. Results come in the order of what they were read from.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True)
class Ahead:
    """Say how far is read ahead.

    Attributes:
        threads: How many read at once.
        most: Things that are read or being read and not taken yet, at most.
        weight: What all of those that are read may weigh; beyond it no further one is begun but
            the one that is waited for. Those being read are not weighed yet.
    """

    threads: int = 4
    most: int = 24
    weight: int = 100_000_000


def read_ahead(
    jobs: Iterable[J],
    read: Callable[[J], R],
    ahead: Ahead,
    weigh: Callable[[R], int] = lambda result: 0,
) -> Generator[R, None, None]:
    """Yield what each job gives, in their order; read by threads, so many ahead and no more.

    The jobs themselves are drawn by a thread of their own, one after the other and no further than
    is read ahead, so that they may be endless. What ``read`` or the jobs raise is raised here, in
    its place.

    Args:
        jobs: What to read.
        read: Reads one; called from several threads.
        ahead: How far.
        weigh: What a result weighs, in a unit of the caller's.
    """
    reading = _Reading(jobs, read, ahead, weigh)
    try:
        yield from reading.results()
    finally:
        reading.end()


class _Reading(Generic[J, R]):
    """Hold the threads of one reading, and what they have read."""

    def __init__(
        self,
        jobs: Iterable[J],
        read: Callable[[J], R],
        ahead: Ahead,
        weigh: Callable[[R], int],
    ):
        self._jobs, self._read, self._weigh, self._ahead = jobs, read, weigh, ahead
        self._order: queue.SimpleQueue[Future[R] | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._held = self._weight = self._wanted = 0
        self._ended = False
        self._pool = ThreadPoolExecutor(ahead.threads, "read-ahead")
        # Nobody waits for it at the end: the jobs may come from something that never answers.
        self._drawing = threading.Thread(target=self._draw, daemon=True)
        self._drawing.start()

    def results(self) -> Iterator[R]:
        """Yield the results; each is held until the next one is asked for."""
        while (future := self._order.get()) is not None:
            result = future.result()
            weight = self._weigh(result)
            del future
            yield result
            del result
            with self._changed:
                self._held -= 1
                self._wanted += 1
                self._weight -= weight
                self._changed.notify_all()

    def end(self) -> None:
        """Begin nothing further, and let what is being read come to its end alone."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _draw(self) -> None:
        try:
            for number, job in enumerate(self._jobs):
                with self._changed:
                    self._changed.wait_for(lambda: self._ended or self._held < self._ahead.most)
                    if self._ended:
                        return
                    self._held += 1
                with suppress(RuntimeError):  # the pool was shut this moment
                    self._order.put(self._pool.submit(self._one, number, job))
        except BaseException as exc:  # raised again where somebody waits for the next one
            failed: Future[R] = Future()
            failed.set_exception(exc)
            self._order.put(failed)
        finally:
            self._order.put(None)

    def _one(self, number: int, job: J) -> R:
        # Earlier ones were begun before: the one that is waited for never stands behind others.
        with self._changed:
            self._changed.wait_for(lambda: self._may_begin(number))
            if self._ended:
                raise CancelledError
        result = self._read(job)
        with self._changed:
            self._weight += self._weigh(result)
        return result

    def _may_begin(self, number: int) -> bool:
        return self._ended or self._weight < self._ahead.weight or number == self._wanted
