"""Answers as they leave the door: under the headers of a safe page, refusals as one sentence.

Knows HTTP as ASGI hands it over. Does not know what is admitted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import orjson

from florence_demo.serving.addresses import Scope
from florence_demo.serving.bodies import Refused
from florence_demo.serving.keys import CODES

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

REFUSED = "florence_demo.refused"
"""Where a request's scope keeps that its event was refused, and nothing of ours failed."""


def security_headers(frames: Sequence[str]) -> list[tuple[bytes, bytes]]:
    """Return what bounds the page in a browser.

    Args:
        frames: Who may show it in a frame; nobody where empty.
    """
    admitted = " ".join(frames) or "'none'"
    # gradio's page runs scripts in its markup, and compiles its templates.
    policy = (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:;"
        " style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:;"
        " media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:;"
        " worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self';"
        f" frame-ancestors {admitted}"
    )
    found = [
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-site"),
    ]
    return found if frames else [*found, (b"x-frame-options", b"DENY")]


class Guarded:
    """Send an answer with our headers in the place of any like them.

    Args:
        send: The server's.
        headers: Ours.
        scope: Of the request.
    """

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]], scope: Scope) -> None:
        self._send, self._headers, self._scope = send, headers, scope
        self.started, self._failed = False, False

    async def __call__(self, message: Message) -> None:
        """Send a part of an answer."""
        if message["type"] == "http.response.start":
            # What starlette says before it raises what happened.
            self._failed = message["status"] == 500 and _is_plain(message)
        if self._failed:
            return
        if message["type"] == "http.response.start":
            self.started = True
            ours = {name for name, _ in self._headers}
            kept = [(n, v) for n, v in message.get("headers", ()) if n.lower() not in ours]
            message = {**message, "headers": [*kept, *self._headers]}
            if message["status"] == 500 and self._scope.get(REFUSED):
                message["status"] = 400
        await self._send(message)

    async def refuse(self, refused: Refused) -> None:
        """Answer with a sentence, under the names that gradio's page and clients look for."""
        if self.started:
            raise ConnectionError(refused.sentence)
        told = {"detail": refused.sentence, "error": refused.sentence}
        if refused.status in CODES:
            told["code"] = CODES[refused.status]
        body = orjson.dumps(told)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        if refused.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if refused.status in (429, 503):
            headers.append((b"retry-after", b"10"))
        self._failed = False
        await self({"type": "http.response.start", "status": refused.status, "headers": headers})
        await self({"type": "http.response.body", "body": body})


def _is_plain(start: Message) -> bool:
    kind = dict(start.get("headers", ())).get(b"content-type", b"")
    return bool(kind.startswith(b"text/plain"))
