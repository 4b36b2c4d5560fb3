from __future__ import annotations

import json

import numpy as np
import pytest

from florence_demo import Detections, Prediction

SQUARE = np.array([[0, 0], [4, 0], [4, 4]], np.float32)


def _found(labels: list[str], polygons=()) -> Detections:
    boxes = np.arange(4 * len(labels), dtype=np.float32).reshape(-1, 4)
    return Detections(boxes, tuple(labels), polygons)


def _prediction(found: Detections, text: str = "") -> Prediction:
    return Prediction("od", "?", "raw", text, (10, 10), found, {"<OD>": {}})


@pytest.mark.parametrize(
    ("labels", "polygons", "sentence"),
    [
        pytest.param([], (), "Nothing was found.", id="nothing"),
        pytest.param(["cat"], (), "1 object: cat", id="one"),
        pytest.param(["cat", "car", "cat"], (), "3 objects: 2 × cat, car", id="counted"),
        pytest.param(["", ""], (), "2 regions", id="unnamed boxes"),
        pytest.param([""], ((SQUARE,),), "1 outline", id="unnamed outline"),
    ],
)
def test_sentence(labels, polygons, sentence):
    assert _prediction(_found(labels, polygons)).sentence() == sentence


def test_json_holds_plain_values():
    row = _prediction(_found(["é"], ((SQUARE,),))).to_json()
    back = json.loads(json.dumps(row))
    assert back["detections"][0]["label"] == "é"
    assert back["detections"][0]["polygons"] == [[0, 0, 4, 0, 4, 4]]
    assert back["size"] == [10, 10]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((np.zeros((2, 4)), ("a",)), id="more boxes than labels"),
        pytest.param((np.zeros((1, 4)), ("a",), ((SQUARE[:2],),)), id="ring of two points"),
        pytest.param((np.zeros((1, 4)), ("a",), (), np.zeros(3)), id="scores of another length"),
    ],
)
def test_wrong_shapes_are_refused(arguments):
    with pytest.raises(ValueError, match="must have"):
        Detections(*arguments)


def test_select_keeps_everything_in_step():
    found = Detections(
        np.arange(8, dtype=np.float32).reshape(2, 4),
        ("a", "b"),
        ((), (SQUARE,)),
        np.array([0.1, 0.2], np.float32),
        None,
        np.array([0.3, 0.4], np.float32),
    )
    kept = found.select([1])
    assert kept.labels == ("b",)
    assert kept.scores == pytest.approx([0.2])
    assert kept.place_scores == pytest.approx([0.4])
    assert kept.to_json()[0].keys() == {
        "label", "box", "polygons", "score", "label_score", "place_score",
    }  # fmt: skip
    assert len(kept.polygons[0]) == 1


def test_a_prediction_comes_back_from_json():
    found = Detections(
        np.array([[1, 2, 30, 40], [5, 6, 7, 8]], np.float32),
        ("a", ""),
        ((SQUARE, SQUARE + 1), ()),
        np.array([0.5, 0.25], np.float32),
        np.array([1, 0.5], np.float32),
        np.array([0.5, 0.5], np.float32),
    )
    said = Prediction(
        "od", "Find", "a<loc_1>", "", (90, 60), found, {"<OD>": {}}, "m", "cpu", 1.5, 7, True,
        notices=("Beware.",), calibrated=True, names=("a", "b"),
    )  # fmt: skip
    told = json.loads(json.dumps(said.to_json()))
    back = Prediction.from_json(told)
    assert back.to_json() == told
    assert back.notices == ("Beware.",)
    assert Prediction.from_json({**told, "detections": []}).detections.to_json() == []


@pytest.mark.parametrize(
    "values",
    [None, [], {}, {"task": "od"}, {"size": [1]}, {"size": [1, 2], "detections": [{"box": "x"}]}],
    ids=str,
)
def test_what_is_no_prediction_is_refused(values):
    with pytest.raises(ValueError, match="expected"):
        Prediction.from_json(values)
