"""Write what a training learned as the folder that is shipped, with what it knows of pictures."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from florence_demo.codec import TEXT
from florence_demo.engine.confidence import FILE as CONFIDENCE
from florence_demo.engine.confidence import Confidence
from florence_demo.engine.engine import Engine
from florence_demo.engine.familiarity import Familiarity
from florence_demo.errors import CheckpointError
from florence_demo.evaluation.calibration import calibrate, outcomes
from florence_demo.evaluation.evaluate import EvaluateConfig, evaluate
from florence_demo.models.loading import load_model
from florence_demo.nano.architecture import build_model
from florence_demo.nano.learning import store
from florence_demo.nano.learning.config import TrainConfig
from florence_demo.nano.learning.loop import FIRST_SEED, library, train
from florence_demo.nano.scenes.compose import make_scene
from florence_demo.nano.scenes.rows import rows_of
from florence_demo.nano.scenes.sprites import Library
from florence_demo.nano.tokenizer import load_processor
from florence_demo.tasks import TASKS

FAMILIAR = 1200
"""Scenes from which a model learns to tell pictures of its kind."""

CALIBRATED = 300
"""Scenes, after those, from which it learns how sure it may say it is."""


def export(config: TrainConfig, folder: Path, cooldown_minutes: float = 0.0) -> None:
    """Write the model of a run into a folder that transformers opens.

    Args:
        config: The run.
        folder: Where to; a README.md there stays.
        cooldown_minutes: Let the steps shrink to nothing over so many minutes first, on a copy, so
            that the run itself can go on at full step.

    Raises:
        CheckpointError: The run has no checkpoint yet.
    """
    run = config.out
    state = store.load_checkpoint(run)
    if state is None:
        raise CheckpointError(f"{run} holds no checkpoint yet: train first.")
    processor = load_processor(run / store.PROCESSOR)
    if cooldown_minutes:
        copy = run.with_name(run.name + "-cooldown")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(run, copy)
        config = dataclasses.replace(
            config,
            out=copy,
            cooldown=True,
            hours=0.0,
            minutes=cooldown_minutes,
            check_minutes=1e9,
        )
        train(config)
        state = store.load_checkpoint(copy)
        assert state is not None
    model = build_model(processor)
    model.load_state_dict(weights_of(state, config.shipped))
    store.save_folder(folder, model, processor)
    store.save_training(folder, state)
    seeds = range(FIRST_SEED, FIRST_SEED + FAMILIAR)
    write_familiarity(folder, model, processor, library(config.sprites), seeds)
    seeds = range(seeds.stop, seeds.stop + CALIBRATED)
    write_confidence(folder, library(config.sprites), seeds)
    store.log(
        run,
        {
            "event": "export",
            "weights": config.shipped,
            **{k: state[k] for k in ("step", "pictures", "pairs", "seconds")},
        },
    )


def weights_of(state: dict[str, Any], which: str) -> dict[str, torch.Tensor]:
    """Return the model's weights in a checkpoint, by their names in the model.

    Args:
        state: The checkpoint.
        which: The "last" ones, or their running "average".
    """
    if which == "average":
        average: dict[str, torch.Tensor] = state["ema"]
        return average
    mine = "model."
    learner = state["learner"].items()
    return {name.removeprefix(mine): v for name, v in learner if name.startswith(mine)}


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


def write_confidence(folder: Path, library: Library, seeds: range) -> Confidence:
    """Fit how sure the model may say it is on scenes, save and return it.

    Args:
        folder: The model's folder.
        library: What the scenes are drawn with.
        seeds: The scenes.
    """
    (folder / CONFIDENCE).unlink(missing_ok=True)
    rows = [row for s in seeds for row in rows_of(make_scene(s, library=library), f"scene {s}")]
    asked = [row for row in rows if TASKS[row.task].answer is not TEXT]
    engine = Engine(load_model(str(folder)))
    report = evaluate(engine, asked, EvaluateConfig(bootstrap=0, sensitivity=0))
    fitted, _ = calibrate(outcomes([(j.example, j.prediction) for j in report.judged]))
    fitted.save(folder)
    return fitted
