"""A quicker start: no stubs for editors.

Each time it is imported, gradio parses the source of every component and writes a ``.pyi`` file
beside it, for people who write components in an editor: half of the time until the page answers.
Must be used before gradio is imported, so it knows nothing of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def no_stubs() -> Iterator[None]:
    """Let gradio take components for classes without a source file, which get no stub."""
    usual = inspect.getfile

    def getfile(thing: Any) -> str:
        if type(thing).__module__ == "gradio.component_meta":
            raise OSError("no stub is wanted")
        return usual(thing)

    inspect.getfile = getfile  # type: ignore[assignment]
    try:
        yield
    finally:
        inspect.getfile = usual
