"""A cheap look at how far a training has come: a few held-out scenes, greedy answers.

Knows rough scores that cost seconds. The numbers that are published come from ``evaluate``.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import Florence2ForConditionalGeneration, Florence2Processor

from florence_demo.nano.architecture import square
from florence_demo.nano.learning.samples import Question, ask, squeeze
from florence_demo.nano.scenes.catalogue import CLASSES
from florence_demo.nano.scenes.compose import make_scene
from florence_demo.nano.scenes.sprites import Library
from florence_demo.nano.tokenizer import IMAGE_TOKENS
from florence_demo.prediction import Detections
from florence_demo.tasks import TASKS

FIRST_SEED = 50_000_000
ASKED = (
    "caption", "od", "ocr", "ocr_with_region", "caption_to_phrase_grounding",
    "region_to_category", "referring_expression_segmentation", "vqa", "docvqa",
)  # fmt: skip
_SIZE = (256, 256)


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the fewest insertions, deletions and changes that turn one into the other."""
    row = np.arange(len(b) + 1)
    for i, x in enumerate(a, 1):
        change = row[:-1] + np.array([x != y for y in b], int)
        best = np.minimum(change, row[1:] + 1) if len(b) else change
        row = np.concatenate([[i], best])
        # Insertions run along the row: the least of everything before plus the distance to it.
        row = np.minimum.accumulate(row - np.arange(len(row))) + np.arange(len(row))
    return int(row[-1])


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the IoU (n, m) of boxes (n, 4) and (m, 4)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=-1)
    areas = [(x[:, 2:] - x[:, :2]).prod(axis=-1) for x in (a, b)]
    iou: np.ndarray = both / np.maximum(areas[0][:, None] + areas[1][None] - both, 1e-9)
    return iou


def f1(found: Detections, true: Detections, least: float) -> tuple[int, int]:
    """Return twice the matches of boxes with equal labels, and the boxes on both sides."""
    hits = 0
    if len(found) and len(true):
        iou = overlap(found.xyxy, true.xyxy)
        same = np.array([[a == b for b in true.labels] for a in found.labels])
        iou = np.where(same, iou, 0)
        while iou.max() >= least:
            i, j = np.unravel_index(iou.argmax(), iou.shape)
            hits += 1
            iou[i], iou[:, j] = 0, 0
    return 2 * hits, len(found) + len(true)


@torch.inference_mode()
def answers(
    model: Florence2ForConditionalGeneration,
    processor: Florence2Processor,
    asked: Sequence[tuple[np.ndarray, Question]],
    most: int = 160,
) -> list[str]:
    """Return greedy answers to questions about pictures (SIDE, SIDE, 3)."""
    device = next(model.parameters()).device
    out: list[str] = []
    for at in range(0, len(asked), 16):
        part = asked[at : at + 16]
        pixels = square(torch.from_numpy(np.stack([p for p, _ in part])).to(device))
        image = [processor.image_token_id] * IMAGE_TOKENS
        rows = processor.tokenizer.pad(
            {"input_ids": [image + q.prompt for _, q in part]}, return_tensors="pt"
        ).to(device)
        ids = model.generate(
            **rows, pixel_values=pixels, num_beams=1, do_sample=False, max_new_tokens=most
        )
        out += processor.batch_decode(ids, skip_special_tokens=False)
    return [text.replace("<s>", "").replace("</s>", "").replace("<pad>", "") for text in out]


def _blank(found: Detections) -> Detections:
    return Detections(found.xyxy, ("",) * len(found))


def nouns(text: str) -> list[str]:
    """Return the classes that a caption names, in alphabetical order."""
    words = text.lower().replace(",", " ").replace(".", " ").split()
    known = set(CLASSES)
    return sorted(w if w in known else w.rstrip("s") for w in words if w in known
                  or w.rstrip("s") in known)  # fmt: skip


def check(
    model: Florence2ForConditionalGeneration,
    processor: Florence2Processor,
    library: Library,
    scenes: int = 48,
) -> dict[str, float]:
    """Return rough scores of a model."""
    began = time.monotonic()
    by_task: dict[str, list[tuple[np.ndarray, Question]]] = defaultdict(list)
    for seed in range(FIRST_SEED, FIRST_SEED + scenes):
        scene = make_scene(seed, 256, library=library)
        pixels = np.asarray(squeeze(scene.image))
        tasks = {t.task: t for t in scene.truths if t.task in ASKED}
        for name, truth in tasks.items():
            question = ask(truth, scene.image.size, processor.tokenizer)
            if question is not None and len(question.answer) < 160:
                by_task[name].append((pixels, question))
    scores: dict[str, list[Any]] = defaultdict(list)
    for name, asked in by_task.items():
        asked = asked[:32]
        for (_, question), said in zip(asked, answers(model, processor, asked), strict=True):
            _score(name, question, said, processor, scores)
    sums = {"od_f1_50", "od_f1_75", "quad_f1_50", "ocr_error"}
    out = {
        name: float(np.sum(rows, axis=0)[0] / max(1e-9, np.sum(rows, axis=0)[1]))
        if name in sums
        else float(np.mean(rows))
        for name, rows in scores.items()
    }
    return {**out, "check_seconds": time.monotonic() - began}


def _score(
    name: str,
    question: Question,
    said: str,
    processor: Florence2Processor,
    scores: dict[str, list[Any]],
) -> None:
    """Add one answer to the scores."""
    truth, answer = question.truth, TASKS[name].answer
    true_text = processor.tokenizer.decode(question.answer, skip_special_tokens=False)
    true_text = true_text.replace("<s>", "").replace("</s>", "")
    found, true = answer.decode(said, _SIZE), answer.decode(true_text, _SIZE)
    if name == "od":
        scores["od_f1_50"].append(f1(found.detections, true.detections, 0.5))
        scores["od_f1_75"].append(f1(found.detections, true.detections, 0.75))
    elif name == "caption" and nouns(true_text):
        scores["caption_set"].append(float(nouns(said) == nouns(true_text)))
    elif name == "ocr":
        wrong = min(edit_distance(found.text, true.text), len(true.text))
        scores["ocr_error"].append((wrong, len(true.text)))
    elif name == "ocr_with_region":
        # Reading is scored apart: a line counts as found wherever its box is.
        scores["quad_f1_50"].append(f1(_blank(found.detections), _blank(true.detections), 0.5))
    elif name in ("caption_to_phrase_grounding", "referring_expression_segmentation"):
        hits = f1(found.detections, true.detections, 0.5)
        scores[f"{name[:9]}_f1"].append(hits[0] / max(1, hits[1]))
    elif name != "caption":
        scores[name].append(float(found.text == true.text and bool(truth.answer)))
