"""The page's buttons without a browser: a fake engine, and the API as a program sees it."""

from __future__ import annotations

import errno
import pickle
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from gradio.data_classes import FileData, ImageData, ListFiles
from PIL import Image

from florence_demo.engine.request import Options
from florence_demo.errors import CheckpointError, InputError
from florence_demo.serving.asking import Service
from florence_demo.serving.config import AppConfig, openness
from florence_demo.serving.fair_queue import Ending
from florence_demo.tasks import TASKS
from florence_demo.trust import VISITOR
from florence_demo.ui.components import Canvas, SafeFiles, SafeImage
from florence_demo.ui.handlers import friendly, message
from florence_demo.ui.task_menu import TaskMenu
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
        pytest.param("region_to_ocr", IMAGE, "", [(1, 1, 9, 9)] * 21, "21 boxes", id="boxes"),
        pytest.param(
            "open_vocabulary_detection", IMAGE, ", ".join(map(str, range(200))), None,
            "200 names, 50 are allowed", id="many names",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_told_before_a_model_is_loaded(task, image, text, region, words):
    given = service()
    with pytest.raises(InputError, match=words):
        answer(given, task, image, text, region)
    assert given.engines.names == []


def test_a_list_of_names_and_several_boxes_are_one_answer_each():
    given = service()
    shown, found = answer(given, "open_vocabulary_detection", text="cat, dog; CAT")
    assert given.engines.engine.batches == [2]
    assert shown["sentence"] == "cat, dog"
    assert len({row["color"] for row in shown["rows"]}) == 2
    _, found = answer(given, "region_to_ocr", region=[(1, 1, 9, 9), (9, 9, 40, 40)])
    assert given.engines.engine.batches == [2, 2]
    assert found.detections.labels == ("A fake answer", "A fake answer")


def test_a_large_picture_can_be_looked_at_closely():
    given = service()
    asked = (Image.new("RGB", (2000, 900), "teal"), "od", "", None, "nano", Options())
    *_, (shown, found) = given.ask(*asked, tiles="auto")
    assert given.engines.engine.batches == [4]
    assert shown["notices"] == ["Looked at in 3 overlapping tiles."]
    assert found.size == (2000, 900)


@pytest.mark.parametrize(
    ("task", "tiles", "words"),
    [("caption", "auto", "by tiles"), ("od", "13x5", "65 tiles"), ("od", "many", "no tiles")],
)
def test_tiles_that_cannot_be_are_told_before_a_model_is_loaded(task, tiles, words):
    given = service()
    with pytest.raises(InputError, match=words):
        list(given.ask(IMAGE, task, "", None, "nano", Options(), tiles=tiles))
    assert given.engines.names == []


@pytest.mark.parametrize(("size", "told"), [((400, 300), False), ((4000, 300), True)])
def test_a_picture_far_larger_than_a_model_sees_is_told_when_it_arrives(size, told):
    _, shown = service().prepare(Image.new("RGB", size))
    assert ("768 × 768" in shown["hint"]) == told
    assert shown["hint"].startswith(f"{size[0]} × {size[1]} pixels. ")
    assert shown["hint"].endswith("Choose a task and press Ask.")


@pytest.mark.parametrize("name", ["../secret", "/etc", "nope", "", "a/b/c", "."])
def test_a_visitor_cannot_name_a_folder(name):
    with pytest.raises(CheckpointError, match="no model"):
        service().check_model(name)


def test_a_visitors_name_is_the_catalogues_or_the_hubs_never_the_disks(tmp_path, monkeypatch):
    """Nor does the answer tell whether there is such a folder."""
    (tmp_path / "owner" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for name in ("owner/here", "owner/gone"):
        spec = service().check_model(name)
        assert (spec.source, spec.folder, spec.public) == (name, None, False)
    answers = []
    for name in (str(tmp_path / "owner"), str(tmp_path / "ghost")):
        with pytest.raises(CheckpointError, match="no model") as caught:
            service(open_hub=False).check_model(name)
        answers.append(str(caught.value).replace(name, ""))
    assert answers[0] == answers[1]


def test_the_operators_model_may_be_a_folder(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    given = service(model="./mine", public=True)
    assert given.check_model("./mine").folder == tmp_path / "mine"
    assert service(model="owner/name", public=True).check_model("owner/name").folder is None
    with pytest.raises(CheckpointError, match="no model"):
        given.check_model("mine")


def test_a_public_pages_models_may_do_no_more_than_its_visitors():
    trust = Service(AppConfig(public=True, allow_pickle=True, open_hub=True)).engines.trust
    assert trust == replace(VISITOR, hub=False)
    assert AppConfig(allow_pickle=True).trust() == replace(VISITOR, pickle=True)


def test_hub_ids_are_for_open_apps_only():
    assert service().check_model("owner/name").source == "owner/name"
    with pytest.raises(CheckpointError, match="no model"):
        service(open_hub=False).check_model("owner/name")


@pytest.mark.parametrize("size", [(10, 10), IMAGE.size], ids=["other size", "same size"])
def test_a_download_of_another_picture_is_refused(size):
    given = service()
    _, found = answer(given, "od")
    with pytest.raises(InputError, match="changed since"):
        given.download(Image.new("RGB", size, "red"), found, "annotated")


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
        pytest.param({"boxes": [[1, 2, 3, 4]]}, (1, 2, 3, 4), id="one of several"),
        pytest.param(
            {"boxes": [[1, 2, 3, 4], [5, 6, 7, 8]], "box": None},
            ((1, 2, 3, 4), (5, 6, 7, 8)),
            id="several",
        ),
        pytest.param({"boxes": [], "box": [1, 2, 3, 4]}, (1, 2, 3, 4), id="one, no several"),
    ],
)
def test_a_region_from_the_browser(payload, region):
    assert Canvas("x").preprocess(payload) == region


@pytest.mark.parametrize(
    "box",
    [[1, 2, 3], ["a", 1, 2, 3], [1, 2, 3, float("nan")], "abcd", "1234", [1, 2, 3, 10**400], 5, {}],
    ids=["three", "letter", "nan", "letters", "digits", "huge", "number", "object"],
)
def test_a_region_that_is_none_is_refused(box):
    with pytest.raises(InputError, match="four numbers"):
        Canvas("x").preprocess({"box": box})


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([[1, 2, 3, 4]] * 21, "21 boxes, 20 are allowed"),
        ([[1, 2, 3, 4]] * 100_000, "100,000 boxes"),
        ([[1, 2, 3, 4], [1, 2, 3]], "Box 2 must be four numbers"),
        ([[1, 2, 3, 4], None], "Box 2 must be four numbers"),
        ([[1, 2, 3, float("inf")], [1, 2, 3, 4]], "Box 1 must be four numbers"),
        ([[[1, 2], 2, 3, 4]], "four numbers"),
        (5, "four numbers"),
        ("abcd", "four numbers"),
        ({"a": 1}, "four numbers"),
    ],
    ids=["21", "many", "three", "none", "infinite", "nested", "number", "letters", "object"],
)
def test_boxes_that_are_none_are_refused_in_a_sentence(boxes, words):
    with pytest.raises(InputError, match=words):
        Canvas("x").preprocess({"boxes": boxes})


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((500, 10, 600, 90), "Box 2: The region lies outside the picture, which is 400 x 300"),
        ((-90, -90, -10, -10), "Box 2: The region lies outside"),
        ((10, 10, 10, 90), "Box 2: The region has no area"),
        ((10, 10, 10.4, 10.4), "Box 2: The region has no area"),
    ],
    ids=["beyond", "before", "a line", "a dot"],
)
def test_a_box_that_cannot_be_asked_about_is_told_by_its_number(box, words):
    given = service()
    with pytest.raises(InputError, match=words):
        answer(given, "region_to_ocr", region=((1, 1, 9, 9), box))
    assert given.engines.names == []


