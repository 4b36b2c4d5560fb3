"""A running answer that is stopped ends inside the vision tower, unless somebody else waits."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from PIL import Image

from florence_demo.engine.engine import Engine
from florence_demo.engine.request import Options, Request, Stopped
from florence_demo.models.catalogue import ModelSpec
from florence_demo.models.loading import LoadedModel
from florence_demo.tasks import TASKS
from tests.micro_florence import micro_model, micro_processor

QUICK = Options(max_new_tokens=8, num_beams=1)
BLOCKS = 6
"""Steps of the micro model's tower: two stages, each an embedding and the halves of one block."""


@pytest.fixture
def engine(tmp_path) -> Engine:
    processor = micro_processor()
    model = micro_model(processor)
    spec = ModelSpec("micro", "micro", str(tmp_path))
    device = torch.device("cpu")
    return Engine(LoadedModel(spec, Path(tmp_path), model, processor, device, torch.float32, 0))


@pytest.fixture
def ran(engine) -> list[int]:
    """One entry for each block of the tower that was run to its end."""
    seen: list[int] = []
    tower = engine._decoder._encoder.tower

    def watched(step):
        def run(x):
            result = step(x)
            seen.append(1)
            return result

        return run

    tower.steps = [watched(step) for step in tower.steps]
    return seen


def picture(color: str = "teal") -> Image.Image:
    return Image.new("RGB", (40, 30), color)


class Person:
    """Wait for an answer through so many steps."""

    def __init__(self, patience: int):
        self.patience = patience
        self.heard: list[str] = []

    def __call__(self, partial) -> bool:
        self.heard.append(partial().text)
        return len(self.heard) <= self.patience


@pytest.mark.parametrize("patience", range(BLOCKS))
def test_the_tower_ends_at_the_next_block(engine, ran, patience):
    person = Person(patience)
    with pytest.raises(Stopped):
        engine.predict(picture(), TASKS["caption"], options=QUICK, on_step=person)
    assert len(ran) == patience
    assert person.heard == [""] * (patience + 1)


def test_nothing_of_a_stopped_answer_is_left(engine, ran):
    with pytest.raises(Stopped):
        engine.predict(picture(), TASKS["caption"], options=QUICK, on_step=Person(1))
    assert engine.cached_bytes == 0
    hooks = [
        len(block._forward_pre_hooks)
        for stage in engine.loaded.model.model.vision_tower.blocks
        for block in stage
    ]
    assert not any(hooks)
    ran.clear()
    again = engine.predict(picture(), TASKS["caption"], options=QUICK, on_step=Person(99))
    assert len(ran) == BLOCKS
    assert again.raw == engine.predict(picture(), TASKS["caption"], options=QUICK).raw
    assert len(ran) == BLOCKS, "the features are kept this time"


def test_all_questions_of_a_person_stop_together(engine, ran):
    asked = [Request(picture(), TASKS[name]) for name in ("caption", "od", "ocr")]
    with pytest.raises(Stopped):
        engine.predict_batch(asked, QUICK, on_step=Person(1))
    assert len(ran) == 1
    # Past the tower too: the questions that were not told about end with the one that was.
    with pytest.raises(Stopped):
        engine.predict_batch(asked, Options(max_new_tokens=64), on_step=(late := Person(BLOCKS)))
    assert len(late.heard) == BLOCKS + 1


def together(engine: Engine, people: list[Person | None]) -> list[str | type[Exception]]:
    """Let people ask at once about pictures of their own, in one batch; say what each got."""
    got: dict[int, str | type[Exception]] = {}

    def ask(at: int) -> None:
        image = picture(["teal", "navy", "olive"][at])
        try:
            found = engine.predict(image, TASKS["caption"], options=QUICK, on_step=people[at])
            got[at] = found.raw
        except Exception as exc:
            got[at] = type(exc)

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(len(people))]
    with engine._batcher.at_rest():
        for at, thread in enumerate(threads):
            thread.start()
            while len(engine._batcher._waiting) <= at:
                threading.Event().wait(0.001)
    for thread in threads:
        thread.join(30)
    return [got[at] for at in range(len(people))]


@pytest.mark.parametrize("other", [Person(99), None], ids=["listens", "only waits"])
def test_somebody_who_still_waits_gets_the_answer(engine, ran, other):
    alone = engine.predict(picture("navy"), TASKS["caption"], options=QUICK).raw
    engine._features._kept.clear()
    ran.clear()
    assert together(engine, [Person(0), other]) == [Stopped, alone]
    assert len(ran) == BLOCKS


def test_a_shared_batch_ends_when_the_last_one_leaves(engine, ran):
    assert together(engine, [Person(0), Person(1), Person(0)]) == [Stopped] * 3
    assert len(ran) == 1
    assert engine.cached_bytes == 0
