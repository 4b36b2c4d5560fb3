"""When the server says that it is well, ready, stuck, lost or ending."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from PIL import Image

from florence_demo.engine.request import USUAL
from florence_demo.errors import CheckpointError, InputError
from florence_demo.serving.asking import Service
from florence_demo.serving.config import AppConfig
from florence_demo.serving.health import ENDING, Health
from florence_demo.serving.watching import LOST
from tests.fakes import FakeEngine, FakeEngines, SlowEngine

PICTURE = Image.new("RGB", (40, 30), "teal")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def made(engine: FakeEngine | None = None) -> Service:
    return Service(AppConfig(model="nano"), FakeEngines(engine))


def asked(service: Service) -> list[object]:
    model = service.check_model("nano")
    return list(service.ask(PICTURE, "od", "", None, model, USUAL))


def until(holds: Callable[[], bool]) -> bool:
    """Wait until something holds that other threads bring about; say whether it came."""
    end = time.monotonic() + 10
    while not holds() and time.monotonic() < end:
        threading.Event().wait(0.001)
    return holds()


def test_a_question_without_a_step_is_told_after_a_while():
    clock, moved = Clock(), Clock()
    health = Health(hang=120, clock=clock)
    with health.working("nano", moved) as pulse:
        clock.now = 120
        assert health.illness() == ""
        clock.now = 121
        assert health.illness() == "A question to nano has made no step for 121 seconds."
        pulse.beat()
        assert health.illness() == ""
        clock.now = 250
        moved.now = 200
        assert health.illness() == "", "it waits for others' steps, and those are made"
        clock.now = 321
        assert "for 121 seconds" in health.illness()
    assert health.illness() == ""


def test_one_that_stands_still_is_told_beside_those_that_move():
    clock = Clock()
    health = Health(hang=10, clock=clock)
    with health.working("base-ft", lambda: 0.0), health.working("nano", lambda: 0.0) as moving:
        clock.now = 11
        moving.beat()
        assert "base-ft" in health.illness()


def test_a_server_is_ready_once_its_first_model_is_there():
    service = made()
    assert service.health.illness() == ""
    assert service.health.unready() == "The first model is not asked for yet."
    service.warm_up()
    assert service.health.unready() == ""


def test_what_is_waited_for_is_told():
    here, go_on = threading.Event(), threading.Event()

    def arriving(progress):
        progress(0.5, "Fetching nano: 9 of 18 MB")
        here.set()
        assert go_on.wait(10)

    service = made()
    service.engines.arriving[service.given] = arriving
    warming = threading.Thread(target=service.warm_up)
    warming.start()
    assert here.wait(10)
    found = until(lambda: "9 of 18 MB" in service.health.unready())
    go_on.set()
    warming.join(10)
    assert found
    assert service.health.unready() == ""


@pytest.mark.parametrize("error", [CheckpointError("no"), OSError("no")], ids=["ours", "other"])
def test_a_first_model_that_cannot_be_loaded_is_told(error):
    def arriving(progress):
        raise error

    service = made()
    service.engines.arriving[service.given] = arriving
    if isinstance(error, OSError):
        with pytest.raises(OSError):
            service.warm_up()
    else:
        service.warm_up()
    assert service.health.unready() == "The first model could not be loaded: the log says why."
    assert service.health.illness() == ""
    service.engines.arriving.clear()
    asked(service)
    assert service.health.unready() == "", "it answers after all"


def test_the_steps_of_a_question_are_noted_as_long_as_it_is_in_work():
    engine = SlowEngine()
    service = made(engine)
    clock = Clock()
    service.health._clock = clock
    asking = service.ask(PICTURE, "od", "", None, service.check_model("nano"), USUAL)
    next(asking)
    next(asking)
    assert engine.started.wait(10)
    (pulse,) = service.health._pulses
    clock.now = 50.0
    assert until(lambda: pulse.still() == 0.0)
    asking.close()
    assert engine.stopped.wait(10)
    assert until(lambda: not service.health._pulses)


def test_a_lost_gpu_is_told(monkeypatch):
    monkeypatch.setattr("florence_demo.serving.watching.is_lost", lambda exc: "assert" in str(exc))
    service = made(FakeEngine(error=RuntimeError("out of memory")))
    with pytest.raises(RuntimeError):
        asked(service)
    assert service.health.illness() == ""
    service.engines.engine.error = RuntimeError("CUDA error: device-side assert triggered")
    with pytest.raises(RuntimeError):
        asked(service)
    assert service.health.illness() == LOST
    assert service.health.unready() == LOST


def test_a_persons_mistake_is_no_illness(monkeypatch):
    monkeypatch.setattr("florence_demo.serving.watching.is_lost", lambda exc: True)
    service = made(FakeEngine(error=InputError("draw a box")))
    with pytest.raises(InputError):
        asked(service)
    assert service.health.illness() == ""


def test_a_server_that_ends_is_neither_alive_nor_ready():
    health = Health()
    health.ready()
    health.end()
    assert health.illness() == health.unready() == ENDING