def test_an_answer_tells_what_it_is_filtered_and_copied_by():
    shown, _ = answer(service(), "od")
    assert shown["task"] == "od"
    assert [row["name"] for row in shown["rows"]] == [0, 1, 0]
    assert [row["into"] for row in shown["rows"]] == [None] * 3
    assert shown["pieces"] == []
    twice = FakeEngine({"BOXES": "cat<loc_1><loc_1><loc_900><loc_900>" * 2})
    shown, _ = answer(service(twice), "od")
    assert [row["into"] for row in shown["rows"]] == [None, 0]
    shown, _ = answer(service(), "ocr_with_region")
    assert shown["pieces"] == [[0, ""]]
    assert [row["name"] for row in shown["rows"]] == [None]


def test_an_unknown_task_from_the_browser_is_refused():
    with pytest.raises(InputError, match="no task"):
        TaskMenu(uid="x").preprocess("not-a-task")


def test_prepare_sends_a_small_copy(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    noise = np.random.default_rng(0).integers(0, 255, (2000, 3000, 3), np.uint8)
    picker, shown = service().prepare(Image.fromarray(noise))
    assert picker["size"] == [3000, 2000]
    assert "3000 × 2000 pixels" in shown["hint"]
    with Image.open(picker["picture"]["path"]) as copy:
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


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A component's own cache, with a picture in it and others beside it."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    for name in ("cache/own.png", "cache-of-others/other.png", "secret.png"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        IMAGE.save(file)
    (tmp_path / "cache/link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "cache/folder.png").mkdir()
    return tmp_path / "cache"


@pytest.mark.parametrize(
    "path",
    ["../secret.png", "../cache-of-others/other.png", "link.png", "folder.png", "gone.png", "..",
     "../none.png", "own.png/../../secret.png", "a\0b.png", "x" * 5000, "/etc/passwd", "/dev/zero"],
    ids=lambda p: p[:24].replace("\0", "NUL"),
)  # fmt: skip
def test_only_a_components_own_files_are_opened(cache, path):
    # One sentence for all of them: it does not tell what is there.
    given = ImageData(path=str(cache / path))
    for component, payload in (
        (SafeImage(), given),
        (SafeFiles(), ListFiles([FileData(path=given.path)])),
    ):
        with pytest.raises(InputError) as error:
            component.preprocess(payload)
        assert str(error.value) == "This file is no longer here: upload it again."


def test_a_components_own_file_is_opened(cache):
    given = ImageData(path=str(cache / "own.png"))
    assert SafeImage().preprocess(given).size == IMAGE.size
    assert SafeFiles().preprocess(ListFiles([FileData(path=given.path)])) == [
        (cache / "own.png").resolve()
    ]


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("See <a href='http://x'>it</a>", "See ‹a href='http://x'›it‹/a›"),
        ("x" * 2_000_000, "x" * 599 + "…"),
        ("half \ud800", "half ?"),
    ],
    ids=["markup", "long", "surrogate"],
)
def test_a_strangers_words_in_a_sentence_stay_words(sentence, shown):
    assert message(InputError(sentence)).message == shown


