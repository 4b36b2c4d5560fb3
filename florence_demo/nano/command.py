"""The command line of the embedded model's training: train, go on, or write what was learned.

python -m florence_demo train-embedded --out runs/nano --hours 8
python -m florence_demo train-embedded --out runs/nano --export assets/nano --cooldown-minutes 10
python -m florence_demo train-embedded --out runs/gpu --device cuda --cooldown --minutes 25
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from florence_demo.nano.export import export
from florence_demo.nano.learning.config import DEVICES, WEIGHTS, TrainConfig, defaults
from florence_demo.nano.learning.loop import train
from florence_demo.nano.scenes.catalogue import TRAIN_STYLES


@dataclass(frozen=True)
class Command:
    """Hold what the command line asks for: a training, or a folder from one."""

    config: TrainConfig
    folder: Path | None
    cooldown_minutes: float


_CHOICES = {"device": DEVICES, "weights": WEIGHTS, "styles": TRAIN_STYLES}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an option for each field of ``TrainConfig``; its default is written there alone."""
    hints = typing.get_type_hints(TrainConfig)
    by_device = {
        device: {**defaults(device), "weights": TrainConfig(device=device).shipped}
        for device in DEVICES
    }
    for f in dataclasses.fields(TrainConfig):
        flag = "--" + f.name.replace("_", "-")
        if isinstance(f.default, bool):
            parser.add_argument(flag, action="store_true")
            continue
        said = [f"{of[f.name]} on {device}" for device, of in by_device.items() if f.name in of]
        parser.add_argument(
            flag,
            # Of "str or nothing" and of "some str", too, the first one reads what is typed.
            type=next(iter(typing.get_args(hints[f.name])), hints[f.name]),
            nargs="+" if isinstance(f.default, tuple) else None,
            default=f.default,
            choices=_CHOICES.get(f.name),
            help=f"default: {', '.join(said) or f.default}",
        )
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="write the model, then stop")
    parser.add_argument("--cooldown-minutes", type=float, default=0.0, help="before writing it")


def config_from_args(args: argparse.Namespace) -> Command:
    """Return what a parsed command line asks for."""
    values = {f.name: getattr(args, f.name) for f in dataclasses.fields(TrainConfig)}
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return Command(TrainConfig(**values), args.export, args.cooldown_minutes)


def run(command: Command) -> None:
    """Train, go on training, or write what was learned."""
    if command.folder:
        export(command.config, command.folder, command.cooldown_minutes)
    else:
        train(command.config)


def command(args: argparse.Namespace) -> int:
    """Train, go on, or write what was learned."""
    run(config_from_args(args))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command by itself and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m florence_demo.nano",
        description="Train the embedded model on synthetic scenes; goes on where a run stopped.",
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    run(config_from_args(args))
    return 0
