"""Lines of several tiles as one answer. The picture is 360 x 200: tiles of 200, 40 in common."""

from __future__ import annotations

import math

import numpy as np
import pytest

from florence_demo.engine.lines import join_texts, merge_lines
from florence_demo.engine.things import View
from florence_demo.engine.tiles import plan
from florence_demo.prediction import Detections

SIZE = (360, 200)
PLAN = plan(SIZE, how="1x2")
LEFT, RIGHT = PLAN.tiles
GRID = plan((360, 360), how="2x2")
WHOLE = (0, 0, *SIZE)


def quad(x1, y1, x2, y2):
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32)


def view(tile, *lines) -> View:
    """Lines are (text, x1, y1, x2, y2) or (text, quad)."""
    quads = [[line[1] if len(line) == 2 else quad(*line[1:])] for line in lines]
    return View(tile, Detections.from_polygons(quads, [line[0] for line in lines]))


def merged(*views, of=PLAN):
    return list(merge_lines(views, of).labels)


# Ten pixels a letter: the left tile ends behind the 20th letter, the right one begins with the
# 17th, or both within a letter where x is shifted.
TEXT = "The quick brown fox jumps over dogs"


def cut(text, x, y, tile, height=14):
    """What a tile shows of a line of letters of ten pixels, spaces at its ends left out."""
    first = max(0, math.ceil((tile[0] - x - 4) / 10))
    last = min(len(text), math.floor((tile[2] - x + 4) / 10))
    said = text[first:last]
    start = x + 10 * (first + len(said) - len(said.lstrip()))
    said = said.strip()
    end = min(start + 10 * len(said), tile[2])
    return (said, max(start, tile[0]), y, end, y + height)


CASES = {
    "a line in each tile": (
        [view(LEFT, ("one", 10, 10, 60, 24)), view(RIGHT, ("two", 250, 50, 300, 64))],
        ["one", "two"],
    ),
    "the same line in both": (
        [view(LEFT, ("one", 165, 10, 195, 24)), view(RIGHT, ("one", 164, 11, 196, 24))],
        ["one"],
    ),
    "a word whose last letter the border cuts": (
        [view(LEFT, ("befor|", 168, 10, 200, 24)), view(RIGHT, ("before", 168, 10, 206, 24))],
        ["before"],
    ),
    "a word of which the next tile shows a letter more": (
        [view(LEFT, ("befor", 150, 10, 199, 24)), view(RIGHT, ("ore", 170, 10, 210, 24))],
        ["before"],
    ),
    "a line cut in the middle of a word": (
        [view(LEFT, cut(TEXT, 6, 10, LEFT)), view(RIGHT, cut(TEXT, 6, 10, RIGHT))],
        [TEXT],
    ),
    "letters that the border cuts are read wrongly": (
        [
            view(LEFT, ("The quick brown fox i", 6, 10, 200, 24)),
            view(RIGHT, ("ı fox jumps over dogs", 160, 10, 356, 24)),
        ],
        [TEXT],
    ),
    "a word longer than what both show": (
        [
            view(LEFT, ("incomprehensibiliti", 10, 10, 200, 24)),
            view(RIGHT, ("ilitiesandmore", 160, 10, 300, 24)),
        ],
        ["incomprehensibilitiesandmore"],
    ),
    "no letter in common": (
        [view(LEFT, ("abcdwxyz", 120, 10, 200, 24)), view(RIGHT, ("ABCDefgh", 160, 10, 240, 24))],
        ["abcdwxCDefgh"],
    ),
    "a word left out by both": (
        [view(LEFT, ("to be", 120, 10, 198, 24)), view(RIGHT, ("or not", 202, 10, 260, 24))],
        ["to be", "or not"],
    ),
    "two columns": (
        [view(LEFT, ("one", 100, 10, 150, 24)), view(RIGHT, ("two", 165, 10, 215, 24))],
        ["one", "two"],
    ),
    "lines below each other": (
        [
            view(LEFT, cut(TEXT, 6, 10, LEFT), cut(TEXT.upper(), 6, 26, LEFT)),
            view(RIGHT, cut(TEXT, 6, 10, RIGHT), cut(TEXT.upper(), 6, 26, RIGHT)),
        ],
        [TEXT, TEXT.upper()],
    ),
    "letters too large for a tile are read in the whole picture": (
        [
            view(GRID.tiles[0], ("SA", 20, 100, 200, 200)),
            view(GRID.tiles[1], ("LE", 160, 100, 340, 200)),
            view(GRID.tiles[2], ("5A", 20, 160, 200, 260)),
            view(GRID.tiles[3], ("IF", 160, 160, 340, 260)),
            view((0, 0, 360, 360), ("SALE", 20, 100, 340, 260), ("srnall", 10, 10, 60, 20)),
        ],
        ["SALE"],
    ),
    "a line that the border cuts lengthwise": (
        [
            view(GRID.tiles[0], ("lıne", 20, 192, 100, 200), ("first", 20, 20, 100, 34)),
            view(GRID.tiles[2], ("line", 20, 192, 100, 206)),
        ],
        ["first", "line"],
    ),
    "nothing at all": ([view(LEFT), view(RIGHT), view(WHOLE, ("small", 5, 5, 30, 15))], []),
}


