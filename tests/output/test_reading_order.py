"""Lines with places become text in the order in which a person reads it."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from florence_demo.output.reading_order import (
    blocks_of,
    order_of,
    pieces_of,
    to_markdown,
    to_text,
)
from florence_demo.prediction import Detections, Prediction

Placed = tuple[str, float, float, float]  # text, left, top, height of its letters


def lines(*placed: Placed, turn: float = 0.0) -> Detections:
    """Lines of letters half as wide as they are high; turned by so many degrees."""
    angle = math.radians(turn)
    matrix = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    rings = []
    for text, x, y, height in placed:
        right, bottom = x + len(text) * height / 2, y + height
        ring = np.array([[x, y], [right, y], [right, bottom], [x, bottom]])
        rings.append([(ring @ matrix + 500).astype(np.float32)])
    return Detections.from_polygons(rings, [text for text, *_ in placed])


def column(texts: list[str], x: float, y: float, pitch: float = 24) -> list[Placed]:
    return [(text, x, y + i * pitch, 20) for i, text in enumerate(texts)]


LEFT = ["the first column begins", "and goes on for a while", "until it comes to an end"]
RIGHT = ["here the second column", "is a little shorter now", "than the one before it"]
THIRD = ["finally the third column", "which nobody has read so", "far but which is there"]
HEAD = ("A heading over everything that is below", 60.0, 0.0, 32.0)

PAGES: dict[str, tuple[list[Placed], str]] = {
    "one column": (column(LEFT, 0, 0), "\n".join(LEFT)),
    "two paragraphs": (
        [*column(LEFT, 0, 0), *column(RIGHT, 0, 100)], "\n".join(LEFT) + "\n\n" + "\n".join(RIGHT),
    ),
    "lines far apart": (column(LEFT, 0, 0, pitch=50), "\n".join(LEFT)),
    "two columns": (
        [*column(LEFT, 0, 0), *column(RIGHT, 270, 0)], "\n".join(LEFT) + "\n\n" + "\n".join(RIGHT),
    ),
    "two columns out of step": (
        [*column(LEFT, 0, 0), *column(RIGHT, 270, 11)], "\n".join(LEFT) + "\n\n" + "\n".join(RIGHT),
    ),
    "three columns": (
        [*column(LEFT, 0, 0), *column(RIGHT, 270, 0), *column(THIRD, 540, 0)],
        "\n\n".join("\n".join(texts) for texts in (LEFT, RIGHT, THIRD)),
    ),
    "a heading over two columns": (
        [HEAD, *column(LEFT, 0, 50), *column(RIGHT, 270, 50)],
        "\n\n".join([HEAD[0], "\n".join(LEFT), "\n".join(RIGHT)]),
    ),
    "columns of two paragraphs under a heading": (
        [
            HEAD, *column(LEFT, 0, 50), *column(LEFT, 0, 180), *column(RIGHT, 270, 50),
            *column(RIGHT, 270, 180),
        ],
        "\n\n".join([HEAD[0], *["\n".join(LEFT)] * 2, *["\n".join(RIGHT)] * 2]),
    ),
    "columns, a line across, columns, a foot": (
        [
            *column(LEFT, 0, 0), *column(RIGHT, 270, 0),
            ("a line that goes across both of the columns here", 0, 90, 20),
            *column(RIGHT, 0, 130), *column(LEFT, 270, 130),
            ("and a foot that goes across both of them as well", 0, 220, 20),
        ],
        "\n\n".join([
            "\n".join(LEFT), "\n".join(RIGHT), "a line that goes across both of the columns here",
            "\n".join(RIGHT), "\n".join(LEFT), "and a foot that goes across both of them as well",
        ]),
    ),
    "a receipt": (
        [
            ("FOOD HALL", 60, 0, 20), ("Newspaper", 0, 30, 20), ("4.50", 300, 33, 20),
            ("Bananas", 0, 54, 20), ("6.99", 300, 57, 20), ("Total", 0, 78, 20),
            ("11.49", 290, 81, 20),
        ],
        "FOOD HALL\nNewspaper 4.50\nBananas 6.99\nTotal 11.49",
    ),
    "numbers before lines": (
        [*column(["1.", "2.", "3."], 0, 0), *column(LEFT, 60, 0)],
        "\n".join(f"{i}. {text}" for i, text in enumerate(LEFT, 1)),
    ),
    "one word": ([("word", 5, 5, 20)], "word"),
    "blank lines": ([("a", 0, 0, 20), ("  ", 0, 24, 20), ("b\n c", 0, 48, 20)], "a\nb c"),
    "nothing": ([], ""),
}  # fmt: skip


@pytest.mark.parametrize("turn", [0, 3, -7, 90])
@pytest.mark.parametrize("name", PAGES)
def test_the_order(name: str, turn: float) -> None:
    placed, expected = PAGES[name]
    shuffled = random.Random(3).sample(placed, len(placed))
    assert to_text(lines(*shuffled, turn=turn)) == expected


def test_a_boxes_page_reads_as_a_page_of_quadrilaterals() -> None:
    found = lines(*PAGES["two columns"][0])
    assert to_text(Detections(found.xyxy, found.labels)) == PAGES["two columns"][1]


def test_an_answer_without_places_is_its_text() -> None:
    answer = Prediction("ocr", "", "", "one\n# two", (9, 9), Detections.empty(), {})
    assert to_text(answer) == "one\n# two"
    assert to_markdown(answer) == "one\n\n\\# two"


MARKDOWN: dict[str, tuple[list[Placed], str]] = {
    "a paragraph": (column(LEFT, 0, 0), " ".join(LEFT)),
    "a heading": ([HEAD, *column(LEFT, 0, 50)], f"## {HEAD[0]}\n\n{' '.join(LEFT)}"),
    "a title": (
        [("Title", 0, 0, 60), *column(LEFT, 0, 100)], f"# Title\n\n{' '.join(LEFT)}",
    ),
    "rows stay rows": (
        [("Bananas", 0, 0, 20), ("6.99", 300, 0, 20), ("Fish", 0, 24, 20), ("46.50", 300, 24, 20)],
        "Bananas 6.99\\\nFish 46.50",
    ),
    "a form": (
        column(["Room: 354", "Invoice No: N42063", "Phone: 949-1421"], 0, 0),
        "Room: 354\\\nInvoice No: N42063\\\nPhone: 949-1421",
    ),
    "a parted word": (column(["it was an exam-", "ple of a part-", "Time job"], 0, 0),
        "it was an example of a part- Time job"),
    "East Asian lines": (column(["这是第一行", "这是第二行"], 0, 0), "这是第一行这是第二行"),
    "signs stay signs": (
        column(["# no heading *at* all <b>", "- no [list](x) & no `code`"], 0, 0),
        "\\# no heading \\*at\\* all \\<b\\> - no \\[list\\](x) \\& no \\`code\\`",
    ),
    "no list": (column(["1. first of all the others"], 0, 0), "1\\. first of all the others"),
    "no list either": (column(["- first of all the others"], 0, 0), "\\- first of all the others"),
    "a year": (column(["2026 was a good year for it"], 0, 0), "2026 was a good year for it"),
    "nothing": ([], ""),
}  # fmt: skip


@pytest.mark.parametrize("name", MARKDOWN)
def test_markdown(name: str) -> None:
    placed, expected = MARKDOWN[name]
    assert to_markdown(lines(*placed)) == expected


@pytest.mark.parametrize("name", PAGES)
def test_the_text_is_put_together_of_its_pieces(name: str) -> None:
    found = lines(*PAGES[name][0])
    pieces = pieces_of(found)
    said = [" ".join(label.split()) for label in found.labels]
    assert "".join(f"{before}{said[i]}" for i, before in pieces) == to_text(found)
    assert [i for i, _ in pieces] == order_of(found)


def test_the_order_is_told_by_index() -> None:
    found = lines(*reversed(PAGES["two columns"][0]), ("", 0, 0, 20))
    assert [found.labels[i] for i in order_of(found)] == [*LEFT, *RIGHT]
    assert order_of(Detections.empty()) == []


ORDERS = {
    "one line": ([(0, 0, 100, 10)], [0]),
    "none": ([], []),
    "down the page": ([(0, 30, 100, 40), (0, 0, 90, 10), (0, 15, 100, 25)], [1, 2, 0]),
    "a row from left to right": ([(80, 1, 110, 11), (0, 0, 60, 10)], [1, 0]),
    "a receipt, row by row": (
        [(0, 0, 40, 10), (100, 0, 130, 10), (0, 15, 50, 25), (100, 15, 130, 25)],
        [0, 1, 2, 3],
    ),
    "a row of letters with and without strokes above and below": (
        [(60, 5, 110, 25), (0, 10, 40, 25), (130, 5, 190, 21), (210, 11, 250, 21)],
        [1, 0, 2, 3],
    ),
    "two columns of running text": (
        [(0, 0, 100, 10), (130, 0, 230, 10), (0, 15, 95, 25), (130, 15, 230, 25)],
        [0, 2, 1, 3],
    ),
    "columns whose lines are not level": (
        [(0, 0, 100, 10), (130, 7, 230, 17), (0, 15, 95, 25), (130, 22, 230, 32)],
        [0, 2, 1, 3],
    ),
    "a heading, two columns, a line below": (
        [
            (130, 30, 230, 40),
            (0, 0, 230, 20),
            (0, 30, 100, 40),
            (0, 45, 100, 55),
            (130, 45, 230, 55),
            (0, 70, 230, 80),
        ],
        [1, 2, 3, 0, 4, 5],
    ),
}


@pytest.mark.parametrize("degrees", [0, 4, -4])
@pytest.mark.parametrize(("boxes", "order"), ORDERS.values(), ids=ORDERS)
def test_lines_are_ordered_by_their_places(boxes, order, degrees):
    turn = math.radians(degrees)
    matrix = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    corners = [np.array(box, np.float32)[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2) for box in boxes]
    rings = [[(ring @ matrix).astype(np.float32)] for ring in corners]
    assert order_of(Detections.from_polygons(rings, ["x"] * len(boxes))) == order


def test_sizes_are_told() -> None:
    heading, text = blocks_of(lines(HEAD, *column(LEFT, 0, 50)))
    assert (heading.is_heading, text.is_heading) == (True, False)
    assert heading.size == pytest.approx(1.6)


numbers = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text("ab -", max_size=9), *[numbers] * 4), max_size=30))
def test_nothing_is_lost_or_said_twice(rows: list[tuple[str, float, float, float, float]]) -> None:
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for _, a, b, c, d in rows]
    labels = tuple(row[0] for row in rows)
    found = Detections(np.array(boxes, np.float32).reshape(-1, 4), labels)
    words = sorted(" ".join(labels).split())
    assert sorted(to_text(found).split()) == words
    cells = [cell for block in blocks_of(found) for row in block.rows for cell in row]
    assert sorted(cells) == sorted(" ".join(label.split()) for label in labels if label.strip())


def test_many_lines_of_one_place() -> None:
    found = Detections(np.zeros((2200, 4), np.float32), tuple(map(str, range(2200))))
    assert len(to_text(found).split()) == 2200
