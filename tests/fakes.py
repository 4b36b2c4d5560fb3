"""An engine that answers at once with what a test wants to see."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

from florence_demo.engine.feature_cache import fingerprint
from florence_demo.engine.request import Stopped
from florence_demo.prediction import Prediction

BOX = "<loc_100><loc_200><loc_500><loc_600>"
QUAD = "<loc_100><loc_100><loc_300><loc_100><loc_300><loc_200><loc_100><loc_200>"
RAW = {
    "TEXT": "A fake answer",
    "BOXES": f"cat{BOX}car<loc_600><loc_100><loc_900><loc_400>cat<loc_10><loc_10><loc_90><loc_90>",
    "PHRASES": f"a dog{BOX}",
    "POLYGONS": "<loc_100><loc_100><loc_500><loc_100><loc_300><loc_600>",
    "QUADS": f"OPEN{QUAD}",
    "BOXES_OR_POLYGONS": f"a dog{BOX}",
}


class FakeEngine:
    """Answer by the kind of answer that the task has; remember the questions."""

    side = 768

    def __init__(self, raw: dict[str, str] | None = None, error: Exception | None = None):
        self.raw = {**RAW, **(raw or {})}
        self.error = error
        self.asked: list[tuple] = []
        self.batches: list[int] = []
        self.strange: list[tuple[int, int]] = []
        self.loaded = SimpleNamespace(
            title="fake",
            device=SimpleNamespace(type="cpu"),
            weight_bytes=0,
            describe=lambda: "fake, fp32, cpu, 0 MB",
        )

    def predict(self, image, task, text="", region=None, options=None, *, on_step=None):
        self.asked.append((task.name, text, region))
        if self.error:
            raise self.error
        prompt = task.build_prompt("a dog" if task.after else text, region, image.size)
        raw = self.raw[task.answer.name]
        decoded = task.answer.decode(raw, image.size)
        return Prediction(
            task.name,
            prompt,
            raw,
            decoded.text,
            image.size,
            decoded.detections,
            task.parse(decoded.value),
            "fake",
            "cpu",
            picture=fingerprint(image),
        )

    def prepare(self, image):
        return image

    def knows(self, image):
        return image.size not in self.strange

    def predict_batch(self, requests, options=None, *, on_step=None):
        self.batches.append(len(requests))
        return [self.predict(r.image, r.task, r.text, r.region, options) for r in requests]


class SlowEngine(FakeEngine):
    """Work on without a word, as in the vision tower, until told to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.started, self.stopped = threading.Event(), threading.Event()

    def predict(self, image, task, text="", region=None, options=None, *, on_step=None):
        self.started.set()
        until = time.monotonic() + 10
        while on_step(lambda: SimpleNamespace(text="")):
            if time.monotonic() > until:
                return super().predict(image, task, text, region)
        self.stopped.set()
        raise Stopped


class FakeEngines:
    """Hand out one engine for every name."""

    def __init__(self, engine: FakeEngine | None = None):
        self.engine = engine or FakeEngine()
        self.names: list[str] = []
        self.arriving = {}  # by a model's spec, what tells how it arrives

    def get(self, name, progress=None):
        if progress and name in self.arriving:
            self.arriving[name](progress)
        self.names.append(name)
        return self.engine

    def holds(self, name):
        return False

    def drop(self, name):
        return name in self.names

    def loaded(self):
        return [self.engine]
