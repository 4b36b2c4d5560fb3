"""A fine-tuning run that has ended, as its process would have left it."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from florence_demo.data.example import Example
from florence_demo.data.forms import DEMO_FORMS, DEMO_FORMS_HELD
from florence_demo.data.reading import open_data
from florence_demo.evaluation.report import Judged
from florence_demo.files import write_json
from florence_demo.models.catalogue import ASSETS
from florence_demo.prediction import Detections, Prediction
from florence_demo.training.config import CONFIG_FILE, TrainConfig
from florence_demo.training.runs import Run
from florence_demo.training.samples import record
from florence_demo.training.status import STATUS_FILE, RunFiles

QUESTIONS = 2


def answered(row: Example, raw: str, score: float) -> Judged:
    """Return a row with an answer, as an evaluation judges it."""
    size = row.load().size
    found = Prediction(row.task, row.prompt(size), raw, raw, size, Detections.empty(), {})
    return Judged(row, found, score)


def finished_run(
    folder: Path,
    rows: tuple[Example, ...] = (),
    *,
    model: bool = True,
    ago: float = 0,
    **told: Any,
) -> Run:
    """Make a run that learned forms in 20 steps: its settings, its status, its samples, its model.

    Args:
        folder: Where it is to be.
        rows: What it was asked on the way, and answered rightly; forms where there are none.
        model: Whether it kept one.
        ago: Seconds since it ended.
        told: Of its status, instead of what a good end tells.
    """
    if model:
        shutil.copytree(ASSETS / "nano", folder)
    rows = rows or tuple(open_data(DEMO_FORMS_HELD, limit=QUESTIONS))
    files = RunFiles(folder)
    config = TrainConfig(
        model="nano", data=DEMO_FORMS, eval_data=DEMO_FORMS_HELD, out=folder, steps=20
    )
    write_json(folder / CONFIG_FILE, config.to_json())
    samples = [
        record(answered(row, row.target(row.load().size), 1.0), i, folder)
        for i, row in enumerate(rows)
    ]
    files.log({"step": 10, "loss": 2.0, "learning_rate": 1e-4})
    files.log({"step": 20, "loss": 0.5, "eval_loss": 0.75, "learning_rate": 1e-5})
    ended = {
        "state": "done",
        "step": 20,
        "steps": 20,
        "epoch": 0.1,
        "samples": tuple({**sample, "step": 20} for sample in samples),
        "measured": 60,
        "before": {"custom/anls": 0.12},
        "after": {"custom/anls": 0.93},
        "loss": 0.5,
        "eval_loss": 0.75,
    }
    files.tell(**{**ended, **told})
    status = replace(files.status, updated=files.status.updated - ago)
    write_json(folder / STATUS_FILE, asdict(status))
    return Run(folder, status)
