"""Callers in threads of their own whose answers are decoded step by step together.

Knows threads and turns. Does not know what a step is (``group``). There is no thread of its own:
one of those who wait takes the steps for all, until its own answers are there; then another does.
Between two steps whoever wants the machine for something else gets it, and who has come joins.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import replace

from florence_demo.decoding.group import Group, Ticket
from florence_demo.decoding.rules import Generated
from florence_demo.decoding.turns import Turns

MOST = 64
"""Answers of one group that others still join; beyond, they wait until some are done."""


class Crowd:
    """Decode answers for several callers at once.

    Args:
        start: Returns an empty group: one that may share its memory, or one that is to be alone.
        turns: Of the machine; held for each step.
    """

    def __init__(self, start: Callable[[bool], Group], turns: Turns) -> None:
        self._start, self._turns = start, turns
        self._changed = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._groups: dict[Hashable, Group] = {}
        self._led = False

    def decode(self, ticket: Ticket) -> list[Generated]:
        """Return a caller's answers; blocks until they are there."""
        with self._changed:
            self._waiting.append(ticket)
            while self._led and not ticket.over:
                self._changed.wait()
            leads = not ticket.over
            self._led |= leads
        if leads:
            self._lead(ticket)
        if ticket.error is not None:
            raise ticket.error
        return [ticket.answers[row] for row in range(ticket.rows)]

    def _lead(self, ticket: Ticket) -> None:
        """Take steps until a caller's own answers are there."""
        try:
            while not ticket.over:
                with self._turns:
                    self._admit()
                    for key, group in list(self._groups.items()):
                        self._advance(key, group)
        finally:
            with self._changed:
                self._led = False
                self._changed.notify_all()

    def _admit(self) -> None:
        """Let those who wait join their groups, in the order in which they came."""
        with self._changed:
            waiting, self._waiting = self._waiting, deque()
        held: set[Hashable] = set()
        back: list[Ticket] = []
        for ticket in waiting:
            key = _key(ticket)
            group = self._groups.get(key)
            full = group is not None and group.taken and len(group.taken) + ticket.rows > MOST
            if key in held or full:
                held.add(key)  # nobody gets past who came before
                back.append(ticket)
                continue
            if group is None:
                group = self._groups[key] = self._start(ticket.alone)
            try:
                group.join(ticket)
            except Exception as exc:
                self._fail(key, group, [ticket], exc)
        with self._changed:
            self._waiting.extendleft(reversed(back))

    def _advance(self, key: Hashable, group: Group) -> None:
        """Take a group's step, and let those go whose answers are there."""
        before = list(dict.fromkeys(seat.ticket for seat in group.taken))
        try:
            group.advance()
        except Exception as exc:
            self._fail(key, group, [], exc)
        if not group.taken:
            self._groups.pop(key, None)
        if any(ticket.over for ticket in before):
            with self._changed:
                self._changed.notify_all()

    def _fail(self, key: Hashable, group: Group, more: list[Ticket], exc: Exception) -> None:
        """Let everybody of a group that failed try again alone: nobody pays for the others."""
        del self._groups[key]
        tickets = list(dict.fromkeys([*(seat.ticket for seat in group.taken), *more]))
        for ticket in tickets:
            if ticket.alone or len(tickets) == 1:
                ticket.error = exc
            else:
                ticket.alone, ticket.steps = True, 0
                ticket.answers.clear()
        with self._changed:
            self._waiting.extend(ticket for ticket in tickets if not ticket.over)
            self._changed.notify_all()


def _key(ticket: Ticket) -> Hashable:
    """Return what tickets share that are decoded together."""
    rules = replace(ticket.options, max_new_tokens=1, seed=None, loop_guard=False)
    return (rules, id(ticket)) if ticket.alone else rules
