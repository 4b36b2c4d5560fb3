"""The settings of a fine-tuning run, and what it comes to.

Knows names, defaults and limits: a default is written here and nowhere else. Does not know how a
run goes (``fine_tune``), and imports nothing heavy.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from florence_demo.bounded_json import load_json
from florence_demo.data.source import DataSource, Spec
from florence_demo.errors import DatasetError
from florence_demo.files import write_json
from florence_demo.machine import in_bytes
from florence_demo.models.catalogue import ModelSpec, Named
from florence_demo.training.augment import KINDS
from florence_demo.training.status import LIVE, OTHER, read_status
from florence_demo.training.trainable import MODES, Mode
from florence_demo.trust import OPERATOR, VISITOR, Trust

CONFIG_FILE = "train_config.json"
"""Where a run's folder keeps its settings."""

NOTHING = "none"
"""What ``others`` is called where nothing of that kind is asked."""

MOST = 10_000_000
"""Steps that nobody waits for: a counted setting ends here."""


_ABOVE_0 = math.ulp(0.0)


@dataclass(frozen=True)
class Bounds:
    """Hold what a number may be.

    Attributes:
        most: The largest.
        least: The smallest.
        whole: Whether it must be a whole number.
        optional: Whether it may be left out.
    """

    most: float
    least: float = 1
    whole: bool = True
    optional: bool = False

    def problem(self, value: Any) -> str:
        """Return what is wrong with a value as the end of a sentence, or ""."""
        if value is None and self.optional:
            return ""
        is_number = isinstance(value, int if self.whole else int | float)
        # NaN lies within no bounds, and True is a whole number to Python alone.
        if is_number and not isinstance(value, bool) and self.least <= value <= self.most:
            return ""
        return f"must be {self.words}" + (", or left out" if self.optional else "")

    @property
    def words(self) -> str:
        """What it may be, for a person."""
        kind = ", a whole number" if self.whole else ""
        least = f"{self.least:,.0f} or more" if self.least not in (1, _ABOVE_0) else "more than 0"
        return f"{least} and at most {self.most:,.0f}{kind}"


BOUNDS = {
    "limit": Bounds(1_000_000_000, optional=True),
    "epochs": Bounds(10_000, _ABOVE_0, whole=False),
    "steps": Bounds(MOST, optional=True),
    "batch_size": Bounds(65_536),
    "accumulation": Bounds(65_536),
    "learning_rate": Bounds(100, _ABOVE_0, whole=False),
    "weight_decay": Bounds(100, 0, whole=False),
    "warmup": Bounds(MOST, 0),
    "max_grad_norm": Bounds(1_000_000, 0, whole=False),
    "lora_rank": Bounds(1_024),
    "lora_alpha": Bounds(MOST, optional=True),
    "seed": Bounds(2**32 - 1, 0),
    "eval_every": Bounds(MOST, optional=True),
    "save_every": Bounds(MOST, optional=True),
    "keep": Bounds(MOST, optional=True),
    "patience": Bounds(MOST, optional=True),
    "answers": Bounds(1_000_000, 0),
    "max_new_tokens": Bounds(4_096),
    "cache_limit_gb": Bounds(1_000_000, 0, whole=False),
    "workers": Bounds(256, 0, optional=True),
    "log_every": Bounds(MOST),
}
"""What each number of a run may be."""

QUANTIZED = ("nf4",)
"""How weights beneath an adapter may be packed."""

SCHEDULES = ("linear", "cosine")
"""How the learning rate may fall."""

REPORTERS = {"tensorboard": ("tensorboard", "tensorboardX"), "trackio": ("trackio",)}
"""Loggers of the Trainer that a run may tell its numbers to, and what each needs."""


