"""Read the JSON files of a stranger's folder without trusting their size, form or types.

Knows JSON. Does not know what the files are about.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from florence_demo.errors import CheckpointError

log = logging.getLogger(__name__)

MAX_JSON = 64 << 20
"""Bytes of the largest JSON file read; the largest tokenizer.json in use has 4 MB."""


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's object.

    Raises:
        CheckpointError: If it is missing, too large or not an object.
    """
    try:
        if path.stat().st_size > MAX_JSON:
            raise CheckpointError(
                f"{path.name} has more than {MAX_JSON >> 20} MB; that is no JSON."
            )
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise CheckpointError(f"{path.name} cannot be read from {path.parent}.") from exc
    except (ValueError, RecursionError) as exc:
        raise CheckpointError(f"{path.name} in {path.parent.name} is not valid JSON.") from exc
    if not isinstance(value, dict):
        raise CheckpointError(f"{path.name} in {path.parent.name} is not a JSON object.")
    return value


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Say in one sentence what a stranger's JSON can make fail anywhere: words for numbers, say.

    Raises:
        CheckpointError: Where the block raises what values of wrong types raise.
    """
    try:
        yield
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError, IndexError) as exc:
        log.debug("in %s", folder, exc_info=True)
        raise CheckpointError(
            f"The JSON files of {folder.name} hold values that no Florence-2 has ({brief(exc)})."
        ) from exc
    except OSError as exc:
        raise CheckpointError(f"{folder.name} vanished or changed while it was read.") from exc


def brief(exc: Exception) -> str:
    """Return the first line of what an error says, to stand in brackets."""
    lines = str(exc).strip().splitlines() or [type(exc).__name__]
    return lines[0].rstrip(".")[:200]
