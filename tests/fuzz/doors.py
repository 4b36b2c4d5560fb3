"""What a door is: where strangers' bytes come in, what is sent there, and how it is opened."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from hypothesis.strategies import SearchStrategy

Drive = Callable[[bytes], None]
"""Hands one input in. Returns where it works, raises a FlorenceDemoError where it is refused, a
Breach where a promise is broken; whatever else it raises is a failure."""


@dataclass(frozen=True)
class Door:
    """Hold one door.

    Attributes:
        name: What the command calls it.
        corpus: Names and makers of hostile inputs, each of them handed in once as it is.
        inputs: What Hypothesis draws.
        open: Prepares the door in a folder of its own, warmed up, and lends what drives it.
        quick: Names of the inputs of the corpus that the short form hands in.
        last: Makes an honest input that must work after all others.
    """

    name: str
    corpus: Callable[[], dict[str, Callable[[], bytes]]]
    inputs: Callable[[], SearchStrategy[bytes]]
    open: Callable[[Path], AbstractContextManager[Drive]]
    quick: tuple[str, ...]
    last: Callable[[], bytes] | None = None


SUFFIXES = {
    "pictures": ".bin", "answers": ".json", "json": ".json", "data": ".zip", "checkpoints": ".zip",
    "adapters": ".zip", "api": ".json", "pages": ".pdf", "frames": ".mp4",
}  # fmt: skip
"""The doors, and the ending of a file that keeps an input for each."""
NAMES = tuple(SUFFIXES)


def door(name: str) -> Door:
    """Return a door; only what it needs is imported."""
    found: Door = importlib.import_module(f"tests.fuzz.door_{name}").DOOR
    return found
