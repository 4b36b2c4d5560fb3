from __future__ import annotations

import math

import numpy as np
import pytest

from florence_demo.evaluation import metrics
from florence_demo.prediction import Detections

CLASSES = ("orange", "cat", "car", "sheep", "butterfly", "bus")


def boxes(*rows: tuple[float, float, float, float], names: str = "") -> Detections:
    labels = tuple(names.split()) if names else ("",) * len(rows)
    return Detections(np.array(rows, np.float32).reshape(-1, 4), labels)


def square(x: float, y: float, side: float) -> np.ndarray:
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]], np.float32)


@pytest.mark.parametrize(
    ("text", "references", "value"),
    [
        ("12 May", ["12 May"], 1),
        (" 12  may ", ["12 May"], 1),
        ("Ada", ["Grace", "Ada"], 1),
        ("abcd", ["abcx"], 0.75),
        ("abcd", ["abxx"], 0),
        ("", ["Ada"], 0),
        ("", [], 1),
        ("longer than one character", ["longer than one character"], 1),
    ],
    ids=["same", "case and spaces", "any reference", "near", "half wrong", "empty", "none", "long"],
)
def test_anls(text: str, references: list[str], value: float) -> None:
    assert metrics.anls(text, references) == (pytest.approx(value), 1)


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("", "", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("ab", "ba", 2)],
)
def test_wrong_characters(a: str, b: str, distance: int) -> None:
    assert metrics.character_errors(a, [b])[0] == distance


def test_error_rates() -> None:
    assert metrics.character_errors("abd", ["abc"]) == (1, 3)
    assert metrics.character_errors("a\nb", ["a b"]) == (0, 3)
    assert metrics.character_errors("abc", [""]) == (3, 1)
    assert metrics.word_errors("the red cat", ["the cat"]) == (1, 2)


def test_rouge_and_exact() -> None:
    assert metrics.rouge_l("a red cat", ["a cat"])[0] == pytest.approx(0.8)
    assert metrics.rouge_l("", ["a cat"]) == (0, 1)
    assert metrics.exact("A  Cat", ["a cat"]) == (1, 1)


@pytest.mark.parametrize(
    ("caption", "named"),
    [
        ("A cat and two red cars.", {"cat": 1, "car": 2}),
        ("Three small blue butterflies and a bus", {"butterfly": 3, "bus": 1}),
        ("two sheep, 3 buses", {"sheep": 2, "bus": 3}),
        ("A cat. The cat is left of a car.", {"cat": 2, "car": 1}),
        ("a catalogue of carpets", {}),
        ("no cat", {}),
        (
            "An orange cat and an orange. The background is pink and orange.",
            {"cat": 1, "orange": 1},
        ),
        ("Two oranges, an orange on the left", {"orange": 3}),
    ],
)
def test_named_objects(caption: str, named: dict[str, int]) -> None:
    assert metrics.named_objects(caption, CLASSES) == named


def test_names_right() -> None:
    assert metrics.names_right("a car and a cat", "A cat and a car.", CLASSES)[0] == 1
    assert metrics.names_right("two cats", "a cat", CLASSES) == (0, 1)
    assert metrics.names_right("<loc_5>", "A page of text.", CLASSES) == (0, 0)


def test_box_iou() -> None:
    iou = metrics.box_iou(boxes((0, 0, 10, 10)).xyxy, boxes((0, 0, 10, 5), (20, 20, 20, 20)).xyxy)
    assert iou.tolist() == [[0.5, 0]]


def test_match_uses_each_box_once() -> None:
    iou = np.array([[0.9, 0.8], [0.85, 0.3]])
    assert metrics.match(iou) == [(0, 0)]
    assert metrics.match(np.zeros((0, 3))) == []


@pytest.mark.parametrize(
    ("side", "value"), [(10.0, 1.0), (5.0, 0.25), (0.1, 0.0001)], ids=["same", "quarter", "speck"]
)
def test_outline_iou(side: float, value: float) -> None:
    iou = metrics.outline_iou((square(3, 3, 10),), (square(3, 3, side),))
    assert iou == pytest.approx(value, abs=0.02)


def test_outlines_are_unions_and_any_size() -> None:
    two = (square(0, 0, 10), square(5, 0, 10))
    one = (np.array([[0, 0], [15, 0], [15, 10], [0, 10]], np.float32),)
    assert metrics.outline_iou(two, one) == pytest.approx(1, abs=0.01)
    assert metrics.outline_iou((), ()) == 1
    assert metrics.outline_iou((), one) == 0


@pytest.mark.parametrize(
    ("found", "truth", "value"),
    [
        (boxes((0, 0, 10, 10), names="cat"), boxes((0, 0, 10, 10), names="Cat"), 1),
        (boxes((0, 0, 10, 10), names="dog"), boxes((0, 0, 10, 10), names="cat"), 0),
        (boxes(), boxes(), 1),
        (boxes((0, 0, 9, 9), names="cat"), boxes(), 0),
        (boxes(), boxes((0, 0, 9, 9), names="cat"), 0),
        (boxes((0, 0, 9, 9), (50, 50, 60, 60), names="a a"), boxes((0, 0, 9, 9), names="a"), 0.5),
    ],
    ids=["right", "wrong name", "absent refused", "absent found", "missed", "one too many"],
)
def test_places_right(found: Detections, truth: Detections, value: float) -> None:
    assert metrics.places_right(found, truth) == (value, 1)


