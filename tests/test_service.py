"""The page's buttons without a browser: a fake engine, and the API as a program sees it."""

from __future__ import annotations

import pickle
import sys
import threading
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from gradio.data_classes import ImageData
from PIL import Image

from florence_demo.engine import Options
from florence_demo.errors import CheckpointError, InputError
from florence_demo.export import EXPORTERS
from florence_demo.tasks import TASKS
from florence_demo.ui.components import RegionPicker, SafeImage, TaskMenu
from florence_demo.ui.service import ANNOTATED, AppConfig, Service, friendly
from tests.fakes import FakeEngine, FakeEngines, SlowEngine

IMAGE = Image.new("RGB", (400, 300), "teal")


def service(engine: FakeEngine | None = None, **config) -> Service:
    return Service(AppConfig(**config), FakeEngines(engine))


def answer(given: Service, task: str, image=IMAGE, text="", region=None):
    *_, (shown, found) = given.ask(image, task, text, region, "nano", Options())
    return shown, found


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda t: t.name)
def test_every_task_shows_a_sentence_and_its_drawing(task):
    text = "a dog" if task.asks == "text" else ""
    region = (10, 10, 90, 90) if task.asks == "region" else None
    shown, found = answer(service(), task.name, text=text, region=region)
    assert shown["sentence"]
    assert len(shown["rows"]) == len(found.detections)
    assert ("<svg" in shown["overlay"]) == bool(len(found.detections))
    assert "picture" not in shown, "the picture went to the page once, when it arrived"


def test_what_a_task_does_not_take_is_left_out():
    given = service()
    answer(given, "od", text="left over from another task", region=(1, 1, 9, 9))
    assert given.engines.engine.asked == [("od", "", None)]


@pytest.mark.parametrize(
    ("task", "image", "text", "region", "words"),
    [
        pytest.param("od", None, "", None, "no picture", id="no picture"),
        pytest.param("docvqa", IMAGE, "", None, "needs words", id="no question"),
        pytest.param("region_to_ocr", IMAGE, "", None, "draw a box", id="no region"),
    ],
)
def test_bad_input_is_told_before_a_model_is_loaded(task, image, text, region, words):
    given = service()
    with pytest.raises(InputError, match=words):
        answer(given, task, image, text, region)
    assert given.engines.names == []


@pytest.mark.parametrize("name", ["../secret", "/etc", "nope", "", "a/b/c", "."])
def test_a_visitor_cannot_name_a_folder(name):
    with pytest.raises(CheckpointError, match="no model"):
        service().check_model(name)


def test_hub_ids_are_for_open_apps_only():
    assert service().check_model("owner/name") == "owner/name"
    with pytest.raises(CheckpointError, match="no model"):
        service(open_hub=False).check_model("owner/name")


@pytest.mark.parametrize("kind", [ANNOTATED, *EXPORTERS])
def test_every_download_is_a_file_with_something_in_it(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    given = service()
    _, found = answer(given, "od")
    file = given.download(IMAGE, found, kind)
    assert file.startswith(str(tmp_path))
    assert len(open(file, "rb").read()) > 10  # noqa: PTH123, SIM115


@pytest.mark.parametrize("size", [(10, 10), IMAGE.size], ids=["other size", "same size"])
def test_a_download_of_another_picture_is_refused(size):
    given = service()
    _, found = answer(given, "od")
    with pytest.raises(InputError, match="changed since"):
        given.download(Image.new("RGB", size, "red"), found, ANNOTATED)


def test_a_bug_is_a_sentence_on_the_page_and_a_traceback_in_the_log(caplog):
    @friendly
    def broken() -> None:
        raise ZeroDivisionError("secret detail")

    with pytest.raises(gr.Error) as caught:
        broken()
    assert "secret" not in str(caught.value)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("payload", "region"),
    [
        pytest.param(
            {"box": [1, 2, 3, 4], "picture": {"path": "/etc/passwd"}}, (1, 2, 3, 4), id="box"
        ),
        pytest.param({"box": None}, None, id="none"),
        pytest.param({}, None, id="empty"),
        pytest.param([1, 2, 3, 4], (1, 2, 3, 4), id="plain list"),
    ],
)
def test_a_region_from_the_browser(payload, region):
    assert RegionPicker().preprocess(payload) == region


@pytest.mark.parametrize("box", [[1, 2, 3], ["a", 1, 2, 3], [1, 2, 3, float("nan")], "abcd"])
def test_a_region_that_is_none_is_refused(box):
    with pytest.raises(gr.Error):
        RegionPicker().preprocess({"box": box})


def test_an_unknown_task_from_the_browser_is_refused():
    with pytest.raises(gr.Error, match="no task"):
        TaskMenu(uid="x").preprocess("not-a-task")


def test_prepare_sends_a_small_copy(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    noise = np.random.default_rng(0).integers(0, 255, (2000, 3000, 3), np.uint8)
    picker, shown = service().prepare(Image.fromarray(noise))
    assert picker["size"] == [3000, 2000]
    with Image.open(shown["picture"]["path"]) as copy:
        assert max(copy.size) <= 1600


class Queued(SlowEngine):
    """Wait until others' questions are answered, and only then ask whether to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = threading.Event()

    def predict(self, *args, **kwargs):
        self.closed.wait(10)
        return super().predict(*args, **kwargs)


@pytest.mark.parametrize("kind", [SlowEngine, Queued])
def test_stop_is_heard_where_there_are_no_words(kind):
    engine = kind()
    told = service(engine).ask(IMAGE, "od", "", None, "nano", Options())
    assert [next(told), next(told)] == [({}, None)] * 2
    told.close()
    if kind is Queued:
        engine.closed.set()
    assert engine.stopped.wait(10)


def test_a_picture_that_was_deleted_meanwhile_is_told(tmp_path):
    gone = ImageData(path=str(tmp_path / "picture.jpg"))
    with pytest.raises(gr.Error, match="upload it again"):
        SafeImage().preprocess(gone)


def test_a_shared_gpu_is_sent_what_can_be_sent(monkeypatch):
    """There each call runs in a process of its own, which gets its arguments pickled."""

    def gpu(duration):
        def wrap(fn):
            def call(*args, **kwargs):
                assert duration(*args, **kwargs) <= 60
                return pickle.loads(pickle.dumps(fn(*pickle.loads(pickle.dumps(args)), **kwargs)))

            return call

        return wrap

    class Unsendable(FakeEngine):
        def __reduce__(self):
            raise TypeError("cannot pickle an engine")

    monkeypatch.setenv("SPACES_ZERO_GPU", "1")
    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=gpu))
    given = service(Unsendable())
    shown, found = answer(given, "caption")
    assert shown["sentence"] == found.text == "A fake answer"
    *_, (_, everything) = given.ask_all(IMAGE, "nano", Options())
    assert everything
