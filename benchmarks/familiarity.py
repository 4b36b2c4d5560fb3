"""How well the embedded model tells its own kind of picture from photographs.

    python -m benchmarks.familiarity PHOTOGRAPH [PHOTOGRAPH ...]

Prints one JSON object: the area under the ROC curve of the number that the page's notice goes by,
between the held-out scenes and the photographs, and how often the notice is right on each side.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from florence_demo.familiarity import Familiarity
from florence_demo.images import open_image
from florence_demo.models import ASSETS, load_model

BATCH = 10


def strangeness(loaded, known: Familiarity, paths: list[Path]) -> np.ndarray:
    """Return how unlike the pictures that the model was trained on each picture is, (N,)."""
    found = []
    for at in range(0, len(paths), BATCH):
        images = [open_image(str(p)).convert("RGB") for p in paths[at : at + BATCH]]
        pixels = loaded.processor.image_processor(images=images, return_tensors="pt")
        with torch.inference_mode():
            features = loaded.model.get_image_features(pixel_values=pixels["pixel_values"])
        found.append(known.strangeness(features.pooler_output.numpy()))
    return np.concatenate(found)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--scenes", type=Path, default=ASSETS / "heldout")
    args = parser.parse_args()
    loaded = load_model(args.model, device="cpu", dtype="fp32")
    known = Familiarity.load(loaded.folder, int(loaded.model.config.vision_config.projection_dim))
    if known is None:
        raise SystemExit(f"{loaded.title} holds nothing to tell its own pictures by.")
    scenes = strangeness(loaded, known, sorted(args.scenes.glob("*.webp")))
    photos = strangeness(loaded, known, args.photos)
    above = (photos[:, None] > scenes[None]).mean()
    ties = (photos[:, None] == scenes[None]).mean()
    print(
        json.dumps(
            {
                "auroc": round(float(above + ties / 2), 4),
                "photographs": len(photos),
                "photographs_noticed": round(float((photos > known.limit).mean()), 4),
                "scenes": len(scenes),
                "scenes_noticed": round(float((scenes > known.limit).mean()), 4),
            }
        )
    )


if __name__ == "__main__":
    main()
