"""A picture is changed and what is said of it stays true: a place keeps its pixels."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from florence_demo.data.example import Example, check_example
from florence_demo.errors import DatasetError
from florence_demo.prediction import Detections
from florence_demo.training.augment import KINDS, augmented
from florence_demo.training.config import TrainConfig
from florence_demo.training.trainer import Rows

SIZE = (120, 90)
RED, BLUE = (30, 20, 70, 60), (80, 50, 110, 80)
PLACES = Detections(np.array([RED, BLUE], np.float32), ("red thing", "blue thing"))
RING = np.array([[30, 20], [70, 20], [70, 60], [30, 60]], np.float32)
OUTLINE = Detections.from_polygons([[RING]], [""])
LINE = Detections.from_polygons([[RING]], ["EXIT"])


def scene() -> Image.Image:
    image = Image.new("RGB", SIZE, (0, 120, 0))
    draw = ImageDraw.Draw(image)
    for (x1, y1, x2, y2), color in ((RED, (230, 0, 0)), (BLUE, (0, 0, 230))):
        draw.rectangle((x1, y1, x2 - 1, y2 - 1), fill=color)
    return image


def box_of(image: Image.Image, channel: int) -> np.ndarray:
    """Return the box of all pixels in which one colour leads."""
    pixels = np.asarray(image, np.int32)
    others = np.delete(pixels, channel, axis=2).max(axis=2)
    rows, columns = np.nonzero(pixels[..., channel] > others + 60)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_stay_on_their_pixels(kind):
    moved = 0
    for seed in range(20):
        row = augmented(Example(scene(), "od", detections=PLACES), [kind], random.Random(seed))
        check_example(row)
        image = row.load()
        moved += image.tobytes() != scene().tobytes()
        for box, name in zip(row.detections.xyxy, row.detections.labels, strict=True):
            np.testing.assert_allclose(box, box_of(image, 0 if "red" in name else 2), atol=1.01)
    assert 4 <= moved <= 16


def test_all_kinds_together_leave_a_true_row():
    for seed in range(30):
        row = Example(scene(), "region_to_segmentation", region=RED, detections=OUTLINE)
        row = augmented(row, KINDS, random.Random(seed))
        check_example(row)
        red = box_of(row.load(), 0)
        np.testing.assert_allclose(row.region, red, atol=3.1)
        np.testing.assert_allclose(row.detections.xyxy[0], red, atol=3.1)


@pytest.mark.parametrize(
    ("row", "kinds"),
    [
        pytest.param(Example(scene(), "od", detections=Detections(PLACES.xyxy[:1], ("left shoe",))),
                     ["flip"], id="a side in a name"),
        pytest.param(Example(scene(), "caption_to_phrase_grounding", "the RIGHT one",
                             detections=Detections(PLACES.xyxy[:1], ("the one",))),
                     ["flip"], id="a side in a question"),
        pytest.param(Example(scene(), "ocr_with_region", detections=LINE), ["flip"], id="text"),
        pytest.param(Example(scene(), "region_to_ocr", region=RED, answer="EXIT"), ["flip"],
                     id="text in a region"),
        pytest.param(Example(scene(), "caption", answer="A red thing."), ["flip", "crop", "scale"],
                     id="a caption"),
        pytest.param(Example(scene(), "vqa", "How many things?", answer="two"),
                     ["flip", "crop", "scale"], id="a question"),
    ],
)  # fmt: skip
def test_what_would_become_untrue_stays_as_it_is(row, kinds):
    for seed in range(12):
        assert augmented(row, kinds, random.Random(seed)) is row


def test_what_a_sentence_names_is_never_cut_off():
    for seed in range(30):
        row = Example(scene(), "caption_to_phrase_grounding", "things", detections=PLACES)
        assert len(augmented(row, ["crop"], random.Random(seed)).detections) == 2


def test_what_is_out_of_sight_leaves_the_answer():
    counts = {
        len(augmented(Example(scene(), "od", detections=PLACES), ["crop"], rng).detections)
        for rng in map(random.Random, range(60))
    }
    assert {1, 2} <= counts


def test_equal_chance_gives_equal_rows():
    rows = [
        augmented(Example(scene(), "od", detections=PLACES), KINDS, random.Random(5)).load()
        for _ in range(2)
    ]
    assert rows[0].tobytes() == rows[1].tobytes()


def test_a_row_is_changed_otherwise_in_each_pass_and_the_same_in_every_run():
    row = Example(scene(), "od", detections=PLACES)

    def seen(changes: tuple[str, ...], seed: int) -> list[bytes]:
        rows = Rows([row], changes, seed)
        looks = []
        for epoch in range(5):
            rows.set_epoch(epoch)
            looks.append(rows[0][1].load().tobytes())
        return looks

    assert len(set(seen(KINDS, 0))) > 3
    assert seen(KINDS, 0) == seen(KINDS, 0) != seen(KINDS, 1)
    assert set(seen((), 0)) == {scene().tobytes()}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({"augment": ("mixup",)}, "augment is one of flip", id="no kind"),
        pytest.param({"augment": ("flip",), "cache": True}, "leave out cache or", id="cached"),
    ],
)
def test_changes_that_make_no_sense_are_told(settings, words):
    with pytest.raises(DatasetError, match=words):
        TrainConfig(**settings).check()
