"""The door for programs: the page's HTTP interface, with any bodies, files, addresses and headers.

An input is a list of steps in JSON, so that it can be read and handed in again:

* ``{"call": name, "data": [...]}``: ask through ``/call`` and wait for the answer;
* ``{"join": body}``, ``{"run": name, "body": body}``: through the queue as a browser, or past it;
* ``{"upload": name, "base64": ...}``: send a file; later steps know it as ``@UPLOADED@``;
* ``{"method": ..., "path": ..., "headers": [...], "text" or "base64" or "repeat": ...}``: anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.bent_api import bent_requests
from tests.fuzz.doors import Door, Drive
from tests.fuzz.http_client import Reply
from tests.fuzz.make_api import corpus_of
from tests.fuzz.make_requests import packed
from tests.fuzz.oracle import Breach, Refused, bare, brief, leak_in, sign_of, wrong_with
from tests.fuzz.served import API, PICTURE, Served, Step, file_at, question, served

_STATUS = re.compile(r"4\d\d: [A-Z][A-Za-z ]+")
_EVIL = ("evil.example", "null", "rebind.test")
_OFTEN = 20
_NOW: list[Served] = []


@contextmanager
def opened(folder: Path) -> Iterator[Drive]:
    """Serve the page, and ask it an honest question now and then."""
    with served(folder) as page:
        _NOW[:] = [page]
        count = 0

        def drive(data: bytes) -> None:
            nonlocal count
            count += 1
            with page.guard.watching():
                try:
                    _all_steps(page, data)
                finally:
                    page.guard.check()
            if count % _OFTEN == 0:
                _honest_question(page)

        for event in page.events:
            # What it imports and starts at first is not the strangers' doing.
            _joined(page, {"data": event.data, "fn_index": event.number, "session_hash": "first"})
        for _ in range(3):
            _honest_question(page)
        yield drive


def last() -> bytes:
    """An honest question: whatever came before, it must be answered."""
    return packed(question(file_at(PICTURE)))


def _honest_question(page: Served) -> None:
    reply = _step(page, question(file_at(PICTURE)))
    if b"3 objects" not in reply.body:
        raise Breach(
            "an honest question is not answered any more", f"{reply.status} {reply.body[:300]!r}"
        )


def _all_steps(page: Served, data: bytes) -> None:
    plan, known = json.loads(data), page.filled(data.decode()).encode()
    if "twins" in plan:
        return _alike(page, plan["twins"], known)
    if data == last():
        return _honest_question(page)
    refused = ""
    for step in plan["steps"]:
        reply = _step(page, step)
        refused = _refusal(reply, known) or refused
        _check_names(step, reply)
    if refused:
        raise Refused(refused, known)
    return None


def _alike(page: Served, steps: list[Step], known: bytes) -> None:
    """Two inputs that differ in a name alone must be told the same, or the answer tells of it."""
    said = []
    for step in steps:
        reply = _step(page, step)
        said.append(f"{reply.status} {bare(_refusal(reply, known) or 'done')}")
    if len(set(said)) > 1:
        raise Breach("the answer tells what is on this machine", " | ".join(said)[:600])


def _step(page: Served, step: Step) -> Reply:
    if "call" in step:
        return _queued(page, step["call"], {"data": step["data"]})
    if "join" in step:
        return _joined(page, step["join"])
    if "run" in step:
        return page.post(f"{API}/run/{step['run']}", _dumped(page, step["body"]))
    if "upload" in step:
        return page.upload(step["upload"], page.body_of(step))
    headers = [(str(name), str(value)) for name, value in step.get("headers", ())]
    body, length = [page.body_of(step)], len(page.body_of(step))
    if "repeat" in step:
        head, unit, times, tail = step["repeat"]
        body = _repeated(
            page.filled(head).encode(), unit.encode(), times, page.filled(tail).encode()
        )
        length = sum(map(len, body))
    told = {name.lower() for name, _ in headers}
    if length and not told & {"content-length", "transfer-encoding"}:
        headers.append(("Content-Length", str(length)))
    endless = "heartbeat" in step["path"] or "queue/data" in step["path"]
    until = (b"event: ", b"data: ") if endless else ()
    method, path = step.get("method", "POST"), page.filled(step["path"])
    return page.request(method, path, headers, body, until=until)


def _queued(page: Served, name: str, body: Any) -> Reply:
    first = page.post(f"{API}/call/{name}", _dumped(page, body))
    told = first.json()
    if first.status != 200 or not isinstance(told, dict) or "event_id" not in told:
        return first
    return page.request("GET", f"{API}/call/{name}/{told['event_id']}")


def _joined(page: Served, body: Any) -> Reply:
    first = page.post(f"{API}/queue/join", _dumped(page, body))
    session = body.get("session_hash") if isinstance(body, dict) else None
    if first.status != 200 or not isinstance(session, str) or not re.fullmatch(r"\w+", session):
        return first
    return page.listen(session, first.json()["event_id"])


def _dumped(page: Served, value: Any) -> bytes:
    return page.filled(json.dumps(value)).encode()


def _repeated(head: bytes, unit: bytes, times: int, tail: bytes) -> list[bytes]:
    """The pieces of a long body; most of them are one and the same piece."""
    block = max(1, (1 << 16) // max(1, len(unit)))
    whole, rest = divmod(times, block)
    return [head, *[unit * block] * whole, unit * rest, tail]


def _refusal(reply: Reply, given: bytes) -> str:
    """Return why a reply is a refusal, "" where it is none.

    Raises:
        Breach: It is an error of the server, or one without a word.
    """
    said = reply.body.decode(errors="replace")
    if reply.status == 0:
        raise Breach("the server closed the connection without an answer")
    if reply.status >= 500 and not (reply.status == 503 and said.strip()):
        raise Breach(f"status {reply.status} {bare(said)[:60]}", said[:300])
    # Where its own file lies is told to whoever sent it, and gradio's page tells of its objects.
    leak = leak_in(said, given) if reply.status >= 400 else ""
    if leak or "Traceback (most recent" in said:
        raise Breach(f"{leak or 'a traceback'} in an answer", said[:300])
    if reply.status >= 400:
        return f"{reply.status}: {_detail(reply)[:200]}."
    sentence = _error(said)
    if sentence is None:
        return ""
    if isinstance(sentence, str) and _STATUS.fullmatch(sentence):
        return f"{sentence}."  # HTTP's own words, told in a stream that had begun already
    if not isinstance(sentence, str):
        raise Breach("an error without a word", said.strip()[-200:])
    problem = wrong_with(sentence, given)
    if problem:
        raise Breach(sign_of(problem, sentence), brief(sentence))
    return sentence


def _detail(reply: Reply) -> str:
    told = reply.json()
    detail = (
        told.get("detail", told.get("error", ""))
        if isinstance(told, dict)
        else reply.body.decode(errors="replace")
    )
    if isinstance(detail, list):
        detail = "; ".join(str(each.get("type", "")) for each in detail if isinstance(each, dict))
    return str(detail)


def _error(said: str) -> Any:
    """Return what an event of an error says, None where there is no such event."""
    at = said.rfind("event: error")
    if at >= 0:
        return _word(said[at:].partition("data: ")[2])
    if said.startswith("data: "):
        last = _loaded(said.rstrip().rpartition("data: ")[2])
        if isinstance(last, dict) and last.get("msg") == "unexpected_error":
            return last.get("message") or 0
        if (
            isinstance(last, dict)
            and last.get("msg") == "process_completed"
            and not last.get("success")
        ):
            return _word(json.dumps(last.get("output")))
    return None


def _word(text: str) -> Any:
    told = _loaded(text.strip().splitlines()[0] if text.strip() else "")
    told = told.get("error") if isinstance(told, dict) else told
    return 0 if told is None else told


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _check_names(step: Step, reply: Reply) -> None:
    """A foreign name is not served, and a foreign page is not let in."""
    headers = {str(name).lower(): str(value) for name, value in step.get("headers", ())}
    host, origin = headers.get("host", ""), headers.get("origin", "")
    if any(name in host for name in _EVIL) and reply.status < 400:
        raise Breach("the page is served under a foreign name", repr(host))
    allowed = reply.headers.get("access-control-allow-origin", "")
    let_in = any(name in origin for name in _EVIL) and allowed in (origin, "*")
    if let_in and (allowed != "*" or "access-control-allow-credentials" in reply.headers):
        raise Breach("a foreign page is let in", repr(origin))


def corpus() -> dict[str, Callable[[], bytes]]:
    """Requests of each kind, for the page that is served now."""
    return corpus_of(_NOW[0].events)


def inputs() -> st.SearchStrategy[bytes]:
    """Honest requests to the page that is served now, bent."""
    return bent_requests(_NOW[0].events)


_QUICK = (
    "the file 0 to page_ask",
    "the file 0 as a file to page_ask",
    "the file other 17 to page_ask",
    "page_ask is 8",
    "caption is 7",
    "picture 9",
    "/v1/ask text 3",
    "/v1/detect picture 40",
    "the form 2",
    "page_ask is 33",
    "the host 0",
    "the host 2",
    "the origin 0",
    "the body 10",
    "the body 2",
    "fetch 0",
    "fetch 9",
    "alike: a path 0",
    "follow with events",
    "pick with events",
    "4 MB of empty lists to /gradio_api/call/ask",
    "a picture called 13",
    "asked about HEIC cut off",
)
"""One of each kind, small enough for every run of the tests."""

DOOR = Door("api", corpus, inputs, opened, _QUICK, last)
