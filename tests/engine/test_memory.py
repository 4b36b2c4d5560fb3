"""Too little memory on a device: smaller batches, then a sentence, then as before."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from florence_demo.engine.engine import Engine
from florence_demo.engine.feature_cache import FeatureCache
from florence_demo.engine.memory import Room, in_room
from florence_demo.engine.request import Options, Request
from florence_demo.errors import InputError
from florence_demo.models.catalogue import ModelSpec
from florence_demo.models.loading import LoadedModel
from florence_demo.tasks import TASKS
from tests.micro_florence import micro_model, micro_processor

QUICK = Options(max_new_tokens=8, num_beams=1)
REQUESTS = [
    Request(Image.new("RGB", (60, 40), color), TASKS["caption"])
    for color in ("red", "teal", "navy")
]


@pytest.fixture
def engine(tmp_path) -> Engine:
    processor = micro_processor()
    spec = ModelSpec("micro", "micro", str(tmp_path))
    device = torch.device("cpu")
    return Engine(
        LoadedModel(spec, tmp_path, micro_model(processor), processor, device, torch.float32, 0)
    )


class Small:
    """A device with memory for so many pictures or answers at once."""

    def __init__(self, monkeypatch, engine, name: str, error: Exception):
        self.most, self.batches = 99, []
        work = getattr(engine._decoder, name)

        def bounded(given, *args, **kwargs):
            self.batches.append(len(given))
            if len(given) > self.most:
                raise error
            return work(given, *args, **kwargs)

        monkeypatch.setattr(engine._decoder, name, bounded)


ERRORS = {
    "a GPU": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    "here": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    "Python": MemoryError(),
}
PLACES = ("encode_image", "decode")


def asked(engine, requests=REQUESTS) -> list[str]:
    engine._features = FeatureCache(0)  # what was seen is looked at again
    return [each.raw for each in engine.predict_batch(requests, QUICK)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_memory_that_is_too_little_is_told_and_forgotten(monkeypatch, engine, place, error):
    expected = asked(engine)
    small = Small(monkeypatch, engine, place, error)
    small.most = 1
    assert asked(engine) == expected
    assert max(small.batches) > 1
    assert small.batches[-1] == 1
    small.most = 0
    with pytest.raises(InputError, match="too little memory"):
        asked(engine, REQUESTS[:1])
    small.most = 99
    small.batches.clear()
    assert asked(engine) == expected
    assert small.batches == [3], "as before"


def test_a_bug_is_no_want_of_memory(monkeypatch, engine):
    small = Small(monkeypatch, engine, "decode", RuntimeError("shape mismatch"))
    small.most = 0
    with pytest.raises(RuntimeError, match="shape"):
        engine.predict_batch(REQUESTS, QUICK)
    assert set(small.batches) <= {1, 3}


def test_an_answer_says_for_how_many_there_was_memory(monkeypatch, engine):
    small = Small(monkeypatch, engine, "decode", MemoryError())
    for most, expected in ((2, 2), (1, 1), (99, None)):
        small.most = most
        assert {each.room for each in engine.predict_batch(REQUESTS, QUICK)} == {expected}


@pytest.mark.parametrize(
    ("known", "fits", "tried", "then"),
    [
        (None, 99, [9], None),
        (None, 5, [9, 5, 4], 5),
        (None, 2, [9, 5, 3, 2, 2, 2, 2, 1], 2),
        (4, 99, [4, 4, 1], 4),
        (4, 2, [4, 2, 2, 2, 2, 1], 2),
        (None, 0, [9, 5, 3, 2, 1], 1),
    ],
)
def test_a_room_only_shrinks(known, fits, tried, then):
    room, batches = Room(known), []

    def answer(part):
        batches.append(len(part))
        if len(part) > fits:
            raise MemoryError
        return [10 * each for each in part]

    if fits:
        assert in_room(answer, range(9), room) == [10 * each for each in range(9)]
    else:
        with pytest.raises(InputError, match="too little memory"):
            in_room(answer, range(9), room)
    assert (batches, room.most) == (tried, then)
