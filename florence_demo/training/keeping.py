"""The checkpoints of a run: what they are called, which one is the newest, how many are kept.

Knows folders. Does not know what the Trainer writes into them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from florence_demo.bounded_json import load_json
from florence_demo.files import write_json

COMPLETE = "complete"
"""An empty file written last into a checkpoint: without it, a kill cut the writing short."""
PROGRESS = "progress.json"
"""Where a run is at a checkpoint: its step, and the loss of the epoch so far."""

_NAMES = re.compile(r"(?:checkpoint|epoch)-(\d+)")


def name_of(step: int, epoch: float | None) -> str:
    """Return what a checkpoint is called: by its epoch where it is the end of one."""
    ended = epoch is not None and epoch >= 1 and abs(epoch - round(epoch)) < 1e-6
    return f"epoch-{round(epoch or 0)}" if ended else f"checkpoint-{step}"


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint of a run, None where there is none."""
    return max(_whole(folder), key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """Return the step at which a whole checkpoint was written."""
    if checkpoint.name.startswith("checkpoint-"):
        return int(checkpoint.name.rpartition("-")[2])
    return int(progress(checkpoint).get("step", 0))


def progress(checkpoint: Path) -> dict[str, Any]:
    """Return where a run was at a checkpoint; nothing where an older version wrote it."""
    try:
        found = load_json(checkpoint / PROGRESS)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def finish(written: Path, name: str, where: dict[str, Any]) -> Path:
    """Give a checkpoint its name, mark it as whole at the very end, and return it."""
    final = written.with_name(name)
    write_json(written / PROGRESS, where)
    if final != written:
        shutil.rmtree(final, ignore_errors=True)
        written.rename(final)
    (final / COMPLETE).touch()
    return final


def drop_oldest(folder: Path, keep: int | None, protected: Collection[Path]) -> None:
    """Delete checkpoints until so many are left, the oldest first.

    Args:
        folder: Where they are.
        keep: How many stay; None keeps all.
        protected: Those that stay whatever it says; the newest does too.
    """
    if keep is None:
        return
    found = sorted(_whole(folder), key=step_of)
    going = [path for path in found[:-1] if path not in protected]
    for path in going[: max(0, len(found) - keep)]:
        # First, so that one that is half gone does not count as whole.
        (path / COMPLETE).unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)


def _whole(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [p for p in folder.iterdir() if _NAMES.fullmatch(p.name) and (p / COMPLETE).exists()]
