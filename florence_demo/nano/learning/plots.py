"""Pictures of a training: its curves, and what the model answers to a few held-out scenes.

Knows the log's rows and matplotlib. Does not know how anything is learned.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import Florence2ForConditionalGeneration, Florence2Processor

from florence_demo.nano.learning.glance import FIRST_SEED, answers
from florence_demo.nano.learning.samples import ask, squeeze
from florence_demo.nano.learning.store import LOG
from florence_demo.nano.scenes.compose import make_scene
from florence_demo.nano.scenes.sprites import Library
from florence_demo.output.annotate import annotate
from florence_demo.prediction import Detections
from florence_demo.tasks import TASKS

CURVES = "curves.png"
SAMPLES = "samples.png"

_PANELS: dict[str, tuple[str, ...]] = {
    "The tower alone: right": ("cell_acc", "slot_acc", "letter_acc"),
    "Cells in the language model's words: loss": ("cell_label", "cell_place", "cell_letter"),
    "Answers: loss": ("answer", "task_caption", "task_od", "task_ocr", "task_vqa"),
    "Held-out scenes": ("od_f1_50", "od_f1_75", "caption_set", "ocr_error", "quad_f1_50", "vqa"),
}
_SHOWN = ("od", "caption", "ocr_with_region")


def read_rows(out: Path) -> list[dict[str, Any]]:
    """Return the rows of a run's log."""
    return [json.loads(line) for line in (out / LOG).read_text().splitlines()]


def draw_curves(out: Path, panels: Mapping[str, Iterable[str]] = _PANELS) -> Path:
    """Draw what the log tells over the minutes of training, and return the file."""
    from matplotlib.figure import Figure

    rows = [row for row in read_rows(out) if "minutes" in row]
    figure = Figure(figsize=(12, 8), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        for name in names:
            points = [(row["minutes"], row[name]) for row in rows if name in row]
            if points:
                axes.plot(*zip(*points, strict=True), label=name)
        axes.set(title=title, xlabel="minutes")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize="small")
    target = out / CURVES
    figure.savefig(target, dpi=90)
    return target


def draw_samples(
    out: Path,
    model: Florence2ForConditionalGeneration,
    processor: Florence2Processor,
    library: Library,
    seeds: Sequence[int] = range(FIRST_SEED, FIRST_SEED + 12),
) -> Path:
    """Ask about held-out scenes, one task each in turn, draw the answers, and return the file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 12), layout="constrained")
    asked = []
    for i, seed in enumerate(seeds):
        scene = make_scene(seed, 320, library=library)
        truths = {truth.task: truth for truth in scene.truths}
        wanted = [*_SHOWN[i % len(_SHOWN) :], *_SHOWN]
        truth = next(truths[name] for name in wanted if name in truths)
        question = ask(truth, scene.image.size, processor.tokenizer)
        if question is not None:
            asked.append((scene.image, question))
    said = answers(model, processor, [(np.asarray(squeeze(image)), q) for image, q in asked])
    places = list(figure.subplots(3, 4, squeeze=False).flat)
    for axes in places:
        axes.axis("off")
    for axes, (image, question), text in zip(places, asked, said, strict=False):
        found = TASKS[question.task].answer.decode(text, image.size)
        axes.imshow(annotate(image, found.detections) if len(found.detections) else image)
        axes.set_title(_words(question.task, found.text, found.detections), fontsize=8, wrap=True)
    target = out / SAMPLES
    figure.savefig(target, dpi=80)
    return target


def _words(task: str, text: str, found: Detections) -> str:
    # matplotlib reads dollar signs as mathematics.
    return f"{task}: {text or ', '.join(found.labels)}"[:120].replace("$", r"\$")
