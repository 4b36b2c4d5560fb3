"""Answers under the same rules that are decoded together, each from when it comes to its end.

Knows tickets, the rows of a search and when a row is free. Does not know threads (``crowd``), nor
how a step is taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from florence_demo.decoding.forward import DecoderStep
from florence_demo.decoding.graphs import (
    Beginning,
    Buffers,
    Graphs,
    Size,
    filled_up,
    filled_up_width,
)
from florence_demo.decoding.loops import LOOK, cut, without_loop
from florence_demo.decoding.reports import Report
from florence_demo.decoding.rules import DecodeOptions, Generated
from florence_demo.decoding.search import Search

ROOM = 64
"""Tokens that there is room for at first where there are no graphs, and that room grows by."""

LAG = 2
"""Steps that a GPU is ahead of what the host has heard of, so that neither waits for the other."""

OnStep = Callable[[int, list[list[int]]], bool]
"""Called after each token with its number and the leading beam's ids of every row; False stops."""


@dataclass(eq=False)
class Ticket:
    """Hold what one caller wants and, once ``over``, what it got.

    Attributes:
        new: What its answers begin with.
        on_step: Told about each step; may stop the work.
        answers: Those that are there, by row.
        steps: How many steps it has heard of.
        alone: Whether it shares its steps with nobody, after a failure together.
        error: What ended it instead of an answer.
    """

    new: Beginning
    on_step: OnStep | None = None
    answers: dict[int, Generated] = field(default_factory=dict)
    steps: int = 0
    alone: bool = False
    error: Exception | None = None

    @property
    def options(self) -> DecodeOptions:
        """Return how it is searched."""
        return self.new.options

    @property
    def rows(self) -> int:
        """Return how many answers it waits for."""
        return len(self.new.mask)

    @property
    def over(self) -> bool:
        """Return whether there is nothing more to wait for."""
        return self.error is not None or len(self.answers) == self.rows


@dataclass(eq=False)
class Seat:
    """Hold which answer a row of the search is.

    Attributes:
        ticket: Whose answer.
        row: Which of its answers.
        since: The group's steps when it came.
        looped: Whether it was ended because it only repeated itself.
    """

    ticket: Ticket
    row: int
    since: int
    looped: bool = False

    @property
    def over(self) -> bool:
        """Return whether the answer is there, or nobody waits for it."""
        return self.ticket.error is not None or self.row in self.ticket.answers


