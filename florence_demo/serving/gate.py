"""The door of the server: which requests come in, and with which headers answers go out.

Knows HTTP as ASGI hands it over. Does not know models, pages or gradio's types. It stands before
everything else, gradio's own middleware included, and admits what this page is known to use:
its host names, its routes, its methods, bodies of bounded size and form. All else is one sentence.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from florence_demo.serving.addresses import Scope as Scope
from florence_demo.serving.addresses import bound, host_name, route, shown, visitor_at
from florence_demo.serving.bodies import (
    PICTURE_BYTES,
    VALUES,
    Held,
    Refused,
    files_alone,
    form,
    metered,
    read_question,
    replayed,
)
from florence_demo.serving.counts import Counts
from florence_demo.serving.guarded import REFUSED, Guarded, Message, Send, security_headers
from florence_demo.serving.keys import Keys
from florence_demo.serving.logs import new_request, our_fault

log = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[Message]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

VISITOR = "florence_demo.visitor"
"""Where a request's scope keeps the address of who asks."""
BYTES = "florence_demo.bytes"
"""Where it keeps the size of the question."""
REQUEST_ID = "florence_demo.request_id"
"""Where it keeps the request's name."""
KEYED = "florence_demo.keyed"
"""Where it keeps whether a key of ours came with it."""
FURTHER = "florence_demo.further"
"""Where it keeps what counts so many questions more than the one that every request is."""

_HOST = re.compile(
    r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9.])?)(?::\d{1,5})?"
)
_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})

# What the page and a client of its API ask for; the rest of gradio's routes are not served.
_GET = re.compile(
    r"/(?:|config/?|theme\.css|robots\.txt|favicon\.ico|manifest\.json|pwa_icon(?:/\d+)?|logout"
    r"|(?:assets|static|svelte|docs/static)/.*|docs/?|mcp|v1/(?:openapi\.json|tasks|models)"
    r"|healthz|readyz|metrics"
    r"|gradio_api/(?:info/?|openapi\.json|app_id/?|user/?|login_check/?|token/?|startup-events"
    r"|theme\.css|upload_progress|queue/data|heartbeat/[^/]+|file[=/](?!https?:).+"
    r"|call/(?:v2/)?[^/]+/[^/]+))",
    re.DOTALL | re.IGNORECASE,
)
_ASKING = re.compile(r"/gradio_api/(?:queue/join|(?:call|call/v2|run|api)/[^/]+/?)")
_VERB = re.compile(r"/v1/[a-z_]{1,40}|/mcp")
_PROGRAMS = re.compile(r"/v1/(?!openapi\.json).*|/mcp", re.DOTALL)
_KEY_TELLS = re.compile(rf"{_PROGRAMS.pattern}|/metrics|{_ASKING.pattern}", re.DOTALL)
# Put together anew at each call, at a tenth of a second or more.
_COSTLY = re.compile(r"/(?:|config/?|gradio_api/(?:info/?|openapi\.json))")
# One part of a file, as browsers ask; gradio stumbles over several.
_RANGE = re.compile(r"bytes=(?:[0-9]{1,18}-[0-9]{0,18}|-[0-9]{1,18})")
_UPLOAD = "/gradio_api/upload"
_QUIET = frozenset({"/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/reset/"})
_NAMELESS = re.compile(rb'"event_id"\s*:\s*null')
_LOGIN = frozenset({"/login", "/login/"})


