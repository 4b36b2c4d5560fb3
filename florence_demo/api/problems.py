"""Errors as programs meet them: a word, a sentence, and the HTTP status that fits.

Knows our errors and HTTP.
"""

from __future__ import annotations

import logging

from florence_demo.api.schema import Problem
from florence_demo.errors import CheckpointError, DatasetError, FlorenceDemoError, InputError
from florence_demo.files import is_disk_full
from florence_demo.serving.counts import TooOften
from florence_demo.serving.fair_queue import Busy
from florence_demo.serving.logs import our_fault

log = logging.getLogger(__name__)


class NotAllowed(FlorenceDemoError):
    """Say that this caller may not do this."""


_KINDS: tuple[tuple[type[Exception], str, int], ...] = (
    (Busy, "busy", 503),
    (TooOften, "too_often", 429),
    (NotAllowed, "not_allowed", 403),
    (InputError, "bad_input", 400),
    (CheckpointError, "no_model", 422),
    (DatasetError, "bad_data", 422),
    (FlorenceDemoError, "refused", 400),
)
FAULT = "fault"
"""The word for what went wrong on our side."""

_STATUS = {code: status for _, code, status in _KINDS} | {FAULT: 500, "no_room": 507}


def problem_of(exc: Exception) -> Problem:
    """Return an error as programs meet it; a bug of ours goes to the log."""
    for kind, code, _ in _KINDS:
        if isinstance(exc, kind):
            return {"code": code, "detail": str(exc)}
    if is_disk_full(exc):
        return {"code": "no_room", "detail": "The disk of this server is full: try again later."}
    log.exception("unexpected error", exc_info=exc)
    return {"code": FAULT, "detail": our_fault()}


def status_of(problem: Problem) -> int:
    """Return the HTTP status of a problem."""
    return _STATUS[problem["code"]]
