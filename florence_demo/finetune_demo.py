"""The demonstration: a model learns to read ticked forms, in minutes, without a GPU.

Knows the two runs, whole and by LoRA, with the settings that were found to work for the embedded
model. Does not know how a run goes (``train``).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from florence_demo.generated import DEMO_FORMS, DEMO_FORMS_HELD
from florence_demo.run_files import read_status
from florence_demo.train import Result, TrainConfig, fine_tune
from florence_demo.trainable import Mode

METRIC = "custom/anls"


@dataclass(frozen=True)
class DemoConfig:
    """Hold the settings of the demonstration.

    Attributes:
        model: Where to start.
        out: Folder of the run.
        lora: Whether to learn an adapter instead of the weights.
        steps: Optimizer steps.
        device: auto, cpu or cuda.
        resume: Go on with the run in ``out``.
    """

    model: str = "nano"
    out: Path = Path("runs/forms")
    lora: bool = False
    steps: int = 240
    device: str = "cpu"
    resume: bool = False


def train_config(config: DemoConfig) -> TrainConfig:
    """Return the settings of the run behind the demonstration."""
    mode: Mode = "lora" if config.lora else "full"
    base = TrainConfig(
        model=config.model,
        data=DEMO_FORMS,
        eval_data=DEMO_FORMS_HELD,
        out=config.out,
        mode=mode,
        steps=config.steps,
        batch_size=16,
        learning_rate=6e-4,
        warmup=min(50, config.steps // 4),
        lora_rank=16,
        eval_every=max(config.steps // 4, 1),
        answers=120,
        max_new_tokens=16,
        device=config.device,
        resume=config.resume,
    )
    # A small adapter takes, and needs, a larger step.
    return replace(base, learning_rate=3e-3) if config.lora else base


def summary(result: Result) -> dict[str, float]:
    """Return what the demonstration promises: ANLS before and after, and the minutes it took."""
    return {
        "before": result.before[METRIC],
        "after": result.after[METRIC],
        "minutes": result.minutes,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    default = DemoConfig()
    parser.add_argument("--model", default=default.model, help="where to start")
    parser.add_argument("--out", type=Path, default=default.out)
    parser.add_argument("--lora", action="store_true", help="learn an adapter")
    parser.add_argument("--steps", type=int, default=default.steps)
    parser.add_argument("--device", default=default.device)
    parser.add_argument("--resume", action="store_true")


def config_from_args(args: argparse.Namespace) -> DemoConfig:
    """Return the settings of a parsed command line."""
    return DemoConfig(args.model, args.out, args.lora, args.steps, args.device, args.resume)


def run(config: DemoConfig) -> dict[str, Any]:
    """Run the demonstration, print what was asked and answered, and return its outcome.

    Raises:
        FlorenceDemoError: The model or the folder cannot be used.
    """
    result = fine_tune(train_config(config))
    status = read_status(config.out)
    for sample in status.samples if status else ():
        print(f"{sample['question']}  ->  {sample['answer']}  (true: {sample['truth']})")
    print(result.sentence())
    return summary(result)
