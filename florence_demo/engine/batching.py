"""Callers who wait for one machine share a batch.

Knows threads and queues. Does not know what a job is. There is no thread of its own and no window
of time: while the machine is taken, those who come wait; whoever gets it next takes everybody who
waits along, oldest first. A lone caller therefore waits for nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from florence_demo.decoding.turns import Turns

J = TypeVar("J")
R = TypeVar("R")


@dataclass(eq=False)
class _Ticket(Generic[J, R]):
    """Hold what one caller wants and, once ``done``, what it got."""

    jobs: list[J]
    key: Hashable
    results: list[R] = field(default_factory=list)
    error: BaseException | None = None
    done: bool = False


class Batcher(Generic[J, R]):
    """Run jobs of several threads together."""

    def __init__(
        self,
        run: Callable[[list[J]], list[R]],
        limit: int,
        machine: AbstractContextManager[None] | None = None,
    ) -> None:
        """Take how a batch is run.

        Args:
            run: Takes jobs of one key and returns their results in the same order.
            limit: Most jobs of one batch; a single caller's jobs stay together even beyond it.
            machine: Held while a batch runs, where others need the machine too.
        """
        self._run = run
        self._limit = limit
        self._machine = machine or Turns()
        self._waiting: deque[_Ticket[J, R]] = deque()
        self._waiting_lock = threading.Lock()

    def submit(self, jobs: Sequence[J], key: Hashable) -> list[R]:
        """Return the results of some jobs; blocks until they are there.

        Args:
            jobs: What is to be done.
            key: Only jobs of equal keys share a batch.
        """
        ticket: _Ticket[J, R] = _Ticket(list(jobs), key)
        with self._waiting_lock:
            self._waiting.append(ticket)
        while not ticket.done:
            with self._machine:
                # Whoever had the machine before may have done our jobs with its own.
                if not ticket.done:
                    self._serve(self._next())
        if ticket.error is not None:
            raise ticket.error
        return ticket.results

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Hold the machine: no batch runs meanwhile, and those who come wait."""
        with self._machine:
            yield

    def _next(self) -> list[_Ticket[J, R]]:
        """Take the oldest ticket and those that fit to it off the queue."""
        with self._waiting_lock:
            first = self._waiting.popleft()
            batch, rest, size = [first], deque[_Ticket[J, R]](), len(first.jobs)
            for ticket in self._waiting:
                if ticket.key == first.key and size + len(ticket.jobs) <= self._limit:
                    batch.append(ticket)
                    size += len(ticket.jobs)
                else:
                    rest.append(ticket)
            self._waiting = rest
        return batch

    def _serve(self, batch: list[_Ticket[J, R]]) -> None:
        try:
            results = self._run([job for ticket in batch for job in ticket.jobs])
        except Exception as exc:
            if len(batch) > 1:
                # One caller's mistake, or too little memory: nobody pays for the others.
                for ticket in batch:
                    self._serve([ticket])
                return
            batch[0].error = exc
        else:
            at = 0
            for ticket in batch:
                ticket.results = results[at : at + len(ticket.jobs)]
                at += len(ticket.jobs)
        for ticket in batch:
            ticket.done = True


class Visits:
    """Count who is inside, for whoever needs to be alone there."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False

    @contextmanager
    def visit(self) -> Iterator[None]:
        """Be inside; waits while somebody needs to be alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be alone: waits until those inside are gone, and those who come wait meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._closed = True
            self._changed.wait_for(lambda: not self._inside)
        try:
            yield
        finally:
            with self._changed:
                self._closed = False
                self._changed.notify_all()
