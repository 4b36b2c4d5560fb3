"""What is right among what was found, and how far off the confidences are."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from florence_demo.data.example import Example
from florence_demo.engine.confidence import LEAST
from florence_demo.evaluation.calibration import calibrate, outcomes, reliability
from florence_demo.prediction import Detections, Prediction

SIZE = (100, 100)
PICTURE = Image.new("RGB", SIZE)
BOX = np.array([[10, 10, 40, 40]], np.float32)
AWAY = np.array([[60, 60, 90, 90]], np.float32)
RING = np.array([[10, 10], [40, 10], [40, 40], [10, 40]], np.float32)


def found(boxes: np.ndarray, label: str, score: float = 0.8) -> Detections:
    scores = np.full(len(boxes), score, np.float32)
    return Detections(boxes, (label,) * len(boxes), (), scores, scores, scores)


def outlined(ring: np.ndarray, label: str) -> Detections:
    scores = np.full(1, 0.8, np.float32)
    plain = Detections.from_polygons([[ring]], [label])
    return Detections(plain.xyxy, plain.labels, plain.polygons, scores, scores, scores)


def answered(task: str, says: Detections, truth: Detections) -> tuple[Example, Prediction]:
    return Example(PICTURE, task, detections=truth), Prediction(task, "", "", "", SIZE, says, {})


@pytest.mark.parametrize(
    ("task", "says", "truth", "right"),
    [
        pytest.param("od", found(BOX, "cat"), found(BOX, "Cat"), [True], id="right"),
        pytest.param("od", found(BOX, "dog"), found(BOX, "cat"), [False], id="another name"),
        pytest.param("od", found(AWAY, "cat"), found(BOX, "cat"), [False], id="elsewhere"),
        pytest.param(
            "od", found(np.concatenate([BOX, BOX]), "cat"), found(BOX, "cat"), [True, False],
            id="twice",
        ),
        pytest.param(
            "open_vocabulary_detection", found(BOX, "a cat"), found(BOX, "cat"), [True],
            id="the question says the name",
        ),
        pytest.param(
            "ocr_with_region", outlined(RING, "EXIT"), outlined(RING, "EXIT"), [True], id="a line"
        ),
        pytest.param(
            "ocr_with_region", outlined(RING, "EX1T"), outlined(RING, "EXIT"), [False],
            id="a line misread",
        ),
        pytest.param(
            "region_to_segmentation", outlined(RING[:3], ""), outlined(RING, ""), [True],
            id="half of an outline",
        ),
    ],
)  # fmt: skip
def test_what_is_right_has_its_place_and_its_name(task, says, truth, right):
    assert outcomes([answered(task, says, truth)])[task].right.tolist() == right


@pytest.mark.parametrize(
    "says", [Detections.empty(), Detections(BOX, ("cat",))], ids=["nothing", "no scores"]
)
def test_without_scores_there_is_nothing_to_tell(says):
    assert outcomes([answered("od", says, found(BOX, "cat"))]) == {}


def test_confidences_are_off_by_what_they_are_off():
    rows = [answered("od", found(BOX, "cat", 0.75), found(BOX, "cat")) for _ in range(4)]
    (row,) = reliability(outcomes(rows))
    assert (row.task, row.points, row.count) == ("od", ((0.75, 1.0, 4),), 4)
    assert row.error == pytest.approx(0.25)


def test_calibrated_confidences_are_off_by_less():
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(400):
        score = rng.uniform(0.01, 0.2)  # a model that says a tenth where it is right by half
        place = BOX if rng.random() < 3 * score + 0.2 else AWAY
        rows.append(answered("od", found(place, "cat", score), found(BOX, "cat")))
    before = reliability(outcomes(rows))[0].error
    confidence, (after,) = calibrate(outcomes(rows))
    assert set(confidence.curves) == {"od"}
    assert before > 0.3
    assert after.error < 0.08


def test_a_few_answers_are_no_ground_for_a_curve():
    rows = [answered("od", found(BOX, "cat"), found(BOX, "cat")) for _ in range(LEAST - 1)]
    confidence, fitted = calibrate(outcomes(rows))
    assert (dict(confidence.curves), fitted) == ({}, ())