class Group:
    """Decode answers together; others join between two steps.

    On a CPU every row costs, and rows that are done leave; on a GPU the shapes stay, rows that are
    done are free for who comes, and the host hears of a step while the next ones are computed.

    Args:
        step: Computes scores.
        graphs: Buffers with graphs, on a GPU.
    """

    def __init__(self, step: DecoderStep, graphs: Graphs | None = None) -> None:
        self._step, self._graphs = step, graphs
        on_gpu = step.embed.weight.is_cuda
        self._shrinks = graphs is None and not on_gpu
        self._lag = LAG if on_gpu else 0
        self._count = 0
        self._buffers: Buffers | None = None
        self._seats: list[Seat | None] = []
        self._reports: deque[tuple[Report, list[Seat | None]]] = deque()

    @property
    def buffers(self) -> Buffers:
        """Return where the answers are."""
        assert self._buffers is not None
        return self._buffers

    @property
    def search(self) -> Search:
        """Return the search where it stands."""
        return self.buffers.search

    @property
    def taken(self) -> dict[Seat, int]:
        """Return who sits where."""
        return {seat: at for at, seat in enumerate(self._seats) if seat is not None}

    def join(self, ticket: Ticket) -> None:
        """Let a caller's answers begin beside those that run."""
        there, count = self.taken, ticket.rows
        seats: list[Seat | None] = [Seat(ticket, row, self._count) for row in range(count)]
        free = [at for at, seat in enumerate(self._seats) if seat is None][:count]
        length = ticket.new.mask.shape[1]
        if len(free) < count or length > self.buffers.size.length:
            self._move(len(there) + count, length, ticket.options)
            free = list(range(len(there), len(there) + count))
        self.buffers.begin(free, ticket.new, alone=not there)
        for at, seat in zip(free, seats, strict=True):
            self._seats[at] = seat

    def _move(self, rows: int, length: int, options: DecodeOptions) -> None:
        """Move those who are there to the first of so many rows, with room for who comes."""
        old, there = self._buffers, self.taken
        if old is not None:
            length = max(length, old.size.length)
        if self._graphs is None:
            room = max(options.no_repeat_ngram_size, min(ROOM, options.max_new_tokens + 2))
            room = room if old is None else max(room, old.size.room)
            self._buffers = Buffers(self._step, options, Size(rows, length, room))
        else:
            room = max(options.no_repeat_ngram_size, self._graphs.room)
            room = room if old is None else old.size.room
            size = Size(filled_up(rows), filled_up_width(length), room)
            self._buffers = self._graphs.take(options, size)
        if old is not None and there and old is not self._buffers:
            self._buffers.load(old, list(there.values()))
        self._seats = [*there, *[None] * (self._buffers.size.batch - len(there))]

    def advance(self) -> None:
        """Add one token to every answer, and tell who waits."""
        longest = self._count - min(seat.since for seat in self.taken)
        if longest + 2 >= self.buffers.size.room:
            self._grow()
        self.search.pick.refill()
        self.buffers.advance()
        self._count += 1
        self._reports.append((Report(self.search.report), list(self._seats)))
        left = max(s.ticket.options.max_new_tokens - self._count + s.since for s in self.taken)
        while self._reports and len(self._reports) > (self._lag if left > 0 else 0):
            self._hear(*self._reports.popleft())

    def _grow(self) -> None:
        """Make room for more tokens: a CPU in place, a GPU in buffers that have a graph."""
        most = max(seat.ticket.options.max_new_tokens for seat in self.taken) + 2
        smaller = self.buffers
        if self._graphs is None:
            smaller.grow(max(smaller.size.room + 1, min(smaller.size.room + ROOM, most)))
            return
        larger = replace(smaller.size, room=4 * smaller.size.room)
        self._buffers = self._graphs.take(next(iter(self.taken)).ticket.options, larger)
        self._buffers.load(smaller, list(range(smaller.size.batch)))

    def _hear(self, report: Report, seats: list[Seat | None]) -> None:
        """Tell of a step, end what goes in circles or is not wanted, and take out what is done."""
        where = {seat: at for at, seat in enumerate(seats) if seat is not None and not seat.over}
        done = report.done()
        stopped: set[Seat] = set()
        for ticket in dict.fromkeys(seat.ticket for seat in where):
            mine = {seat: at for seat, at in where.items() if seat.ticket is ticket}
            ticket.steps += 1
            if ticket.options.loop_guard and ticket.steps % LOOK == 0:
                for seat, at in mine.items():
                    seat.looped = not done[at] and without_loop(report.leading(at)) is not None
                stopped |= {seat for seat in mine if seat.looped}
            if ticket.on_step is not None and not _goes_on(ticket, report, mine):
                stopped |= set(mine)
        now = self.taken
        if stopped:
            rows = torch.zeros_like(self.search.done)
            rows[[now[seat] for seat in stopped]] = True
            self.search.stop(rows)
        over = [seat for seat, at in where.items() if done[at] or seat in stopped]
        if over:
            self._collect(over)

    def _collect(self, over: list[Seat]) -> None:
        """Give answers to who waits for them, and free their rows."""
        now = self.taken
        rows = [now[seat] for seat in over]
        for seat, answer in zip(over, self.search.answers(rows), strict=True):
            seat.ticket.answers[seat.row] = cut(answer) if seat.looped else answer
        if not self._shrinks:
            self._seats = [None if seat in over else seat for seat in self._seats]
            return
        left = [at for at in range(len(self._seats)) if at not in rows]
        self._seats = [self._seats[at] for at in left]
        if left:
            self.buffers.keep(left)


def _goes_on(ticket: Ticket, report: Report, mine: dict[Seat, int]) -> bool:
    """Tell a caller of a step, and return whether the answers are still wanted."""
    assert ticket.on_step is not None
    leading = {row: list(answer.ids) for row, answer in ticket.answers.items()}
    leading.update({seat.row: report.leading(at) for seat, at in mine.items()})
    try:
        return ticket.on_step(ticket.steps, [leading[row] for row in sorted(leading)]) is not False
    except Exception as exc:  # its caller's own, and raised there
        ticket.error = exc
        return False
