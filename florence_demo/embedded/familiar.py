"""Learn from training scenes what a familiar picture looks like; write it beside the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from florence_demo.familiarity import Familiarity
from florence_demo.scenes import make_scene
from florence_demo.sprites import Library

_BATCH = 10


@torch.inference_mode()
def write_familiarity(
    folder: Path, model: Any, processor: Any, library: Library, seeds: range
) -> Familiarity:
    """Fit the Gaussian of the model's features on scenes, save and return it.

    Args:
        folder: The model's folder.
        model: Its model; it is put into evaluation mode.
        processor: Its processor.
        library: What the scenes are drawn with: every style that a training may have had.
        seeds: The scenes, drawn at 256 pixels as most of the training's.
    """
    model.eval()
    features = []
    for at in range(0, len(seeds), _BATCH):
        images = [make_scene(s, 256, library=library).image for s in seeds[at : at + _BATCH]]
        pixels = processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
        features.append(model.get_image_features(pixel_values=pixels).pooler_output.numpy())
    fitted = Familiarity.fit(np.concatenate(features))
    fitted.save(folder)
    return fitted
