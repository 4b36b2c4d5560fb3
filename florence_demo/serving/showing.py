"""What the answer's pane shows of an answer.

Knows predictions and the names of the pane's parts. Does not know how they look.
"""

from __future__ import annotations

from typing import Any

from florence_demo.engine.engine import Engine
from florence_demo.output.export import words_of
from florence_demo.output.overlay import overlay
from florence_demo.output.tags import color_of
from florence_demo.prediction import Prediction


def show(found: Prediction, engine: Engine) -> dict[str, Any]:
    """Return what the answer's pane shows of a model's answer."""
    speed = f"{found.seconds:.2f} s · {found.tokens} tokens"
    meta = " · ".join((speed, engine.loaded.describe(), *gpu_memory(engine)))
    return {**shown(found), "meta": meta}


def shown(found: Prediction) -> dict[str, Any]:
    """Return what the answer's pane shows of an answer, whoever gave it."""
    sure = found.detections.scores
    rows = [
        {
            "label": label,
            "sure": None if sure is None else float(sure[i]),
            "box": [float(v) for v in found.detections.xyxy[i]],
            "color": color_of(label),
        }
        for i, label in enumerate(found.detections.labels)
    ]
    return {
        "sentence": found.sentence(),
        "words": words_of(found),
        "overlay": overlay(found),
        "notices": list(found.notices),
        "rows": rows,
        "calibrated": found.calibrated,
    }


def gpu_memory(engine: Engine) -> tuple[str, ...]:
    """Return a GPU's memory in use and its peak, or nothing on a CPU."""
    device = engine.loaded.device
    if device.type != "cuda":
        return ()
    import torch

    now, peak = torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)
    return (f"GPU memory {now / 1e9:.1f} GB now, {peak / 1e9:.1f} GB at most",)
