"""The keys by which programs are known, and the words for programs of why they are refused.

Knows HTTP's ways to send a key. Keys are compared as digests, in the same time whatever they hold.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

CODES = {
    400: "bad_request",
    401: "no_key",
    403: "not_allowed",
    404: "no_such_address",
    408: "too_slow",
    413: "too_large",
    415: "wrong_kind",
    416: "bad_range",
    429: "too_often",
    500: "fault",
    503: "busy",
    507: "no_room",
}
"""The word of a status, where the door refuses a request before it is read."""


class Keys:
    """Know the keys of programs.

    Args:
        keys: The keys.
        login: "name:password" of the page, taken where there are no keys.
    """

    def __init__(self, keys: tuple[str, ...], login: str = "") -> None:
        self._digests = [_digest(key) for key in keys]
        self._login = _digest(login) if login and not keys else b""

    def __bool__(self) -> bool:
        return bool(self._digests or self._login)

    @property
    def sentence(self) -> str:
        """What is to be sent."""
        if self._digests:
            return "A key is needed: send it as “Authorization: Bearer KEY” or “X-API-Key: KEY”."
        return "Log in: send name and password by HTTP Basic, as the page asks for them."

    def tried(self, headers: Mapping[str, str]) -> bool:
        """Say whether a request brings what may be a key."""
        kind = headers.get("authorization", "").partition(" ")[0].lower()
        if self._login:  # a token of the hub's, which its client sends everywhere, is none
            return kind == "basic"
        return bool(self._digests) and ("x-api-key" in headers or kind == "bearer")

    def find(self, headers: Mapping[str, str]) -> str | None:
        """Return a name for the key that a request brings, None where it brings none of ours."""
        kind, _, value = headers.get("authorization", "").partition(" ")
        sent = headers.get("x-api-key") or (value.strip() if kind.lower() == "bearer" else "")
        digest = _digest(sent)
        # All of them are compared, so that the time says nothing.
        if sum(hmac.compare_digest(digest, known) for known in self._digests):
            return f"key {digest.hex()[:12]}"
        if self._login and kind.lower() == "basic":
            digest = _digest(_decoded(value))
            right = hmac.compare_digest(digest, self._login)
            return f"login {digest.hex()[:12]}" if right else None
        return None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (ValueError, binascii.Error):
        return ""
