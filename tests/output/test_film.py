"""Which answer is drawn on which frame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from florence_demo.output.film import drawn
from florence_demo.prediction import Detections


def plain(*times: float) -> list[tuple[float, Image.Image]]:
    return [(seconds, Image.new("RGB", (100, 100))) for seconds in times]


def box(left: float) -> Detections:
    return Detections(np.array([[left, 10, left + 8, 90]], np.float32), ("a",))


def left_of(picture: Image.Image) -> int | None:
    """Where the drawn box begins, in tens."""
    columns = np.flatnonzero(np.asarray(picture)[60].max(axis=1) > 100)
    return int(columns[0] + 3) // 10 if len(columns) else None


CASES = {
    "the last one stays": ([0, 1, 2, 3], [(0, 1), (2, 3)], [1, 1, 3, 3]),
    "none before the first": ([0, 1, 2], [(1, 4)], [None, 4, 4]),
    "the last of several": ([0, 5], [(0, 1), (1, 2), (2, 3)], [1, 3]),
    "an answer for the very frame": ([0.1 + 0.2], [(0.3, 5)], [5]),
    "no answers": ([0, 1], [], [None, None]),
    "no frames": ([], [(0, 1)], []),
}


@pytest.mark.parametrize("name", CASES)
def test_the_last_answer_is_drawn(name: str) -> None:
    times, answers, expected = CASES[name]
    frames = list(drawn(plain(*times), [(t, box(10 * n)) for t, n in answers]))
    assert [seconds for seconds, _ in frames] == times
    assert [left_of(picture) for _, picture in frames] == expected


def test_answers_are_taken_as_they_are_needed() -> None:
    taken = []

    def answers() -> Iterator[tuple[float, Detections]]:
        for i in range(100):
            taken.append(i)
            yield float(i), box(10)

    frames = drawn(plain(0, 1, 2), answers())
    next(frames)
    assert len(taken) == 2
