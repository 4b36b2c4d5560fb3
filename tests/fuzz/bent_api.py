"""Honest requests to the page, bent in their values, their bodies, their bytes or their headers."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.make_api import ADDRESSES, files, ways
from tests.fuzz.make_requests import HOSTS, KINDS, ORIGINS, packed, raw
from tests.fuzz.mutations import NUMBERS, TEXTS, Draw, among, bent_bytes, bent_value, just, values
from tests.fuzz.served import API, PICTURE, Event

_KEYS = (
    "path", "meta", "url", "data", "fn_index", "session_hash", "event_data", "trigger_id",
    "event_id", "batched", "simple_format", "box", "size", "orig_name", "_type", "index",
)  # fmt: skip
_HEADERS = (
    "Host", "Origin", "Cookie", "X-Forwarded-Host", "Range", "Content-Type", "x-gradio-user",
    "Connection",
)  # fmt: skip


def bent_requests(events: Sequence[Event]) -> st.SearchStrategy[bytes]:
    """Bent requests to the handlers of a page."""
    event = among(events)
    return st.one_of(
        _calls(event), _calls(event), _bodies(event), _bodies(event), _bytes(event), _headers()
    )


def _values() -> st.SearchStrategy[Any]:
    known = [*files().values(), *NUMBERS, *TEXTS, *ADDRESSES]
    return among(known) | values()


@st.composite
def _calls(draw: Draw, event: st.SearchStrategy[Event]) -> bytes:
    """A question with other values, on any of the ways to a handler."""
    chosen = draw(event)
    data = draw(bent_value(just(chosen.data), keys=_KEYS, value=_values()))
    found = [step for _, step in ways(chosen, data if isinstance(data, list) else [data])]
    return packed(draw(among(found)))


@st.composite
def _bodies(draw: Draw, event: st.SearchStrategy[Event]) -> bytes:
    """A body with other members, to any of the routes that take one."""
    chosen = draw(event)
    body = {
        "data": chosen.data, "fn_index": chosen.number, "session_hash": "fuzz", "trigger_id": 1,
        "event_data": {"index": 0},
    }  # fmt: skip
    body = draw(bent_value(just(body), keys=_KEYS, value=_values()))
    name = chosen.name or "page_ask"
    routes = ("call", "run", "call/v2")
    paths = [f"{route}/{name}" for route in routes] + ["component_server", "cancel", "stream/x"]
    path = draw(st.sampled_from(["queue/join", *paths]))
    if path == "queue/join":
        return packed({"join": body})
    kind = draw(st.sampled_from(KINDS[:1] * 20 + KINDS))
    return packed(raw(f"{API}/{path}", text=json.dumps(body), kind=kind))


@st.composite
def _bytes(draw: Draw, event: st.SearchStrategy[Event]) -> bytes:
    """A body of bent bytes."""
    chosen = draw(event)
    body = {"data": chosen.data, "fn_index": chosen.number, "session_hash": "b"}
    data = draw(bent_bytes(just(json.dumps(body).encode())))[:200_000]
    paths = ("queue/join", f"call/{chosen.name or 'page_ask'}", "upload", "component_server")
    path = f"{API}/{draw(st.sampled_from(paths))}"
    return packed(raw(path, base64=base64.b64encode(data).decode()))


@st.composite
def _headers(draw: Draw) -> bytes:
    """An ordinary request with odd headers, or an odd address."""
    plain = st.text(
        st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20
    )
    value = st.sampled_from(HOSTS + ORIGINS + KINDS) | plain
    given = draw(st.lists(st.tuples(st.sampled_from(_HEADERS), value).map(list), max_size=3))
    paths = ("/", "/config", f"{API}/info", f"{API}/call/page_ask", f"{API}/file={PICTURE}")
    path = draw(st.sampled_from(paths) | plain.map(lambda text: f"{API}/file={text}"))
    method = draw(st.sampled_from(("GET", "GET", "POST", "HEAD", "OPTIONS")))
    return packed({"method": method, "path": path, "headers": given})
