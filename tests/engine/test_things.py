"""Things of several tiles as one answer. The picture is 360 x 200: tiles of 200, 40 in common."""

from __future__ import annotations

import numpy as np
import pytest

from florence_demo.engine.things import View, merge_things
from florence_demo.engine.tiles import plan
from florence_demo.prediction import Detections

SIZE = (360, 200)
PLAN = plan(SIZE, how="1x2")
LEFT, RIGHT = PLAN.tiles
WHOLE = (0, 0, *SIZE)


def view(tile, *things) -> View:
    """Things are (name, x1, y1, x2, y2) or the same with a score."""
    boxes = np.array([t[1:5] for t in things], np.float32).reshape(-1, 4)
    scores = np.array([t[5] for t in things], np.float32) if things and len(things[0]) > 5 else None
    return View(tile, Detections(boxes, tuple(t[0] for t in things), (), scores))


def merged(*views, of=PLAN):
    found = merge_things(views, of)
    rows = zip(found.labels, found.xyxy.tolist(), strict=True)
    return [(label, *map(round, box)) for label, box in rows]


def test_the_picture_is_cut_as_these_tests_say():
    assert (LEFT, RIGHT) == ((0, 0, 200, 200), (160, 0, 360, 200))
    assert PLAN.shared == (40, 200)


CASES = {
    "each tile has its own": (
        [view(LEFT, ("cat", 10, 10, 50, 50)), view(RIGHT, ("cat", 300, 10, 340, 50))],
        [("cat", 10, 10, 50, 50), ("cat", 300, 10, 340, 50)],
    ),
    "the same thing in two tiles": (
        [view(LEFT, ("cat", 172, 10, 190, 50)), view(RIGHT, ("cat", 173, 11, 191, 50))],
        [("cat", 172, 10, 190, 50)],
    ),
    "the surer look at it stays": (
        [view(LEFT, ("cat", 172, 10, 190, 50, 0.4)), view(RIGHT, ("cat", 173, 11, 191, 50, 0.9))],
        [("cat", 173, 11, 191, 50)],
    ),
    "the same place by another name, apart from letters": (
        [view(LEFT, ("cat", 172, 10, 190, 50)), view(RIGHT, ("Cat ", 172, 10, 190, 50))],
        [("cat", 172, 10, 190, 50)],
    ),
    "two names at about one place": (
        [view(LEFT, ("cat", 172, 10, 190, 50)), view(RIGHT, ("dog", 172, 10, 190, 50))],
        [("cat", 172, 10, 190, 50)],
    ),
    "two names at places that overlap": (
        [view(LEFT, ("cat", 172, 10, 190, 50)), view(RIGHT, ("hat", 172, 10, 190, 30))],
        [("cat", 172, 10, 190, 50), ("hat", 172, 10, 190, 30)],
    ),
    "two neighbours of one name that touch, one in each tile": (
        [view(LEFT, ("cat", 100, 10, 175, 50)), view(RIGHT, ("cat", 175, 10, 250, 50))],
        [("cat", 100, 10, 175, 50), ("cat", 175, 10, 250, 50)],
    ),
    "what one look has twice stays as that look has it": (
        [view(LEFT, ("cat", 10, 10, 50, 50), ("cat", 11, 10, 50, 50)), view(RIGHT)],
        [("cat", 10, 10, 50, 50), ("cat", 11, 10, 50, 50)],
    ),
    "a cut part of what the next tile has whole": (
        [view(LEFT, ("cat", 165, 10, 200, 50)), view(RIGHT, ("cat", 165, 10, 230, 50))],
        [("cat", 165, 10, 230, 50)],
    ),
    "a thing cut in half": (
        [view(LEFT, ("bus", 120, 20, 199, 90)), view(RIGHT, ("bus", 161, 22, 260, 90))],
        [("bus", 120, 20, 260, 90)],
    ),
    "a thing cut in half that the whole picture shows": (
        [
            view(LEFT, ("bus", 120, 20, 199, 90)),
            view(RIGHT, ("bus", 161, 22, 260, 90)),
            view(WHOLE, ("bus", 118, 20, 262, 92)),
        ],
        [("bus", 118, 20, 262, 92)],
    ),
    "halves of different things": (
        [view(LEFT, ("bus", 120, 20, 199, 90)), view(RIGHT, ("bus", 161, 110, 260, 190))],
        [("bus", 120, 20, 199, 90), ("bus", 161, 110, 260, 190)],
    ),
    "halves by different names": (
        [view(LEFT, ("bus", 120, 20, 199, 90)), view(RIGHT, ("car", 161, 22, 260, 90))],
        [("bus", 120, 20, 199, 90), ("car", 161, 22, 260, 90)],
    ),
    "a piece of a large thing that looks like another one": (
        [
            view(LEFT, ("donut", 150, 60, 199, 90)),
            view(RIGHT),
            view(WHOLE, ("bus", 100, 20, 300, 120)),
        ],
        [("bus", 100, 20, 300, 120)],
    ),
    "a piece of a joined thing that looks like another one": (
        [
            view(LEFT, ("bus", 120, 20, 199, 90), ("box", 170, 70, 199, 110)),
            view(RIGHT, ("bus", 161, 22, 260, 90), ("door", 161, 15, 180, 35)),
        ],
        [("bus", 120, 20, 260, 90)],
    ),
    "of parts that no other explains the largest stays": (
        [view(LEFT, ("bus", 170, 20, 199, 90)), view(RIGHT, ("car", 161, 22, 230, 90))],
        [("car", 161, 22, 230, 90)],
    ),
    "a part that no other explains stays": (
        [view(LEFT, ("bus", 120, 20, 199, 90)), view(RIGHT)],
        [("bus", 120, 20, 199, 90)],
    ),
    "a small thing of the whole picture is left to the tiles": (
        [view(LEFT), view(RIGHT), view(WHOLE, ("cat", 10, 10, 45, 60))],
        [],
    ),
    "a large thing of the whole picture stays": (
        [view(LEFT), view(RIGHT), view(WHOLE, ("bus", 10, 10, 300, 60))],
        [("bus", 10, 10, 300, 60)],
    ),
    "the edge of the picture cuts nothing": (
        [view(LEFT, ("cat", 0, 0, 60, 200)), view(RIGHT), view(WHOLE, ("cat", 0, 0, 90, 200))],
        [("cat", 0, 0, 60, 200)],
    ),
    "nothing at all": ([view(LEFT), view(RIGHT), view(WHOLE)], []),
}


