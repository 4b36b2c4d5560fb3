"""The order in which lines of text are read: down a column, then the next column.

Knows quadrilaterals. Does not know words. Lines side by side are columns where each side is running
text; short ones side by side, as on a receipt, are one row and are read from left to right.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from florence_demo.prediction import FloatArray

_GAP = 1.0
"""Width of the gap between two columns at least, in heights of a line."""
_RUNNING = 8.0
"""Width of a line of running text at least, in its heights."""

Floats = NDArray[np.float64]


def reading_order(quads: Sequence[FloatArray]) -> list[int]:
    """Return the indices of lines in the order in which they are read.

    Args:
        quads: n lines, each (4, 2) pixels, clockwise from its own top left.
    """
    if len(quads) < 2:
        return list(range(len(quads)))
    corners = np.asarray(quads, np.float64)
    along = (corners[:, 1] - corners[:, 0] + corners[:, 2] - corners[:, 3]) / 2
    # A page may lie askew: what its lines call right is right.
    angles = np.arctan2(along[:, 1], along[:, 0])
    angle = float(np.median(angles)) if np.ptp(angles) < np.pi else 0.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    level = corners @ turn
    boxes = np.concatenate([level.min(axis=1), level.max(axis=1)], axis=1)
    return _ordered(boxes, list(range(len(quads))))


def _ordered(boxes: Floats, chosen: list[int]) -> list[int]:
    """Return some lines' indices in order: bands from top to bottom, columns within them."""
    result: list[int] = []
    block: list[int] = []
    columns: list[list[int]] = []
    for band in _apart(boxes, chosen, 1, 0.0):
        wider = _columns(boxes, block + band)
        if len(wider) > 1 and (not block or len(columns) > 1):
            block, columns = block + band, wider
            continue
        result += _read(boxes, block, columns)
        block, columns = band, _columns(boxes, band)
    return result + _read(boxes, block, columns)


def _read(boxes: Floats, block: list[int], columns: list[list[int]]) -> list[int]:
    if len(columns) > 1:
        return [i for column in columns for i in _ordered(boxes, column)]
    return _rows(boxes, block)


def _columns(boxes: Floats, chosen: list[int]) -> list[list[int]]:
    """Return lines column by column; all of them as one where they are no running text."""
    heights = boxes[chosen, 3] - boxes[chosen, 1]
    found = _apart(boxes, chosen, 0, _GAP * float(np.median(heights)))
    widths = boxes[:, 2] - boxes[:, 0]
    tall = np.maximum(boxes[:, 3] - boxes[:, 1], 1e-6)
    running = all(float(np.median(widths[c] / tall[c])) >= _RUNNING for c in found)
    return found if running else [chosen]


def _apart(boxes: Floats, chosen: list[int], axis: int, gap: float) -> list[list[int]]:
    """Return lines in groups with more than a gap between them along an axis."""
    order = sorted(chosen, key=lambda i: float(boxes[i, axis]))
    groups: list[list[int]] = []
    end = -np.inf
    for i in order:
        if not groups or boxes[i, axis] - end > gap:
            groups.append([])
        groups[-1].append(i)
        end = max(end, float(boxes[i, axis + 2]))
    return groups


def _rows(boxes: Floats, chosen: list[int]) -> list[int]:
    """Return lines row by row, each row from left to right."""
    rows: list[list[int]] = []
    for i in sorted(chosen, key=lambda i: float(boxes[i, 1] + boxes[i, 3])):
        # Letters with and without strokes above and below: half of the height is a row in common.
        if rows and any(_level(boxes[i], boxes[j]) for j in rows[-1]):
            rows[-1].append(i)
        else:
            rows.append([i])
    return [i for row in rows for i in sorted(row, key=lambda i: float(boxes[i, 0]))]


def _level(one: Floats, other: Floats) -> bool:
    shared = min(one[3], other[3]) - max(one[1], other[1])
    beside = one[0] >= other[2] or other[0] >= one[2]
    return bool(beside and shared >= 0.5 * min(one[3] - one[1], other[3] - other[1]))
