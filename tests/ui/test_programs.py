"""The API as gradio's own client meets it: every verb, typed, without a session."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from florence_demo.api.schema import Answer
from florence_demo.api.steps import answer_of
from florence_demo.api.verbs import Verbs, verbs
from florence_demo.errors import CheckpointError
from florence_demo.models.catalogue import ASSETS
from florence_demo.pictures.room import ROOM
from florence_demo.serving.asking import Service
from florence_demo.ui import AppConfig, build_app
from tests.fakes import FakeEngines, SlowEngine


@pytest.fixture(scope="module")
def served():
    config = AppConfig(model="nano")
    app = build_app(config, Service(config, FakeEngines()))
    _, url, _ = app.serve(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    yield app, url
    app.close()


@pytest.fixture(scope="module")
def client(served):
    return Client(served[1], verbose=False)


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    target = tmp_path_factory.mktemp("pictures") / "picture.png"
    Image.new("RGB", (400, 300), "teal").save(target)
    return handle_file(target)


ANSWERS = {
    "ask": ({"task": "od"}, "od"),
    "detect": ({}, "od"),
    "detect names": ({"names": "cat, dog"}, "open_vocabulary_detection"),
    "caption": ({}, "caption"),
    "caption longer": ({"length": "longer", "where": True}, "detailed_caption_then_grounding"),
    "ocr": ({}, "ocr_with_region"),
    "ocr words": ({"where": False}, "ocr"),
    "segment": ({"what": "the dog"}, "referring_expression_segmentation"),
    "segment box": ({"region": [1, 2, 90, 80]}, "region_to_segmentation"),
    "point": ({"what": "dog"}, "open_vocabulary_detection"),
    "query": ({"question": "What is it?"}, "vqa"),
    "query a model that learned nothing known": ({"question": "Who?", "model": "base"}, "docvqa"),
    "query page": ({"question": "What is it?", "page": True}, "docvqa"),
}


@pytest.mark.parametrize(("case", "told"), ANSWERS.items(), ids=ANSWERS)
def test_a_verb_answers_with_the_command_lines_object(client, picture, case, told):
    arguments, task = told
    found = client.predict(picture=picture, **arguments, api_name=f"/{case.split()[0]}")
    assert found["task"] == task
    assert found.keys() >= Answer.__annotations__.keys()
    assert "<div" not in json.dumps(found), "no markup"
    assert (found["text"], found["detections"]) != ("", [])


def test_the_middle_of_each_thing_is_pointed_at(client, picture):
    found = client.predict(picture=picture, what="dog", api_name="/point")
    (x1, y1, x2, y2) = found["detections"][0]["box"]
    assert found["points"] == [{"x": (x1 + x2) / 2, "y": (y1 + y2) / 2, "label": "a dog"}]


def test_several_pictures_and_tasks_are_one_call(client, picture):
    rows = client.predict(
        pictures=[picture, picture], tasks=["od", "vqa", "ocr"], api_name="/ask_many"
    )
    assert [(row["picture"], row["task"]) for row in rows] == [
        (number, task) for number in (0, 1) for task in ("od", "vqa", "ocr")
    ]
    assert rows[0]["answer"]["detections"]
    assert rows[1]["error"]["code"] == "bad_input"


def test_several_large_pictures_are_opened_one_after_the_other(client, picture, monkeypatch):
    monkeypatch.setattr("florence_demo.pictures.room.LARGE", 1000)
    monkeypatch.setattr(ROOM, "pixels", 400 * 300)
    monkeypatch.setattr(ROOM, "seconds", 5)
    rows = client.predict(pictures=[picture] * 3, tasks=["od"], api_name="/ask_many")
    assert ["answer" in row for row in rows] == [True] * 3


def test_models_come_and_go(client):
    listed = client.predict(api_name="/models")
    assert [row["name"] for row in listed if row["usual"]] == ["nano"]
    assert client.predict("nano", api_name="/load")["name"] == "nano"
    assert not client.predict("nano", api_name="/unload")["loaded"]


BAD = {
    "no such task": ("ask", {"task": "nope"}, "no task"),
    "a folder as a model": ("ask", {"task": "od", "model": "/etc"}, "no model"),
    "no question": ("query", {"question": ""}, "needs words"),
    "half a box": ("segment", {"region": [1]}, "four numbers"),
    "both": ("segment", {"region": [1, 2, 3, 4], "what": "dog"}, "one of the two"),
    "a length of its own": ("caption", {"length": "epic"}, "`length`"),
    "a file of the server": ("detect", {"picture": "/etc/passwd"}, "none of what is taken"),
    "words as boxes": (
        "ask",
        {"task": "region_to_ocr", "region": "here"},
        "`region` is not of its kind",
    ),
    "a list as words": ("query", {"question": ["a"]}, "`question`"),
    "an object as words": ("detect", {"names": {"a": 1}}, "`names`"),
    "a list as a task": ("ask", {"task": ["od"]}, "`task`"),
    "a number as pictures": ("ask_many", {"pictures": 5, "tasks": ["od"]}, "`pictures`"),
    "an object as tiles": ("ask", {"task": "od", "tiles": {"a": 1}}, "`tiles`"),
    "no number": ("ask", {"task": "od", "num_beams": "many"}, "num_beams"),
}


@pytest.mark.parametrize(("verb", "arguments", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence(client, picture, verb, arguments, words):
    given = arguments if "pictures" in arguments else {"picture": picture, **arguments}
    with pytest.raises(AppError, match=words):
        client.predict(**given, api_name=f"/{verb}")


def test_the_verbs_are_all_that_programs_see(client):
    told = client.view_api(return_format="dict", print_info=False)
    assert set(told["named_endpoints"]) == {f"/{name}" for name in verbs()}
    assert told["unnamed_endpoints"] == {}


def test_inputs_and_outputs_are_named_and_described(client):
    told = client.view_api(return_format="dict", print_info=False)["named_endpoints"]["/detect"]
    assert [p["parameter_name"] for p in told["parameters"]] == [
        "picture",
        "names",
        "model",
        "tiles",
    ]
    assert all(p["type"]["description"] for p in told["parameters"])
    assert told["returns"][0]["label"] == "Answer"
    assert "properties" in told["returns"][0]["type"]


def test_where_there_are_keys_one_is_needed(picture):
    config = AppConfig(model="nano", api_keys=("right",))
    app = build_app(config, Service(config, FakeEngines()))
    _, url, _ = app.serve(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    try:
        with pytest.raises(AppError, match="key is needed"):
            Client(url, verbose=False).predict(picture=picture, api_name="/detect")
        keyed = Client(url, verbose=False, headers={"X-API-Key": "right"})
        assert keyed.predict(picture=picture, api_name="/detect")["task"] == "od"
    finally:
        app.close()


def _cancelled(url, picture, started):
    job = Client(url, verbose=False).submit(picture=picture, api_name="/detect")
    assert started.wait(20)
    job.cancel()


def _cut_off(url, picture, started):
    sent = base64.b64encode(Path(picture["path"]).read_bytes()).decode()
    asked = {"data": [f"data:image/png;base64,{sent}", "", "", ""]}
    name = httpx.post(f"{url}gradio_api/call/detect", json=asked).json()["event_id"]
    with httpx.stream("GET", f"{url}gradio_api/call/detect/{name}"):
        assert started.wait(20)


@pytest.mark.parametrize("leave", [_cancelled, _cut_off])
def test_who_leaves_ends_the_work(picture, leave):
    slow = SlowEngine()
    config = AppConfig(model="nano")
    app = build_app(config, Service(config, FakeEngines(slow)))
    _, url, _ = app.serve(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    try:
        leave(url, picture, slow.started)
        assert slow.stopped.wait(8), "it goes on for ten seconds where nobody stops it"
    finally:
        app.close()


def test_a_checkpoint_that_came_after_the_start_is_known(tmp_path, picture):
    config = AppConfig(model="nano", checkpoints=tmp_path)
    verbs = Verbs(Service(config, FakeEngines()))
    shutil.copytree(ASSETS / "nano", tmp_path / "came later")
    listed = answer_of(verbs.models())
    assert listed[-1]["name"] == "checkpoint: came later"
    image = Image.new("RGB", (40, 30))
    assert answer_of(verbs.detect(image, model=listed[-1]["name"]))["task"] == "od"
    with pytest.raises(CheckpointError):
        answer_of(verbs.detect(image, model="checkpoint: ../../etc"))