@dataclass(frozen=True)
class TrainConfig:
    """Hold the settings of a run; the defaults are those of the 2024 article.

    Attributes:
        model: Where to start: a text of the operator's, which names a model, or what it is.
        data: What to learn from, as ``open_data`` takes it: a text of the operator's, or a source.
        eval_data: What to measure on; empty takes the part "validation" of the default data, and
            splits off a twentieth of other data.
        out: Folder of the run; the trained model is in it at the end.
        tasks: Names of the tasks to learn; all of them where empty.
        augment: How pictures are changed at each look: flip, crop, scale, color, jpeg.
        mix: Data of other tasks to learn beside, each as "SOURCE:SHARE": so much of all rows.
        others: Data of other tasks that is asked before and after, to see what was lost; empty
            takes drawn scenes for nano and nothing for other models, "none" takes nothing.
        limit: Most rows to read.
        mode: What learns: language (all but the vision tower), full, lora.
        epochs: Passes over the rows.
        steps: Optimizer steps instead of epochs.
        batch_size: Rows a step, of all processes together, so that machines do not change a recipe.
        accumulation: Parts a process takes its share of a batch in, where memory is short.
        learning_rate: At the start; it falls to 0.
        schedule: How it falls: linear, or cosine, which is slow at first and at the end.
        weight_decay: Of AdamW.
        warmup: Steps in which the rate rises.
        max_grad_norm: Where gradients are clipped.
        lora_rank: Rank of the adapter, with ``mode`` lora.
        lora_alpha: What the adapter is multiplied by, times its rank; None takes twice the rank.
        quantize: nf4 holds the weights beneath an adapter in four bits (QLoRA); needs bitsandbytes.
        precision: fp32, bf16 or fp16.
        checkpointing: Compute activations twice to save memory.
        seed: Of everything random.
        eval_every: Steps between measurements; None measures after each epoch.
        save_every: Steps between checkpoints; None saves at each measurement.
        keep: Checkpoints that stay, the newest and the best among them; None keeps all.
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

    model: Named = "base-ft"
    data: Spec = "HuggingFaceM4/DocumentVQA"
    eval_data: Spec = ""
    out: Path = Path("checkpoints/docvqa")
    tasks: tuple[str, ...] = ()
    augment: tuple[str, ...] = ()
    mix: tuple[str, ...] = ()
    others: Spec = ""
    limit: int | None = None
    mode: Mode = "language"
    epochs: float = 1.0
    steps: int | None = None
    batch_size: int = 20
    accumulation: int = 1
    learning_rate: float = 1e-6
    schedule: str = "linear"
    weight_decay: float = 0.01
    warmup: int = 0
    max_grad_norm: float = 1.0
    lora_rank: int = 8
    lora_alpha: int | None = None
    quantize: str = ""
    precision: str = "fp32"
    checkpointing: bool = False
    seed: int = 0
    eval_every: int | None = None
    save_every: int | None = None
    keep: int | None = 2
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
        """Raise DatasetError where a setting is out of bounds or contradicts another."""
        for name, bounds in BOUNDS.items():
            problem = bounds.problem(getattr(self, name))
            if problem:
                raise DatasetError(f"{name} {problem}.")
        for f in fields(self):
            if f.name not in BOUNDS and not _fits(f.name, getattr(self, f.name), f.default):
                raise DatasetError(f"{f.name} cannot be read: correct it, or leave it out.")
        if self.mode not in MODES:
            raise DatasetError(f"mode must be one of {', '.join(MODES)}.")
        if self.schedule not in SCHEDULES:
            raise DatasetError(f"schedule must be one of {', '.join(SCHEDULES)}.")
        if self.precision not in ("fp32", "bf16", "fp16"):
            raise DatasetError("precision must be fp32, bf16 or fp16.")
        if self.device not in ("auto", "cpu", "cuda"):
            raise DatasetError(
                "device must be auto, cpu or cuda; CUDA_VISIBLE_DEVICES chooses one GPU of several."
            )
        for name in self.report_to:
            if name not in REPORTERS:
                raise DatasetError(f"report_to is one of {', '.join(REPORTERS)}, or left out.")
            if not any(find_spec(module) for module in REPORTERS[name]):
                raise DatasetError(
                    f"{name} is not installed: run `pip install {name}`, or leave it out."
                )
        for kind in self.augment:
            if kind not in KINDS:
                raise DatasetError(f"augment is one of {', '.join(KINDS)}, or left out.")
        if sum(share for _, share in shares_of(self.mix)) >= 1:
            raise DatasetError("mix leaves nothing of the data itself: the shares come to 1.")
        if self.quantize and (self.quantize not in QUANTIZED or self.mode != "lora"):
            raise DatasetError(
                f"quantize is {', '.join(QUANTIZED)}, for what lies beneath an adapter: choose the"
                " mode lora, or leave it out."
            )
        if self.mode == "full" and self.cache:
            raise DatasetError(
                "Cached features need a vision part that does not learn: leave out cache, or learn"
                " an adapter, or all but the vision part."
            )
        if self.augment and self.cache:
            raise DatasetError(
                "Cached features are of pictures that stay as they are: leave out cache or augment."
            )
        if self.patience and self.save_every:
            raise DatasetError(
                "With patience, a checkpoint is kept at each measurement: leave out save_every."
            )

    @property
    def trust(self) -> Trust:
        """What the model may do: a text is an operator's word, a value came from the page."""
        return OPERATOR if isinstance(self.model, str) else VISITOR

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "out": str(self.out)}


