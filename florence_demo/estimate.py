"""What a fine-tuning will take, said before it starts: minutes and memory, roughly.

Knows how many operations a step of Florence-2 comes to and which tensors are kept. The speed of
the machine is measured in a moment, with whatever else it does in that moment; how well training
uses it is a rule of thumb. So a figure is a rough guess and is told so.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from florence_demo.bounded_json import load_json
from florence_demo.errors import FlorenceDemoError
from florence_demo.machine import matmul_gflops, usable_cores
from florence_demo.memory import in_bytes
from florence_demo.models import MODELS, resolve_spec
from florence_demo.train_config import TrainConfig

SMALL = 20e6
"""Parameters below which a model is one of ours, that trains on a processor in minutes."""

_PROMPT, _ANSWER = 20, 16
"""Tokens of a usual question and answer."""
_BACKWARD = 2
_MOST = 1_000_000
"""No size of a model is larger."""
_MOST_STAGES = 16
_SHARE = {"cpu": 0.5, "cuda": 0.35}
"""Of the speed of a large matrix product that a training step reaches."""
_PROCESS = 0.9e9
"""Bytes that Python with torch and transformers takes by itself."""
_KEPT = 34
"""Numbers a token and layer that a backward pass needs, each as wide as the layer."""


@dataclass(frozen=True)
class Shape:
    """Hold the sizes that decide what a model costs.

    Attributes:
        side: Pixels of a picture's side, as the model sees it.
        strides: By which each stage of the tower shrinks it.
        widths: Of the stages.
        depths: Blocks of each stage.
        d_model: Width of the language model.
        layers: Of encoder and of decoder.
        ffn: Width of their inner layers.
        vocabulary: Tokens known.
        image_tokens: Tokens that a picture becomes.
    """

    side: int
    strides: tuple[int, ...]
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    d_model: int
    layers: int
    ffn: int
    vocabulary: int
    image_tokens: int

    def _stages(self) -> list[tuple[int, int, int]]:
        """Return (tokens, width, blocks) of each stage."""
        found, side = [], self.side
        for stride, width, depth in zip(self.strides, self.widths, self.depths, strict=True):
            side //= stride
            found.append((side * side, width, depth))
        return found

    @property
    def tower(self) -> float:
        """Parameters of the vision tower; a block attends twice, by place and by channel."""
        return float(sum(24 * width**2 * depth for _, width, depth in self._stages()))

    @property
    def language(self) -> float:
        """Parameters of the language model."""
        d, f = self.d_model, self.ffn
        return float(self.layers * (12 * d**2 + 4 * d * f) + self.vocabulary * d)

    def tower_flops(self) -> float:
        """Operations of a look at one picture."""
        return float(sum(48 * w**2 * depth * tokens for tokens, w, depth in self._stages()))

    def language_flops(self) -> float:
        """Operations of one question and its answer."""
        d, f = self.d_model, self.ffn
        asked = self.image_tokens + _PROMPT
        encoder = self.layers * (4 * d**2 + 2 * d * f) * asked
        decoder = self.layers * (8 * d**2 + 2 * d * f) * _ANSWER + self.vocabulary * d * _ANSWER
        return 2.0 * (encoder + decoder)

    def tower_kept(self) -> float:
        """Numbers kept of one picture for the way back through the tower."""
        return float(sum(2 * _KEPT * tokens * w * depth for tokens, w, depth in self._stages()))

    def language_kept(self) -> float:
        """Numbers kept of one question for the way back through the language model."""
        tokens = self.layers * (self.image_tokens + _PROMPT + _ANSWER)
        return float(_KEPT * tokens * self.d_model + 3 * self.vocabulary * _ANSWER)


_STRIDES, _DEPTHS = (4, 2, 2, 2), (1, 1, 9, 1)
_BASE = Shape(768, _STRIDES, (128, 256, 512, 1024), _DEPTHS, 768, 6, 3072, 51289, 577)
_LARGE = Shape(768, _STRIDES, (256, 512, 1024, 2048), _DEPTHS, 1024, 12, 4096, 51289, 577)


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


def shape_of(model: str) -> Shape | None:
    """Return the sizes of a model by name or folder, None where they are not known here."""
    if model in MODELS and model != "nano":
        return _LARGE if model.startswith("large") else _BASE
    try:
        folder = Path(resolve_spec(model).source)
    except FlorenceDemoError:
        return None
    return _shape_in(folder)


def _shape_in(folder: Path) -> Shape | None:
    try:
        config = load_json(folder / "config.json")
        vision, text = config["vision_config"], config["text_config"]
        if vision.get("model_type") != "florence_vision":
            # The 2024 layout; it has the sizes of Microsoft's models and no others.
            return _LARGE if _count(config["projection_dim"]) >= 1024 else _BASE
        images = _picture_settings(folder)
        strides, widths = _counts(vision["patch_stride"]), _counts(vision["embed_dim"])
        depths = _counts(vision["depths"], least=0)
        if not len(strides) == len(widths) == len(depths):
            return None
        return Shape(
            _count(images["size"]["height"]),
            strides,
            widths,
            depths,
            _count(text["d_model"]),
            _count(text["encoder_layers"]),
            _count(text["encoder_ffn_dim"]),
            _count(text["vocab_size"]),
            _count(images.get("image_seq_length", 577)),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _count(value: Any, least: int = 1) -> int:
    """Return a size of a model that somebody may have made, or raise ValueError."""
    if not isinstance(value, int) or not least <= value <= _MOST:
        raise ValueError(f"a size from {least} to {_MOST:,} expected")
    return value


def _counts(values: Any, least: int = 1) -> tuple[int, ...]:
    if not isinstance(values, list) or not 1 <= len(values) <= _MOST_STAGES:
        raise ValueError(f"1 to {_MOST_STAGES} sizes expected, one a stage")
    return tuple(_count(value, least) for value in values)


def _picture_settings(folder: Path) -> dict[str, Any]:
    for name in ("processor_config.json", "preprocessor_config.json"):
        if (folder / name).is_file():
            found = load_json(folder / name)
            settings: dict[str, Any] = found.get("image_processor", found)
            if "size" in settings:
                return settings
    raise KeyError("size")


def is_small(model: str) -> bool:
    """Whether a model is as small as nano."""
    shape = shape_of(model)
    return shape is not None and shape.tower + shape.language < SMALL


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
    measured = 2 * config.answers + _measurements(config, steps) * min(config.answers, 60)
    # An answer is written token by token: as much again as reading the question.
    asking = measured * (shape.tower_flops() + 2 * shape.language_flops())
    seconds = (steps * batch * _flops(config, shape) + asking) / speed + 20
    return Estimate(steps, seconds, _memory(config, shape, batch, kind), free, device)


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
