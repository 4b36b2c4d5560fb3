"""Ways to bend something honest: bytes, values of JSON, names of files.

Each is a Hypothesis strategy, so that a failure shrinks to few and small changes.
"""

from __future__ import annotations

import copy
import json
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[Any], Any]

NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 2, 3, 7, 255, 256, 3000, 65_535, 65_536, 100_000, 10**6, 10**8, 10**9, 2**31 - 1,
    2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**20, 10**400, -(2**31), -(2**63), 0.5,
    -0.0, 1e-300, 1e16, 1e300, -1e300, 5e-324, float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
"""Numbers at which something ends: types, memory, patience."""

TEXTS = (
    "", " ", "\0", "x", "nan", "1", "1e400", "٣", "None", "true", "../..", "/etc/passwd", "\ud800",
    "\udfff\ud800", "a\0b", "\r\n", "=1+1", "\u202e\u2066", "é" * 300, "x" * 70_000, "<loc_0>" * 50,
    "<image>", "</s><s>", "<img src=x onerror=alert(1)>", "${7*7}", "{{7*7}}", "%s%n", "\ufeff",
    "__class__", "𝕏" * 40, "\x1b[31m", "(a+)+$", "💥",
)  # fmt: skip
"""Texts that something takes for more than a text."""

NAMES = (
    "", ".", "..", "...", " ", "a ", "a.", "~", "~root", "-rf", "CON", "nul.png", "a:b", "C:a.png",
    "\\\\host\\a.png", "a\\..\\b.png", "/a.png", "//a.png", "../a.png", "a/../../b.png", "./a.png",
    "a//b.png", "a/./b.png", "a\0.png", "a\n.png", "a\r.png", "\u202egnp.a", "\uff41.png",
    "e\u0301.png", "é.png", "a#b", "a#b/c.png", "a?b", "a%2e%2e", "%2e%2e/a", "file:///etc/passwd",
    "x" * 255, "x" * 256 + ".png", "é" * 200 + ".png", "x/" * 200 + "a.png", "a.png/", ".hidden",
    "__MACOSX/a", "*", "<b>.png", "'\"`$(id).png", "a.PNG", "\ud800.png", "\ufffe.png",
    "https://127.0.0.1/a.png", "data:image/png;base64,AAAA", "/dev/zero", "/dev/stdin",
    "/proc/self/environ", "/proc/self/mem",
)  # fmt: skip
"""Names of files that lead elsewhere, or that a file system or a browser reads in its own way."""


def just(value: Any) -> st.SearchStrategy[Any]:
    """One value; Hypothesis does not print it, however large it is."""
    return st.none().map(lambda _: value)


def among(values: Sequence[Any]) -> st.SearchStrategy[Any]:
    """One of some values, which Hypothesis does not print."""
    return st.integers(0, len(values) - 1).map(lambda at: values[at])


odd_names = st.one_of(st.sampled_from(NAMES), st.text(max_size=20))


@st.composite
def bent_bytes(draw: Draw, honest: st.SearchStrategy[bytes], most: int = 8) -> bytes:
    """Bytes with some of them flipped, put in, taken out, doubled, or read as an absurd number."""
    data = bytearray(draw(honest))
    for _ in range(draw(st.integers(1, most))):
        _BENDS[draw(st.integers(0, len(_BENDS) - 1))](draw, data)
    return bytes(data)


def _at(draw: Draw, data: bytearray) -> int:
    # Headers lie at the ends: half of the changes go there.
    last = len(data)
    near = st.integers(0, min(last, 64))
    place: int = draw(st.one_of(near, st.integers(0, last)))
    return last - place if draw(st.integers(0, 7)) == 7 else place


def _flip(draw: Draw, data: bytearray) -> None:
    at = _at(draw, data)
    if at < len(data):
        data[at] ^= 1 << draw(st.integers(0, 7))


def _put(draw: Draw, data: bytearray) -> None:
    at = _at(draw, data)
    data[at:at] = draw(st.binary(min_size=1, max_size=16))


def _take(draw: Draw, data: bytearray) -> None:
    at = _at(draw, data)
    del data[at : at + draw(st.integers(1, 64))]


def _cut(draw: Draw, data: bytearray) -> None:
    del data[_at(draw, data) :]


def _double(draw: Draw, data: bytearray) -> None:
    at, size = _at(draw, data), draw(st.integers(1, 200))
    if len(data) > 2_000_000:
        return
    data[at:at] = bytes(data[at : at + size]) * draw(st.sampled_from([1, 2, 30, 500]))


