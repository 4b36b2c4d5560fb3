"""Measure what a step of fine-tuning costs, against the loop of the 2024 article.

Knows both loops. Does not know real data: weights and pictures are random, as speed and memory do
not depend on them. The article's loop is fp32, sets ``is_trainable`` on the vision tower, which
freezes nothing, and counts padding in the loss. Ours trains the same part of the model as
``training.trainable`` prepares it. Every loop runs in a process of its own, so that each has its
own peak of memory; two pictures a step.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from florence_demo import machine
from florence_demo.benchmark import models as models
from florence_demo.benchmark.rows import Row
from florence_demo.machine import keep_heap
from florence_demo.training.batch import IGNORE
from florence_demo.training.trainable import prepare

BATCH = 2
PAD = 1
LOOPS = ("article", "frozen", "cached", "cached bf16")

ANSWERS = ((0, 4993, 644, 11, 10852, 2), (0, 1749, 6, 4005, 12, 3416, 8, 5, 1144, 9, 383, 2))
"""Two answers in tokens; the shorter one is padded."""


@dataclass(frozen=True)
class Spent:
    """Hold what one loop took.

    Attributes:
        seconds: Of the fastest step.
        peak: Bytes the process held at most; None where the system does not tell.
    """

    seconds: float
    peak: int | None

    def told(self) -> str:
        """Return it in words."""
        memory = "" if self.peak is None else f", {self.peak / 1e9:.1f} GB"
        return f"{BATCH / self.seconds:.2f} samples/s{memory}"


def training_rows(size: str, steps: int, threads: int) -> Iterator[Row]:
    """Measure the article's loop and ours.

    Args:
        size: "base", "large", or "tiny" to see that all works.
        steps: Steps a loop; the first one is there to warm up where there are more.
        threads: Threads of the processor.
    """
    usual = _spent("article", size, steps, threads)
    frozen = _spent("frozen", size, steps, threads)
    title = f"training, {size}, {BATCH} pictures a step"
    yield _speed(f"{title}: vision tower frozen for real", 2.7, usual, frozen)
    yield _memory(f"{title}: peak memory, half of it at most", usual, frozen)
    cached = _spent("cached", size, steps, threads)
    # In fp32 no ratio is promised: the cache must at least not lose against the tower.
    yield _speed(f"{title}: cached image features, fp32", 2.7, usual, cached)
    name = f"{title}: cached image features, bf16"
    if not machine.fast_bf16():
        why = "not run here: this processor has neither AVX512-BF16 nor AMX"
        yield Row(name, None, 8.0, why)
        yield Row(f"{name}, peak memory, half of it at most", None, 1.0, why)
        return
    half = _spent("cached bf16", size, steps, threads)
    yield _speed(name, 8.0, usual, half)
    yield _memory(f"{name}, peak memory, half of it at most", usual, half)


def _speed(name: str, at_least: float, usual: Spent, ours: Spent) -> Row:
    note = f"{usual.told()} -> {ours.told()}"
    return Row(name, usual.seconds / ours.seconds, at_least, note)


def _memory(name: str, usual: Spent, ours: Spent) -> Row:
    if usual.peak is None or ours.peak is None:
        return Row(name, None, 1.0, "not run here: the system does not tell")
    note = f"{usual.peak / 1e6:,.0f} MB -> {ours.peak / 1e6:,.0f} MB"
    return Row(name, 0.5 * usual.peak / ours.peak, 1.0, note)


def _spent(loop: str, size: str, steps: int, threads: int) -> Spent:
    """Run one loop in a process of its own."""
    command = [sys.executable, "-m", __name__, loop, size, str(steps), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Spent(**json.loads(done.stdout.splitlines()[-1]))


def make_batch(model: Any, loop: str) -> dict[str, Tensor]:
    """Return what one step of a loop learns from.

    Args:
        model: The random model.
        loop: One of ``LOOPS``.
    """
    prompt = [*[models.IMAGE_TOKEN] * models.IMAGE_TOKENS, *models.PROMPTS[1]]
    longest = max(map(len, ANSWERS))
    fill = PAD if loop == "article" else IGNORE
    batch = {
        "input_ids": torch.tensor([prompt] * BATCH),
        "attention_mask": torch.ones(BATCH, len(prompt), dtype=torch.long),
        "labels": torch.tensor([[*a, *[fill] * (longest - len(a))] for a in ANSWERS]),
        "pixel_values": models.picture(rows=BATCH),
    }
    if loop.startswith("cached"):
        # What the cache holds: the tower's and the projector's output, computed once a picture.
        torch.manual_seed(1)
        width = int(model.config.vision_config.projection_dim)
        batch["pixel_values"] = torch.randn(BATCH, models.IMAGE_TOKENS, width)
    return batch


def make_learner(model: Any, loop: str) -> Any:
    """Return the model as a loop trains it.

    Args:
        model: The random model; changed.
        loop: One of ``LOOPS``.
    """
    if loop != "article":
        return prepare(model, "language", cached=loop.startswith("cached")).train()
    for parameter in model.model.vision_tower.parameters():
        parameter.is_trainable = False  # as the article has it; torch knows no such thing
    return model.train()


def run_loop(loop: str, size: str, steps: int) -> Spent:
    """Train some steps in this process."""
    model = make_learner(models.build(size), loop)
    batch = make_batch(model, loop)
    learns = [p for p in model.parameters() if p.requires_grad]
    # Ours is fused, as the Trainer takes it; the article constructs AdamW without settings.
    optimizer = torch.optim.AdamW(learns, lr=1e-6, fused=True if loop != "article" else None)
    half = loop.endswith("bf16")
    spent = []
    for _ in range(steps):
        start = time.perf_counter()
        format_ = torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext()
        with format_:
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        spent.append(time.perf_counter() - start)
    return Spent(min(spent), machine.peak_bytes())


def _main(loop: str, size: str, steps: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    if loop != "article":
        keep_heap()  # as the command line does
    found = run_loop(loop, size, int(steps))
    print(json.dumps({"seconds": found.seconds, "peak": found.peak}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
