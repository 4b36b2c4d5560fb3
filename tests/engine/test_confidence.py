"""One number a person can read: curves from two probabilities to the share that is right."""

from __future__ import annotations

import json

import numpy as np
import pytest

from florence_demo.engine.confidence import FILE, MAX_BYTES, Confidence, Curve
from florence_demo.prediction import Detections
from florence_demo.tasks import TASKS

HALF = np.full(1, 0.5, np.float32)
FOUND = Detections(np.zeros((1, 4), np.float32), ("cat",), (), HALF, HALF, HALF)
OD = Confidence({"od": Curve(1.0, 0.5, 2.0)})
NUMBERS = {"bias": 0, "place": 1, "name": 1}


def answers(curve: Curve, count: int = 20_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    places, names = rng.uniform(0.001, 0.999, (2, count))
    return places, names, rng.random(count) < curve(places, names)


def test_it_finds_the_curve_that_answers_came_from():
    true = Curve(1.5, 0.4, 1.2)
    found = Curve.fit(*answers(true))
    assert (found.bias, found.place, found.name) == pytest.approx((1.5, 0.4, 1.2), abs=0.1)


@pytest.mark.parametrize("right", [0.0, 1.0], ids=["all wrong", "all right"])
def test_answers_that_are_all_alike_give_a_curve_too(right):
    curve = Curve.fit(np.full(60, 0.7), np.full(60, 0.9), np.full(60, right))
    assert curve([0.7], [0.9])[0] == pytest.approx(right, abs=0.1)


def test_more_sure_is_never_less_right():
    places, names, right = answers(Curve(0.0, 1.0, 1.0))
    curve = Curve.fit(places, names, ~right)
    steps = np.linspace(0, 1, 50)
    for shares in (curve(steps, np.full(50, 0.5)), curve(np.full(50, 0.5), steps)):
        assert (np.diff(shares) >= 0).all()


def test_only_what_has_scores_and_a_curve_is_rated():
    rated = OD.rate(TASKS["od"], FOUND)
    assert rated is not None
    assert rated.scores == pytest.approx([1 / (1 + np.exp(-1))])
    assert (rated.place_scores, rated.label_scores) == (HALF, HALF)
    assert OD.rate(TASKS["ocr_with_region"], FOUND) is None
    assert OD.rate(TASKS["od"], Detections.empty()) is None


def test_a_task_on_another_ones_answer_is_rated_as_what_it_asks():
    grounding = Confidence({"caption_to_phrase_grounding": Curve(1.0, 0.5, 2.0)})
    rated = grounding.rate(TASKS["caption_then_grounding"], FOUND)
    assert rated is not None
    assert rated.scores == pytest.approx([1 / (1 + np.exp(-1))])


def test_it_is_saved_beside_the_weights_and_read_again(tmp_path):
    assert Confidence.load(tmp_path) is None
    OD.save(tmp_path)
    assert Confidence.load(tmp_path) == OD


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[]", id="no object"),
        pytest.param("{", id="no JSON"),
        pytest.param(json.dumps({"version": 2, "curves": {}}), id="another version"),
        pytest.param(json.dumps({"version": 1}), id="no curves"),
        pytest.param(json.dumps({"version": 1, "curves": [1]}), id="a list of curves"),
        pytest.param(json.dumps({"version": 1, "curves": {"od": 1}}), id="a number"),
        *(
            pytest.param(
                json.dumps({"version": 1, "curves": {"od": {**NUMBERS, **wrong}}}), id=name
            )
            for name, wrong in {
                "words": {"bias": "1"},
                "true": {"bias": True},
                "falling": {"place": -1},
                "steep": {"name": 1e9},
                "not finite": {"name": float("nan")},
                "more": {"more": 1},
            }.items()
        ),
        pytest.param(" " * (MAX_BYTES + 1), id="too large"),
        pytest.param("[" * 1000, id="deep"),
    ],
)
def test_a_strangers_file_that_is_none_is_left_out(text, tmp_path, caplog):
    (tmp_path / FILE).write_text(text)
    assert Confidence.load(tmp_path) is None
    assert "left out" in caplog.text


def test_a_task_that_is_none_is_not_kept(tmp_path):
    curves = {"od": NUMBERS, "no such task": NUMBERS}
    (tmp_path / FILE).write_text(json.dumps({"version": 1, "curves": curves}))
    found = Confidence.load(tmp_path)
    assert found is not None
    assert set(found.curves) == {"od"}