def _number(draw: Draw, data: bytearray) -> None:
    at, code = _at(draw, data), draw(st.sampled_from("BHIQ"))
    value = draw(
        st.sampled_from([0, 1, 2, 127, 255, 256, 32_767, 65_535, 2**31 - 1, 2**32 - 1, 2**64 - 1])
    )
    packed = struct.pack(
        draw(st.sampled_from("<>")) + code, value % (1 << 8 * struct.calcsize(code))
    )
    data[at : at + len(packed)] = packed


def _swap(draw: Draw, data: bytearray) -> None:
    size = draw(st.sampled_from([1, 2, 4, 16]))
    one, other = _at(draw, data), _at(draw, data)
    if max(one, other) + size <= len(data) and abs(one - other) >= size:
        first, second = bytes(data[one : one + size]), bytes(data[other : other + size])
        data[one : one + size], data[other : other + size] = second, first


_BENDS = (_flip, _number, _put, _take, _double, _swap, _cut)


HUGE = (
    "@nest:40@",
    "@nest:5000@",
    "@nest:100000@",
    "@wide:30000@",
    "@digits:5000@",
    "@long:700000@",
)
"""Stand for values that are long as text, see ``expanded``."""

_STAND_IN = re.compile(r'"@(nest|deep|wide|digits|long):(\d+)@"')
_MAKERS: dict[str, Callable[[int], str]] = {
    "nest": lambda n: "[" * n + "]" * n,
    "deep": lambda n: '{"a":' * n + "0" + "}" * n,
    "wide": lambda n: "[" + "0," * n + "0]",
    "digits": lambda n: "9" * n,
    "long": lambda n: '"' + "x" * n + '"',
}


def expanded(text: str) -> str:
    """A JSON text with the values of ``HUGE`` written out: lists in lists, and the like."""
    return _STAND_IN.sub(lambda found: _MAKERS[found[1]](int(found[2])), text)


def dump(value: Any) -> bytes:
    """JSON as a stranger writes it: NaN, halves of characters and any depth included."""
    return expanded(json.dumps(value)).encode()


def values() -> st.SearchStrategy[Any]:
    """Values of JSON: those that hurt, and any others."""
    leaves = st.one_of(
        st.sampled_from(NUMBERS), st.sampled_from(TEXTS), st.none(), st.booleans(),
        st.integers(-10, 10), st.text(max_size=10), st.builds(list), st.builds(dict),
    )  # fmt: skip
    keys = st.sampled_from(("a", "path", "id", "", "__class__"))
    inside = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=8,
    )
    return st.one_of(leaves, leaves, inside, st.sampled_from(HUGE))


@st.composite
def bent_value(
    draw: Draw,
    honest: st.SearchStrategy[Any],
    most: int = 4,
    keys: Sequence[str] = (),
    value: st.SearchStrategy[Any] | None = None,
) -> Any:
    """A JSON value in which some inner values are replaced, removed, doubled or added.

    Args:
        draw: Hypothesis's.
        honest: What is bent.
        most: Most changes.
        keys: Names of members that may be added to any object in it.
        value: What is put in.
    """
    root = [copy.deepcopy(draw(honest))]
    value = values() if value is None else value
    for _ in range(draw(st.integers(1, most))):
        place = _place(draw, root)
        holder, key = place
        kind = draw(st.sampled_from(("replace", "replace", "add", "remove", "double")))
        inner = holder[key]
        if kind == "add" and keys and isinstance(inner, dict):
            inner[draw(st.sampled_from(keys))] = copy.deepcopy(draw(value))
        elif kind == "remove" and holder is not root:
            del holder[key]
        elif kind == "double" and isinstance(inner, list) and len(inner) < 100:
            holder[key] = inner * draw(st.sampled_from([2, 50]))
        else:
            holder[key] = copy.deepcopy(draw(value))  # what is put in is bent too
    return root[0]


def _place(draw: Draw, root: list[Any]) -> tuple[Any, Any]:
    """A list or an object somewhere in a value, and a key of it."""
    holder: Any = root
    key: Any = 0
    while True:
        inner = holder[key]
        inside: list[Any] = []
        if isinstance(inner, dict):
            inside = list(inner)
        elif isinstance(inner, list):
            inside = list(range(min(len(inner), 50)))
        if not inside or draw(st.integers(0, 3)) == 3:
            return holder, key
        holder, key = inner, draw(st.sampled_from(inside))
