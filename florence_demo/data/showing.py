"""A set as a person looks at it: some rows drawn, and which of its parts is what.

Knows pictures and words. Does not know who looks: a terminal, or the page.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace

from PIL import Image, ImageDraw, ImageFont

from florence_demo.data.example import Example
from florence_demo.data.parts import TEST, TRAIN, VALIDATION
from florence_demo.data.rows import spread
from florence_demo.output.annotate import annotate
from florence_demo.prediction import Prediction

_CELL, _TEXT, _COLUMNS = 360, 96, 5
_LOOKED_AT = 200
"""Rows among which those of different kinds are sought."""


def varied(rows: Sequence[Example], most: int) -> list[Example]:
    """Return rows from all over, of different tasks and about different pictures where there are.

    Args:
        rows: All of them.
        most: How many to return at most.
    """
    looked = spread(rows, _LOOKED_AT)
    chosen: list[Example] = []
    for new_task, new_picture in ((True, True), (False, True), (False, False)):
        # From all over, as far as what is asked for allows.
        for row in (*spread(looked, most), *looked):
            tasks, pictures = {r.task for r in chosen}, {r.shown for r in chosen}
            old = (new_task and row.task in tasks) or (new_picture and row.shown in pictures)
            if len(chosen) < most and not old and not any(row is r for r in chosen):
                chosen.append(row)
    return chosen


def drawn_row(row: Example, side: int) -> tuple[Image.Image, Prediction]:
    """Return a row's picture with its true answer drawn on it, and that answer.

    Args:
        row: The row.
        side: Pixels that the longer side has at most; what is drawn stays legible.

    Raises:
        DatasetError: The picture is missing or no picture.
    """
    image = row.load()
    truth = row.truth(image.size)
    small = image.copy()
    small.thumbnail((side, side))
    scale = small.width / image.width, small.height / image.height
    found = truth.detections
    rings = tuple(tuple(ring * scale for ring in of) for of in found.polygons)
    return annotate(
        small, replace(found, xyxy=found.xyxy * (*scale, *scale), polygons=rings)
    ), truth


def contact_sheet(examples: Sequence[Example], most: int = 10) -> Image.Image:
    """Return one picture of rows from all over the set, each with its question and true answer."""
    step = max(1, len(examples) / most)
    shown = [examples[int(i * step)] for i in range(min(most, len(examples)))]
    columns = min(_COLUMNS, max(1, len(shown)))
    rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * _CELL, max(1, rows) * (_CELL + _TEXT)), "white")
    for i, example in enumerate(shown):
        x, y = i % columns * _CELL, i // columns * (_CELL + _TEXT)
        sheet.paste(_cell(example), (x, y))
    return sheet


def _cell(example: Example) -> Image.Image:
    drawn, truth = drawn_row(example, _CELL - 8)
    cell = Image.new("RGB", (_CELL, _CELL + _TEXT), "white")
    cell.paste(drawn, ((_CELL - drawn.width) // 2, (_CELL - drawn.height) // 2))
    question = f"{example.task}: {example.text}".rstrip(": ")
    lines = [*textwrap.wrap(question, 44)[:2], *textwrap.wrap(truth.text or truth.raw, 44)[:3]]
    pen = ImageDraw.Draw(cell)
    pen.multiline_text((6, _CELL + 2), "\n".join(lines), "black", ImageFont.load_default(15))
    return cell


def parts_said(parts: Sequence[str]) -> str:
    """Return what becomes of each part of a set, as the end of a sentence."""
    uses = {
        TRAIN: "is learned from",
        VALIDATION: "is measured on while learning",
        TEST: "is kept for evaluate",
    }
    told = [f"{part} {uses[part]}" if part in uses else part for part in parts]
    return "; ".join(told)
