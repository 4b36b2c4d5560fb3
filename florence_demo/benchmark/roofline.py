"""What a machine can reach at most: its measured peaks, and the work that Florence-2 has to do.

Knows operations and bytes. Does not know how they are done: a time measured stands beside the time
in which the machine could multiply so much and read so much.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from florence_demo import machine

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Peaks:
    """Hold what was measured of a machine.

    Attributes:
        name: Of the machine.
        operations: Of a matrix product in the model's type, a second.
        bytes: Read from memory a second.
    """

    name: str
    operations: float
    bytes: float

    def told(self) -> str:
        """Return them in words."""
        return (
            f"{self.name}: matrix product {self.operations / 1e12:.3g} TFLOP/s, "
            f"memory {self.bytes / 1e9:,.0f} GB/s"
        )


@dataclass(frozen=True)
class Effort:
    """Hold what a piece of work cannot do without.

    Attributes:
        operations: Multiplications and additions of its products.
        bytes: Of the weights and of what is remembered, each read once.
    """

    operations: float
    bytes: float

    def __add__(self, other: Effort) -> Effort:
        """Return the effort of both."""
        return Effort(self.operations + other.operations, self.bytes + other.bytes)

    def seconds(self, peaks: Peaks) -> float:
        """Return the time below which no way of doing it can come: the longer of the two."""
        return max(self.operations / peaks.operations, self.bytes / peaks.bytes)


def seconds_of(work: Callable[[], object], device: torch.device, times: int = 5) -> float:
    """Return the median time of some work on a device, once it is warm."""
    import torch

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    taken = []
    for _ in range(times + 1):
        wait()
        start = time.perf_counter()
        work()
        wait()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def measure_peaks(device: torch.device, dtype: torch.dtype) -> Peaks:
    """Measure a machine: a matrix product in the type, and memory read once."""
    import torch

    here = device.type == "cpu"
    side, count = (1024, 50_000_000) if here else (8192, 1 << 30)
    a = torch.randn(side, side, device=device).to(dtype)
    product = seconds_of(lambda: a @ a, device)
    name = machine.processor_name() if here else torch.cuda.get_device_name(device)
    if here:
        values = torch.ones(count)
        moved, reading = values.nbytes, seconds_of(values.sum, device)
    else:
        source = torch.ones(count, dtype=torch.uint8, device=device)
        copy = torch.empty_like(source)
        # Read once and written once: the sum is what a GPU's memory moves.
        moved, reading = 2 * count, seconds_of(lambda: copy.copy_(source), device)
    return Peaks(name, 2 * side**3 / product, moved / reading)


def tower_effort(vision: Any, side: int, width: int) -> Effort:
    """Return the work of the vision tower on one picture.

    Args:
        vision: Its configuration.
        side: Of the picture, in pixels.
        width: Bytes of a weight.
    """
    operations, weights, before = 0.0, 0, vision.in_channels
    for stage, channels in enumerate(vision.embed_dim):
        kernel, stride, padding = (
            value[stage] for value in (vision.patch_size, vision.patch_stride, vision.patch_padding)
        )
        side = (side + 2 * padding - kernel) // stride + 1
        pixels, depth = side * side, vision.depths[stage]
        embed = kernel * kernel * before * channels
        # Query, key and value, the projection, and the MLP's two products.
        half = channels * channels * (3 + 1 + 2 * int(vision.mlp_ratio)) + 2 * 9 * channels
        seen = 2 * vision.window_size**2 * channels
        mixed = 2 * channels * channels // vision.num_groups[stage]
        operations += 2.0 * pixels * (embed + depth * (2 * half + seen + mixed))
        weights += embed + depth * 2 * half
        before = channels
    return Effort(operations, weights * width)


def encoder_effort(text: Any, tokens: int, width: int) -> Effort:
    """Return the work of the text encoder on so many tokens."""
    layer = 4 * text.d_model**2 + 2 * text.d_model * text.encoder_ffn_dim
    seen = 2 * tokens * text.d_model
    return Effort(
        2.0 * tokens * text.encoder_layers * (layer + seen), text.encoder_layers * layer * width
    )


def step_effort(text: Any, tokens: int, beams: int, width: int, of_memory: int) -> Effort:
    """Return the work of one step of the decoder.

    Args:
        text: The language model's configuration.
        tokens: Of the picture and the prompt.
        beams: Hypotheses.
        width: Bytes of a weight.
        of_memory: Bytes of a number that is remembered.
    """
    layer = 6 * text.d_model**2 + 2 * text.d_model * text.decoder_ffn_dim
    weights = text.decoder_layers * layer + text.d_model * text.vocab_size
    remembered = 2 * text.decoder_layers * tokens * text.d_model
    return Effort(2.0 * beams * (weights + remembered), weights * width + remembered * of_memory)


def start_effort(text: Any, tokens: int, width: int) -> Effort:
    """Return the work before the first step: the keys and values of picture and prompt."""
    weights = text.decoder_layers * 2 * text.d_model**2
    return Effort(2.0 * tokens * weights, weights * width)
