"""A large picture looked at in tiles, by a fake that finds what is red and what is blue."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from florence_demo.engine.closely import Look, can_look_closely, look_closely
from florence_demo.engine.request import Options, Stopped
from florence_demo.errors import InputError
from florence_demo.prediction import Detections, Prediction
from florence_demo.tasks import TASKS

NAMES = {"red": (255, 0, 0), "blue": (0, 0, 255)}


class Eye:
    """Find what is of a colour; read its name as the text there."""

    side = 110

    def __init__(self):
        self.batches: list[list[tuple[str, tuple[int, int]]]] = []

    def predict_batch(self, requests, options=None, *, on_step=None):
        self.batches.append([(r.task.name, r.image.size) for r in requests])
        if on_step and not on_step(lambda: pytest.fail("no answer of one tile alone is told")):
            raise Stopped
        return [self.answer(r) for r in requests]

    def answer(self, request) -> Prediction:
        task, size = request.task, request.image.size
        pixels = np.asarray(request.image)
        boxes, names = [], []
        for name, colour in NAMES.items():
            ys, xs = np.nonzero((pixels == colour).all(axis=-1))
            if len(xs):
                boxes.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
                names.append(name)
        found = Detections(np.array(boxes, np.float32).reshape(-1, 4), tuple(names))
        if task.answer.name == "QUADS":
            corners = [[box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2)] for box in found.xyxy]
            found = Detections.from_polygons(corners, names)
        if task.answer.name == "TEXT":
            found = Detections.empty()
        raw = task.answer.encode(" ".join(names), found, size)
        decoded = task.answer.decode(raw, size)
        return Prediction(
            task.name,
            task.build_prompt(request.text, None, size),
            raw,
            decoded.text,
            size,
            decoded.detections,
            task.parse(decoded.value),
            "eye",
            seconds=0.5,
            tokens=3,
            looped=size[0] < 300 and "red" in names,
            notices=("Round and round.",) if "red" in names else () if names else ("Nothing.",),
            picture=f"digest of {size}",
        )


@pytest.fixture
def picture():
    """300 x 200: something red that a border of 1x3 tiles cuts, something small and blue."""
    image = Image.new("RGB", (300, 200), "white")
    pen = ImageDraw.Draw(image)
    pen.rectangle((60, 20, 159, 79), fill="red")
    pen.rectangle((270, 150, 279, 159), fill="blue")
    return image


def test_a_picture_is_asked_about_as_a_whole_and_in_tiles(picture):
    eye = Eye()
    found = look_closely(eye, picture, Look(TASKS["od"], tiles="1x3"))
    assert eye.batches == [[("od", (300, 200)), *[("od", (116, 200))] * 3]]
    assert found.detections.labels == ("red", "blue")
    np.testing.assert_allclose(
        found.detections.xyxy, [[60, 20, 160, 80], [270, 150, 280, 160]], atol=0.4
    )
    boxes = [[float(v) for v in box] for box in found.detections.xyxy]
    assert found.parsed == {"<OD>": {"bboxes": boxes, "labels": ["red", "blue"]}}
    assert found.size == (300, 200)
    assert found.picture == "digest of (300, 200)"
    assert (found.seconds, found.tokens, found.looped) == (2.0, 12, True)
    assert found.raw.splitlines()[0].startswith("the whole: red<loc_")
    assert found.raw.splitlines()[1].startswith("tile 0,0 to 116,200: red<loc_")
    assert found.notices == (
        "Looked at in 3 overlapping tiles.",
        "In 3 of 4 looks: Round and round.",
    )


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if can_look_closely(task)])
def test_every_task_that_can_is_answered_as_it_would_be(picture, name):
    task = TASKS[name]
    text = "red" if task.asks == "text" else ""
    found = look_closely(Eye(), picture, Look(task, text, "2x2"))
    assert (found.task, found.prompt) == (name, task.build_prompt(text, None, picture.size))
    alone = Eye().answer(type("R", (), {"task": task, "image": picture, "text": text}))
    assert found.parsed.keys() == alone.parsed.keys()
    assert type(found.parsed[task.token]) is type(alone.parsed[task.token])
    assert len(found.detections) == len(alone.detections)
    assert found.text.split() == alone.text.split()


def test_words_without_places_are_read_with_places_and_given_in_order(picture):
    eye = Eye()
    found = look_closely(eye, picture, Look(TASKS["ocr"], tiles="2x2"))
    assert {task for batch in eye.batches for task, _ in batch} == {"ocr_with_region"}
    assert found.text == "red\nblue"
    assert found.parsed == {"<OCR>": "red\nblue"}
    assert len(found.detections) == 0


def test_which_tasks_can():
    assert {name for name, task in TASKS.items() if can_look_closely(task)} == {
        "od",
        "dense_region_caption",
        "region_proposal",
        "open_vocabulary_detection",
        "ocr",
        "ocr_with_region",
    }


@pytest.mark.parametrize("size", [(100, 100), (125, 60), (5, 5)])
def test_a_picture_that_needs_no_tiles_is_asked_about_as_ever(size):
    eye = Eye()
    found = look_closely(eye, Image.new("RGB", size, "red"), Look(TASKS["ocr"]))
    assert eye.batches == [[("ocr", size)]]
    assert (found.text, found.notices) == ("red", ("Round and round.",))


def test_nothing_anywhere_is_told():
    image = Image.new("RGB", (300, 300), "white")
    found = look_closely(Eye(), image, Look(TASKS["od"], tiles="2x2"))
    assert found.parsed == {"<OD>": {"bboxes": [], "labels": []}}
    assert found.notices == ("Looked at in 4 overlapping tiles.", "Nothing.")


def test_tiles_that_are_still_squeezed_are_told():
    image = Image.new("RGB", (2000, 400), "white")
    found = look_closely(Eye(), image, Look(TASKS["od"], tiles="1x2"))
    assert found.notices[1].startswith("Of each tile too: a model sees 110 × 110 pixels")


def test_many_tiles_are_asked_in_groups_and_told(picture):
    eye, told = Eye(), []

    def on_step(partial) -> bool:
        if partial().text:
            told.append(partial().text)
        return True

    found = look_closely(eye, picture, Look(TASKS["od"], tiles="4x5"), on_step=on_step)
    assert not any("Nothing" in notice for notice in found.notices), "an empty tile is no news"
    assert [len(batch) for batch in eye.batches] == [16, 5]
    assert list(dict.fromkeys(told)) == [
        "0 of 21 looks at the picture are done.",
        "16 of 21 looks at the picture are done.",
    ]


@pytest.mark.parametrize("patience", range(4))
def test_it_can_be_stopped_at_any_step(picture, patience):
    eye, left = Eye(), iter(range(patience))
    look = Look(TASKS["od"], tiles="4x5")
    with pytest.raises(Stopped):
        look_closely(eye, picture, look, on_step=lambda _: next(left, None) is not None)
    assert len(eye.batches) == (patience + 1) // 2


@pytest.mark.parametrize(
    ("look", "words"),
    [
        pytest.param(Look(TASKS["caption"]), "by tiles.*od, dense_", id="no places"),
        pytest.param(Look(TASKS["region_to_ocr"]), "by tiles", id="a region"),
        pytest.param(Look(TASKS["od"], tiles="13x5"), "65 tiles, 64 are allowed", id="65 tiles"),
        pytest.param(Look(TASKS["od"], tiles="many"), "“many” says no tiles", id="no tiles"),
        pytest.param(Look(TASKS["od"], tiles="60x1"), "too small", id="tiles of no pixels"),
        pytest.param(Look(TASKS["od"], "a cat", "2x2"), "takes no text", id="text not wanted"),
        pytest.param(Look(TASKS["open_vocabulary_detection"]), "needs words", id="no text"),
        pytest.param(Look(TASKS["od"], options=Options(num_beams=99)), "num_beams", id="options"),
    ],
)
def test_bad_input_is_a_sentence(picture, look, words):
    eye = Eye()
    with pytest.raises(InputError, match=words):
        look_closely(eye, picture, look)


def test_the_embedded_model_says_what_it_sees_and_looks_closely(nano):
    assert nano.side == 256
    pixels = np.random.default_rng(1).integers(0, 255, (90, 400, 3), np.uint8)
    look = Look(TASKS["od"], tiles="1x2", options=Options(max_new_tokens=24, num_beams=1))
    found = look_closely(nano, Image.fromarray(pixels), look)
    assert found.size == (400, 90)
    assert found.notices[0] == "Looked at in 2 overlapping tiles."
    assert found.model == nano.loaded.title
