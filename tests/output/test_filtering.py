"""What is kept of an answer: sure enough, of names that are on; and what a browser says of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from florence_demo.errors import InputError
from florence_demo.output.filtering import Filter, filtered, kept_of, name_groups
from florence_demo.prediction import Detections, Prediction
from florence_demo.tasks import TASKS

BOX, NEAR, FAR = (0, 0, 10, 10), (0, 0, 10, 8), (20, 20, 30, 30)
QUADS = [[np.array([[0, y], [9, y], [9, y + 5], [0, y + 5]], np.float32)] for y in (0, 10, 20)]


def things(*rows: tuple[str, tuple[int, ...]], scores: tuple[float, ...] = ()) -> Detections:
    boxes = np.array([box for _, box in rows], np.float32).reshape(-1, 4)
    sure = np.array(scores, np.float32) if scores else None
    return Detections(boxes, tuple(label for label, _ in rows), scores=sure)


def answer(task: str, found: Detections, text: str = "", **more) -> Prediction:
    parsed = TASKS[task].parse(TASKS[task].answer.value(text, found))
    return Prediction(task, "?", "raw", text, (40, 40), found, parsed, **more)


SCENE = answer(
    "od",
    things(
        ("cat", BOX), ("car", FAR), ("Cat", NEAR), ("dog", FAR), scores=(0.9, 0.346, 0.5, 0.344)
    ),
)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        pytest.param(None, [0, 1, 2, 3], id="nothing said"),
        pytest.param({}, [0, 1, 2, 3], id="nothing said in an object"),
        pytest.param({"least": 0, "off": [], "merge": False, "of": 4}, [0, 1, 2, 3], id="all"),
        pytest.param({"least": 35}, [0, 1, 2], id="as rounded as a person reads it"),
        pytest.param({"least": 51}, [0], id="sure"),
        pytest.param({"off": [0]}, [1, 3], id="a name, however written"),
        pytest.param({"off": [2]}, [1, 3], id="a name by another of its things"),
        pytest.param({"merge": True}, [0, 1, 3], id="merged"),
        pytest.param({"least": 35, "off": [1], "merge": True, "of": 4}, [0], id="all three"),
        pytest.param({"least": 100}, [], id="nothing"),
    ],
)
def test_what_is_kept(value, kept):
    assert kept_of(SCENE, Filter.given(value, SCENE.detections)) == kept


@pytest.mark.parametrize(
    "value",
    [
        7, "x", [1], {"of": 3}, {"of": None}, {"least": -1}, {"least": 101}, {"least": 0.5},
        {"least": True}, {"least": "40"}, {"least": float("nan")}, {"least": 10**400},
        {"off": "cat"}, {"off": [4]}, {"off": [-1]}, {"off": [None]}, {"off": [True]},
        {"off": [0] * 5}, {"off": {"0": 1}}, {"merge": 1}, {"merge": "yes"},
    ],
    ids=lambda v: ascii(v)[:30],
)  # fmt: skip
def test_what_is_no_filter_of_this_answer_is_refused_in_a_sentence(value):
    with pytest.raises(InputError, match="does not fit this answer"):
        Filter.given(value, SCENE.detections)


def test_without_scores_the_slider_hides_nothing():
    assert kept_of(answer("od", things(("a", BOX), ("b", FAR))), Filter(least=100)) == [0, 1]


def test_a_filtered_answer_tells_nothing_of_what_is_gone():
    left = filtered(SCENE, Filter(off=frozenset({0, 3})))
    assert left.detections.labels == ("car",)
    assert left.sentence() == "1 object: car"
    assert left.parsed["<OD>"]["labels"] == ["car"]
    assert left.notices == ("Filtered: 1 of 4 are kept.",)
    told = json.dumps(left.to_json()).casefold()
    assert '"cat' not in told
    assert "dog" not in told


def test_an_answer_of_which_all_is_kept_is_the_same():
    assert filtered(SCENE, Filter()) is SCENE


def test_a_filter_that_leaves_nothing_says_so():
    with pytest.raises(InputError, match="leaves nothing"):
        filtered(SCENE, Filter(least=100))


def test_lines_of_text_go_with_their_places():
    read = answer(
        "ocr_with_region", Detections.from_polygons(QUADS, ["ONE", "TWO", "SIX"]), "ONE\nTWO\nSIX"
    )
    left = filtered(read, Filter(off=frozenset({1})))
    assert left.text == "ONE\nSIX"
    assert left.parsed["<OCR_WITH_REGION>"]["labels"] == ["ONE", "SIX"]


def test_words_about_several_boxes_go_with_them_and_are_never_merged():
    found = things(("a cat", BOX), ("a cat", NEAR), ("a car", FAR))
    said = answer("region_to_description", found, "a cat\na cat\na car")
    assert kept_of(said, Filter(merge=True)) == [0, 1, 2]
    left = filtered(said, Filter(off=frozenset({0})))
    assert left.text == "a car"
    assert left.parsed["<REGION_TO_DESCRIPTION>"]["labels"] == ["a car"]


def test_names_that_were_asked_for_and_filtered_away_are_not_called_missing():
    found = answer(
        "open_vocabulary_detection", things(("cat", BOX), ("car", FAR)), names=("cat", "car", "dog")
    )
    assert filtered(found, Filter(off=frozenset({0}))).sentence() == "car; no dog"


def test_groups_of_names():
    assert name_groups(SCENE.detections) == [0, 1, 0, 3]
