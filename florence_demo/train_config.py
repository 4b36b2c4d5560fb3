"""The settings of a fine-tuning run, and what it comes to.

Knows names, defaults and limits: a default is written here and nowhere else. Does not know how a
run goes (``train``), and imports nothing heavy.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args

from florence_demo.errors import DatasetError
from florence_demo.run_files import LIVE, read_status, write_json
from florence_demo.trainable import MODES, Mode

CONFIG_FILE = "train_config.json"
"""Where a run's folder keeps its settings."""


@dataclass(frozen=True)
class TrainConfig:
    """Hold the settings of a run; the defaults are those of the 2024 article.

    Attributes:
        model: Where to start: a name, a folder or a hub id.
        data: What to learn from, as ``open_data`` takes it.
        eval_data: What to measure on; empty takes the part "validation" of the default data, and
            splits off a twentieth of other data.
        out: Folder of the run; the trained model is in it at the end.
        tasks: Names of the tasks to learn; all of them where empty.
        limit: Most rows to read.
        mode: What learns: language (all but the vision tower), full, lora.
        epochs: Passes over the rows.
        steps: Optimizer steps instead of epochs.
        batch_size: Rows a step, of all processes together, so that machines do not change a recipe.
        accumulation: Parts a process takes its share of a batch in, where memory is short.
        learning_rate: At the start; it falls to 0 in a straight line.
        weight_decay: Of AdamW.
        warmup: Steps in which the rate rises.
        max_grad_norm: Where gradients are clipped.
        lora_rank: Rank of the adapter, with ``mode`` lora.
        precision: fp32, bf16 or fp16.
        checkpointing: Compute activations twice to save memory.
        seed: Of everything random.
        eval_every: Steps between measurements; None measures after each epoch.
        save_every: Steps between checkpoints; None saves at each measurement.
        patience: Measurements without a better loss after which to stop; the best is kept.
        answers: Validation rows that are asked before and after.
        max_new_tokens: Longest answer when measuring.
        cache: Keep image features on disk: only with a frozen tower.
        cache_limit_gb: Most that the cache may take; agree to more here.
        device: auto, cpu or cuda.
        workers: Processes that open pictures; None takes 8 for a GPU and none else.
        log_every: Steps between log lines.
        report_to: Loggers of the Trainer: tensorboard, trackio.
        resume: Go on from the last checkpoint in ``out``.
    """

    model: str = "base-ft"
    data: str = "HuggingFaceM4/DocumentVQA"
    eval_data: str = ""
    out: Path = Path("runs/docvqa")
    tasks: tuple[str, ...] = ()
    limit: int | None = None
    mode: Mode = "language"
    epochs: float = 1.0
    steps: int | None = None
    batch_size: int = 20
    accumulation: int = 1
    learning_rate: float = 1e-6
    weight_decay: float = 0.01
    warmup: int = 0
    max_grad_norm: float = 1.0
    lora_rank: int = 8
    precision: str = "fp32"
    checkpointing: bool = False
    seed: int = 0
    eval_every: int | None = None
    save_every: int | None = None
    patience: int | None = None
    answers: int = 200
    max_new_tokens: int = 128
    cache: bool = False
    cache_limit_gb: float = 2.0
    device: str = "auto"
    workers: int | None = None
    log_every: int = 5
    report_to: tuple[str, ...] = ()
    resume: bool = False

    def check(self) -> None:
        """Raise DatasetError where settings contradict each other or make no sense."""
        positive = (
            "epochs",
            "batch_size",
            "accumulation",
            "learning_rate",
            "log_every",
            "lora_rank",
        )
        for name in positive:
            if getattr(self, name) <= 0:
                raise DatasetError(f"{name} must be more than 0.")
        for name in ("steps", "eval_every", "save_every", "patience", "limit"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise DatasetError(f"{name} must be 1 or more, or left out.")
        if not 1 <= self.max_new_tokens <= 4096:
            raise DatasetError("max_new_tokens must lie between 1 and 4096.")
        if self.mode not in MODES:
            raise DatasetError(f"mode must be one of {', '.join(MODES)}.")
        if self.precision not in ("fp32", "bf16", "fp16"):
            raise DatasetError("precision must be fp32, bf16 or fp16.")
        if self.device not in ("auto", "cpu", "cuda"):
            raise DatasetError(
                "device must be auto, cpu or cuda; CUDA_VISIBLE_DEVICES chooses one GPU of several."
            )
        if self.patience and self.save_every:
            raise DatasetError(
                "With patience, a checkpoint is kept at each measurement: leave out save_every."
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "out": str(self.out)}


def claim_folder(config: TrainConfig) -> None:
    """Write a run's settings into its folder, unless another run's are there.

    Raises:
        DatasetError: The folder holds another run, or this one with other settings.
    """
    path = config.out / CONFIG_FILE
    last = read_status(config.out)
    lives = last is not None and last.state in LIVE and last.pid != os.getpid()
    # A run that failed at its first look at the data left nothing to mix with.
    begun = lives or any((config.out / name).exists() for name in ("before", "checkpoints"))
    if path.is_file() and begun:
        if not config.resume:
            raise DatasetError(
                f"{config.out} holds a run already: go on with it by resume, or choose another"
                " folder."
            )
        old = json.loads(path.read_text(encoding="utf-8"))
        free = ("resume", "workers", "log_every", "report_to", "out", "device", "answers")
        new = json.loads(json.dumps(config.to_json()))
        changed = [k for k in new if k not in free and old.get(k) != new[k]]
        if changed:
            raise DatasetError(
                f"The run in {config.out} has other settings ({', '.join(changed)}): resume it"
                " with its own, or choose another folder."
            )
    else:
        config.out.mkdir(parents=True, exist_ok=True)
        write_json(path, config.to_json())


@dataclass(frozen=True, eq=False)
class Result:
    """Hold what a run came to.

    Attributes:
        folder: The trained model.
        before: Main numbers before, by "task/metric".
        after: The same after.
        minutes: Wall-clock time of this process, measuring included.
        steps: Optimizer steps of the whole run.
        samples_per_second: Rows learned from in a second.
        memory_peak: Most bytes of the device, or of the process on a CPU.
        trainable: Parameters that learned, of ``parameters``.
        parameters: All parameters.
        left_out: What was wrong with rows that were left out.
        stopped: Whether somebody stopped it.
        processes: How many learned together.
    """

    folder: Path
    before: dict[str, float]
    after: dict[str, float]
    minutes: float
    steps: int
    samples_per_second: float
    memory_peak: int
    trainable: int
    parameters: int
    left_out: tuple[str, ...] = ()
    stopped: bool = False
    processes: int = 1

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**values, "folder": str(self.folder), "left_out": list(self.left_out)}

    def sentence(self) -> str:
        """Return the outcome for a person."""
        changes = ", ".join(
            f"{key} {self.before[key]:.3f} -> {value:.3f}"
            for key, value in self.after.items()
            if key in self.before
        )
        end = "Stopped" if self.stopped else "Done"
        return f"{end} after {self.steps:,} steps in {self.minutes:.1f} minutes: {changes}"


