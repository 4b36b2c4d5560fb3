"""Which of its two usual ways a table tells boxes: by sides, or by corners.

Knows boxes and the sizes of their pictures. The hub's form is x, y, width, height; many sets have
x1, y1, x2, y2 under the same name, and read wrongly they look like boxes all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from florence_demo.data.columns import CORNERS, SIDES, Columns, things_of
from florence_demo.data.example import Example, Picture
from florence_demo.data.listings import MALFORMED, floats_of
from florence_demo.errors import DatasetError

LOOKED_AT = 200
"""Rows at the beginning of a table by which its boxes are judged."""


def with_box_format(columns: Columns, rows: Iterable[tuple[Any, Picture]]) -> Columns:
    """Return the columns with how their boxes are told, where no person has said it.

    They are corners where sides would lead out of a picture and corners never do; else sides.

    Args:
        columns: What the columns of a table mean.
        rows: The cell of objects and the picture of some rows.
    """
    if columns.boxes or "objects" not in columns.taken:
        return columns
    out = False
    for cell, picture in rows:
        try:
            boxes = floats_of([box for box, _ in things_of(cell)]).reshape(-1, 4)
            size = floats_of(Example(picture, "od").size()) + 1  # a pixel of grace
        except (DatasetError, *MALFORMED):
            continue  # told when the row is read
        if (boxes[:, 2:] < boxes[:, :2]).any() or (boxes[:, 2:] > size).any():
            return replace(columns, boxes=SIDES)
        out = out or bool((boxes[:, :2] + boxes[:, 2:] > size).any())
    return replace(columns, boxes=CORNERS if out else SIDES)
