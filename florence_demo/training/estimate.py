"""What a fine-tuning will take, said before it starts: minutes and memory, roughly.

Knows how many operations a step of Florence-2 comes to and which tensors are kept. The speed of
the machine is measured in a moment, with whatever else it does in that moment; how well training
uses it is a rule of thumb. So a figure is a rough guess and is told so.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, replace

from florence_demo.machine import in_bytes, matmul_gflops, usable_cores
from florence_demo.models.shapes import Shape, shape_of
from florence_demo.training.config import TrainConfig
from florence_demo.training.splits import SCENE_TASKS, SCENES_A_TASK, asks_scenes

_BACKWARD = 2
_SHARE = {"cpu": 0.5, "cuda": 0.35}
"""Of the speed of a large matrix product that a training step reaches."""
_PROCESS = 0.9e9
"""Bytes that Python with torch and transformers takes by itself."""


@dataclass(frozen=True)
class Estimate:
    """Hold what a run will roughly take.

    Attributes:
        steps: Optimizer steps.
        seconds: Wall-clock time, measuring included.
        memory: Bytes of the device, of the process on a CPU.
        free: Bytes of the device that are free now.
        device: What it runs on, for a person.
    """

    steps: int
    seconds: float
    memory: float
    free: float
    device: str

    @property
    def fits(self) -> bool:
        """Whether the memory will probably do."""
        return self.memory <= self.free

    def sentence(self) -> str:
        """Return it for a person."""
        return (
            f"{self.steps:,} steps: about {in_time(self.seconds)} and {in_bytes(self.memory)} of"
            f" memory on {self.device}, where {in_bytes(self.free)} are free. The time is a rough"
            " guess from how fast the machine is just now; the run itself soon tells better."
        )


def estimate(config: TrainConfig, rows: int | None) -> Estimate | None:
    """Return what a run will take, None where the model or the number of rows is not known.

    Args:
        config: Its settings.
        rows: Rows to learn from.
    """
    shape = shape_of(config.model)
    if shape is None or (rows is None and not config.steps):
        return None
    rows = min(rows or config.batch_size, config.limit or 10**9)
    batch = max(1, min(config.batch_size, rows))
    steps = config.steps or max(1, round(rows / batch * config.epochs))
    kind, device, free = _device(config.device)
    speed = _speed(kind) * _SHARE[kind] * (2 if kind == "cuda" and _half(config) else 1)
    scenes = len(SCENE_TASKS) * SCENES_A_TASK if asks_scenes(config) else 0
    measured = 2 * (config.answers + scenes) + _measurements(config, steps) * min(
        config.answers, 60
    )
    # An answer is written token by token: as much again as reading the question.
    asking = measured * (shape.tower_flops() + 2 * shape.language_flops())
    seconds = (steps * batch * _flops(config, shape) + asking) / speed + 20
    return Estimate(steps, seconds, _memory(config, shape, batch, kind), free, device)


def fitted(config: TrainConfig, rows: int) -> tuple[TrainConfig, str]:
    """Return settings whose step fits into the free memory, and what was changed for that.

    A step in parts learns the same; where that is not enough, activations are computed twice. Where
    nothing helps, or several processes share a batch, all stays as it is.

    Args:
        config: The run's settings.
        rows: To learn from.
    """
    shape = shape_of(config.model)
    if shape is None or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return config, ""
    kind, _, free = _device(config.device)
    batch = max(1, min(config.batch_size, rows))
    if _memory(config, shape, batch, kind) <= free:
        return config, ""
    for twice in sorted({config.checkpointing, True}):
        for parts in range(config.accumulation, batch + 1):
            tried = replace(config, accumulation=parts, checkpointing=twice)
            if batch % parts == 0 and _memory(tried, shape, batch, kind) <= free:
                return tried, _changes(config, tried)
    return config, ""


def _changes(before: TrainConfig, after: TrainConfig) -> str:
    done = []
    if after.accumulation != before.accumulation:
        done.append(f"is taken in {after.accumulation} parts")
    if after.checkpointing != before.checkpointing:
        done.append("computes activations twice")
    if not done:
        return ""
    return f"So that the free memory does, a step {' and '.join(done)}; it learns the same."


def cache_fits(config: TrainConfig, rows: int | None) -> bool:
    """Whether the features of so many pictures fit into what the cache may take."""
    shape = shape_of(config.model)
    if shape is None or rows is None or config.mode == "full" or config.augment:
        return False
    return 2 * rows * shape.image_tokens * shape.d_model <= config.cache_limit_gb * 1e9


def _measurements(config: TrainConfig, steps: int) -> int:
    return steps // config.eval_every if config.eval_every else max(1, round(config.epochs))


def _half(config: TrainConfig) -> bool:
    return config.precision != "fp32"


def _flops(config: TrainConfig, shape: Shape) -> float:
    """Return the operations of one row of a step."""
    tower = shape.tower_flops() * (1 + _BACKWARD * (config.mode == "full"))
    # Of an adapter, gradients pass through every layer but are taken of few weights.
    language = shape.language_flops() * (1 + (1.1 if config.mode == "lora" else _BACKWARD))
    return (tower + language) * (1.3 if config.checkpointing else 1)


def _memory(config: TrainConfig, shape: Shape, batch: int, kind: str) -> float:
    weights = shape.tower + shape.language
    learns = {
        "full": weights,
        "language": shape.language,
        "lora": 0.02 * shape.language * config.lora_rank / 8,
    }[config.mode]
    kept = shape.language_kept() + (shape.tower_kept() if config.mode == "full" else 0)
    if config.mode != "full":
        # The frozen tower keeps nothing, but its widest layer is there at once.
        kept += max(8 * tokens * w for tokens, w, _ in shape._stages())
    size = (2 if _half(config) else 4) * (0.3 if config.checkpointing else 1)
    part = max(1, batch // config.accumulation)
    # Weights, a copy to measure with, gradients, two moments of the optimizer; then a batch.
    total = 4 * (2 * weights + 3 * learns) + size * kept * part
    return total + (_PROCESS if kind == "cpu" else 0.5e9)


def _device(wanted: str) -> tuple[str, str, float]:
    """Return the kind of device, its name for a person, and its free bytes."""
    import torch

    if wanted != "cpu" and torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return "cuda", torch.cuda.get_device_name(), float(free)
    import psutil

    cores = usable_cores()
    name = f"this processor ({cores} core{'s' if cores > 1 else ''})"
    return "cpu", name, float(psutil.virtual_memory().available)


_fastest: dict[str, float] = {}


def _speed(kind: str) -> float:
    """Return the operations a second that this machine's matrix products reach.

    The best of all looks: a processor that is busy for a moment says too little.
    """
    found = matmul_gflops(size=512) * 1e9 if kind == "cpu" else _gpu_speed()
    _fastest[kind] = max(found, _fastest.get(kind, 0.0))
    return _fastest[kind]


@functools.cache
def _gpu_speed() -> float:
    import torch

    a = torch.randn(4096, 4096, device="cuda")
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    _ = a @ a
    start.record()
    for _ in range(4):
        _ = a @ a
    end.record()
    torch.cuda.synchronize()
    seconds: float = start.elapsed_time(end) / 1e3
    return 4 * 2 * 4096**3 / seconds


def in_time(seconds: float) -> str:
    """Return a length of time as people say it: "40 seconds", "12 minutes", "3 hours"."""
    if seconds < 90:
        count, unit = max(1, round(seconds)), "second"
    elif seconds < 90 * 60:
        count, unit = round(seconds / 60), "minute"
    elif seconds < 48 * 3600:
        count, unit = round(seconds / 3600), "hour"
    else:
        count, unit = round(seconds / 86400), "day"
    return f"{count} {unit}{'' if count == 1 else 's'}"
