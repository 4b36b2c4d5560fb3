"""A client of HTTP that sends what it is told, sound or not, and reads what comes back."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.fuzz.oracle import Breach

TIMEOUT = 25.0
"""Seconds; less than the watchdog's, so that a server that says nothing is told as such."""
_MOST = 20_000_000


@dataclass(frozen=True)
class Reply:
    """Hold what a server said.

    Attributes:
        status: Of HTTP; 0 where it closed the connection without a word.
        headers: Names in small letters.
        body: At most 20 MB of it.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        """The body as JSON, None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


def send(
    port: int,
    method: str,
    path: str,
    headers: Iterable[tuple[str, str]],
    body: Iterable[bytes] = (),
    *,
    until: tuple[bytes, ...] = (),
) -> Reply:
    """Send a request and return the reply.

    Args:
        port: Of this machine.
        method: Any word.
        path: Any words; spaces and line ends are sent as they are.
        headers: All of them, the host's and the length's too.
        body: Its pieces.
        until: What ends an endless reply: a line that begins so is the last that is read.

    Raises:
        Breach: The server said nothing for too long.
    """
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers) + "\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as connection:
        # It may answer and close before it has heard all.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            pieces = iter(body)
            # In one go, or what a server that closes at once has said is lost with the rest.
            connection.sendall(head.encode("utf-8", "surrogatepass") + next(pieces, b""))
            for piece in pieces:
                connection.sendall(piece)
        reply = http.client.HTTPResponse(connection, method=method if method == "HEAD" else "POST")
        try:
            reply.begin()
            said = _lines(reply, until) if until else _all(reply)
        except TimeoutError as exc:
            raise Breach(f"the server says nothing for {TIMEOUT:.0f} s") from exc
        except (http.client.HTTPException, ConnectionError, ValueError):
            return Reply(0)
        return Reply(reply.status, {k.lower(): v for k, v in reply.getheaders()}, said)


def _all(reply: http.client.HTTPResponse) -> bytes:
    try:
        return reply.read(_MOST)
    except http.client.IncompleteRead as exc:  # it closed in the middle of a stream
        return exc.partial


def _lines(reply: http.client.HTTPResponse, until: tuple[bytes, ...]) -> bytes:
    lines = []
    with contextlib.suppress(http.client.IncompleteRead):
        while line := reply.readline(_MOST):
            lines.append(line)
            if line.startswith(until):
                break
    return b"".join(lines)


def multipart(files: Iterable[tuple[str, bytes]], field_name: str = "files") -> tuple[str, bytes]:
    """Return the content type and the body of some uploaded files, their names as they are."""
    mark = "fuzz-4f3b"
    parts = []
    for name, data in files:
        told = name.replace('"', "%22").encode("utf-8", "surrogatepass")
        parts.append(
            f'--{mark}\r\nContent-Disposition: form-data; name="{field_name}"; filename="'.encode()
            + told
            + b'"\r\nContent-Type: application/octet-stream\r\n\r\n'
            + data
            + b"\r\n"
        )
    return f"multipart/form-data; boundary={mark}", b"".join(parts) + f"--{mark}--\r\n".encode()