@pytest.mark.parametrize(("views", "expected"), CASES.values(), ids=CASES)
def test_merging(views, expected):
    of = GRID if any(v.tile[3] > SIZE[1] for v in views) else PLAN
    assert merged(*views, of=of) == expected


@pytest.mark.parametrize("shift", range(10))
def test_a_line_cut_anywhere_is_whole_again(shift):
    views = [view(tile, cut(TEXT, shift, 10, tile)) for tile in PLAN.tiles]
    assert merged(*views) == [TEXT]


def test_a_joined_line_is_where_it_is():
    found = merge_lines([view(t, cut(TEXT, 6, 10, t)) for t in PLAN.tiles], PLAN)
    assert found.xyxy.tolist() == [[6, 10, 356, 24]]
    assert found.polygons[0][0].tolist() == quad(6, 10, 356, 24).tolist()


@pytest.mark.parametrize("degrees", [-80, -30, -8, 8, 30, 90, 180])
def test_turned_lines_are_joined_along_themselves(degrees):
    turn = math.radians(degrees)
    along = np.array([math.cos(turn), math.sin(turn)])
    down = np.array([-along[1], along[0]])

    def piece(start, end):
        """Between two places along a line through the middle, 14 pixels high."""
        middle = np.array([180.0, 180.0])
        ends = [start * along, end * along, end * along + 14 * down, start * along + 14 * down]
        return (np.array(ends) + middle).astype(np.float32)

    (first, second) = ((0, 3) if 0 <= degrees <= 90 else (2, 1)) if degrees != 180 else (1, 0)
    found = merge_lines(
        [
            view(GRID.tiles[first], ("abcdefghijkl", piece(-100, 20))),
            view(GRID.tiles[second], ("ijklmnopqrst", piece(-20, 100))),
        ],
        GRID,
    )
    assert found.labels == ("abcdefghijklmnopqrst",)
    np.testing.assert_allclose(found.polygons[0][0], piece(-100, 100), atol=1e-3)


def test_scores_are_those_of_the_least_sure_piece():
    pieces = []
    for tile, score in zip(PLAN.tiles, (0.75, 0.25), strict=True):
        found = view(tile, cut(TEXT, 6, 10, tile)).found
        of = np.array([score], np.float32)
        pieces.append(
            View(tile, Detections(found.xyxy, found.labels, found.polygons, of, of, of / 2))
        )
    found = merge_lines(pieces, PLAN)
    assert [found.scores.tolist(), found.place_scores.tolist()] == [[0.25], [0.125]]


@pytest.mark.parametrize(
    ("first", "second", "common", "text"),
    [
        ("the quick", "quick fox", (5, 5), "the quick fox"),
        ("the quick", "ick fox", (3, 3), "the quick fox"),
        ("a la la la", "la la la la b", (8, 8), "a la la la la b"),
        ("hello w", "vorld", (1, 1), "hello wvorld"),
        ("12.3", "2.34", (3, 3), "12.34"),
        ("x", "x", (1, 1), "x"),
        ("abc", "def", (0.1, 0.1), "abcdef"),
    ],
)
def test_texts_are_joined_at_what_they_have_in_common(first, second, common, text):
    assert join_texts(first, second, common) == text
