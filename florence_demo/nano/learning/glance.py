"""A cheap look at how far a training has come: a few held-out scenes, greedy answers.

Knows what of each task is worth a look that costs seconds. The numbers that are published come from
``evaluate``, the judgements of both from ``evaluation.metrics``.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from transformers import Florence2ForConditionalGeneration, Florence2Processor

from florence_demo.evaluation import metrics
from florence_demo.nano.architecture import square
from florence_demo.nano.learning.samples import Question, ask, squeeze
from florence_demo.nano.scenes.catalogue import CLASSES
from florence_demo.nano.scenes.compose import make_scene
from florence_demo.nano.scenes.sprites import Library
from florence_demo.nano.tokenizer import IMAGE_TOKENS
from florence_demo.tasks import TASKS

FIRST_SEED = 50_000_000
ASKED = (
    "caption", "od", "ocr", "ocr_with_region", "caption_to_phrase_grounding",
    "region_to_category", "referring_expression_segmentation", "vqa", "docvqa",
)  # fmt: skip
_SIZE = (256, 256)


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
    scores: dict[str, list[metrics.Judgement]] = defaultdict(list)
    for all_asked in by_task.values():
        asked = all_asked[:32]
        for (_, question), said in zip(asked, answers(model, processor, asked), strict=True):
            for metric, judgement in _judge(question, said, processor).items():
                scores[metric].append(judgement)
    sums = {name: np.sum(rows, axis=0) for name, rows in scores.items()}
    out = {name: float(gained / possible) for name, (gained, possible) in sums.items() if possible}
    return {**out, "check_seconds": time.monotonic() - began}


def _judge(
    question: Question, said: str, processor: Florence2Processor
) -> dict[str, metrics.Judgement]:
    """Return what one answer is worth."""
    name = question.task
    answer = TASKS[name].answer
    true_text = processor.tokenizer.decode(question.answer, skip_special_tokens=False)
    true_text = true_text.replace("<s>", "").replace("</s>", "")
    found, true = answer.decode(said, _SIZE), answer.decode(true_text, _SIZE)
    boxes = partial(metrics.f1, found.detections, true.detections)
    if name == "od":
        return {"od_f1_50": boxes(), "od_f1_75": boxes(least=0.75)}
    if name == "caption":
        return {"caption_set": metrics.names_right(said, true_text, tuple(CLASSES))}
    if name == "ocr":
        wrong, letters = metrics.character_errors(found.text, [true.text])
        return {"ocr_error": (min(wrong, letters), letters)}
    if name == "ocr_with_region":
        # Reading is scored apart: a line counts as found wherever its box is.
        return {"quad_f1_50": boxes(use_labels=False)}
    if name in ("caption_to_phrase_grounding", "referring_expression_segmentation"):
        hits, places = boxes()
        return {f"{name[:9]}_f1": (hits / max(1, places), 1.0)}
    right = found.text == true.text and bool(question.truth.answer)
    return {name: (float(right), 1.0)}
