"""Jobs for tests: small pictures, an engine that answers at once, and a program to be killed.

``python -m tests.batch.job FOLDER OUT MOMENT`` runs a job over a folder; MOMENT is where it ends
itself by SIGKILL: "picture:7" when the seventh picture is made ready, "batch:3" when the third
batch is asked, "line:2" when the second part is half written, "never".
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from florence_demo.batch import rows as rows_module
from florence_demo.batch.config import BatchConfig
from florence_demo.batch.run import Model, run
from florence_demo.engine.feature_cache import fingerprint
from florence_demo.prediction import Detections, Prediction


class Answers:
    """Answer with the picture's digest, and the digests of those it was asked about with."""

    def __init__(self, full: int = 10**9, refuses: str = "", seconds: float = 0.0):
        self.full, self.refuses, self.seconds = full, refuses, seconds
        self.batches: list[int] = []
        self.prepared = self.held = self.most_held = 0
        self.lock = threading.Lock()
        self.loaded = SimpleNamespace(
            title="fake", device="cpu", weight_bytes=0, describe=lambda: "fake, cpu"
        )

    def prepare(self, image: Image.Image) -> Image.Image:
        with self.lock:
            self.prepared += 1
            self.held += 1
            self.most_held = max(self.most_held, self.held)
        return image

    def predict_batch(self, requests, options=None):
        if len(requests) > self.full:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        digests = [fingerprint(r.image) for r in requests]
        if self.refuses in digests:
            raise ValueError("a bug")
        self.batches.append(len(requests))
        with self.lock:
            self.held -= len(requests)
        return [
            self._answer(r, f"{d} among {' '.join(digests)}")
            for r, d in zip(requests, digests, strict=True)
        ]

    def _answer(self, request, text: str) -> Prediction:
        width, height = request.image.size
        found = Detections(
            np.array([[1, 1, width - 1, height - 1], [2, 2, 4, 4]], np.float32),
            ("cat", "dog"),
            scores=np.array([0.9, 0.2], np.float32),
        )
        parsed = {request.task.token: text}
        prompt = request.text or request.task.prompt
        return Prediction(
            request.task.name,
            prompt,
            text,
            text,
            (width, height),
            found,
            parsed,
            seconds=self.seconds,
        )


def model(engine: Answers | None = None) -> Model:
    """Return a model that is already open."""
    return Model("weights", lambda: engine or Answers())


def draw(folder: Path, count: int, suffix: str = ".png", size: tuple[int, int] = (24, 16)) -> None:
    """Write pictures, each of another colour."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.new("RGB", size, (i % 256, i // 256, 99)).save(folder / f"{i:05}{suffix}")


def job(folder: Path | str, out: Path | None, **settings) -> BatchConfig:
    """Return a job over a folder in small parts."""
    return BatchConfig((str(folder),), **{"out": out, "batch_size": 4, "workers": 2, **settings})


def main(folder: str, out: str, moment: str) -> None:
    """Run a job, and end it at a moment."""
    kind, _, count = moment.partition(":")
    left = int(count or 0)

    def step() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    engine = Answers()
    if kind == "picture":
        ready = engine.prepare
        engine.prepare = lambda image: (step(), ready(image))[1]
    if kind == "batch":
        answer = engine.predict_batch
        engine.predict_batch = lambda requests, options: (step(), answer(requests))[1]
    if kind == "line":
        append = rows_module.RowFile.append

        def half(self, rows) -> None:
            if left == 1:
                data = b"".join(map(rows_module.line_of, rows))
                self._file.write(data[: len(data) // 2 + 7])  # in the middle of a row
                self._file.flush()
            step()
            append(self, rows)

        rows_module.RowFile.append = half
    run(job(folder, Path(out), tasks=("od", "caption")), model(engine))


if __name__ == "__main__":
    main(*sys.argv[1:])
