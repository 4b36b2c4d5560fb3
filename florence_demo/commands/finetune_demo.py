"""The demonstration: teach nano to read ticked forms, in minutes and without a GPU."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from florence_demo.training.config import Result
from florence_demo.training.fine_tune import fine_tune
from florence_demo.training.recipes import DemoConfig, train_config
from florence_demo.training.status import read_status
from florence_demo.training.terminal import Terminal

METRIC = "custom/anls"


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
    with Terminal() as terminal:
        result = fine_tune(train_config(config), terminal)
    status = read_status(config.out)
    for sample in status.samples if status else ():
        print(f"{sample['question']}  ->  {sample['answer']}  (true: {sample['truth']})")
    print(result.table())
    print(result.sentence())
    return summary(result)


def command(args: argparse.Namespace) -> int:
    """Run the demonstration; its outcome is the last line, as JSON."""
    print(json.dumps(run(config_from_args(args))))
    return 0
