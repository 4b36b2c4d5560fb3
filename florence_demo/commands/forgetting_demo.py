"""The demonstration of what learning costs: forms alone, then forms with a share of drawn scenes.

nano learns to read ticked forms twice, from the same forms in as many steps. The first time it
forgets scenes; the second time some of the rows are about freshly drawn scenes, and it keeps them.
Both are asked about forms and scenes that neither learned from.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from florence_demo.commands.finetune_demo import METRIC
from florence_demo.models.catalogue import Named
from florence_demo.nano.scenes.rows import offer_scenes
from florence_demo.training.config import Result
from florence_demo.training.fine_tune import fine_tune
from florence_demo.training.recipes import DemoConfig, train_config
from florence_demo.training.status import OTHER
from florence_demo.training.terminal import Terminal

ALONE, MIXED = "alone", "mixed"


@dataclass(frozen=True)
class ForgettingConfig:
    """Hold the settings of the demonstration.

    Attributes:
        model: Where to start.
        out: Folder of the two runs.
        scenes: Data of other tasks that is mixed in; no scene that is measured on is in it.
        share: Of all rows, how many are of it.
        steps: Optimizer steps of each run.
        device: auto, cpu or cuda.
        resume: Go on with the runs in ``out``.
    """

    model: Named = DemoConfig.model
    out: Path = Path("checkpoints/forgetting")
    scenes: str = "scenes:drawn:0:120"
    share: float = 0.2
    steps: int = DemoConfig.steps
    device: str = DemoConfig.device
    resume: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    default = ForgettingConfig()
    parser.add_argument("--model", default=default.model, help="where to start")
    parser.add_argument("--out", type=Path, default=default.out)
    parser.add_argument("--scenes", default=default.scenes, help="what is mixed in")
    parser.add_argument("--share", type=float, default=default.share, help="of all rows")
    parser.add_argument("--steps", type=int, default=default.steps, help="of each run")
    parser.add_argument("--device", default=default.device)
    parser.add_argument("--resume", action="store_true")


def config_from_args(args: argparse.Namespace) -> ForgettingConfig:
    """Return the settings of a parsed command line."""
    return ForgettingConfig(
        args.model, args.out, args.scenes, args.share, args.steps, args.device, args.resume
    )


def run(config: ForgettingConfig) -> dict[str, Any]:
    """Learn twice, print one table, and return its outcome.

    Raises:
        FlorenceDemoError: A folder or the data cannot be used.
    """
    offer_scenes()
    found: dict[str, Result] = {}
    for name, mix in ((ALONE, ()), (MIXED, (f"{config.scenes}:{config.share}",))):
        demo = DemoConfig(
            config.model, config.out / name, False, config.steps, config.device, config.resume
        )
        with Terminal() as terminal:
            # The tower stays as it is and looks at each picture once: minutes, not an hour.
            learns = replace(train_config(demo), mode="language", cache=True, mix=mix)
            found[name] = fine_tune(learns, terminal)
    print(table(found, config.share))
    return summary(found)


def summary(found: dict[str, Result]) -> dict[str, Any]:
    """Return the outcome: forms and scenes before, after forms alone, and after both.

    The number of scenes is the mean over their tasks, of which each is a share of right answers.
    """
    minutes = round(sum(result.minutes for result in found.values()), 2)
    numbers = _numbers(found)
    return {
        "forms": {name: told[METRIC] for name, told in numbers.items()},
        "scenes": {name: _mean_of_others(told) for name, told in numbers.items()},
        "minutes": minutes,
    }


def table(found: dict[str, Result], share: float) -> str:
    """Return the numbers of both runs beside each other, as Markdown."""
    numbers = _numbers(found)
    heads = ("before", "forms alone", f"with {share:.0%} scenes")
    lines = [f"| | {' | '.join(heads)} |", "|---|---|---|---|"]
    for key in found[ALONE].before:
        told = (f"{values.get(key, float('nan')):.3f}" for values in numbers.values())
        lines.append(f"| {key} | {' | '.join(told)} |")
    means = (f"{_mean_of_others(values):.3f}" for values in numbers.values())
    lines.append(f"| scenes, the mean of all {OTHER.strip()} | {' | '.join(means)} |")
    return "\n".join(lines)


def _numbers(found: dict[str, Result]) -> dict[str, dict[str, float]]:
    return {
        "before": found[ALONE].before,
        **{name: result.after for name, result in found.items()},
    }


def _mean_of_others(numbers: dict[str, float]) -> float:
    values = [value for key, value in numbers.items() if key.startswith(OTHER)]
    return round(sum(values) / max(len(values), 1), 5)


def command(args: argparse.Namespace) -> int:
    """Run the demonstration; its outcome is the last line, as JSON."""
    print(json.dumps(run(config_from_args(args))))
    return 0
