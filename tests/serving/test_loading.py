"""A model is loaded once for all who wait, while others answer; the last who leaves stops it."""

from __future__ import annotations

import threading

import pytest
from PIL import Image

from florence_demo.engine.request import Options
from florence_demo.errors import CheckpointError
from florence_demo.models.catalogue import ASSETS, MODELS, hub_spec
from florence_demo.models.fetching import DownloadStopped
from florence_demo.serving.asking import Service
from florence_demo.serving.config import AppConfig
from florence_demo.serving.engines import EngineCache
from florence_demo.serving.loading import STOPPED, Loads
from tests.fakes import FakeEngine, FakeEngines
from tests.hub_server import hub_server

IMAGE = Image.new("RGB", (400, 300), "teal")
NAME = "base-ft"


class Slow:
    """Load a model chunk by chunk, each when a test says so."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls: list[object] = []
        self.chunk, self.told = threading.Semaphore(0), threading.Semaphore(0)
        self.ended = threading.Event()

    def __call__(self, model, progress):
        self.calls.append(model)
        try:
            for share in (0.0, 0.5, 1.0):
                progress(share, f"{share:.0%} is here")
                self.told.release()
                assert self.chunk.acquire(timeout=30)
            if self.error:
                raise self.error
            return f"engine of {model}"
        finally:
            self.ended.set()

    def go(self, chunks: int = 3) -> None:
        for _ in range(chunks):
            self.chunk.release()

    def heard(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.told.acquire(timeout=30)


def test_it_tells_how_far_it_is_and_ends_with_the_engine():
    slow = Slow()
    with Loads(slow).joined(NAME) as load:
        slow.heard()
        assert (load.state, load.share, load.words) == ("loading", 0.0, "0% is here")
        slow.go(1)
        slow.heard()
        assert (load.share, load.words) == (0.5, "50% is here")
        slow.go()
        assert load.result() == "engine of base-ft"
        assert load.state == "done"


def test_a_second_visitor_joins_and_one_who_leaves_stops_nobody():
    slow = Slow()
    loads = Loads(slow)
    with loads.joined(NAME) as first:
        slow.heard()
        with loads.joined(NAME) as second:
            assert second is first
        slow.go()
        assert first.result()
    assert slow.calls == [NAME]


def test_two_models_are_two_loads():
    slow = Slow()
    loads = Loads(slow)
    with loads.joined("base") as one, loads.joined("large") as other:
        slow.go(6)
        assert (one.result(), other.result()) == ("engine of base", "engine of large")


def test_the_last_who_leaves_stops_it_and_the_next_begins_anew():
    slow = Slow()
    loads = Loads(slow)
    with loads.joined(NAME) as load:
        slow.heard()
    slow.go(1)
    assert load.wait(30)
    assert load.state == "stopped"
    with pytest.raises(DownloadStopped, match="is kept") as caught:
        load.result()
    assert str(caught.value) == STOPPED
    with loads.joined(NAME) as again:
        slow.go()
        assert again.result()
    assert slow.calls == [NAME, NAME]


def test_who_comes_while_it_is_being_stopped_gets_a_load_of_his_own():
    slow = Slow()
    loads = Loads(slow)
    with loads.joined(NAME) as left:
        slow.heard()
    with loads.joined(NAME) as load:
        assert load is not left
        slow.go(4)
        assert load.result()
    assert left.wait(30)
    assert left.state == "stopped"


def test_a_failure_is_told_to_all_who_wait_and_a_new_try_is_made():
    slow = Slow(CheckpointError("The hub is gone."))
    loads = Loads(slow)
    with loads.joined(NAME) as load, loads.joined(NAME) as other:
        slow.go()
        for each in (load, other):
            with pytest.raises(CheckpointError, match="is gone"):
                each.result()
        assert load.state == "failed"
    slow.error = None
    with loads.joined(NAME) as again:
        slow.go()
        assert again.result()


def test_whoever_waits_is_told_and_gets_the_engine():
    slow, said = Slow(), []
    waiting = Loads(slow).awaited(NAME, lambda *news: said.append(news), tick=0.001)
    engine, words = next(waiting)
    assert engine is None
    assert said[-1][1] == words
    slow.go()
    *_, (engine, words) = waiting
    assert (engine, words) == ("engine of base-ft", "")


def test_closing_the_wait_ends_the_load():
    slow = Slow()
    waiting = Loads(slow).awaited(NAME, tick=0.001)
    next(waiting)
    waiting.close()
    slow.go(1)
    assert slow.ended.wait(30)


# With the page's service


class Engines(FakeEngines):
    """Load slowly what is not nano."""

    def __init__(self, slow: Slow) -> None:
        super().__init__(FakeEngine())
        self.slow = slow

    def get(self, name, progress=None):
        if name != "nano" and progress:
            self.slow(name, progress)
        return super().get(name, progress)


def test_a_question_waits_and_says_how_far_it_is_while_nano_answers():
    slow = Slow()
    service = Service(AppConfig(model="nano"), Engines(slow))
    asked = service.ask(IMAGE, "caption", "", None, NAME, Options())
    assert next(asked) == ({}, None)
    assert next(asked)[0]["busy"]
    slow.heard()
    shown, found = next(asked)
    assert (shown, found) == ({"hint": "0% is here", "busy": True}, None)
    *_, (_, found) = service.ask(IMAGE, "caption", "", None, "nano", Options())
    assert found is not None
    slow.go()
    *_, (_, found) = asked
    assert found is not None


def test_closing_the_question_stops_the_download():
    slow = Slow()
    service = Service(AppConfig(model="nano"), Engines(slow))
    asked = service.ask(IMAGE, "caption", "", None, NAME, Options())
    next(asked), next(asked)
    asked.close()
    slow.go(1)
    assert slow.ended.wait(30)
    assert service.engines.engine.asked == []


def test_the_first_model_is_loaded_whoever_else_leaves():
    slow = Slow()
    service = Service(AppConfig(model=NAME), Engines(slow))
    start = threading.Thread(target=service.warm_up)
    start.start()
    slow.heard()
    asked = service.ask(IMAGE, "caption", "", None, MODELS[NAME], Options())
    next(asked), next(asked)
    asked.close()
    slow.go()
    start.join(30)
    assert slow.calls == [MODELS[NAME]]
    assert MODELS[NAME] in service.engines.names


# With the engines themselves, and a hub


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that has nano."""
    with hub_server(monkeypatch, tmp_path / "cache") as served:
        served.files = {
            p.name: p.read_bytes()
            for p in (ASSETS / "nano").iterdir()
            if p.suffix in (".json", ".txt", ".safetensors")
        }
        yield served


