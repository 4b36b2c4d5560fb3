"""What requests bring: questions as JSON, files as forms, each bounded while it arrives.

Knows bytes, JSON and multipart forms (RFC 7578). Does not know routes, hosts or visitors' rules.
Everything is looked at before a parser of the server's sees it, and no more is held at a time, of
one visitor and of all, than a small machine has room for.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from florence_demo.bounded_json import JsonLimits, parse_json

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

BODY = JsonLimits(max_bytes=16 << 20, max_values=2_000, max_depth=12)
"""A question with its picture as a data URL, and what the page sends with it."""
VALUES = 16
"""Pictures as text in one question over plain HTTP; a question of the page has one."""
PICTURE_BYTES = 50 << 20
"""A form with a picture and what is asked of it."""
MAX_TEXT = 100_000
"""Letters of a text in a question; only a picture, as a data URL, may be longer."""
SECONDS = 60.0
"""How long a question may take to arrive."""
FORM_SECONDS = 180.0
"""How long a form with a picture may take."""
HELD, HELD_OF_ONE = 192 << 20, 64 << 20
"""Bytes of questions that arrive or wait at a time: of all visitors, and of one."""

_NOT_WHOLE = "What was sent did not arrive whole: send it again."
_LARGE = 1 << 18
_MAX_HEADER, _MAX_PARTS = 4_096, 1_000
_DATA_URL = re.compile(r"data:")
_ENCODED = re.compile(r"data:|[A-Za-z0-9+/\s]{64}")
_FORM = re.compile(r"multipart/form-data;\s*boundary=(\"?)([\w'()+,./:=?-]{1,70})\1", re.ASCII)


@dataclass
class Refused(Exception):
    """Carry the answer to a request that is not admitted.

    Attributes:
        status: Of HTTP.
        sentence: What is wrong and what to do.
    """

    status: int
    sentence: str


@dataclass(eq=False)
class Held:
    """Count the bytes of questions that are arriving."""

    _of: Counter[str] = field(default_factory=Counter)

    def check(self, visitor: str, waiting: Counter[str]) -> None:
        """Refuse more where too much is held already.

        Args:
            visitor: Who asks.
            waiting: Bytes of the questions that wait or run, by visitor.
        """
        own = self._of[visitor] + waiting[visitor]
        if own > HELD_OF_ONE or self._of.total() + waiting.total() > HELD:
            raise Refused(
                503, "Too much is waiting to be answered: wait a little, or upload the picture."
            )

    @contextmanager
    def counting(self, visitor: str) -> Iterator[Callable[[int], None]]:
        """Give a function that counts bytes until the block ends."""
        taken = 0

        def take(count: int) -> None:
            nonlocal taken
            taken += count
            self._of[visitor] += count
            self.check(visitor, Counter())

        try:
            yield take
        finally:
            self._of[visitor] -= taken
            if self._of[visitor] <= 0:
                del self._of[visitor]


async def read_question(
    receive: Receive, length: int | None, take: Callable[[int], None], pictures: int = 1
) -> bytes:
    """Return the body of a question, once it is known to be one.

    Args:
        receive: As ASGI gives it.
        length: What the request says that it has, if it does.
        take: Counts bytes as they come.
        pictures: Texts that may be as long as a picture.

    Raises:
        Refused: It is too large, too slow, not whole, or no JSON object within bounds.
    """
    try:
        async with asyncio.timeout(SECONDS):
            body = await _read(receive, length, take)
    except TimeoutError as exc:
        raise Refused(408, "The question did not arrive in time: send it again.") from exc
    # The event loop goes on while a large one is looked at.
    looked = asyncio.to_thread(_problem, body, pictures) if len(body) > _LARGE else None
    problem = _problem(body, pictures) if looked is None else await looked
    if problem:
        raise Refused(400, f"What was sent {problem}.")
    return body


def _problem(body: bytes, most: int) -> str:
    """Return what is wrong with a question's body as the end of a sentence, or ""."""
    try:
        values = [parse_json(body, BODY)]
    except ValueError as exc:
        return str(exc)
    if not isinstance(values[0], dict):
        return "is not an object with named values"
    pictures = 0
    while values:
        value = values.pop()
        if isinstance(value, dict):
            values += [*value, *value.values()]
        elif isinstance(value, list):
            values += value
        elif isinstance(value, str) and len(value) > MAX_TEXT:
            pictures += 1
            # The page sends a picture as a data URL, programs as plain base64 too.
            kind = _ENCODED if most > 1 else _DATA_URL
            if pictures > most or not (kind.match(value) and value.isascii()):
                return f"holds a text of more than {MAX_TEXT:,} letters"
    return ""