def test_a_full_disk_is_told_as_such():
    told = message(OSError(errno.ENOSPC, "No space left on device", "/srv/secret"))
    assert "disk of this server is full" in told.message
    assert "secret" not in told.message


def test_one_visitor_fetches_two_pictures_at_a_time(monkeypatch):
    given, arrived, go_on = service(), threading.Semaphore(0), threading.Event()

    def slow(url):
        arrived.release()
        assert go_on.wait(20)
        return IMAGE

    monkeypatch.setattr("florence_demo.serving.asking.fetch_image", slow)
    threads = [threading.Thread(target=given.fetch, args=("https://a", "one")) for _ in range(2)]
    for thread in threads:
        thread.start()
        assert arrived.acquire(timeout=20)
    with pytest.raises(InputError, match="being fetched already"):
        given.fetch("https://a", "one")
    go_on.set()
    assert given.fetch("https://a", "another")[1]["size"] == [400, 300]
    for thread in threads:
        thread.join(20)
    assert given.fetch("https://a", "one")
    assert not given._fetching


@pytest.mark.parametrize(
    "value", ["x", None, float("nan"), float("inf"), 10**400, [], {}], ids=repr
)
def test_a_setting_that_is_no_number_is_a_sentence(value):
    with pytest.raises(InputError, match="num_beams must be a whole number"):
        Options.given(64, value)


def test_a_public_page_opens_little():
    config = AppConfig(public=True, allow_pickle=True).resolved()
    assert (config.open_hub, config.allow_pickle, config.training) == (False, False, False)
    assert AppConfig(public=True, training=True).resolved().training
    assert AppConfig().resolved().training


@pytest.mark.parametrize("suits", ["nano", "base-ft"])
def test_the_model_that_suits_the_machine_is_chosen_once(monkeypatch, suits):
    monkeypatch.setattr(
        "florence_demo.serving.config.usual_model", lambda device: (suits, f"it runs on {device}")
    )
    given = Service(AppConfig(device="cpu"), FakeEngines())
    monkeypatch.undo()
    assert given.config.model == suits
    assert given.config.resolved().model == suits
    assert given.given.name == suits
    assert AppConfig(model="large").resolved().model == "large"


@pytest.mark.parametrize(
    ("config", "host", "auth", "words"),
    [
        (AppConfig(), None, False, 0),
        (AppConfig(), "0.0.0.0", False, 1),
        (AppConfig(), "0.0.0.0", True, 0),
        (AppConfig(public=True), "0.0.0.0", False, 0),
    ],
    ids=["alone", "network", "login", "public"],
)
def test_the_start_says_what_strangers_may_do(config, host, auth, words):
    first, *warned = openness(config.resolved(), host, auth)
    assert ("any model of the Hugging Face hub" in first) != config.public
    assert ("trainings" in first) != config.public
    assert len(warned) == words


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


def test_one_visitor_measures_once_at_a_time():
    given = service()
    with given.measuring("one"):
        with pytest.raises(InputError, match="is going on"), given.measuring("one"):
            pass
        with given.measuring("another"):
            pass
    with given.measuring("one"):
        pass


def test_a_server_that_ends_finishes_what_runs_and_stops_it_when_told(monkeypatch):
    engine = SlowEngine()
    given = service(engine)
    asking = given.ask(IMAGE, "od", "", None, "nano", Options())
    next(asking)
    next(asking)
    assert engine.started.wait(10)
    given.answers.close()
    next(asking), next(asking)
    with pytest.raises(Ending):
        list(given.ask(IMAGE, "od", "", None, "nano", Options()))
    given.answers.stop()
    with pytest.raises(Ending):
        list(asking)
    assert engine.stopped.wait(10)
    assert given.answers.queue.working() == 0
