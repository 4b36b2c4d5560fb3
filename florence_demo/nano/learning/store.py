"""What a training leaves on the disk: checkpoints to go on from, and the folder that is shipped.

Knows that a run may be killed at any moment, so that every file appears whole or not at all. Does
not know how the weights were found.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import Florence2ForConditionalGeneration, Florence2Processor

from florence_demo.errors import CheckpointError

CHECKPOINT = "checkpoint.pt"
PROCESSOR = "processor"
LOG = "log.jsonl"
HEADS = "training_heads.safetensors"


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
        # A tied weight is stored once; copies would make the file a fifth larger.
        tied = set(model.all_tied_weights_keys)
        weights = {
            k: v.detach().half().contiguous()
            for k, v in model.state_dict().items()
            if k not in tied
        }
        model.save_pretrained(fresh, state_dict=weights)
        config = json.loads((fresh / "config.json").read_text())
        config["dtype"] = "float16"
        (fresh / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        model.generation_config.save_pretrained(fresh)
        processor.save_pretrained(fresh)
        for path in fresh.iterdir():
            path.chmod(0o644)
            shutil.move(path, folder / path.name)


@dataclass(frozen=True, eq=False)
class Shipped:
    """Hold what a shipped folder lets a training go on with.

    Attributes:
        learner: Weights of model and throw-away heads, by their names in the learner.
        progress: Steps, pictures, pairs and seconds so far.
    """

    learner: dict[str, torch.Tensor]
    progress: tuple[int, int, int, float]


def save_training(folder: Path, state: dict[str, Any]) -> None:
    """Write beside a shipped model the throw-away heads and how far its training has come."""
    heads = {
        k: v.half().contiguous() for k, v in state["learner"].items() if not k.startswith("model.")
    }
    progress = {k: str(state[k]) for k in ("step", "pictures", "pairs", "seconds")}
    save_file(heads, folder / HEADS, metadata=progress)


def load_shipped(folder: Path) -> Shipped:
    """Return the weights of a shipped folder, so that a training can go on from them.

    Raises:
        CheckpointError: The folder holds no model with its heads.
    """
    try:
        model = load_file(folder / "model.safetensors")
        heads = load_file(folder / HEADS)
        with safe_open(folder / HEADS, "pt") as file:
            said = file.metadata()
    except OSError as exc:
        raise CheckpointError(f"{folder} holds no model to go on from: {exc}.") from exc
    weights = {f"model.{k}": v.float() for k, v in model.items()}
    weights |= {k: v.float() if v.is_floating_point() else v for k, v in heads.items()}
    steps, pictures, pairs = (int(said[k]) for k in ("step", "pictures", "pairs"))
    return Shipped(weights, (steps, pictures, pairs, float(said["seconds"])))


def log(out: Path, row: dict[str, Any]) -> None:
    """Add a row to the log."""
    out.mkdir(parents=True, exist_ok=True)
    line = json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
    with (out / LOG).open("a") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())
