"""The settings of a training: what they are by default on each device, and what is refused.

Knows numbers, their limits and the phases of the recipe. Does not know how anything is learned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from florence_demo.errors import InputError
from florence_demo.machine import usable_cores
from florence_demo.nano.learning.learner import Shares
from florence_demo.nano.scenes.catalogue import TRAIN_STYLES

DEVICES = ("cpu", "cuda")
WEIGHTS = ("average", "last")
BY_DEVICE: Any = None
"""Stands for a default that hangs on the device, as ``defaults`` has it."""


def defaults(device: str) -> dict[str, int]:
    """Return the settings that hang on the device, by their names in ``TrainConfig``.

    On a processor a step of few questions stays in the cache, and the process that learns draws
    the scenes too. A GPU wants large steps and all cores but a few to draw for it.
    """
    if device == "cpu":
        return {"processes": 2, "batch": 8, "group": 8, "workers": 0}
    cores = usable_cores()
    spared = max(1, cores // 4)
    return {"processes": 1, "batch": 128, "group": 128, "workers": max(1, cores - spared)}


@dataclass(frozen=True)
class TrainConfig:
    """Hold the settings of a training.

    Attributes:
        out: Folder of the run: checkpoint, log, processor.
        sprites: Folder of the sprites; where it does not exist, drawn stand-ins are used.
        styles: Drawing styles to learn from. Two at first, all of them later, is a good order:
            what things are comes before how differently they are drawn.
        processes: Processes that share each step, one core each.
        threads: Threads a process.
        workers: Processes that draw scenes for each of them; with none it draws its own.
        batch: Pictures a step, over all processes.
        group: Questions that go through the language model together.
        questions: Questions a picture in the last phase.
        tower_pictures: Pictures after which questions begin.
        single_pictures: Pictures with one question each, after that.
        muon_lr: Step of the matrices.
        adam_lr: Step of everything else.
        ema: Decay of the running average.
        hours: Stop after so long, together with ``minutes``; 0 means never.
        minutes: Stop after so long, together with ``hours``.
        pictures: Stop after so many; 0 means never.
        checkpoint_minutes: Minutes between checkpoints.
        check_minutes: Minutes between looks at held-out scenes.
        cooldown: Let the steps fall in a straight line to nothing over ``hours`` and ``minutes``,
            as before shipping.
        weights: Which weights are shipped: their running "average" or the "last"; None takes the
            last ones on a GPU and wherever the steps have fallen to nothing.
        device: "cpu" or "cuda".
        start: Folder of a shipped model to go on from where ``out`` holds no checkpoint yet; the
            current folder means from nothing.

    Raises:
        InputError: A setting cannot be used.
    """

    out: Path = Path("runs/nano")
    sprites: Path = Path("build/sprites")
    styles: tuple[str, ...] = ("fluent", "noto")
    processes: int = BY_DEVICE
    threads: int = 1
    workers: int = BY_DEVICE
    batch: int = BY_DEVICE
    group: int = BY_DEVICE
    questions: int = 4
    tower_pictures: int = 20_000
    single_pictures: int = 6_000
    muon_lr: float = 2e-3
    adam_lr: float = 2e-3
    ema: float = 0.998
    hours: float = 0.0
    minutes: float = 0.0
    pictures: int = 0
    checkpoint_minutes: float = 4.0
    check_minutes: float = 10.0
    cooldown: bool = False
    weights: str | None = None
    device: str = "cpu"
    start: Path = Path()

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise InputError(f"--device is {' or '.join(DEVICES)}, not {self.device!r}.")
        for name, value in defaults(self.device).items():
            if getattr(self, name) is BY_DEVICE:
                object.__setattr__(self, name, value)
        self._check_numbers()
        unknown = [style for style in self.styles if style not in TRAIN_STYLES]
        if unknown or not self.styles:
            raise InputError(f"--styles are among {', '.join(TRAIN_STYLES)}, not {unknown}.")
        if self.weights is not None and self.weights not in WEIGHTS:
            raise InputError(f"--weights is {' or '.join(WEIGHTS)}, not {self.weights!r}.")
        if self.device == "cuda" and self.processes != 1:
            raise InputError("A GPU is trained by one process: leave --processes out.")
        if self.batch % self.processes:
            raise InputError(
                f"{self.batch} pictures cannot be shared by {self.processes} processes: "
                "let --batch be a multiple of --processes."
            )
        if self.cooldown and not self.seconds:
            raise InputError("--cooldown needs an end: say --hours or --minutes.")

    def _check_numbers(self) -> None:
        least = dict.fromkeys(("processes", "threads", "batch", "group", "questions"), 1)
        least |= dict.fromkeys(("workers", "tower_pictures", "single_pictures", "pictures"), 0)
        least |= dict.fromkeys(("hours", "minutes", "checkpoint_minutes", "check_minutes"), 0)
        for name, low in least.items():
            value = getattr(self, name)
            if not low <= value < math.inf:
                raise InputError(f"{_flag(name)} is at least {low}, not {value}.")
        for name in ("muon_lr", "adam_lr"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{_flag(name)} is more than 0, not {getattr(self, name)}.")
        if not 0 <= self.ema < 1:
            raise InputError(f"--ema is at least 0 and less than 1, not {self.ema}.")

    @property
    def seconds(self) -> float:
        """Return the seconds after which to stop, 0 for never."""
        return 3600 * self.hours + 60 * self.minutes

    @property
    def shipped(self) -> str:
        """Return which weights are shipped, one of ``WEIGHTS``."""
        # Steps that fell to nothing leave weights that are their own average.
        last = self.cooldown or self.device == "cuda"
        return self.weights or ("last" if last else "average")

    def questions_at(self, pictures: int) -> int:
        """Return the questions a picture after so many pictures."""
        if pictures < self.tower_pictures:
            return 0
        return 1 if pictures < self.tower_pictures + self.single_pictures else self.questions

    def shares_at(self, pictures: int) -> Shares:
        """Return the weights of the throw-away heads: they lead at first and only help later."""
        later = pictures - self.tower_pictures
        if later < self.single_pictures:
            return Shares()
        fade = min(1.0, (later - self.single_pictures) / 20_000)
        return Shares(dense=0.5, cells=1.0 - 0.7 * fade, marks=1.0 - 0.5 * fade)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
