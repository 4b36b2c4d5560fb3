"""What stays keeps its number."""

from __future__ import annotations

import random

import numpy as np
import pytest

from florence_demo.output.tracks import Tracks
from florence_demo.prediction import Detections

Thing = tuple[str, float]  # a name, and where its box of 40 x 40 begins


def answer(*things: Thing) -> Detections:
    rows = [[x, 0, x + 40, 40] for _, x in things]
    return Detections(np.array(rows, np.float32).reshape(-1, 4), tuple(name for name, _ in things))


CASES: dict[str, tuple[list[list[Thing]], list[tuple[int, ...]]]] = {
    "standing still": ([[("a", 0), ("b", 100)]] * 3, [(1, 2)] * 3),
    "in another order": (
        [[("a", 0), ("b", 100)], [("b", 100), ("a", 0)]], [(1, 2), (2, 1)],
    ),
    "moving": ([[("a", 20 * i)] for i in range(9)], [(1,)] * 9),
    "faster than it is wide, once its pace is known": (
        [[("a", 0)], [("a", 25)], [("a", 50)], [("a", 80)], [("a", 125)]], [(1,)] * 5,
    ),
    "two of one name pass each other": (
        [[("a", 20 * i), ("a", 200 - 20 * i)] for i in range(11)], [(1, 2)] * 11,
    ),
    "two of different names pass each other": (
        [[("a", 20 * i), ("b", 200 - 20 * i)] for i in range(11)], [(1, 2)] * 11,
    ),
    "two of one name side by side": (
        [[("a", 0), ("a", 45)], [("a", 8), ("a", 53)], [("a", 16), ("a", 61)]], [(1, 2)] * 3,
    ),
    "missing once": ([[("a", 0)], [], [("a", 3)]], [(1,), (), (1,)]),
    "missing once while it moves": (
        [[("a", 0)], [("a", 25)], [], [("a", 75)]], [(1,), (1,), (), (1,)],
    ),
    "gone for long": ([[("a", 0)], [], [], [], [("a", 0)]], [(1,), (), (), (), (2,)]),
    "a new one": ([[("a", 0)], [("b", 100), ("a", 0)]], [(1,), (2, 1)]),
    "another at the same place": ([[("a", 0)], [("b", 0)]], [(1,), (2,)]),
    "it stops": ([[("a", 0)], [("a", 25)], [("a", 25)], [("a", 25)]], [(1,)] * 4),
    "a jump": ([[("a", 0)], [("a", 500)]], [(1,), (2,)]),
    "one goes, one stays": ([[("a", 0), ("a", 50)], [("a", 50)]], [(1, 2), (2,)]),
    "one becomes two": ([[("a", 0)], [("a", 15), ("a", 2)]], [(1,), (2, 1)]),
    "names that differ in case": ([[("Red  car", 0)], [("red car", 0)]], [(1,), (1,)]),
    "nothing": ([[], []], [(), ()]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_stays_keeps_its_number(name: str) -> None:
    answers, expected = CASES[name]
    tracks = Tracks()
    assert [tracks.follow(answer(*things)) for things in answers] == expected


def test_boxes_without_area_are_told_apart_too() -> None:
    tracks = Tracks()
    point = Detections(np.zeros((2, 4), np.float32), ("a", "a"))
    assert tracks.follow(point) == (1, 2)
    assert tracks.follow(point) == (3, 4)


def test_a_number_is_given_once() -> None:
    drawn = random.Random(1)
    tracks = Tracks(least=0.0)
    for _ in range(50):
        things = [(drawn.choice("ab"), drawn.uniform(0, 300)) for _ in range(drawn.randint(0, 9))]
        numbers = tracks.follow(answer(*things))
        assert len(set(numbers)) == len(things)
