"""The page's own events, asked as its script asks them: every task."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from florence_demo.models.catalogue import ASSETS
from florence_demo.serving.answering import PICTURE_TASKS
from florence_demo.serving.asking import Service
from florence_demo.tasks import TASKS
from florence_demo.ui import AppConfig, build_app
from tests.fakes import FakeEngines


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def client(checkpoints):
    config = AppConfig(checkpoints=checkpoints)
    app = build_app(config, Service(config, FakeEngines()))
    for event in app.fns.values():  # gradio's client would refuse to ask what is the page's own
        event.api_visibility = "public"
    _, url, _ = app.serve(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    yield Client(url, verbose=False)
    app.close()


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    target = tmp_path_factory.mktemp("pictures") / "picture.png"
    Image.new("RGB", (400, 300), "teal").save(target)
    return handle_file(target)


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda t: t.name)
def test_every_task_answers(client, picture, task):
    shown, parsed, raw, *_ = client.predict(
        image=picture,
        task=task.name,
        text="a dog" if task.asks == "text" else "",
        region={"box": [10, 10, 90, 90] if task.asks == "region" else None},
        model_name="nano",
        api_name="/page_ask",
    )
    assert shown["sentence"]
    assert parsed.keys() == {task.token}
    assert raw


def test_the_defaults_are_enough(client, picture):
    shown, *_ = client.predict(image=picture, task="od", api_name="/page_ask")
    assert shown["sentence"] == "3 objects: 2 × cat, car"


def test_the_answer_is_taken_home(client, picture):
    client.predict(image=picture, task="od", api_name="/page_ask")
    file = client.predict(image=picture, kind="yolo", api_name="/page_ask_download")
    with zipfile.ZipFile(file) as archive:
        assert "images/train/picture.png" in archive.namelist()
    with pytest.raises(AppError, match="choose another"):
        client.predict(image=picture, kind="pdf", api_name="/page_ask_download")


def test_what_is_filtered_away_is_not_taken_home(client, picture):
    client.predict(image=picture, task="od", api_name="/page_ask")
    kept = {"off": [0]}
    file = client.predict(image=picture, kind="csv", kept=kept, api_name="/page_ask_download")
    lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == ['"car"']
    with pytest.raises(AppError, match="does not fit"):
        client.predict(image=picture, kind="csv", kept={"off": [3]}, api_name="/page_ask_download")


def test_several_boxes_are_one_question(client, picture):
    boxes = {"boxes": [[10, 10, 90, 90], [100, 100, 200, 200]]}
    shown, *_ = client.predict(
        image=picture, task="region_to_category", region=boxes, api_name="/page_ask"
    )
    assert [row["box"] for row in shown["rows"]] == boxes["boxes"]


def test_everything_is_asked_at_once(client, picture):
    shown, parsed, raw, *_ = client.predict(image=picture, api_name="/page_ask_all")
    assert shown["hint"].startswith(f"{len(PICTURE_TASKS)} answers")
    assert set(parsed) == {t.token for t in PICTURE_TASKS}
    assert len(raw.splitlines()) == len(PICTURE_TASKS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param({"task": "nope"}, "no task", id="unknown task"),
        pytest.param({"task": "od", "model_name": "/etc"}, "no model", id="folder as a model"),
        pytest.param({"task": "docvqa"}, "needs words", id="no question"),
        pytest.param({"task": "region_to_ocr", "region": {"box": [1]}}, "four numbers", id="box"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(client, picture, arguments, words):
    with pytest.raises(AppError, match=words):
        client.predict(image=picture, **arguments, api_name="/page_ask")


def test_a_checkpoint_that_came_after_the_start_is_known(client, checkpoints):
    shutil.copytree(ASSETS / "nano", checkpoints / "came later")
    said = client.predict("came later", api_name="/describe_checkpoint")
    assert "4.6 million" in str(said)
    with pytest.raises(AppError, match="There is no"):
        client.predict("never came", api_name="/describe_checkpoint")


def test_a_program_evaluates_and_takes_the_report_home(client):
    shown, *files = client.predict(data="forms", most_questions=4, api_name="/evaluate")
    assert "4 questions are too few to say" in shown
    assert [file.rsplit(".", 1)[1] for file in files] == ["html", "json", "md"]


def test_a_training_that_makes_no_sense_is_one_sentence(client):
    with pytest.raises(AppError, match="Upload your data first"):
        client.predict(data="upload", api_name="/start_training")
    with pytest.raises(AppError, match="No run is going on"):
        client.predict(api_name="/stop_training")


def test_a_list_of_names_is_one_answer(client, picture):
    shown, parsed, raw, *_ = client.predict(
        image=picture,
        task="open_vocabulary_detection",
        text="cat, dog",
        api_name="/page_ask",
    )
    assert shown["sentence"] == "cat, dog"
    assert parsed["<OPEN_VOCABULARY_DETECTION>"]["bboxes_labels"] == ["cat", "dog"]
    assert [line.partition(":")[0] for line in raw.splitlines()] == ["cat", "dog"]


def test_models_are_compared(client, picture):
    shown = client.predict(image=picture, task="od", models=["nano", "base"], api_name="/compare")
    assert shown["against"].startswith("nano")
    assert not shown["busy"]
    assert [column["sentence"] for column in shown["columns"]] == ["3 objects: 2 × cat, car"] * 2
    assert shown["columns"][1]["counts"] == [["Both", 3, [], 0], ["Only the first", 0, [], 0],
                                             ["Only here", 0, [], 0]]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param({"models": ["nano"]}, "two to four", id="one"),
        pytest.param({"models": ["nano", "base", "large", "base-ft", "large-ft"]}, "5", id="five"),
        pytest.param({"models": ["nano", "base"], "task": "docvqa"}, "needs words", id="no words"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(client, picture, arguments, words):
    with pytest.raises(AppError, match=words):
        client.predict(**{"image": picture, "task": "od", **arguments}, api_name="/compare")


def test_a_model_that_may_not_be_named_says_so_in_its_column(client, picture):
    models = ["nano", "/etc", "checkpoint: ../.."]
    shown = client.predict(image=picture, task="od", models=models, api_name="/compare")
    good, *bad = shown["columns"]
    assert good["sentence"]
    assert all("There is no" in column["problem"] for column in bad)
