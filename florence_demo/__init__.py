"""Florence-2 in a browser, on the command line and in Python.

    model = florence_demo.load("nano")
    found = model.ask("picture.jpg", "od")
    print(found.sentence(), found.detections.xyxy)

Importing the package is cheap: torch, transformers and gradio are loaded where they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from florence_demo.prediction import Detections, Prediction
from florence_demo.tasks import TASKS, Task, parse_answer

if TYPE_CHECKING:
    from florence_demo.engine.engine import Engine

__version__ = "0.1.0"

__all__ = ["TASKS", "Detections", "Prediction", "Task", "__version__", "load", "parse_answer"]


def load(name: str = "nano", *, device: str = "auto", dtype: str = "auto") -> Engine:
    """Return a model that answers: ``load("base-ft").ask("picture.jpg", "caption")``.

    Args:
        name: Of the catalogue ("nano", "base-ft", ...), a folder, or an id of the hub.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto", "fp32", "bf16", "fp16", "int8".

    Raises:
        CheckpointError: There is no such model, or it cannot be opened.
    """
    from florence_demo.engine.engine import Engine
    from florence_demo.models.loading import load_model

    return Engine(load_model(name, device=device, dtype=dtype))