@dataclass(frozen=True)
class Rules:
    """Hold what is admitted.

    Attributes:
        hosts: Names beside localhost and the bound address; ``*.name`` admits all below a name.
        frames: Who may show the page in a frame; nobody where empty.
        forwarded: Whether a proxy of ours stands before and says who asks (X-Forwarded-For).
        upload_bytes: Largest body of one upload.
        in_work: Questions of one visitor that may wait or run at a time.
        questions_a_minute: Questions of one visitor in a minute, 0 for any number.
        key_questions_a_minute: Questions of one key in a minute, 0 for any number.
        uploads_a_minute: Uploads of one visitor in a minute, 0 for any number.
        connections: Requests of one visitor that may be open at a time.
        pages_a_minute: Times in a minute that one visitor may load the page or its API's list.
        guesses_a_minute: Wrong keys and logins that one visitor may send in a minute.
        keys: Keys, one of which a program must send where there are any.
        login: "name:password" of the page, which programs send too where there are no keys.
    """

    hosts: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()
    forwarded: bool = False
    upload_bytes: int = 4 << 30
    in_work: int = 48
    questions_a_minute: int = 0
    key_questions_a_minute: int = 0
    uploads_a_minute: int = 0
    connections: int = 256
    pages_a_minute: int = 600
    guesses_a_minute: int = 60
    keys: tuple[str, ...] = ()
    login: str = ""


