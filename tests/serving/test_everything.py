"""Everything about a picture at once: one batch, one pass of the tower."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from florence_demo.engine.engine import Engine
from florence_demo.engine.request import Options, Stopped
from florence_demo.errors import InputError
from florence_demo.models.catalogue import ModelSpec
from florence_demo.models.loading import LoadedModel
from florence_demo.serving.answering import PICTURE_TASKS
from florence_demo.serving.asking import Service
from florence_demo.serving.config import AppConfig
from tests.fakes import FakeEngine, FakeEngines
from tests.micro_florence import micro_model, micro_processor

IMAGE = Image.new("RGB", (400, 300), "teal")
QUICK = Options(max_new_tokens=8, num_beams=1)


def service(engine=None) -> Service:
    return Service(AppConfig(), FakeEngines(engine))


def answers(given: Service, image=IMAGE):
    *_, (_, shown) = given.ask_all(image, "nano", QUICK)
    return shown


@pytest.fixture
def micro(tmp_path) -> Engine:
    processor = micro_processor()
    model, device = micro_model(processor), torch.device("cpu")
    spec = ModelSpec("micro", "micro", str(tmp_path))
    return Engine(LoadedModel(spec, tmp_path, model, processor, device, torch.float32, 0))


@pytest.fixture(autouse=True)
def own_files(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))


def test_it_asks_what_a_picture_alone_can_be_asked():
    assert [task.name for task in PICTURE_TASKS] == [
        "caption",
        "detailed_caption",
        "more_detailed_caption",
        "od",
        "dense_region_caption",
        "region_proposal",
        "ocr",
        "ocr_with_region",
    ]


def test_the_tower_runs_once_for_one_picture_and_all_are_decoded_together(micro, monkeypatch):
    pictures, batches = [], []
    encode = micro._decoder.encode_image
    monkeypatch.setattr(
        micro._decoder,
        "encode_image",
        lambda values, **how: pictures.append(len(values)) or encode(values, **how),
    )
    decode = micro._decoder.decode
    monkeypatch.setattr(
        micro._decoder,
        "decode",
        lambda features, prompts, *args, **how: (
            batches.append(len(prompts)) or decode(features, prompts, *args, **how)
        ),
    )
    shown = answers(service(micro))
    assert pictures == [1]
    assert batches == [len(PICTURE_TASKS)]
    alone = [micro.predict(IMAGE, task, options=QUICK).raw for task in PICTURE_TASKS]
    assert [found.raw for _, found in shown] == alone
    assert pictures == [1], "asked alone, the features are there already"


def test_who_leaves_stops_all_of_it(micro):
    asked: list[int] = []
    running = service(micro).answers._predict_all

    def step(_partial) -> bool:
        asked.append(1)
        return False

    with pytest.raises(Stopped):
        running(micro, IMAGE, Options(max_new_tokens=64), on_step=step)
    assert len(asked) == 1
    assert micro.cached_bytes == 0


def test_without_a_picture_one_sentence_says_what_to_do():
    given = service()
    with pytest.raises(InputError, match="no picture"):
        answers(given, None)
    assert given.engines.names == []


def test_who_closes_the_page_ends_the_work():
    stopped = threading.Event()

    class Endless(FakeEngine):
        def predict_batch(self, requests, options=None, *, on_step=None):
            while on_step(lambda: SimpleNamespace(text="A delivery van")):
                pass
            stopped.set()
            raise Stopped

    told = service(Endless()).ask_all(IMAGE, "nano", QUICK)
    assert next(told) == ({}, [])
    assert next(told) == ({"sentence": "A delivery van", "busy": True}, [])
    told.close()
    assert stopped.wait(10)