def shares_of(mix: Sequence[str]) -> list[tuple[str, float]]:
    """Return what is learned beside, and its share of all rows.

    Raises:
        DatasetError: One is not "SOURCE:SHARE" with a share between 0 and 1.
    """
    found: list[tuple[str, float]] = []
    for text in mix:
        source, _, number = text.rpartition(":")
        try:
            share = float(number)
        except ValueError:
            share = 0.0
        if not source or not 0 < share < 1:
            raise DatasetError(
                f"“{text[:80]}” says no share: write SOURCE:0.2 to make a fifth of the rows that."
            )
        found.append((source, share))
    return found


_VALUES: dict[str, type] = {
    "model": ModelSpec,
    "data": DataSource,
    "eval_data": DataSource,
    "others": DataSource,
}
"""Settings that may be a value instead of an operator's text."""


def _fits(name: str, value: Any, default: Any) -> bool:
    """Whether a setting that is no number is of its kind."""
    if isinstance(value, _VALUES.get(name, ())):
        return True
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(map(_is_text, value))
    return _is_text(value) if isinstance(default, str) else isinstance(value, type(default))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_TEXT and "\0" not in value


_MAX_TEXT = 4_000


def read_settings(folder: Path) -> TrainConfig:
    """Return the settings in a run's folder; the run goes on there, wherever it began.

    Raises:
        DatasetError: They cannot be read, or make no sense.
    """
    try:
        values = load_json(folder / CONFIG_FILE)
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        if isinstance(values.get("model"), dict):
            values["model"] = ModelSpec.from_json(values["model"])
        for name in ("data", "eval_data", "others"):
            if isinstance(values.get(name), dict):
                values[name] = DataSource.from_json(values[name])
        found = TrainConfig(**{**values, "out": folder})
    except (OSError, ValueError, TypeError, AttributeError) as exc:
        raise DatasetError(
            f"The settings of “{folder.name}” cannot be read: start a new run instead."
        ) from exc
    found.check()
    return found


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
        old = json.loads(json.dumps(read_settings(config.out).to_json()))
        free = ("resume", "workers", "log_every", "report_to", "out", "device", "answers", "keep")
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
        memory_loaded: Its bytes when the model was loaded.
        memory_end: Its bytes at the end.
        trainable: Parameters that learned, of ``parameters``.
        parameters: All parameters.
        left_out: What was wrong with rows that were left out.
        stopped: Whether somebody stopped it.
        best: The step whose weights were kept, where the run ended early; else 0.
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
    best: int = 0
    processes: int = 1
    memory_loaded: int = 0
    memory_end: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**values, "folder": str(self.folder), "left_out": list(self.left_out)}

    def table(self) -> str:
        """Return the numbers before and after, a line each; "" where nothing was measured."""
        keys = [key for key in self.after if key in self.before]
        wide = max(map(len, keys), default=0)
        lines = [
            f"{key:<{wide}}  {self.before[key]:>6.3f}  {self.after[key]:>6.3f}" for key in keys
        ]
        return "\n".join((f"{'':<{wide}}  before   after", *lines)) if keys else ""

    def sentence(self) -> str:
        """Return the outcome for a person, what was learned in numbers; ``table`` has them all."""
        changes = ", ".join(
            f"{key} {self.before[key]:.3f} -> {value:.3f}"
            for key, value in self.after.items()
            if key in self.before and not key.startswith(OTHER)
        )
        end = "Stopped" if self.stopped else "Ended early" if self.best else "Done"
        memory = (
            f"memory {in_bytes(self.memory_loaded)} with the model loaded,"
            f" {in_bytes(self.memory_end)} at the end, {in_bytes(self.memory_peak)} at most"
        )
        spent = f"{end} after {self.steps:,} steps in {self.minutes:.1f} minutes"
        if self.best:
            spent += (
                ", as the validation loss got no better: what it knew at step"
                f" {self.best:,} is kept"
            )
        return f"{spent}: {changes}; {memory}" if changes else f"{spent}: {memory}"
