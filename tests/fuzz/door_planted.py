"""A door that is broken in every way that the fuzzer must notice: for the fuzzer's own tests."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

from florence_demo.errors import InputError
from tests.fuzz.doors import Door, Drive
from tests.fuzz.guards import Guard
from tests.fuzz.oracle import SECRET

SENTENCES = {
    "no end": "This is no picture", "no words": " ",
    "our side": "Something went wrong on our side.",
    "a path": f"{tempfile.gettempdir()}/a is no picture.", "too long": "a " * 400 + ".",
    "half": "“\ud800” is no picture.", "an address": "<object at 0x7f0123456789> is odd.",
    "a traceback": "Traceback: no.",
}  # fmt: skip


@contextmanager
def opened(_folder: Path) -> Iterator[Drive]:
    """Do what the input says."""
    guard = Guard()

    def drive(data: bytes) -> None:
        word = data.decode()
        with guard.watching():
            if word in SENTENCES:
                raise InputError(SENTENCES[word])
            _BROKEN.get(word, lambda: None)()
        guard.check()

    yield drive


def _raise() -> None:
    raise KeyError("a bug")


def _panic() -> None:
    raise BaseException("a panic in Rust")


def _hang() -> None:
    while True:
        time.sleep(1)


def _grow() -> None:
    bytearray(700_000_000)


def _look() -> None:
    Path(SECRET).read_bytes()


def _say_no() -> None:
    raise InputError("This is no picture: choose another one.")


_BROKEN: dict[str, Callable[[], object]] = {
    "a bug": _raise, "a panic": _panic, "a hang": _hang, "a death": lambda: os._exit(9),
    "much memory": _grow, "a look": _look,
    "a program": lambda: subprocess.run(["true"], check=True), "no": _say_no,
}  # fmt: skip


def corpus() -> dict[str, Callable[[], bytes]]:
    """Every way, and one that is fine."""
    return {name: lambda name=name: name.encode() for name in ("fine", *SENTENCES, *_BROKEN)}


def inputs() -> st.SearchStrategy[bytes]:
    """Words that do nothing, and now and then a bug."""
    return st.sampled_from([b"fine", b"fine too", b"a bug"])


DOOR = Door("planted", corpus, inputs, opened, ("fine",))