@pytest.mark.parametrize(("views", "expected"), CASES.values(), ids=CASES)
def test_merging(views, expected):
    assert merged(*views) == expected


def test_a_thing_over_three_tiles_and_one_over_four_corners():
    row = plan((520, 200), how="1x3")
    found = merged(
        *(
            view(tile, ("bus", max(tile[0], 100), 20, min(tile[2], 420), 90), ("cat", 5, 5, 9, 9))
            for tile in row.tiles
        ),
        of=row,
    )
    assert ("bus", 100, 20, 420, 90) in found
    assert [name for name, *_ in found].count("bus") == 1
    grid = plan((360, 360), how="2x2")
    found = merged(
        *(
            view(t, ("bus", max(t[0], 80), max(t[1], 90), min(t[2], 280), min(t[3], 270)))
            for t in grid.tiles
        ),
        of=grid,
    )
    assert found == [("bus", 80, 90, 280, 270)]
    found = merged(
        *(
            view(t, ("bus", max(t[0], 80), max(t[1], 90), min(t[2], 280), min(t[3], 270)))
            for t in grid.tiles
        ),
        view((0, 0, 360, 360), ("road", 10, 10, 350, 350)),
        of=grid,
    )
    assert sorted(found) == [("bus", 80, 90, 280, 270), ("road", 10, 10, 350, 350)], "no part of it"


def test_scores_are_kept_and_a_joined_thing_is_as_sure_as_its_least_sure_part():
    found = merge_things(
        [
            view(LEFT, ("bus", 120, 20, 199, 90, 0.75), ("cat", 5, 5, 30, 30, 0.5)),
            view(RIGHT, ("bus", 161, 22, 260, 90, 0.25)),
        ],
        PLAN,
    )
    assert found.labels == ("cat", "bus")
    assert found.scores is not None
    assert found.scores.tolist() == [0.5, 0.25]
    assert found.label_scores is None


def test_outlines_of_two_halves_are_parts_of_one_thing():
    def half(tile, x1, x2):
        ring = np.array([[x1, 20], [x2, 20], [x2, 90]], np.float32)
        return View(tile, Detections.from_polygons([[ring]], ["bus"]))

    found = merge_things([half(LEFT, 120, 199), half(RIGHT, 161, 260)], PLAN)
    assert len(found) == 1
    assert [ring[:, 0].tolist() for ring in found.polygons[0]] == [[120, 199, 199], [161, 260, 260]]
