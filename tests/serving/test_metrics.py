"""What is counted of questions, and by which names."""

from __future__ import annotations

from contextlib import closing

import pytest
from PIL import Image

from florence_demo.engine.request import USUAL
from florence_demo.errors import InputError
from florence_demo.models.catalogue import ModelSpec
from florence_demo.serving.asking import Service
from florence_demo.serving.config import AppConfig
from florence_demo.serving.metrics import Metrics
from florence_demo.serving.scratch import Scratch
from florence_demo.serving.watching import Ended, label_of
from tests.fakes import FakeEngine, FakeEngines, SlowEngine

PICTURE = Image.new("RGB", (40, 30), "teal")


def made(engine: FakeEngine | None = None) -> Service:
    return Service(AppConfig(model="nano"), FakeEngines(engine))


def asked(service: Service, task: str = "od", text: str = "", model: object = None) -> None:
    model = model or service.check_model("nano")
    for _ in service.ask(PICTURE, task, text, None, model, USUAL):
        pass


def count(service: Service, name: str, **labels: str) -> float:
    return service.metrics.registry.get_sample_value(f"florence_{name}", labels) or 0.0


def test_an_answered_question_is_counted_with_its_seconds():
    service = made()
    asked(service)
    asked(service)
    asked(service, "caption")
    od = {"task": "od", "model": "nano"}
    assert count(service, "questions_total", **od, outcome="answered") == 2
    assert count(service, "question_seconds_count", **od) == 2
    assert count(service, "queue_seconds_count") == 3
    list(service.ask_all(PICTURE, service.check_model("nano"), USUAL))
    everything = {"task": "everything", "model": "nano", "outcome": "answered"}
    assert count(service, "questions_total", **everything) == 1


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(InputError("draw a box"), "refused"), (RuntimeError("broken"), "failed")],
    ids=["refused", "failed"],
)
def test_what_ends_a_question_is_counted_by_its_kind(error, outcome):
    service = made(FakeEngine(error=error))
    with pytest.raises(type(error)):
        asked(service)
    assert count(service, "questions_total", task="od", model="nano", outcome=outcome) == 1
    assert count(service, "errors_total", kind=type(error).__name__) == 1
    assert count(service, "question_seconds_count", task="od", model="nano") == 0


def test_wrong_input_is_counted_though_nothing_was_done_for_it():
    service = made()
    with pytest.raises(InputError):
        asked(service, "docvqa")
    refused = {"task": "docvqa", "model": "nano", "outcome": "refused"}
    assert count(service, "questions_total", **refused) == 1
    assert count(service, "queue_seconds_count") == 0
    assert service.engines.names == []


def test_who_stops_and_who_finds_no_place_is_counted():
    service = made(SlowEngine())
    nano = service.check_model("nano")
    with closing(service.ask(PICTURE, "od", "", None, nano, USUAL)) as asking:
        next(asking)
        next(asking)
        assert count(service, "questions_working") == 1
    assert count(service, "questions_working") == 0
    assert count(service, "questions_total", task="od", model="nano", outcome="stopped") == 1
    service.answers.queue.most = -1
    with pytest.raises(Exception, match="Busy"):
        asked(service)
    assert count(service, "questions_total", task="od", model="nano", outcome="busy") == 1
    assert count(service, "errors_total", kind="Busy") == 1


def test_no_visitor_makes_a_name():
    service = made()
    asked(service, model=ModelSpec("me/my-secret", "mine", "me/my-secret"))
    asked(service, model="me/another-secret")
    text = service.metrics.text().decode()
    assert "secret" not in text
    assert count(service, "questions_total", task="od", model="other", outcome="answered") == 2
    assert [label_of(name) for name in ("nano", "base-ft", "x")] == ["nano", "base-ft", "other"]


def test_tokens_a_second_are_those_of_the_last_minute():
    class Clock:
        now = 1000.0

        def __call__(self) -> float:
            return self.now

    clock = Clock()
    metrics = Metrics(clock)
    for at, tokens in ((0, 600), (30, 60), (59, 60)):
        clock.now = 1000.0 + at
        metrics.ended(Ended("od", "nano", "answered", 1.0, 0.0, tokens, ""))
    assert metrics.registry.get_sample_value("florence_tokens_per_second") == 12
    clock.now = 1000.0 + 61
    assert metrics.registry.get_sample_value("florence_tokens_per_second") == 2
    found = metrics.registry.get_sample_value("florence_tokens_total", {"model": "nano"})
    assert found == 720


def test_engines_tell_of_batches_features_and_loads(tmp_path):
    service = Service(AppConfig(model="nano", device="cpu"), scratch=Scratch(tmp_path))
    service.scratch.keep(b"x" * 1000, "a")
    for task in ("caption", "od"):
        asked(service, task)
    assert count(service, "model_loads_total", model="nano") == 1
    assert count(service, "models_loaded") == 1
    assert count(service, "models_bytes") > 10e6
    assert count(service, "batch_size_count") == 2
    assert count(service, "feature_cache_total", result="miss") == 1
    assert count(service, "feature_cache_total", result="hit") == 1
    assert count(service, "tokens_total", model="nano") > 2
    assert service.metrics.registry.get_sample_value("process_resident_memory_bytes")
    assert count(service, "temporary_bytes") == 1000


def test_two_servers_of_one_process_count_apart():
    one, other = made(), made()
    asked(one)
    assert count(other, "questions_total", task="od", model="nano", outcome="answered") == 0
