"""Fine-tune a model: an option for each of its settings, or a folder with all of them."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, get_args

from florence_demo.commands.options import MODEL_HELP, add_columns, with_named_columns
from florence_demo.data.formats import formats_help
from florence_demo.errors import DatasetError
from florence_demo.nano.scenes.rows import offer_scenes
from florence_demo.training.augment import KINDS
from florence_demo.training.config import CONFIG_FILE, SCHEDULES, TrainConfig, read_settings
from florence_demo.training.fine_tune import fine_tune
from florence_demo.training.terminal import Terminal
from florence_demo.training.trainable import Mode


def _kept(text: str) -> int | None:
    return None if text == "all" else int(text)


_FLAGS: dict[str, tuple[str, Any]] = {
    "model": (MODEL_HELP.replace("nano", str(TrainConfig.model)), str),
    "eval_data": ("what to measure on, of the same kinds (default: a part of the data)", str),
    "augment": (f"change pictures at each look: {', '.join(KINDS)}; repeatable", str),
    "mix": ("SOURCE:SHARE, data of other tasks to learn beside, 0.2 for a fifth; repeatable", str),
    "others": (
        "data of other tasks, asked before and after to see what was lost (default: drawn scenes"
        " for nano, else nothing), or none",
        str,
    ),
    "schedule": (f"how the learning rate falls to 0: {' or '.join(SCHEDULES)}", str),
    "lora_alpha": ("what the adapter is multiplied by, times its rank (default: 2 ranks)", int),
    "quantize": ("nf4 holds what lies beneath an adapter in four bits, by bitsandbytes", str),
    "limit": ("most rows to read", int),
    "steps": ("optimizer steps instead of epochs", int),
    "eval_every": ("steps between measurements (default: an epoch)", int),
    "save_every": ("steps between checkpoints (default: each measurement)", int),
    "keep": ("checkpoints that stay, or all (default: 2); an epoch's end is named epoch-2", _kept),
    "report_to": ("a logger of the Trainer, tensorboard or trackio; repeatable", str),
    "patience": ("measurements without a better loss after which to stop", int),
    "workers": ("processes that open pictures", int),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an option for each field of ``TrainConfig``; its default is written there alone."""
    offer_scenes()
    learned = f"what to learn from (default: {TrainConfig.data}): {formats_help()}"
    flags = {"data": (learned, str), **_FLAGS}
    for f in fields(TrainConfig):
        flag = "--" + f.name.replace("_", "-")
        default = f.default if f.default is not MISSING else None
        if isinstance(default, bool):
            parser.add_argument(flag, action="store_true")
        elif isinstance(default, tuple):
            help_ = flags.get(f.name, ("", str))[0] or None
            parser.add_argument(flag, action="append", default=[], metavar="NAME", help=help_)
        elif f.name == "mode":
            parser.add_argument(flag, choices=get_args(Mode), default=default)
        else:
            text, kind = flags.get(f.name, (f"default: {default}", type(default)))
            parser.add_argument(flag, type=kind, default=default, help=text)
    add_columns(parser)
    parser.add_argument(
        "--json",
        action="store_true",
        help="print what happens as JSON, an object a line; the last one is the result",
    )
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="FOLDER",
        help=f"take all settings from the {CONFIG_FILE} in this folder, and run there",
    )


def config_from_args(args: argparse.Namespace) -> TrainConfig:
    """Return the settings of a parsed command line.

    Raises:
        DatasetError: A folder with settings is named, and they cannot be used; or what is said of
            columns cannot.
    """
    values: dict[str, Any] = {f.name: getattr(args, f.name) for f in fields(TrainConfig)}
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    for name in ("data", "eval_data"):
        values[name] = with_named_columns(values[name], args.columns)
    config = TrainConfig(**values)
    if not args.settings:
        return config
    if config != TrainConfig(resume=config.resume):
        raise DatasetError("Give either --settings, or the settings themselves.")
    return replace(read_settings(args.settings), resume=config.resume)


def command(args: argparse.Namespace) -> int:
    """Fine-tune and tell how it goes; the outcome is the last line, as JSON or as a sentence."""
    with Terminal(args.json) as terminal:
        result = fine_tune(config_from_args(args), terminal)
    if os.environ.get("RANK", "0") == "0":  # the others have not measured
        if not args.json and result.table():
            print(result.table())
        print(json.dumps(result.to_json()) if args.json else result.sentence())
    return 0
