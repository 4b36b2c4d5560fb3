"""An answer put right by hand: what a browser sends is checked, what is kept is the truth."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from florence_demo.codec import QUADS, TEXT
from florence_demo.engine.question import Question, ask
from florence_demo.errors import FlorenceDemoError, InputError
from florence_demo.serving.asking import Service
from florence_demo.serving.config import AppConfig
from florence_demo.serving.correcting import add_corrected, corrected, editable, form_of, own_set
from florence_demo.tasks import TASKS
from tests.fakes import FakeEngine, FakeEngines

IMAGE = Image.new("RGB", (400, 300), "teal")


def answer(name: str):
    task = TASKS[name]
    text = "two dogs" if task.asks == "text" else ""
    region = (40, 30, 200, 150) if task.asks == "region" else None
    return FakeEngine().predict(IMAGE, task, text, region)


def service(tmp_path, **how) -> Service:
    return Service(AppConfig(data=tmp_path / "data", **how), FakeEngines())


@pytest.mark.parametrize("name", TASKS)
def test_an_answer_left_as_it_is_comes_back_the_same(name):
    found = answer(name)
    given = json.loads(json.dumps(editable(found)))  # as it travels to a browser and back
    row = corrected(IMAGE, found, given)
    truth = row.truth(IMAGE.size)
    assert row.text == ("a dog" if TASKS[name].after else "two dogs" if row.text else "")
    if TASKS[name].asks == "region":
        np.testing.assert_allclose(row.region, (40, 30, 200, 150), atol=0.5)
    if TASKS[name].answer is TEXT:
        assert row.answer == found.text
    else:
        names = found.detections.labels if TASKS[name].named else ("",) * len(found.detections)
        assert truth.detections.labels == names
        assert truth.detections.xyxy.tolist() == found.detections.xyxy.tolist()
        assert [len(p) for p in truth.detections.polygons] == [
            len(p) for p in found.detections.polygons
        ]
    # The question is the one that was asked.
    assert truth.prompt == found.prompt


@pytest.mark.parametrize(
    ("task", "text", "regions"),
    [
        pytest.param("open_vocabulary_detection", "cat, dog", (), id="names"),
        pytest.param("region_to_category", "", ((1, 1, 9, 9), (2, 2, 90, 90)), id="boxes"),
    ],
)
def test_an_answer_to_several_questions_is_no_row(task, text, regions):
    found = ask(FakeEngine(), Question(IMAGE, TASKS[task], text, regions))
    with pytest.raises(InputError, match="ask for one name, or about one box"):
        corrected(IMAGE, found, editable(found))
    with pytest.raises(InputError, match="ask for one name, or about one box"):
        form_of(found)


@pytest.mark.parametrize("name", TASKS)
def test_the_editor_knows_the_box_that_was_asked_about(name):
    asked = form_of(answer(name))["asked"]
    if TASKS[name].asks == "region":
        np.testing.assert_allclose(asked, (40, 30, 200, 150), atol=0.5)
    else:
        assert asked is None


BOX = {"label": "cat", "box": [10, 20, 110, 220]}
RING = {"label": "cat", "rings": [[10, 20, 110, 20, 110, 220, 10, 220]]}


@pytest.mark.parametrize(
    ("task", "things", "boxes"),
    [
        ("od", [], []),
        ("od", [{**BOX, "box": [110, 220, 10, 20]}], [[10, 20, 110, 220]]),
        ("od", [{**BOX, "box": [-50, -50, 9999, 120]}], [[0, 0, 400, 120]]),
        ("region_proposal", [{**BOX, "label": None}], [[10, 20, 110, 220]]),
        ("ocr_with_region", [RING], [[10, 20, 110, 220]]),
        ("open_vocabulary_detection", [RING, BOX], [[10, 20, 110, 220]] * 2),
        ("referring_expression_segmentation", [RING], [[10, 20, 110, 220]]),
    ],
    ids=[
        "nothing is there", "corners turned", "beyond the edge", "without names", "a line of text",
        "outlines and boxes", "an outline",
    ],
)  # fmt: skip
def test_what_was_drawn_is_taken(task, things, boxes):
    row = corrected(IMAGE, answer(task), {"things": things})
    assert row.detections.xyxy.tolist() == boxes


@pytest.mark.parametrize(
    ("task", "given", "problem"),
    [
        ("caption", {"text": "  "}, "empty"),
        ("caption", {"text": ["a"]}, "empty"),
        ("caption", {"text": "a" * 20_001}, "20,000 letters"),
        ("caption", None, "empty"),
        ("od", None, "places"),
        ("od", {"things": {"0": BOX}}, "places"),
        ("od", {"things": [BOX] * 1_001}, "1,000 places"),
        ("od", {"things": [BOX, {**BOX, "label": " "}]}, "Place 2 has no name"),
        ("od", {"things": [{**BOX, "box": [10, 20, 10.5, 220]}]}, "no area"),
        ("od", {"things": [{**BOX, "box": [500, 20, 600, 220]}]}, "no area"),
        ("od", {"things": [{**BOX, "box": [10, 20, 110]}]}, "not drawn"),
        ("od", {"things": [{**BOX, "box": [10, 20, 110, None]}]}, "not drawn"),
        ("od", {"things": [{**BOX, "box": [10, 20, 110, True]}]}, "not drawn"),
        ("od", {"things": [{**BOX, "box": [10, 20, 110, float("nan")]}]}, "not drawn"),
        ("od", {"things": [{**BOX, "box": [10, 20, 110, 10**400]}]}, "not drawn"),
        ("od", {"things": [{**BOX, "box": "10"}]}, "not drawn"),
        ("od", {"things": ["cat"]}, "has no name"),
        ("od", {"things": [RING]}, "must be a box"),
        ("od", {"things": [{**RING, "rings": [[1, 2, 3, 4, 5, 6]] * 1_001}]}, "no outline"),
        ("ocr_with_region", {"things": [BOX]}, "four corners"),
        ("ocr_with_region", {"things": [{**RING, "rings": [[1, 2, 9, 4, 5, 9]]}]}, "four corners"),
        ("region_to_segmentation", {"things": [BOX]}, "outline"),
        (
            "referring_expression_segmentation",
            {"things": [{"rings": [[1, 2, 3, 4] * 5_001]}, {"rings": [[1, 2, 3, 4] * 5_001]}]},
            "20,000 points",
        ),
    ],
)
def test_what_is_no_answer_is_refused_in_a_sentence(task, given, problem):
    with pytest.raises(InputError, match=problem):
        corrected(IMAGE, answer(task), given)


def test_one_of_the_models_own_tokens_is_no_name(tmp_path):
    here = service(tmp_path)
    things = [{**BOX, "label": "cat<loc_1>"}]
    with pytest.raises(FlorenceDemoError, match="tokens"):
        add_corrected(here, own_set(here, "s"), IMAGE, answer("od"), {"things": things})


def test_the_corrected_answer_takes_the_answers_place(tmp_path):
    here, found = service(tmp_path), answer("od")
    kept = own_set(here, "s")
    right, counted = add_corrected(here, kept, IMAGE, found, {"things": [BOX]})
    assert right.parsed["<OD>"]["labels"] == ["cat"]
    assert right.detections.xyxy.tolist() == [[10, 20, 110, 220]]
    assert (right.model, right.picture) == ("corrected by hand", found.picture)
    assert counted.words() == ("1 answer", "1 picture")
    assert kept.folder == tmp_path / "data" / "my-data"


def test_an_answer_about_another_picture_is_not_taken(tmp_path):
    here = service(tmp_path)
    other = Image.new("RGB", (400, 300), "red")
    with pytest.raises(InputError, match="picture was changed"):
        add_corrected(here, own_set(here, "s"), other, answer("od"), {"things": [BOX]})
    with pytest.raises(InputError, match="no answer yet"):
        add_corrected(here, own_set(here, "s"), None, None, {})


def test_strangers_sets_are_their_own_and_temporary(tmp_path):
    here = service(tmp_path, public=True)
    mine, theirs = own_set(here, "../../s"), own_set(here, "t")
    add_corrected(here, mine, IMAGE, answer("od"), {"things": [BOX]})
    assert mine.folder.is_relative_to(here.scratch.private)
    assert own_set(here, "../../s").counted().rows == 1
    assert theirs.counted().rows == 0
    assert not (tmp_path / "data").exists()


def test_every_kind_has_an_editor():
    kinds = {name: form_of(answer(name))["kind"] for name in TASKS}
    assert {name for name, kind in kinds.items() if kind == "text"} == {
        name for name, task in TASKS.items() if task.answer is TEXT
    }
    assert kinds["ocr_with_region"] == "quads"
    assert TASKS["ocr_with_region"].answer is QUADS
