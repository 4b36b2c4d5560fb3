"""What a training leaves on the disk: checkpoints to go on from, and the folder that is shipped.

Knows that a run may be killed at any moment, so that every file appears whole or not at all. Does
not know how the weights were found.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import Florence2ForConditionalGeneration, Florence2Processor

CHECKPOINT = "checkpoint.pt"
PROCESSOR = "processor"
LOG = "log.jsonl"


def save_checkpoint(out: Path, state: dict[str, Any]) -> None:
    """Write the state of a training; an interruption leaves the one before."""
    out.mkdir(parents=True, exist_ok=True)
    partial = out / (CHECKPOINT + ".partial")
    torch.save(state, partial)
    partial.replace(out / CHECKPOINT)


def load_checkpoint(out: Path) -> dict[str, Any] | None:
    """Return the latest state of a training, or nothing."""
    path = out / CHECKPOINT
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def save_folder(
    folder: Path, model: Florence2ForConditionalGeneration, processor: Florence2Processor
) -> None:
    """Write a folder that transformers opens: fp16 weights, configuration, processor.

    A README.md that lies there stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        fresh = Path(name)
        weights = {k: v.detach().half().contiguous() for k, v in model.state_dict().items()}
        model.save_pretrained(fresh, state_dict=weights)
        config = json.loads((fresh / "config.json").read_text())
        config["dtype"] = "float16"
        (fresh / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        model.generation_config.save_pretrained(fresh)
        processor.save_pretrained(fresh)
        for path in fresh.iterdir():
            path.chmod(0o644)
            shutil.move(path, folder / path.name)


def log(out: Path, row: dict[str, Any]) -> None:
    """Add a row to the log."""
    out.mkdir(parents=True, exist_ok=True)
    line = json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
    with (out / LOG).open("a") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())
