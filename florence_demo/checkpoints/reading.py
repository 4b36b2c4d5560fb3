"""Read the JSON files of a stranger's folder without trusting their size, form or types.

Knows how large each kind of file may be. Does not know what the files are about.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from florence_demo.bounded_json import JsonLimits, load_json
from florence_demo.errors import CheckpointError, plain

log = logging.getLogger(__name__)

_INDEX = JsonLimits(4 << 20, 50_000, 4)

LIMITS = {
    "config.json": JsonLimits(1 << 20, 20_000, 16),
    "generation_config.json": JsonLimits(256 << 10, 5_000, 8),
    "adapter_config.json": JsonLimits(1 << 20, 20_000, 8),
    "preprocessor_config.json": JsonLimits(256 << 10, 5_000, 8),
    "processor_config.json": JsonLimits(256 << 10, 5_000, 8),
    "tokenizer.json": JsonLimits(8 << 20, 600_000, 16),
    "vocab.json": JsonLimits(4 << 20, 300_000, 2),
    "added_tokens.json": JsonLimits(1 << 20, 20_000, 2),
    "model.safetensors.index.json": _INDEX,
    "adapter_model.safetensors.index.json": _INDEX,
    "pytorch_model.bin.index.json": _INDEX,
    "adapter_model.bin.index.json": _INDEX,
}
"""The JSON files that are ever read; BART's tokenizer.json has 3.7 MB and 210,000 values."""

MERGES = "merges.txt"
MAX_MERGES = 4 << 20
"""Bytes of the merges of a tokenizer; BART's have 0.5 MB."""


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file of one of the known names.

    Raises:
        CheckpointError: If it is missing, costs more than its kind may, or is not an object.
    """
    try:
        value = load_json(path, LIMITS[path.name])
    except OSError as exc:
        raise CheckpointError(f"{path.name} cannot be read from {path.parent.name}.") from exc
    except ValueError as exc:
        raise CheckpointError(f"{path.name} in {path.parent.name} {exc}.") from exc
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
    return plain(lines[0].rstrip("."), 200)
