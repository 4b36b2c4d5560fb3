"""Batches without end: scenes drawn, set on the grid and packed, here or in processes beside.

Knows seeds, and which scenes the tower learns from alone. Does not know what is learned from a
batch.
"""

from __future__ import annotations

import logging
import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from florence_demo.machine import in_bytes
from florence_demo.nano.learning.batches import Batch, Parcel, Words, collate
from florence_demo.nano.learning.samples import Sample, crowded, make_sample, mirrored
from florence_demo.nano.scenes.compose import make_scene
from florence_demo.nano.scenes.sprites import Library
from florence_demo.nano.scenes.types import Scene
from florence_demo.nano.tokenizer import SIDE

_AHEAD = 2
"""Batches that a process beside the training keeps ready."""
_PICTURE = 256 * 1024
"""Bytes of a picture with its grid and four questions, rounded up."""
_SHARED = Path("/dev/shm")
"""Where Linux keeps shared memory."""
_log = logging.getLogger(__name__)


@dataclass
class Stream(torch.utils.data.IterableDataset[Batch]):
    """Make batches of samples for ever, each seed once.

    Attributes:
        library: Sprites and fonts.
        tokenizer: Turns sentences into numbers.
        batch: Samples a batch.
        group: Questions a group.
        questions: Questions a sample.
        start: First seed.
        step: Distance between the seeds of this stream; streams side by side share the numbers.
        pool: Scenes of objects drawn lately, whose things crowd the pictures of a tower that
            learns alone: drawing two more scenes for each would take as long as learning from it.
    """

    library: Library
    tokenizer: PreTrainedTokenizerFast
    batch: int
    group: int
    questions: int
    start: int
    step: int = 1
    pool: deque[Scene] = field(default_factory=lambda: deque(maxlen=64))

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches."""
        words = Words.of(self.tokenizer)
        for samples in self.samples():
            yield collate(samples, words, self.group)

    def samples(self) -> Iterator[list[Sample]]:
        """Yield the samples of one batch after the other."""
        info = torch.utils.data.get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        seed = self.start + self.step * worker
        while True:
            samples: list[Sample] = []
            while len(samples) < self.batch:
                try:
                    samples.append(self.one(seed))
                except Exception:
                    # One bad scene in many thousands must not end a run of hours.
                    _log.warning("seed %d makes no scene", seed, exc_info=True)
                seed += self.step * workers
            yield samples

    def one(self, seed: int) -> Sample:
        """Return the sample of a seed."""
        rng = np.random.default_rng([seed, 7])
        # Mostly at the model's own size; sometimes larger, so that sharp pictures are no surprise.
        size = int(rng.choice([SIDE, SIDE, SIDE, SIDE, 400]))
        scene = make_scene(seed, size, library=self.library)
        if not self.questions and scene.objects:
            others = [self.pool[int(i * len(self.pool))] for i in rng.random(2) if self.pool]
            self.pool.append(scene)
            scene = crowded([scene, *(mirrored(s) if rng.random() < 0.5 else s for s in others)])
        return make_sample(scene, self.tokenizer, self.questions, rng)


def feed(stream: Stream, workers: int, device: str) -> Iterator[Batch]:
    """Yield the batches of a stream on a device.

    Args:
        stream: Where they come from.
        workers: Processes that draw them; with none they are drawn when they are asked for.
        device: "cpu" or "cuda".
    """
    pack = partial(Parcel.of, shared=_is_room(workers * _AHEAD * stream.batch * _PICTURE))
    loader = torch.utils.data.DataLoader(
        stream,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=_AHEAD if workers else None,
        collate_fn=pack if workers or device != "cpu" else _as_is,
        pin_memory=device != "cpu",
    )
    for made in loader:
        yield made.to(device)


def _is_room(need: int) -> bool:
    """Return whether shared memory takes so many bytes; a container may have very little of it."""
    if not _SHARED.is_dir():
        return True
    free = shutil.disk_usage(_SHARED).free
    if need > free:
        _log.warning(
            "shared memory has %s free of %s: batches go through a pipe",
            in_bytes(free),
            in_bytes(need),
        )
    return need <= free


def _as_is(batch: Any) -> Any:
    return batch
