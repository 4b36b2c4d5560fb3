"""Measure how well a model tells its own kind of picture from photographs.

    python -m florence_demo.benchmark.familiarity PHOTOGRAPH [PHOTOGRAPH ...]

Prints one JSON object: the area under the ROC curve of the number that the page's notice goes by,
between drawn scenes and the photographs, and how often the notice appears on either side. Knows
features and counts. Does not know where photographs come from.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from florence_demo.engine.familiarity import Familiarity, Floats
from florence_demo.errors import CheckpointError
from florence_demo.models.catalogue import ASSETS
from florence_demo.models.loading import LoadedModel, load_model
from florence_demo.pictures.images import open_image

_BATCH = 10


def strangeness(loaded: LoadedModel, known: Familiarity, paths: Sequence[Path]) -> Floats:
    """Return how unlike the pictures that a model was trained on each picture is, (N,)."""
    found = []
    for at in range(0, len(paths), _BATCH):
        images = [open_image(path) for path in paths[at : at + _BATCH]]
        pixels = loaded.processor.image_processor(images=images, return_tensors="pt")
        with torch.inference_mode():
            features = loaded.model.get_image_features(pixel_values=pixels["pixel_values"])
        found.append(known.strangeness(features.pooler_output.numpy()))
    return np.concatenate(found)


def compared(scenes: Floats, photographs: Floats, limit: float) -> dict[str, float]:
    """Return how well a number tells photographs from scenes, and how often it passes a limit."""
    above = float((photographs[:, None] > scenes).mean())
    ties = float((photographs[:, None] == scenes).mean())
    return {
        "auroc": round(above + ties / 2, 4),
        "photographs": len(photographs),
        "photographs_noticed": round(float((photographs > limit).mean()), 4),
        "scenes": len(scenes),
        "scenes_noticed": round(float((scenes > limit).mean()), 4),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m florence_demo.benchmark.familiarity")
    parser.add_argument("photographs", type=Path, nargs="+")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--scenes", type=Path, default=ASSETS / "heldout")
    args = parser.parse_args(argv)
    loaded = load_model(args.model, device="cpu", dtype="fp32")
    known = Familiarity.load(loaded.folder, int(loaded.model.config.vision_config.projection_dim))
    if known is None:
        raise CheckpointError(f"{loaded.title} holds nothing to tell its own pictures by.")
    scenes = strangeness(loaded, known, sorted(args.scenes.glob("*.webp")))
    photographs = strangeness(loaded, known, args.photographs)
    print(json.dumps(compared(scenes, photographs, known.limit)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
