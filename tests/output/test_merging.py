from __future__ import annotations

import numpy as np
import pytest

from florence_demo.errors import InputError
from florence_demo.output.merging import merged, with_merged
from florence_demo.prediction import Detections, Prediction
from florence_demo.tasks import TASKS

BOX = (0, 0, 10, 10)
NEAR = (0, 0, 10, 8)  # IoU with BOX: 0.8
HALF = (0, 0, 10, 5)  # with BOX: 0.5; with NEAR: 0.625
FAR = (20, 20, 30, 30)


def found(*things: tuple[str, tuple[int, ...]], scores: tuple[float, ...] = ()) -> Detections:
    boxes = np.array([box for _, box in things], np.float32).reshape(-1, 4)
    sure = np.array(scores, np.float32) if scores else None
    return Detections(boxes, tuple(label for label, _ in things), scores=sure)


@pytest.mark.parametrize(
    ("things", "scores", "iou", "kept", "others"),
    [
        pytest.param([], (), 0.7, [], [], id="nothing"),
        pytest.param([("a", BOX), ("a", NEAR)], (), 0.7, [0], [1], id="the first, without scores"),
        pytest.param([("a", BOX), ("a", NEAR)], (0.2, 0.9), 0.7, [1], [1], id="the surest"),
        pytest.param([("a", BOX), ("b", BOX)], (), 0.7, [0, 1], [0, 0], id="other names"),
        pytest.param([("A  a", BOX), ("a A", NEAR)], (), 0.7, [0], [1], id="spelt otherwise"),
        pytest.param([("", BOX), ("", BOX)], (), 1.0, [0], [1], id="without names, the same"),
        pytest.param([("a", BOX), ("a", NEAR)], (), 0.8, [0], [1], id="just enough"),
        pytest.param([("a", BOX), ("a", NEAR)], (), 0.81, [0, 1], [0, 0], id="not enough"),
        pytest.param([("a", BOX), ("a", FAR)], (), 0.1, [0, 1], [0, 0], id="apart"),
        pytest.param(
            [("a", BOX), ("a", FAR), ("a", NEAR), ("a", HALF)], (0.1, 0.2, 0.9, 0.3), 0.6,
            [1, 2], [0, 2], id="in their old order",
        ),
        pytest.param(
            # What goes does not take others with it: HALF is no half of BOX that NEAR is.
            [("a", BOX), ("a", NEAR), ("a", HALF)], (0.9, 0.8, 0.7), 0.6,
            [0, 2], [1, 0], id="only what stays merges",
        ),
    ],
)  # fmt: skip
def test_the_surest_of_overlapping_boxes_of_a_name_stays(things, scores, iou, kept, others):
    given = found(*things, scores=scores)
    left, counts = merged(given, iou)
    assert left.to_json() == given.select(kept).to_json()
    assert counts == others


@pytest.mark.parametrize("iou", [0, -1, 1.1, 70, float("nan")])
def test_what_is_no_overlap_is_refused(iou):
    with pytest.raises(InputError, match="above 0 and at most 1"):
        merged(found(("a", BOX)), iou)


def said(task: str, things: Detections, text: str = "") -> Prediction:
    parsed = TASKS[task].parse(TASKS[task].answer.value(text, things))
    return Prediction(task, "?", "raw", text, (40, 40), things, parsed, notices=("Beware.",))


def test_an_answer_tells_what_was_merged():
    answer = with_merged(said("od", found(("a", BOX), ("a", NEAR), ("a", BOX), ("b", BOX))), 0.7)
    assert answer.sentence() == "2 objects: a, b"
    assert answer.parsed["<OD>"]["labels"] == ["a", "b"]
    assert answer.notices == ("Beware.", "2 overlapping boxes merged at IoU 0.7.")


def test_lines_of_text_go_with_their_places():
    quads = [[np.array([[0, 0], [9, 0], [9, 5], [0, 5]], np.float32)]] * 2
    answer = with_merged(
        said("ocr_with_region", Detections.from_polygons(quads, ["OPEN", "OPEN"]), "OPEN\nOPEN"),
        0.5,
    )
    assert answer.text == "OPEN"
    assert answer.parsed["<OCR_WITH_REGION>"]["labels"] == ["OPEN"]


@pytest.mark.parametrize(
    "answer",
    [said("od", found(("a", BOX), ("b", BOX))), said("region_to_ocr", found(*[("a", BOX)] * 2))],
    ids=["nothing overlaps", "boxes that a person drew"],
)
def test_what_needs_no_merging_stays_as_it_is(answer):
    assert with_merged(answer, 0.5) is answer