def test_models_that_are_here_are_opened_while_another_arrives(hub):
    spec = hub_spec("owner/name")
    cache = EngineCache(max_models=2, device="cpu")
    loads = Loads(cache.get)
    hub.hold = {"model.safetensors": 50_000}
    with loads.joined(spec) as load:
        # Not in memory yet, and not behind the download.
        assert cache.get("nano").loaded.spec == MODELS["nano"]
        assert load.state == "loading"
        hub.go.set()
        engine = load.result()
    assert cache.get(spec) is engine
    assert len(hub.sent["model.safetensors"]) == 1


def test_whoever_asks_the_engines_waits_for_the_same_download(hub):
    spec, cache = hub_spec("owner/name"), EngineCache(max_models=2, device="cpu")
    got = []
    hub.hold = {"model.safetensors": 50_000}
    asking = [threading.Thread(target=lambda: got.append(cache.get(spec))) for _ in range(3)]
    for thread in asking:
        thread.start()
    hub.go.set()
    for thread in asking:
        thread.join(60)
    assert len(got) == 3
    assert len(set(map(id, got))) == 1
    assert len(hub.sent["model.safetensors"]) == 1


def test_a_stopped_download_goes_on_where_it_was(hub):
    spec, cache = hub_spec("owner/name"), EngineCache(max_models=2, device="cpu")
    hub.hold = {"model.safetensors": 200_000}
    half = threading.Event()

    def get(model, progress):
        def told(share, words):
            if "Downloading" in words:
                half.set()
            progress(share, words)

        return cache.get(model, told)

    loads = Loads(get)
    with loads.joined(spec) as load:
        assert half.wait(30)
    hub.go.set()
    assert load.wait(30)
    assert load.state == "stopped"
    with loads.joined(spec) as again:
        assert again.result().loaded.spec == spec
