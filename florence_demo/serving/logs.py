"""What is logged, and what never is: no picture, no name of one, no text, no address of a visitor.

Knows records and the request that they belong to. An error's words may quote what a visitor sent:
its type and its frames are logged, and words only where they are the system's or torch's.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

REQUEST: ContextVar[str] = ContextVar("request", default="")
"""The request that is being answered."""

FIELDS = "fields"
"""Where a record keeps values beside its message (``extra={FIELDS: {...}}``)."""

_OURS = "florence_demo"
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_SERVER = ("uvicorn", "uvicorn.error", "uvicorn.access")
_LONGEST = 2_000


def new_request(given: str = "") -> str:
    """Begin a request and return its name, by which its lines in the log are found.

    Args:
        given: What a proxy calls it; taken where it is a name.
    """
    # A letter first: nothing takes it for a number, and writes it otherwise.
    name = given if _ID.fullmatch(given) else f"r{secrets.token_hex(7)}"
    REQUEST.set(name)
    return name


def our_fault(more: str = "") -> str:
    """Return what a person is told where something of ours failed, with the name to look for."""
    request = REQUEST.get() or "no request"
    rest = f" {more}" if more else ""
    return f"Something went wrong on our side ({request}): it is in the log.{rest}"


def configure(form: str, level: str, stream: TextIO | None = None) -> None:
    """Log from now on.

    Args:
        form: "text", or "json" for an object a line.
        level: "debug", "info", "warning" or "error"; of what others than we log, warnings alone.
        stream: Where to; stderr where None.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else Lines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger(_OURS).setLevel(level.upper())
    # A question's end has a line of its own.
    engine = logging.getLogger(f"{_OURS}.engine.engine")
    engine.setLevel("DEBUG" if level == "debug" else "WARNING")
    logging.captureWarnings(True)
    threading.excepthook = _thread_failed


def adopt_server() -> None:
    """Log what the web server has to say as everything else; a line a request is none of that.

    It sets its own ways when it starts, so this is called afterwards.
    """
    for name in _SERVER:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)


class Lines(logging.Formatter):
    """Write a record as a line for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and those of an error below it."""
        request = f" [{REQUEST.get()}]" if REQUEST.get() else ""
        line = f"{_time(record)} {record.levelname} {record.name}{request}: {_message(record)}"
        error = _error(record)
        return "\n".join([line, *(f"  {each}" for each in _told(error))]) if error else line


class JsonLines(logging.Formatter):
    """Write a record as a JSON object in a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        row: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if REQUEST.get():
            row["request_id"] = REQUEST.get()
        fields = getattr(record, FIELDS, None)
        if isinstance(fields, Mapping):
            row.update(fields)
        if error := _error(record):
            row["exception"] = _told(error)
        return json.dumps(row, ensure_ascii=False, default=str)


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    """Return a record's message as one line."""
    said = record.getMessage()
    if record.name.partition(".")[0] != _OURS:
        # What follows may be an error's words: asyncio tells a task with what it raised.
        said = said.partition("\n")[0]
    return " ".join(said[:_LONGEST].split())


def _error(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if record.exc_info else None


def _told(exc: BaseException) -> list[str]:
    """Return an error's frames and its type, those of what caused it first."""
    return [line for each in reversed(list(_chain(exc))) for line in _alone(each)]


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        yield exc
        exc = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)


def _alone(exc: BaseException) -> Iterator[str]:
    for frame in traceback.extract_tb(exc.__traceback__):
        yield f"{frame.filename}:{frame.lineno} in {frame.name}"
    words = _system_words(exc)
    yield f"{type(exc).__module__}.{type(exc).__qualname__}{words}"
    if isinstance(exc, BaseExceptionGroup):
        for each in exc.exceptions:
            yield from _told(each)


def _system_words(exc: BaseException) -> str:
    """Return an error's words where no visitor can have written them."""
    if isinstance(exc, OSError) and exc.strerror and exc.errno:
        return f": {exc.strerror}"  # without the file's name
    if type(exc).__module__.partition(".")[0] == "torch":
        return f": {str(exc).partition(chr(10))[0]}"
    return ""


def _thread_failed(args: Any) -> None:
    """Log what ended a thread, which Python would write with its words."""
    error: BaseException | None = args.exc_value
    if error is None or isinstance(error, SystemExit):
        return
    trace: TracebackType | None = error.__traceback__
    logging.getLogger(_OURS).error("a thread failed", exc_info=(type(error), error, trace))
