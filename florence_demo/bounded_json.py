"""Read a stranger's JSON within bounds: bytes, depth, number of values, numbers that are numbers.

Knows JSON (RFC 8259) and what reading it costs. Does not know what the values mean. Everything is
counted before a parser sees it, because a parsed value takes up to a hundred times its text, and
the parser holds the interpreter while it works.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class JsonLimits:
    """Hold what a stranger's JSON may cost.

    Attributes:
        max_bytes: Largest text, in bytes.
        max_values: Most values in it: members, elements and the containers themselves.
        max_depth: Most containers within each other.
    """

    max_bytes: int = 1 << 20
    max_values: int = 100_000
    max_depth: int = 32


# A whole string (its brackets are text), or one sign of the structure. A string without an end goes
# to the end of the text, so that each byte is looked at once.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_BOM = b"\xef\xbb\xbf"


def parse_json(data: bytes, limits: JsonLimits = JsonLimits()) -> Any:
    """Return the value of a JSON text.

    Args:
        data: The text in UTF-8, with or without a byte order mark.
        limits: What it may cost.

    Raises:
        ValueError: It is no JSON, exceeds a limit, or holds a number that is none (NaN, infinite)
            or half of a character. The message is the end of a sentence: "is larger than 1 MB".
    """
    if len(data) > limits.max_bytes:
        raise ValueError(f"is larger than {_size(limits.max_bytes)}")
    data = data.removeprefix(_BOM)
    _count(data, limits)
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_number, parse_float=_number)
    except (json.JSONDecodeError, UnicodeDecodeError) as exc:
        raise ValueError(f"is not valid JSON ({_brief(exc)})") from exc
    except ValueError as exc:
        if "digits" not in str(exc):  # of _number
            raise
        raise ValueError("holds a number of thousands of digits") from exc
    if _SURROGATE.search(data):
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as exc:
            raise ValueError("holds half of a character (a lone surrogate)") from exc
    return value


def load_json(path: Path, limits: JsonLimits = JsonLimits()) -> Any:
    """Return the value of a JSON file; no more of it is read than the limits allow.

    Raises:
        ValueError: As for ``parse_json``.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return parse_json(file.read(limits.max_bytes + 1), limits)


def _count(data: bytes, limits: JsonLimits) -> None:
    depth, values = 0, 1
    for found in _TOKEN.finditer(data):
        sign = found[0]
        if sign in b"[{":
            depth += 1
            values += 1
            if depth > limits.max_depth:
                raise ValueError(f"is nested deeper than {limits.max_depth} levels")
        elif sign in b"]}":
            depth -= 1
        elif sign == b",":
            values += 1
        if values > limits.max_values:
            raise ValueError(f"holds more than {limits.max_values:,} values")


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"holds {text[:20]}, which is no number")
    return number


def _brief(exc: ValueError) -> str:
    if isinstance(exc, json.JSONDecodeError):
        return f"line {exc.lineno}: {exc.msg}"
    return "it is not in UTF-8"


def _size(count: int) -> str:
    return f"{count >> 20} MB" if count >= 1 << 20 else f"{count:,} bytes"
