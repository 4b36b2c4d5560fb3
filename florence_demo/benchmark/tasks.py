"""Measure what each question costs on one model: our way beside the usual way, in turn.

Knows pictures, questions and percentiles. Does not know what a ratio must reach. A model with
random weights is asked with lengths forced; a real one answers pictures until it is done.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from florence_demo.benchmark import models as models
from florence_demo.benchmark.rows import in_turn
from florence_demo.decoding.decoder import Decoder
from florence_demo.models.catalogue import ASSETS
from florence_demo.models.loading import load_model
from florence_demo.pictures.decoder import open_own
from florence_demo.tasks import TASKS

HELDOUT = ASSETS / "heldout"
LONGEST = 64
"""Tokens of an answer at most; those of random weights are always as long."""


@dataclass(frozen=True, eq=False)
class Subject:
    """Hold whom to ask what.

    Attributes:
        name: Of the model.
        model: In fp32 on the CPU; ``generate`` works on it.
        questions: Prompts in tokens by what they are called.
        pictures: Pixels (1, 3, H, W) each.
        folder: Where the model's files are, None for random weights.
    """

    name: str
    model: Any
    questions: Mapping[str, Sequence[int]]
    pictures: Sequence[Tensor]
    folder: Path | None = None


@dataclass(frozen=True)
class Timing:
    """Hold the seconds that one question took, picture by picture.

    Attributes:
        name: The question.
        usual: Seconds of ``generate``.
        ours: Seconds of our loop on the same pictures.
        same: Whether both gave the same tokens.
    """

    name: str
    usual: tuple[float, ...]
    ours: tuple[float, ...]
    same: bool

    @property
    def ratio(self) -> float:
        """Return how many times faster ours is, by the medians."""
        return statistics.median(self.usual) / statistics.median(self.ours)

    def to_json(self) -> dict[str, Any]:
        """Return plain Python values."""
        return {
            "task": self.name,
            "usual_p50": round(statistics.median(self.usual), 5),
            "usual_p95": round(percentile(self.usual, 0.95), 5),
            "p50": round(statistics.median(self.ours), 5),
            "p95": round(percentile(self.ours, 0.95), 5),
            "ratio": round(self.ratio, 3),
            "pictures_per_second": round(1 / statistics.mean(self.ours), 4),
            "same_tokens": self.same,
        }


def random_subject(size: str, pictures: int) -> Subject:
    """Return a model of Microsoft's size with random weights.

    Args:
        size: "base" or "large".
        pictures: How many to look at.
    """
    names = [TASKS[name].title for name in ("caption", "od", "detailed_caption")]
    questions = dict(zip(names, models.PROMPTS, strict=True))
    model = models.build(size)
    return Subject(size, model, questions, [models.picture(seed) for seed in range(pictures)])


def real_subject(name: str, pictures: int) -> Subject:
    """Return a model that can answer, and held-out pictures.

    Args:
        name: A name of the catalogue, a folder or a hub id.
        pictures: How many to look at.

    Raises:
        CheckpointError: There is no such model.
    """
    loaded = load_model(name, device="cpu", dtype="fp32")
    asked = [task for task in TASKS.values() if task.needs == "nothing"]
    tokenizer, look = loaded.processor.tokenizer, loaded.processor.image_processor
    pixels = []
    for path in sorted(HELDOUT.glob("*.webp"))[:pictures]:
        pixels.append(look(images=open_own(path), return_tensors="pt")["pixel_values"])
    questions = {task.title: tokenizer(task.prompt)["input_ids"] for task in asked}
    return Subject(loaded.title, loaded.model, questions, pixels, loaded.folder)


def measure(subject: Subject, tokens: int = LONGEST) -> list[Timing]:
    """Ask every question about every picture, alone; then all about each picture in one batch.

    Args:
        subject: Whom to ask; its model is left as it is.
        tokens: Longest answer.
    """
    ours = Decoder(copy.deepcopy(subject.model))
    room = ours.encode_image(subject.pictures[0]).shape[1]  # also the warm-up of the tower

    def usually(pixels: Tensor, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        return [models.ask_usually(subject.model, pixels, p, tokens, room) for p in prompts]

    def own(pixels: Tensor, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        features = ours.encode_image(pixels).expand(len(prompts), -1, -1)
        return models.ask(ours, features, prompts, tokens)

    groups = {name: [prompt] for name, prompt in subject.questions.items()}
    groups[f"all {len(groups)}, one picture"] = list(subject.questions.values())
    found = []
    for name, prompts in groups.items():
        spent: tuple[list[float], list[float]] = ([], [])
        same = True
        for pixels in subject.pictures:
            first, second, equal = in_turn(
                partial(usually, pixels, prompts), partial(own, pixels, prompts)
            )
            spent[0].append(first)
            spent[1].append(second)
            same = same and equal
        found.append(Timing(name, tuple(spent[0]), tuple(spent[1]), same))
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def table(name: str, timings: Sequence[Timing]) -> str:
    """Return the Markdown table of some questions."""
    lines = [
        f"| {name} | usual p50 | p95 | ours p50 | p95 | ratio | pictures/s | tokens |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for timing in timings:
        told = timing.to_json()
        times = [f"{1000 * told[key]:,.0f} ms" for key in ("usual_p50", "usual_p95", "p50", "p95")]
        tokens = "identical" if timing.same else "differ"
        lines.append(
            f"| {timing.name} | {' | '.join(times)} | {timing.ratio:.2f}x"
            f" | {told['pictures_per_second']:.2f} | {tokens} |"
        )
    return "\n".join(lines)


def starts(subject: Subject, threads: int) -> dict[str, models.Start]:
    """Open the model in fresh processes and ask one caption; return what each way took."""
    with models.on_disk(subject.model, subject.folder) as folder:
        return {way: models.start_of(way, folder, threads) for way in ("usual", "ours")}


def starts_told(found: Mapping[str, models.Start]) -> str:
    """Return in words how a process starts and what it holds."""
    usual, ours = found["usual"], found["ours"]
    memory = (
        f"Memory at most {usual.peak / 1e6:,.0f} MB -> {ours.peak / 1e6:,.0f} MB. "
        if usual.peak and ours.peak
        else ""
    )
    return (
        f"{memory}From nothing to a model in memory {usual.ready:.1f} s -> {ours.ready:.1f} s,"
        f" to its first caption {usual.answered:.1f} s -> {ours.answered:.1f} s."
    )