_FLAGS: dict[str, tuple[str, Any]] = {
    "limit": ("most rows to read", int),
    "steps": ("optimizer steps instead of epochs", int),
    "eval_every": ("steps between measurements (default: an epoch)", int),
    "save_every": ("steps between checkpoints (default: each measurement)", int),
    "patience": ("measurements without a better loss after which to stop", int),
    "workers": ("processes that open pictures", int),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an option for each field of ``TrainConfig``; its default is written there alone."""
    for f in fields(TrainConfig):
        flag = "--" + f.name.replace("_", "-")
        default = f.default if f.default is not MISSING else None
        if isinstance(default, bool):
            parser.add_argument(flag, action="store_true")
        elif isinstance(default, tuple):
            parser.add_argument(flag, action="append", default=[], metavar="NAME")
        elif f.name == "mode":
            parser.add_argument(flag, choices=get_args(Mode), default=default)
        else:
            text, kind = _FLAGS.get(f.name, (f"default: {default}", type(default)))
            parser.add_argument(flag, type=kind, default=default, help=text)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


def config_from_args(args: argparse.Namespace) -> TrainConfig:
    """Return the settings of a parsed command line."""
    values: dict[str, Any] = {f.name: getattr(args, f.name) for f in fields(TrainConfig)}
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return TrainConfig(**values)
