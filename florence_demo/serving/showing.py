"""What the answer's pane shows of an answer.

Knows predictions and the names of the pane's parts. Does not know how they look.
"""

from __future__ import annotations

from typing import Any

from florence_demo.engine.engine import Engine
from florence_demo.output.export import has_lines, words_of
from florence_demo.output.filtering import merges_of, name_groups
from florence_demo.output.overlay import overlay
from florence_demo.output.reading_order import pieces_of
from florence_demo.output.tags import colors_of
from florence_demo.prediction import Prediction
from florence_demo.tasks import TASKS


def show(found: Prediction, engine: Engine) -> dict[str, Any]:
    """Return what the answer's pane shows of a model's answer."""
    cost = (f"{found.seconds:.2f} s", f"{found.tokens} tokens")
    meta = " · ".join((*cost, engine.loaded.describe(), *gpu_memory(engine)))
    return {**shown(found), "meta": meta}


def shown(found: Prediction) -> dict[str, Any]:
    """Return what the answer's pane shows of an answer, whoever gave it."""
    sure, read = found.detections.scores, has_lines(found)
    names, into = name_groups(found.detections), merges_of(found)
    colors = colors_of(found.detections.labels)
    task = TASKS[found.task]
    asked = task.asked(found.prompt, found.size)[0] if task.needs == "text" else ""
    rows = [
        {
            "label": label,
            "asked": asked,
            "sure": None if sure is None else float(sure[i]),
            "box": [float(v) for v in found.detections.xyxy[i]],
            "color": colors[i],
            # A line of text is no name of a kind of thing.
            "name": None if read or not label.strip() else names[i],
            "into": into[i],
        }
        for i, label in enumerate(found.detections.labels)
    ]
    return {
        "task": found.task,
        "sentence": found.sentence(),
        "counted": found.counted,
        "words": words_of(found),
        "pieces": [list(piece) for piece in pieces_of(found)] if read else [],
        "overlay": overlay(found, words=True),
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
