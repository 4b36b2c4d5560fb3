"""Many questions at once: in order, each with its own failure, the same answers as one by one."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from florence_demo.engine import many
from florence_demo.engine.many import Asked, answer_all, ask_many, usual_batch
from florence_demo.engine.memory import Room
from florence_demo.engine.seen import Seen
from florence_demo.errors import InputError
from florence_demo.tasks import TASKS
from tests.batch.job import Answers

SCENES = sorted((Path(__file__).parents[2] / "assets" / "heldout").glob("*.webp"))[:8]


def _picture(number: int) -> Image.Image:
    return Image.new("RGB", (20 + number % 7, 16), (number % 256, 0, 0))


def test_answers_are_those_of_one_by_one(nano):
    one = [nano.ask(path, "od") for path in SCENES]
    found = list(nano.ask_many(SCENES, "od", batch_size=3))
    assert [p.raw for p in found] == [p.raw for p in one]
    assert [p.size for p in found] == [p.size for p in one]
    assert [p.picture for p in found] == [p.picture for p in one]
    for ours, theirs in zip(found, one, strict=True):
        assert np.allclose(ours.detections.xyxy, theirs.detections.xyxy)


def test_several_tasks_share_a_pass_of_the_tower_and_leave_nothing_in_the_cache(nano, monkeypatch):
    passes = []
    encode = nano._decoder.encode_image
    monkeypatch.setattr(
        nano._decoder,
        "encode_image",
        lambda pixels, **how: (passes.append(len(pixels)), encode(pixels, **how))[1],
    )
    before = nano.cached_bytes
    pairs = list(nano.ask_many(SCENES[:4], ("od", "caption"), batch_size=4))
    assert passes == [4]
    assert [(a.task, b.task) for a, b in pairs] == [("od", "caption")] * 4
    assert nano.cached_bytes == before


def test_what_is_seen_lets_go_of_its_pixels(nano):
    seen = nano.prepare(Image.new("RGB", (640, 320)))
    assert (seen.size, seen.features) == ((640, 320), None)
    many.ask_each(nano, [seen], Asked.of(["caption"]))
    assert seen.pixels is None
    assert seen.features is not None
    assert isinstance(seen, Seen)


def test_an_endless_row_of_pictures_is_answered_as_far_as_one_asks():
    drawn = itertools.count()
    pictures = (_picture(next(drawn)) for _ in itertools.repeat(None))
    answers = ask_many(Answers(), pictures, Asked.of(["caption"]), 4)
    taken = list(itertools.islice(answers, 10))
    answers.close()
    assert [a.size[0] for (a,) in taken] == [20 + n % 7 for n in range(10)]
    assert next(drawn) < 40


def test_a_picture_that_is_none_is_raised_or_given_in_its_place(nano, tmp_path):
    (tmp_path / "a.png").write_bytes(b"none")
    pictures = [SCENES[0], tmp_path / "a.png", SCENES[1]]
    answers = nano.ask_many(pictures, "caption", give_errors=True)
    assert [isinstance(a, InputError) for a in answers] == [False, True, False]
    answers = nano.ask_many(pictures, "caption", batch_size=1)
    assert next(answers).text
    with pytest.raises(InputError, match="not a picture"):
        next(answers)


@pytest.mark.parametrize("names", [(), ("nonsense",), ("region_to_ocr",), ("docvqa",)])
def test_what_cannot_be_asked_of_many_is_refused_at_once(names):
    with pytest.raises(InputError):
        Asked.of(names)


@pytest.mark.parametrize("full", [1, 2, 5])
def test_a_batch_that_is_too_large_is_asked_in_halves(full):
    engine = Answers(full=full)
    requests = [Asked.of(["caption"]).about(TASKS["caption"], _picture(n)) for n in range(9)]
    answers = answer_all(engine, requests)
    assert [a.size[0] for a in answers] == [20 + n % 7 for n in range(9)]
    assert max(engine.batches) <= full


def test_memory_that_was_too_little_once_makes_all_batches_smaller():
    class Once(Answers):
        """Has too little memory for the first batch, and never again."""

        def predict_batch(self, requests, options=None):
            tried.append(len(requests))
            self.full = 3 if len(tried) == 1 else 10**9
            return super().predict_batch(requests, options)

    tried: list[int] = []
    pictures = [_picture(n) for n in range(10)]
    answers = list(ask_many(Once(), pictures, Asked.of(["caption"]), 4))
    assert [a.size[0] for (a,) in answers] == [20 + n % 7 for n in range(10)]
    assert tried == [4, 2, 2, 2, 2, 2]


def test_what_the_engine_says_of_its_memory_is_heard():
    class Halves(Answers):
        """Makes smaller batches by itself, and says so."""

        def predict_batch(self, requests, options=None):
            tried.append(len(requests))
            found = super().predict_batch(requests, options)
            return [replace(each, room=2) for each in found]

    tried: list[int] = []
    room = Room()
    for _ in range(2):
        many.ask_each(Halves(), [_picture(n) for n in range(4)], Asked.of(["caption"]), room)
    assert (tried, room.most) == ([4, 2, 2], 2)


@pytest.mark.parametrize(
    ("device", "weights", "free", "expected"),
    [
        ("cpu", 18_000_000, 64, 32),
        ("cpu", 900_000_000, 64, 4),
        ("cpu", 18_000_000, 2, 20),
        ("cpu", 18_000_000, 0.01, 1),
        ("cuda:0", 900_000_000, 80, 64),
        ("cuda:0", 900_000_000, 8, 16),
        ("cuda", 900_000_000, 8, 16),
        ("cuda:1", 18_000_000, 0.4, 4),
    ],
)
def test_the_batch_fits_the_memory(monkeypatch, device, weights, free, expected):
    asked = []
    monkeypatch.setattr(many, "free_memory", lambda d: asked.append(d) or int(free * 1e9))
    engine = SimpleNamespace(loaded=SimpleNamespace(device=device, weight_bytes=weights))
    assert usual_batch(engine) == expected
    assert asked == [device]
