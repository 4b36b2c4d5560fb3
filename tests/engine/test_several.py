"""Lists of names and several boxes, asked of a fake that knows what it was asked."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from florence_demo.engine.question import Question, as_regions, ask
from florence_demo.engine.request import Options, Stopped
from florence_demo.engine.several import MOST_NAMES, names_in
from florence_demo.errors import InputError
from florence_demo.models.catalogue import ASSETS
from florence_demo.prediction import Detections, Prediction
from florence_demo.tasks import TASKS

IMAGE = Image.new("RGB", (200, 100), "teal")
FIND, CUT, NAME = (
    TASKS[name]
    for name in (
        "open_vocabulary_detection",
        "referring_expression_segmentation",
        "region_to_category",
    )
)
UNFAMILIAR = "Unlike its training."
NOTHING = "The model found nothing for this question in this picture."


class Fake:
    """Find as many of a name as ``there`` says, by a name of its own; name a box by its width."""

    side = 768

    def __init__(self, there=None, notices=None):
        self.there, self.notices = there or {}, notices or {}
        self.batches: list[int] = []

    def predict_batch(self, requests, options=None, *, on_step=None):
        self.batches.append(len(requests))
        if on_step and not on_step(lambda: pytest.fail("no answer of one part alone is told")):
            raise Stopped
        return [self.predict(r.image, r.task, r.text, r.region) for r in requests]

    def predict(self, image, task, text="", region=None, options=None, *, on_step=None):
        prompt = task.build_prompt(text, region, image.size)
        words = "" if region is None else f"{region[2] - region[0]} wide" * (region[0] != 7)
        count = self.there.get(text, 0) if region is None else int(task.answer.name == "POLYGONS")
        boxes = [[10 * i, 0, 10 * i + 8, 8] for i in range(1, count + 1)]
        found = Detections(
            np.array(boxes, np.float32).reshape(-1, 4),
            ("its own name",) * count,
            scores=np.full(count, 0.5, np.float32),
        )
        if task.answer.name == "POLYGONS":
            rings = [[box[[0, 1, 2, 1, 2, 3]].reshape(3, 2)] for box in found.xyxy]
            found = Detections.from_polygons(rings, ["" for _ in rings])
        return Prediction(
            task.name, prompt, f"raw of {text or words}", words, image.size, found,
            task.parse(task.answer.value(words, found)), "fake", seconds=0.5, tokens=3,
            looped=text == "loop", calibrated=text != "rough", picture="digest",
            notices=self.notices.get(text, ()),
        )  # fmt: skip


# -- what is a list -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        pytest.param("cat", ["cat"], id="one"),
        pytest.param("cat, dog,red  car", ["cat", "dog", "red car"], id="commas"),
        pytest.param("cat; dog\nbird\r\ncow", ["cat", "dog", "bird", "cow"], id="other ends"),
        pytest.param(" ,cat,, ;dog,\n", ["cat", "dog"], id="empty ones"),
        pytest.param("Cat, dog, cat, CAT", ["Cat", "dog"], id="twice"),
        pytest.param("a dog and a cat", ["a dog and a cat"], id="no list"),
        pytest.param("a dog, a cow, and a cat", ["a dog", "a cow", "a cat"], id="and"),
        pytest.param("and, cat", ["and", "cat"], id="a name that is and"),
        pytest.param("android, and", ["android", "and"], id="begins with and"),
        pytest.param("1,000 candles,2,3", ["1,000 candles", "2", "3"], id="a number"),
        pytest.param("", [""], id="nothing"),
        pytest.param(" , ;", [""], id="no name"),
        pytest.param(5, [5], id="no text"),
        pytest.param(",".join(map(str, range(MOST_NAMES))).replace(",", ", "),
                     [str(i) for i in range(MOST_NAMES)], id="as many as may be"),
    ],
)  # fmt: skip
def test_names_of_a_list(text, names):
    assert list(names_in(FIND, text)) == names


@pytest.mark.parametrize("task", [t for t in TASKS.values() if not t.lists], ids=lambda t: t.name)
def test_other_tasks_take_no_lists(task):
    assert names_in(task, "a dog, a cat") == ("a dog, a cat",)


def test_a_list_too_long_is_one_sentence_with_the_way_out():
    with pytest.raises(InputError, match="200 names, 50 are allowed: ask for the first 50, then"):
        names_in(FIND, ", ".join(f"name {i}" for i in range(200)))


# -- names ----------------------------------------------------------------------------------------


def test_each_name_is_asked_and_all_are_one_answer():
    fake = Fake({"cat": 2, "red car": 1})
    found = ask(fake, Question(IMAGE, FIND, "cat, dog, red car"))
    assert fake.batches == [3], "one batch"
    assert found.sentence() == "2 × cat, red car; no dog"
    assert found.names == ("cat", "dog", "red car")
    assert found.detections.labels == ("cat", "cat", "red car"), "as they were asked for"
    assert found.detections.scores == pytest.approx([0.5] * 3)
    boxes = [[10, 0, 18, 8], [20, 0, 28, 8], [10, 0, 18, 8]]
    assert found.parsed == {
        FIND.token: {
            "bboxes": boxes,
            "bboxes_labels": ["cat", "cat", "red car"],
            "polygons": [],
            "polygons_labels": [],
        }
    }
    assert found.raw == "cat: raw of cat\ndog: raw of dog\nred car: raw of red car"
    assert found.prompt.splitlines()[1] == "Locate dog in the image."
    assert (found.seconds, found.tokens, found.picture) == (1.5, 9, "digest")
    assert Prediction.from_json(found.to_json()).sentence() == found.sentence()


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        ({"cat": 1, "dog": 3}, "cat, 3 × dog"),
        ({"dog": 1}, "dog; no cat"),
        ({}, "No cat, no dog"),
    ],
)
def test_what_is_there_and_what_is_not_is_said(there, sentence):
    found = ask(Fake(there), Question(IMAGE, FIND, "cat, dog"))
    assert found.sentence() == sentence
    assert len(found.detections) == sum(there.values())


def test_cut_outs_have_the_names_asked_for():
    found = ask(Fake({"cat": 1, "dog": 1}), Question(IMAGE, CUT, "cat; dog"))
    assert found.detections.labels == ("cat", "dog")
    assert all(found.detections.polygons)
    assert found.parsed[CUT.token]["labels"] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("notices", "told"),
    [
        pytest.param(dict.fromkeys(("cat", "dog"), (UNFAMILIAR,)), (UNFAMILIAR,), id="of all"),
        pytest.param({"dog": ("Cut.",)}, ("Of dog: Cut.",), id="of one"),
        pytest.param({"dog": (NOTHING,)}, (), id="nothing found is in the sentence"),
    ],
)
def test_notices_are_said_once(notices, told):
    fake = Fake({"cat": 1}, notices)
    assert ask(fake, Question(IMAGE, FIND, "cat, dog")).notices == told


def test_a_notice_of_many_names_stays_short():
    names = [f"n{i}" for i in range(20)]
    fake = Fake({}, dict.fromkeys(names[:9], ("Cut.",)))
    told = ask(fake, Question(IMAGE, FIND, ",".join(names).replace(",", ", ")))
    assert told.notices == ("Of n0, n1, n2 and 6 more: Cut.",)
    assert fake.batches == [16, 4], "as many at a time as the engine batches"


@pytest.mark.parametrize(("last", "calibrated"), [("dog", True), ("rough", False)])
def test_scores_are_calibrated_where_all_are(last, calibrated):
    found = ask(Fake({"cat": 1, last: 1}), Question(IMAGE, FIND, f"cat, {last}"))
    assert found.calibrated == calibrated


def test_one_name_is_asked_as_ever():
    fake = Fake({"cat": 1})
    found = ask(fake, Question(IMAGE, FIND, " cat, "))
    assert fake.batches == []
    assert (found.names, found.detections.labels) == ((), ("its own name",))


def test_names_are_looked_for_closely_too():
    fake = Fake({"cat": 1, "dog": 1})
    found = ask(fake, Question(Image.new("RGB", (1600, 700)), FIND, "cat, dog", tiles="1x2"))
    assert fake.batches == [3, 3]
    assert set(found.detections.labels) == {"cat", "dog"}
    assert found.notices[0] == "Looked at in 2 overlapping tiles."


# -- boxes ----------------------------------------------------------------------------------------


def test_each_box_is_asked_about_and_all_are_one_answer():
    fake = Fake()
    found = ask(fake, Question(IMAGE, NAME, "", ((50, 60, 10, 20), (100, 0, 130, 40))))
    assert fake.batches == [2]
    boxes = [[10, 20, 50, 60], [100, 0, 130, 40]]
    assert found.detections.xyxy.tolist() == boxes
    assert found.detections.labels == ("-40 wide", "30 wide")
    assert found.sentence() == "-40 wide\n30 wide"
    assert found.parsed == {NAME.token: {"bboxes": boxes, "labels": ["-40 wide", "30 wide"]}}
    assert found.raw == "box 1: raw of -40 wide\nbox 2: raw of 30 wide"
    assert (found.seconds, found.tokens, found.names) == (1.0, 6, ())


def test_outlines_of_several_boxes_are_one_answer():
    task = TASKS["region_to_segmentation"]
    found = ask(Fake(), Question(IMAGE, task, "", ((0, 0, 9, 9), (1, 1, 9, 9))))
    assert found.sentence() == "2 outlines"
    assert len(found.parsed[task.token]["polygons"]) == 2


def test_a_box_without_an_answer_keeps_its_place():
    found = ask(Fake(), Question(IMAGE, NAME, "", ((7, 0, 9, 9), (1, 1, 9, 9))))
    assert found.detections.labels == ("", "8 wide")
    assert (found.detections.scores, found.calibrated) == (None, False)


@pytest.mark.parametrize(
    ("given", "regions"),
    [
        (None, ()),
        ([], ()),
        ((1, 2, 3, 4), ((1, 2, 3, 4),)),
        ([1, 2, 3, 4], ([1, 2, 3, 4],)),
        ([(1, 2, 3, 4), [5, 6, 7, 8]], ((1, 2, 3, 4), [5, 6, 7, 8])),
        (np.array([1.0, 2, 3, 4]), ([1, 2, 3, 4],)),
        (np.array([[1.0, 2, 3, 4], [5, 6, 7, 8]]), ([1, 2, 3, 4], [5, 6, 7, 8])),
        ("1,2,3,4", ("1,2,3,4",)),
    ],
    ids=str,
)
def test_a_box_may_be_one_or_several(given, regions):
    assert as_regions(given) == regions


# -- what does not fit ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "words"),
    [
        pytest.param(Question(IMAGE, FIND, " , "), "needs words", id="no name"),
        pytest.param(Question(IMAGE, FIND, "cat, <OD>"), "task word <OD>", id="task word"),
        pytest.param(Question(IMAGE, FIND, "cat, \ud800"), "half of a character", id="surrogate"),
        pytest.param(Question(IMAGE, FIND, "cat", ((0, 0, 9, 9),)), "takes no region", id="box"),
        pytest.param(
            Question(IMAGE, FIND, "cat", ((0, 0, 9, 9),) * 2), "takes no region", id="boxes"
        ),
        pytest.param(Question(IMAGE, NAME, ""), "draw a box", id="no box"),
        pytest.param(
            Question(IMAGE, NAME, "", ((0, 0, 9, 9), (5, 0, 5, 9))), "Box 2: .*no area", id="2nd"
        ),
        pytest.param(Question(IMAGE, NAME, "", ((0, 0, 9, 9),) * 21), "21 boxes, 20", id="many"),
        pytest.param(
            Question(IMAGE, FIND, "cat", ((0, 0, 9, 9),), "auto"), "takes no box", id="tiles"
        ),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_asked(question, words):
    with pytest.raises(InputError, match=words):
        question.check()
    fake = Fake()
    with pytest.raises(InputError, match=words):
        ask(fake, question)
    assert fake.batches == []


def test_a_person_is_told_how_far_it_is_and_may_stop():
    told = []
    names = ", ".join(f"n{i}" for i in range(20))

    def on_step(partial):
        told.append(partial().text)
        return len(told) < 3

    with pytest.raises(Stopped):
        ask(Fake(), Question(IMAGE, FIND, names), on_step=on_step)
    assert told[0] == "0 of 20 names are done."
    assert told[-1] == "16 of 20 names are done."


# -- the embedded model ---------------------------------------------------------------------------


def test_the_embedded_model_finds_what_is_there_and_says_what_is_not(nano):
    picture = ASSETS / "examples" / "truck.webp"
    seen = nano.ask(picture, "od").detections.labels
    name = max(seen, key=seen.count)
    found = nano.ask(picture, FIND.name, f"{name}, zebra")
    assert found.detections.labels.count(name) == seen.count(name)
    alone = nano.ask(picture, FIND.name, name)
    assert np.array_equal(found.detections.xyxy[: len(alone.detections)], alone.detections.xyxy)
    assert "no zebra" in found.sentence()


def test_the_embedded_model_names_each_of_several_boxes(nano):
    picture = ASSETS / "examples" / "truck.webp"
    seen = nano.ask(picture, "od", options=Options(num_beams=1)).detections
    found = nano.ask(picture, NAME.name, region=seen.xyxy)
    assert found.detections.xyxy.tolist() == seen.xyxy.tolist()
    assert found.detections.scores is not None, "nano repeats the box behind its words"
    alone = [nano.ask(picture, NAME.name, region=box).text for box in seen.xyxy]
    assert found.text.split("\n") == alone