async def _read(receive: Receive, length: int | None, take: Callable[[int], None]) -> bytes:
    too_large = Refused(413, f"A question may bring {BODY.max_bytes >> 20} MB: upload the picture.")
    if length is not None and length > BODY.max_bytes:
        raise too_large
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, _NOT_WHOLE)
        piece = message.get("body", b"")
        take(len(piece))
        body += piece
        if len(body) > BODY.max_bytes:
            raise too_large
        if not message.get("more_body"):
            return bytes(body)


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return a way to read a body that was read already."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


def metered(receive: Receive, most: int, length: int | None, too_large: Refused) -> Receive:
    """Return a way to read a body that ends with a refusal where it is too large."""
    if length is not None and length > most:
        raise too_large
    taken = 0

    async def read() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise too_large
        return message

    return read


def files_alone(receive: Receive, kind: str) -> Receive:
    """Return a way to read a form that ends with a refusal where a part of it is no file.

    What is no file a form's parser collects in memory, decoded by any codec that the form names.

    Args:
        receive: As ASGI gives it.
        kind: The request's content type.

    Raises:
        Refused: It is no form, or names anything but a usual boundary.
    """
    found = _boundary(kind, "Send files as a form (Content-Type: multipart/form-data).")
    parts = _Parts(b"--" + found.encode())

    async def read() -> Message:
        message = await receive()
        parts.feed(message.get("body", b""))
        return message

    return read


def form(receive: Receive, kind: str, take: Callable[[int], None]) -> Receive:
    """Return a way to read a form of few fields and one file, which ends where it is too slow.

    How many there are, and how large those that are no file, is bounded where it is read.

    Args:
        receive: As ASGI gives it.
        kind: The request's content type.
        take: Counts bytes as they come.

    Raises:
        Refused: It is no form, or names anything but a usual boundary.
    """
    _boundary(kind, "Send the question as JSON (Content-Type: application/json) or as a form.")
    ends, arrives = asyncio.get_running_loop().time() + FORM_SECONDS, True

    async def read() -> Message:
        nonlocal arrives
        try:
            # Once it is here only the end of the connection is waited for, for as long as it takes.
            async with asyncio.timeout_at(ends if arrives else None):
                message = await receive()
        except TimeoutError as exc:
            raise Refused(408, "The form did not arrive in time: send it again.") from exc
        if arrives and message["type"] == "http.disconnect":
            raise Refused(400, _NOT_WHOLE)
        take(len(message.get("body", b"")))
        arrives = message.get("more_body", False)
        return message

    return read


def _boundary(kind: str, otherwise: str) -> str:
    found = _FORM.fullmatch(kind.strip())
    if found is None:
        raise Refused(415, otherwise)
    return found[2]


class _Parts:
    """Look at the headers of each part of a form as it arrives; its content is let pass."""

    def __init__(self, boundary: bytes) -> None:
        self._mark = boundary + b"\r\n"
        self._seen, self._inside, self._count = b"", False, 0

    def feed(self, data: bytes) -> None:
        """Look at the next bytes, or refuse."""
        self._seen += data
        while True:
            sign = b"\r\n\r\n" if self._inside else self._mark
            at = self._seen.find(sign)
            if self._inside and (at if at >= 0 else len(self._seen)) > _MAX_HEADER:
                raise Refused(400, "A file's name is too long: rename it.")
            if at < 0:
                if not self._inside:
                    self._seen = self._seen[-len(sign) :]
                return
            if self._inside and b"filename=" not in self._seen[:at].lower():
                raise Refused(400, "An upload brings files alone.")
            self._count += not self._inside
            if self._count > _MAX_PARTS:
                raise Refused(400, f"An upload brings {_MAX_PARTS:,} files at most: pack a zip.")
            self._seen, self._inside = self._seen[at + len(sign) :], not self._inside
