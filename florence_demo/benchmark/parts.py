"""What a caption consists of, each part beside what the machine could reach at most.

Knows which parts there are and how each is taken alone. Does not know ratios against the usual way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from florence_demo.benchmark import roofline
from florence_demo.benchmark.roofline import Peaks, seconds_of

if TYPE_CHECKING:
    from florence_demo.decoding.decoder import Decoder

TOKENS = 20
"""Of the caption."""


@dataclass(frozen=True)
class Part:
    """Hold how long one part of a caption takes.

    Attributes:
        name: What it is.
        seconds: As measured.
        floor: Seconds in which the machine could do it at most.
    """

    name: str
    seconds: float
    floor: float

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values, with how many times the floor it takes."""
        return {**asdict(self), "times_the_floor": round(self.seconds / self.floor, 2)}


@dataclass(frozen=True)
class Parts:
    """Hold the parts of a caption by one model on one machine.

    Attributes:
        model: Its size and number format.
        peaks: Of the machine.
        parts: In their order, the whole last.
    """

    model: str
    peaks: Peaks
    parts: tuple[Part, ...]

    def named(self, name: str) -> Part:
        """Return a part by its name."""
        return next(part for part in self.parts if part.name == name)

    def to_json(self) -> dict[str, Any]:
        """Return them as plain values."""
        return {
            "model": self.model,
            "machine": asdict(self.peaks),
            "parts": [part.to_json() for part in self.parts],
        }

    def markdown(self) -> str:
        """Return the table of the parts."""
        lines = [
            f"{self.model}, one picture, 3 beams, {TOKENS} tokens. {self.peaks.told()}.",
            "",
            "| | measured | at the machine's peak | times that |",
            "|---|---|---|---|",
        ]
        for part in self.parts:
            lines.append(
                f"| {part.name} | {_ms(part.seconds)} | {_ms(part.floor)}"
                f" | {part.seconds / part.floor:.1f} |"
            )
        return "\n".join(lines)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:,.{2 if seconds < 0.01 else 1}f} ms"


def measure_parts(decoder: Decoder, title: str, times: int = 5) -> Parts:
    """Measure the parts of a caption, each alone and warm.

    Args:
        decoder: Ours, with a model of random weights whose answers have a forced length.
        title: What the table calls the model.
        times: How often each is measured.
    """
    from florence_demo.benchmark import models as models

    model = decoder.model
    device, dtype = model.device, model.dtype
    pixels = models.picture().to(device, dtype)
    prompt = models.PROMPTS[:1]
    features = decoder.encode_image(pixels)

    def taken(work: Any) -> float:
        return seconds_of(work, device, times)

    def of(tokens: int) -> float:
        return taken(lambda: models.ask(decoder, features, prompt, tokens))

    tower = taken(lambda: decoder.encode_image(pixels))
    encoder = taken(lambda: decoder.encode_text(features, prompt))
    first = max(of(1) - encoder, 0.0)
    steady = (of(2 * TOKENS) - of(TOKENS)) / TOKENS
    whole = taken(lambda: models.ask(decoder, decoder.encode_image(pixels), prompt, TOKENS))
    measured = (tower, encoder, first, steady, whole)
    peaks = roofline.measure_peaks(device, dtype)
    floors = _floors(model, peaks, features.shape[1] + len(prompt[0]))
    parts = map(Part, NAMES, measured, floors)
    return Parts(title, peaks, tuple(parts))


NAMES = ("tower", "text encoder", "first step", "steady step", "whole caption")


def _floors(model: Any, peaks: Peaks, tokens: int) -> Sequence[float]:
    """Return the seconds of each part at the machine's peak."""
    from florence_demo.benchmark.models import IMAGE_SIDE

    vision, text = model.config.vision_config, model.config.text_config
    width = model.dtype.itemsize
    # Weights that fit fp16, as those here do, are packed so where the sums are fp32.
    packed = 2 if width == 4 and model.device.type == "cpu" else width
    beams = int(model.generation_config.num_beams)
    tower = roofline.tower_effort(vision, IMAGE_SIDE, width)
    encoder = roofline.encoder_effort(text, tokens, width)
    step = roofline.step_effort(text, tokens, beams, packed, width)
    start = step + roofline.start_effort(text, tokens, width)
    each = [effort.seconds(peaks) for effort in (tower, encoder, start, step)]
    return [*each, sum(each[:3]) + (TOKENS - 1) * each[3]]