@dataclass(eq=False)
class Gate:
    """Stand before an application.

    Attributes:
        app: What is behind.
        rules: What is admitted.
        in_work: Returns the address and the bytes of each question that waits or runs.
        room: Returns the bytes that uploads may still take of the disk.
        stumbles: What is raised behind over a question that makes no sense.
        closed: Returns why nothing is taken any more in a sentence, "" while it is.
        refused: Hears the status of each request that is answered here.
    """

    app: Asgi
    rules: Rules
    in_work: Callable[[], Iterable[tuple[str, int]]] = lambda: ()
    room: Callable[[], int] = lambda: 1 << 62
    stumbles: tuple[type[Exception], ...] = (TypeError, ValueError, LookupError)
    closed: Callable[[], str] = lambda: ""
    refused: Callable[[int], None] = lambda status: None
    _open: dict[str, int] = field(default_factory=dict)
    _asked: Counts = field(default_factory=Counts)
    _uploaded: Counts = field(default_factory=Counts)
    _pages: Counts = field(default_factory=Counts)
    _guesses: Counts = field(default_factory=Counts)
    _held: Held = field(default_factory=Held)
    _programs: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._keys = Keys(self.rules.keys, self.rules.login)
        self._security = security_headers(self.rules.frames)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = _headers(scope)
        given = headers.get("x-request-id", "") if self.rules.forwarded else ""
        scope[REQUEST_ID] = new_request(given)
        key = self._keys.find(headers)
        scope[KEYED] = key is not None
        address = self._visitor(scope, headers)
        scope[VISITOR] = visitor = key or address
        named = (b"x-request-id", scope[REQUEST_ID].encode())
        guarded = Guarded(send, [*self._security, named], scope)
        self._open[visitor] = self._open.get(visitor, 0) + 1
        try:
            self._admit(scope, headers, visitor)
            if self._keys.tried(headers) and _KEY_TELLS.fullmatch(scope["path"]):
                self._guess(address, right=key is not None)
            if _PROGRAMS.fullmatch(scope["path"]) and self._keys and key is None:
                raise Refused(401, self._keys.sentence)
            with self._held.counting(visitor) as take, self._as_program(scope):
                if scope["method"] == "POST":
                    receive = await self._body(scope, headers, receive, take)
                await self._behind(scope, receive, guarded)
        except Refused as exc:
            self.refused(exc.status)
            await guarded.refuse(exc)
        finally:
            self._open[visitor] -= 1
            if not self._open[visitor]:
                del self._open[visitor]

    @property
    def asking(self) -> bool:
        """Whether a question over plain HTTP is open."""
        return bool(self._programs)

    @contextmanager
    def _as_program(self, scope: Scope) -> Iterator[None]:
        """Count a question over plain HTTP for as long as its request is open."""
        visitor, counts = scope[VISITOR], bool(_VERB.fullmatch(scope["path"]))
        self._programs[visitor] += counts
        try:
            yield
        finally:
            self._programs[visitor] -= counts
            if not self._programs[visitor]:
                del self._programs[visitor]

    async def _behind(self, scope: Scope, receive: Receive, guarded: Guarded) -> None:
        """Hand a request on; where the app fails, it is told in a sentence."""
        try:
            await self.app(scope, receive, guarded)
        except Exception as exc:
            if guarded.started or isinstance(exc, Refused):
                raise
            # gradio's routes take names and values as they come, and stumble over others.
            if isinstance(exc, self.stumbles) and _ASKING.fullmatch(scope["path"]):
                log.info("not understood: %s", route(scope), exc_info=True)
                raise Refused(
                    400, "This could not be understood: the page's API lists what it takes."
                ) from exc
            if isinstance(exc, LookupError) and scope["path"] in _QUIET:
                # gradio looks for what is to be ended, and finds that it has ended meanwhile.
                raise Refused(200, "It is over already.") from exc
            log.exception("%s failed", route(scope))
            raise Refused(500, our_fault()) from exc

    def _visitor(self, scope: Scope, headers: dict[str, str]) -> str:
        peer = (scope.get("client") or ("", 0))[0]
        if self.rules.forwarded:
            # The last entry is our proxy's own; those before it are the visitor's word.
            peer = headers.get("x-forwarded-for", "").rpartition(",")[2].strip()[:64] or peer
        return visitor_at(str(peer))

    def _admit(self, scope: Scope, headers: dict[str, str], visitor: str) -> None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not _HOST.fullmatch(host) or not self._is_ours(host_name(f"//{host}"), scope):
            raise Refused(
                400,
                f"This page is not served under the name {shown(host)}: use its own address, or"
                " start it with --allowed-host NAME.",
            )
        # gradio writes this name into the page's own addresses.
        named = "" if self.rules.forwarded else headers.get("x-forwarded-host", "")
        if named and not self._is_ours(host_name(f"//{named}"), scope):
            raise Refused(400, f"This page is not served under the name {shown(named)}.")
        if origin is not None and not self._may_ask(origin, host, scope):
            raise Refused(403, "Pages of other sites may not ask this one.")
        if self._open[visitor] > self.rules.connections:
            raise Refused(429, "Too many connections are open from your address: close some tabs.")
        method, path = scope["method"], scope["path"]
        known = (
            _GET.fullmatch(path)
            if method in ("GET", "HEAD")
            else path in (_UPLOAD, *_QUIET, *_LOGIN)
            or _ASKING.fullmatch(path)
            or _VERB.fullmatch(path)
            if method == "POST"
            else method == "OPTIONS"
        )
        if not known:
            raise Refused(404, "There is nothing at this address.")
        if method == "POST" and path not in _QUIET and (why := self.closed()):
            raise Refused(503, why)
        if "range" in headers and not _RANGE.fullmatch(headers["range"].strip()):
            raise Refused(416, "Ask for the whole file, or for one part of it.")
        if _COSTLY.fullmatch(path):
            self._count(self._pages, visitor, self.rules.pages_a_minute)

    def _may_ask(self, origin: str, host: str, scope: Scope) -> bool:
        scheme, _, name = origin.partition("://")
        if scheme not in ("http", "https") or not _HOST.fullmatch(name):
            return False
        # Another program's page on this machine has this machine's name, and a port of its own.
        local = host_name(origin) in _LOCAL
        return (name == host.lower() if local else True) and self._is_ours(host_name(origin), scope)

    def _is_ours(self, name: str, scope: Scope) -> bool:
        if name in _LOCAL or name == bound(scope):
            return True
        return any(
            name == allowed or (allowed.startswith("*.") and name.endswith(allowed[1:]))
            for allowed in map(str.lower, self.rules.hosts)
        )

    async def _body(
        self, scope: Scope, headers: dict[str, str], receive: Receive, take: Callable[[int], None]
    ) -> Receive:
        """Check what a request brings before anything reads it, and return how to read it."""
        path, visitor, length = scope["path"], scope[VISITOR], _length(headers)
        kind = headers.get("content-type", "")
        if path == _UPLOAD:
            self._count(self._uploaded, visitor, self.rules.uploads_a_minute)
            most, room = self.rules.upload_bytes, self.room()
            large = f"The upload is larger than {most >> 20:,} MB: send less at a time."
            refused = Refused(413, large)
            if room < most:
                refused = Refused(507, "There is no room for uploads now: try again in an hour.")
            return files_alone(metered(receive, min(most, room), length, refused), kind)
        if _VERB.fullmatch(path):
            self._check_share(scope)
            if not kind.startswith("application/json"):
                large = f"A picture may have {PICTURE_BYTES >> 20} MB."
                sent = metered(receive, PICTURE_BYTES, length, Refused(413, large))
                return form(sent, kind, take)
            return replayed(await read_question(receive, length, take, VALUES), receive)
        if path in _LOGIN:
            self._count(self._guesses, visitor, self.rules.guesses_a_minute)
            return metered(receive, 1 << 16, length, Refused(413, "That is no name and password."))
        if _ASKING.fullmatch(path):
            self._check_share(scope)
        if not kind.startswith("application/json"):
            raise Refused(415, "Send the question as JSON (Content-Type: application/json).")
        body = await read_question(receive, length, take)
        if path in _QUIET and _NAMELESS.search(body):
            # The page ends a question before it has heard its name: gradio takes that for no body.
            raise Refused(200, "It had no name yet.")
        scope[BYTES] = len(body)
        return replayed(body, receive)

    def _check_share(self, scope: Scope) -> None:
        visitor, rules = scope[VISITOR], self.rules
        most = rules.key_questions_a_minute if scope.get(KEYED) else rules.questions_a_minute
        self._count(self._asked, visitor, most)
        scope[FURTHER] = partial(self._asked.take, visitor, most)
        # Those of the page's line, and those over plain HTTP, which are their open requests.
        waiting, held = Counter(self._programs), Counter[str]()
        for who, size in self.in_work():
            waiting[who] += 1
            held[who] += size
        # This one is counted already where it comes over plain HTTP.
        if waiting[visitor] - bool(_VERB.fullmatch(scope["path"])) >= rules.in_work:
            raise Refused(
                429,
                f"{rules.in_work} of your questions are waiting already: wait for their"
                " answers, then ask on.",
            )
        self._held.check(visitor, held)

    def _guess(self, address: str, right: bool) -> None:
        """Count a wrong key; who has sent many is not told either that one is right."""
        if not right or self._guesses.of(address) > self.rules.guesses_a_minute:
            self._count(self._guesses, address, self.rules.guesses_a_minute)

    @staticmethod
    def _count(counts: Counts, visitor: str, most: int) -> None:
        if most and counts.add(visitor) > most:
            raise Refused(429, "That was very often within a minute: wait a little, then go on.")


def visitor_of(request: Any) -> str:
    """Return who asks, as the gate found it, or "" where there was no gate.

    Args:
        request: gradio's, of an event.
    """
    inner = getattr(request, "request", None)
    return str(getattr(inner, "scope", {}).get(VISITOR, ""))


def request_id_of(request: Any) -> str:
    """Return the name of an event's request, "" where there was no gate.

    Args:
        request: gradio's, of an event.
    """
    inner = getattr(request, "request", None)
    return str(getattr(inner, "scope", {}).get(REQUEST_ID, ""))


def mark_refused(request: Any) -> None:
    """Say that an event is refused and nothing of ours failed: gradio answers both with 500.

    Args:
        request: gradio's, of the event.
    """
    inner = getattr(request, "request", None)
    if inner is not None:
        inner.scope[REFUSED] = True


def _headers(scope: Scope) -> dict[str, str]:
    """Return a request's headers; of one that is there twice, all values."""
    found: dict[str, str] = {}
    for name, value in scope.get("headers", ()):
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _length(headers: dict[str, str]) -> int | None:
    text = headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) < 20 else None
