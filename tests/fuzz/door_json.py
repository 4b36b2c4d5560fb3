"""The door for JSON: ``parse_json``, which all of a stranger's JSON goes through."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from florence_demo.bounded_json import parse_json
from tests.fuzz.doors import Door, Drive
from tests.fuzz.mutations import NUMBERS, TEXTS, bent_bytes, bent_value, dump
from tests.fuzz.oracle import Breach, Refused

_HONEST = (
    {
        "model_type": "florence2",
        "text_config": {"d_model": 16, "dropout": 0.1},
        "names": ["a", "é"],
    },
    [{"image": "a.png", "prefix": "<OD>", "suffix": "cat<loc_1>"}, None, True, -0.5, 1e10, ""],
    {"weight_map": {f"layers.{i}.weight": "model.safetensors" for i in range(20)}},
)


@contextmanager
def opened(_folder: Path) -> Iterator[Drive]:
    """Read JSON as the app does."""

    def drive(data: bytes) -> None:
        try:
            value = parse_json(data)
        except ValueError as exc:
            raise Refused(f"config.json {exc}.") from exc
        try:
            json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as exc:
            raise Breach(f"it was read, but cannot be written again: {exc}") from exc

    for value in _HONEST:
        drive(json.dumps(value).encode())
    yield drive


def corpus() -> dict[str, Callable[[], bytes]]:
    """Texts that are deep, wide, endless, or hardly JSON at all."""
    million = 1_000_000
    texts: dict[str, Callable[[], bytes]] = {
        "nothing": lambda: b"", "a BOM": lambda: b"\xef\xbb\xbf",
        "two BOMs": lambda: b"\xef\xbb\xbf" * 2 + b"{}",
        "UTF-16": lambda: '{"a": 1}'.encode("utf-16"),
        "UTF-32": lambda: '{"a": 1}'.encode("utf-32"), "Latin-1": lambda: b'{"a": "\xe9"}',
        "an overlong sign": lambda: b'"\xc0\xaf"', "NUL": lambda: b"\0",
        "half a character": lambda: b'"\\ud800"',
        "half a character in a key": lambda: b'{"\\udc00": 1}',
        "halves in the wrong order": lambda: b'"\\udc00\\ud800"',
        "a whole one": lambda: b'"\\ud83d\\ude00"',
        "half behind a backslash": lambda: b'"\\\\ud800"',
        "half in UTF-8": lambda: b'"\xed\xa0\x80"', "half in capitals": lambda: b'"\\uDFFF"',
        "NaN": lambda: b"NaN", "-Infinity": lambda: b"[-Infinity]", "1e999": lambda: b"[1e999]",
        "-1e999": lambda: b'{"a": -1E+999}', "1e-999": lambda: b"1e-999",
        "5,000 digits": lambda: b"9" * 5000,
        "5,000 digits behind a point": lambda: b"0." + b"9" * 5000,
        "a million digits": lambda: b"-" + b"9" * (million - 2),
        "deep lists": lambda: b"[" * 33 + b"]" * 33, "a million brackets": lambda: b"[" * million,
        "a million of both": lambda: b"[]" * (million // 2),
        "brackets in a string": lambda: b'"' + b"[" * million + b'"',
        "objects": lambda: b'{"a":' * 200_000, "braces": lambda: b"{" * million,
        "closing": lambda: b"]" * million, "commas": lambda: b"," * million,
        "a list of nulls": lambda: b"[" + b"null," * 200_000 + b"null]",
        "ones": lambda: b"[" + b"1," * 99_998 + b"1]",
        "keys": lambda: b"{" + b",".join(b'"%d":0' % i for i in range(90_000)) + b"}",
        "the same key": lambda: b"{" + b",".join([b'"a":{"a":0}'] * 60_000) + b"}",
        "keys that collide": lambda: dump({str(i * (2**61 - 1)): 0 for i in range(25_000)}),
        "backslashes": lambda: b'"' + b"\\" * (million - 1) + b'"',
        "quotes": lambda: b'"' * million, "escaped quotes": lambda: b'\\"' * (million // 2),
        "an open string": lambda: b'"' + b"x" * million,
        "open strings": lambda: b'"\\' * (million // 2),
        "escapes": lambda: b'"' + b"\\u0041" * 170_000 + b'"',
        "spaces": lambda: b" " * million + b"1", "more than is read": lambda: b" " * 3 * million,
        "a comment": lambda: b"{/**/}", "a trailing comma": lambda: b"[1,]",
        "single quotes": lambda: b"{'a': 1}", "JavaScript": lambda: b"{a: undefined}",
        "hexadecimal": lambda: b"0x10", "an octal": lambda: b"010", "a plus": lambda: b"+1",
        "a control sign": lambda: b'"\n"', "two values": lambda: b"{} {}",
        "YAML": lambda: b"a: &a [*a]", "a pickle": lambda: b"\x80\x04N.",
        "escapes cut off": lambda: b'"\\u00', "an odd escape": lambda: b'"\\x41"',
        "Arabic digits": lambda: "٣".encode(), "a deep tail": lambda: b"1" + b"]" * 99,
        "a string of escapes and a half": lambda: dump("\ud83d\ude00" * 80_000 + "\ud83d"),
    }  # fmt: skip
    for i, value in enumerate((*NUMBERS, *TEXTS)):
        texts[f"value {i}"] = lambda value=value: dump({"a": value})
    return texts


def inputs() -> st.SearchStrategy[bytes]:
    """Honest JSON with values or bytes bent."""
    honest: st.SearchStrategy[Any] = st.sampled_from(_HONEST)
    signs = st.lists(
        st.sampled_from(
            [b"[", b"]", b"{", b"}", b'"', b"\\", b",", b":", b"1", b"e9", b"\\u", b"d800", b" "]
        )
    )
    return st.one_of(
        bent_value(honest).map(dump),
        bent_bytes(honest.map(dump)),
        signs.map(b"".join),
        st.binary(max_size=50),
    )


_QUICK = (
    "a million brackets",
    "objects",
    "keys that collide",
    "half a character",
    "NaN",
    "1e999",
    "a million digits",
    "backslashes",
    "two BOMs",
)
"""One of each kind, small enough for every run of the tests."""

DOOR = Door("json", corpus, inputs, opened, _QUICK)