def test_f1_counts_boxes_with_the_right_label_once() -> None:
    box = (0, 0, 10, 10)
    twice, one = boxes(box, box, names="dog dog"), boxes(box, names="dog")
    assert metrics.f1(twice, one) == (2, 3)
    assert metrics.f1(twice, boxes(box, names="cat")) == (0, 3)
    assert metrics.f1(twice, boxes(box, names="cat"), use_labels=False) == (2, 3)
    assert metrics.f1(boxes((0, 0, 10, 7), names="dog"), one, least=0.75) == (0, 2)
    assert metrics.f1(boxes(), one) == (0, 1)


def test_classes_right_looks_at_matched_boxes_only() -> None:
    found = boxes((0, 0, 10, 10), (20, 20, 30, 30), (80, 80, 90, 90), names="cat dog cat")
    truth = boxes((0, 0, 10, 10), (20, 20, 30, 30), (50, 50, 60, 60), names="cat cat cat")
    assert metrics.classes_right(found, truth) == (1, 2)


@pytest.mark.parametrize("length", [10, 40, 90], ids=lambda n: f"{n} times as long as high")
def test_long_thin_outlines_are_measured_exactly(length: float) -> None:
    def line(height: float) -> np.ndarray:
        return np.array([[0, 0], [10 * length, 0], [10 * length, height], [0, height]], np.float32)

    for part in (0.3, 0.45, 0.55, 0.8):
        found = metrics.outline_iou((line(10 * part),), (line(10),))
        assert found == pytest.approx(part, abs=0.015)


def test_quads_right() -> None:
    line = np.array([[0, 0], [100, 10], [100, 20], [0, 10]], np.float32)
    low = line + np.array([0, 8], np.float32)
    truth = Detections.from_polygons([[line]], ["EXIT"])
    assert metrics.quads_right(truth, truth)[0] == 1
    assert metrics.quads_right(Detections.from_polygons([[low]], ["EXIT"]), truth)[0] == 0


def test_average_precision_of_a_perfect_and_of_no_answer() -> None:
    truth = [boxes((0, 0, 10, 10), (20, 20, 30, 30), names="cat dog"), boxes()]
    assert metrics.average_precision(truth, truth) == {
        "map50": pytest.approx(1),
        "map75": pytest.approx(1),
        "map": pytest.approx(1),
    }
    assert metrics.average_precision([boxes(), boxes()], truth)["map50"] == 0
    assert math.isnan(metrics.average_precision([boxes()], [boxes()])["map50"])


def test_average_precision_is_class_aware_and_ranks_by_confidence() -> None:
    truth = [boxes((0, 0, 10, 10), names="cat")]
    wrong = [boxes((0, 0, 10, 10), names="dog")]
    assert metrics.average_precision(wrong, truth)["map50"] == 0
    assert metrics.average_precision(wrong, truth, use_labels=False)["map50"] == pytest.approx(1)

    def scored(*scores: float) -> list[Detections]:
        both = np.array([[0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
        return [Detections(both, ("cat", "cat"), scores=np.array(scores, np.float32))]

    sure_of_the_right = metrics.average_precision(scored(0.9, 0.2), truth)["map50"]
    sure_of_the_wrong = metrics.average_precision(scored(0.2, 0.9), truth)["map50"]
    assert sure_of_the_right == pytest.approx(1)
    assert sure_of_the_wrong == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param((1.0, 1.0, 1.0, 10), (0.025**0.1, 1.0), id="all right"),
        pytest.param((0.0, 0.0, 0.0, 10), (0.0, 1 - 0.025**0.1), id="all wrong"),
        pytest.param((1.0, 0.8, 1.0, 10), (0.8, 1.0), id="it spreads by itself"),
        pytest.param((0.7, 0.7, 0.7, 10), (0.7, 0.7), id="all the same, between"),
    ],
)
def test_all_or_nothing_is_not_certain(given, expected) -> None:
    assert metrics.widened(*given) == pytest.approx(expected)


def test_bootstrap_holds_the_value_and_narrows() -> None:
    few = metrics.bootstrap([(1, 1), (0, 1)] * 10)
    many = metrics.bootstrap([(1, 1), (0, 1)] * 1000)
    assert few[0] < many[0] < 0.5 < many[1] < few[1]
    assert metrics.bootstrap([(1, 1)] * 5) == (1, 1)
    assert all(math.isnan(v) for v in metrics.bootstrap([]))
    assert metrics.bootstrap([(1, 2), (0, 1)], seed=3) == metrics.bootstrap(
        [(1, 2), (0, 1)], seed=3
    )
