"""Lines of text with places become text as a person reads it: plain, or Markdown.

How: the page is turned so that most lines lie level. Lines are taken from the top. The longest run
of lines that a gutter parts into two columns, an upright strip that no line crosses with text as
wide as prose on both sides, is read column by column, each in the same way; so three columns are
found as well, and a heading across them comes before them. All else is read row by row: cells of a
row, such as a receipt's name and price, from left to right. Rows become paragraphs where the gap
between them, or the size of their letters, changes.

A table with cells as wide as columns of prose is read column by column: places alone do not tell.
Does not know tasks, models or pictures.
"""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from florence_demo.prediction import Detections, FloatArray, Prediction

# All in heights of a usual line.
_GUTTER = 0.5
_COLUMN = 8.0  # about 16 letters
_GAP = 0.6
_LARGER = 1.35
_HEADING, _TITLE = 1.4, 2.0
_HEADING_ROWS = 3
_FULL = 0.6  # of the longest row: one that ends before it ended on purpose
_MOST = 2000  # lines whose columns are looked for


@dataclass(frozen=True)
class Block:
    """Hold what belongs together: a paragraph, a heading, rows of a table.

    Attributes:
        rows: Each row's cells from left to right; most rows have one.
        size: Height of its letters over that of most of the page's.
        is_list: Whether its rows end where their words end, as those of a form or a table do, not
            where the page does.
        lines: Which line of the answer each cell is, in the form of ``rows``.
    """

    rows: tuple[tuple[str, ...], ...]
    size: float
    is_list: bool
    lines: tuple[tuple[int, ...], ...]

    @property
    def is_heading(self) -> bool:
        """Say whether it is larger than the text around it."""
        return self.size >= _HEADING and len(self.rows) <= _HEADING_ROWS


@dataclass(frozen=True, eq=False)  # two lines may say the same at the same place
class _Line:
    index: int
    text: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def width(self) -> float:
        return self.right - self.left


_Row = list[_Line]
_Piece = tuple[float, float]


def to_text(found: Prediction | Detections) -> str:
    """Return the text with a line a row and an empty line between paragraphs."""
    blocks = blocks_of(found)
    if not blocks and isinstance(found, Prediction):
        return found.text
    return "\n\n".join("\n".join(" ".join(row) for row in block.rows) for block in blocks)


def to_markdown(found: Prediction | Detections) -> str:
    """Return the text as Markdown: headings, and paragraphs whose lines are joined.

    What was read stays words: no sign of it becomes markup.
    """
    blocks = blocks_of(found)
    if not blocks and isinstance(found, Prediction):
        return "\n\n".join(
            _begun(_escaped(line)) for line in found.text.splitlines() if line.strip()
        )
    return "\n\n".join(_block_markdown(block) for block in blocks)


def blocks_of(found: Prediction | Detections) -> list[Block]:
    """Return the blocks of a page in reading order.

    Args:
        found: Lines of text as labels, with quadrilaterals from the text's own top left corner
            clockwise, or boxes.
    """
    detections = found.detections if isinstance(found, Prediction) else found
    lines = _lines(detections)
    if not lines:
        return []
    usual = _usual(lines)
    flows = _flows(sorted(lines, key=lambda line: line.top), usual)
    gaps = [b[0].top - a[0].bottom for flow in flows for a, b in pairwise(flow)]
    apart = max(_GAP * usual, 1.5 * float(np.median(gaps))) if gaps else 0.0
    blocks: list[Block] = []
    for flow in flows:
        start = 0
        for i in range(1, len(flow) + 1):
            if i == len(flow) or _parts(flow[i - 1], flow[i], apart):
                blocks.append(_block(flow[start:i], usual))
                start = i
    return blocks


def pieces_of(found: Prediction | Detections) -> list[tuple[int, str]]:
    """Return what ``to_text`` is made of, so that a part of it can be put together.

    Returns:
        For each line with text, in reading order, its index and what stands before it: "" in the
        beginning, a space within a row, one line end within a block, two between blocks.
    """
    pieces: list[tuple[int, str]] = []
    for block in blocks_of(found):
        between = "\n\n"
        for row in block.lines:
            for index in row:
                pieces.append((index, between if pieces else ""))
                between = " "
            between = "\n"
    return pieces


def order_of(found: Detections) -> list[int]:
    """Return the indices of the lines with text in reading order."""
    lines = _lines(found)
    flows = _flows(sorted(lines, key=lambda line: line.top), _usual(lines)) if lines else []
    return [line.index for flow in flows for row in flow for line in row]


def _usual(lines: Sequence[_Line]) -> float:
    """Return the height of most lines."""
    return float(np.median([line.height for line in lines])) or 1.0


def _lines(found: Detections) -> list[_Line]:
    """Return the lines with text, turned so that most lie level."""
    kept = [i for i, label in enumerate(found.labels) if label.strip()]
    if not kept:
        return []
    corners = np.array([_corners(found, i) for i in kept], np.float64)  # (n, 4, 2)
    along = corners[:, 1] - corners[:, 0]
    angle = _middle(np.arctan2(along[:, 1], along[:, 0]), np.hypot(*along.T))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    level = corners @ turn
    left, right = level[:, [0, 3], 0].mean(axis=1), level[:, [1, 2], 0].mean(axis=1)
    top, bottom = level[:, [0, 1], 1].mean(axis=1), level[:, [2, 3], 1].mean(axis=1)
    sides = zip(
        np.minimum(left, right).tolist(),
        np.minimum(top, bottom).tolist(),
        np.maximum(left, right).tolist(),
        np.maximum(top, bottom).tolist(),
        strict=True,
    )
    return [
        _Line(i, " ".join(found.labels[i].split()), *box)
        for i, box in zip(kept, sides, strict=True)
    ]


def _corners(found: Detections, index: int) -> FloatArray | NDArray[np.float64]:
    rings = found.polygons[index]
    if len(rings) == 1 and len(rings[0]) == 4:
        return rings[0]
    x1, y1, x2, y2 = found.xyxy[index].tolist()
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])


def _middle(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the weighted median."""
    order = np.argsort(values)
    summed = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(summed, summed[-1] / 2)])


def _flows(lines: Sequence[_Line], usual: float) -> list[list[_Row]]:
    """Return what is read one after the other: columns, and rows outside of them.

    Args:
        lines: From the top down.
        usual: Height of most lines.
    """
    flows: list[list[_Row]] = []
    rows: list[_Row] = []
    rest = list(lines)
    while rest:
        until, gutter = _columns(rest, usual) if len(lines) <= _MOST else (0, 0.0)
        if until:
            flows += [rows] if rows else []
            rows = []
            left = [line for line in rest[:until] if line.right <= gutter]
            right = [line for line in rest[:until] if line.right > gutter]
            flows += _flows(left, usual) + _flows(right, usual)
            rest = rest[until:]
        else:
            row = _row(rest)
            rows.append(row)
            rest = [line for line in rest if line not in row]
    return flows + ([rows] if rows else [])


def _columns(lines: Sequence[_Line], usual: float) -> tuple[int, float]:
    """Return how many of the first lines a gutter parts, at most, and where; 0 if none does."""
    taken: list[_Piece] = []  # of the x axis what has text, each apart from the next
    gutters: list[_Piece] = []
    found = (0, 0.0)
    # Half of what columns of prose hold is wide: beyond these lines there can be none.
    prose = np.cumsum([line.width >= _COLUMN * usual for line in lines])
    most = int(np.flatnonzero(2 * prose >= np.arange(1, len(lines) + 1)).max(initial=-1)) + 1

    def check(closed: Sequence[_Piece], count: int) -> None:
        nonlocal found
        for start, end in closed:
            if _are_columns(lines[:count], (start + end) / 2, usual):
                found = (count, (start + end) / 2)

    for count, line in enumerate(lines[: most + 1] if most else ()):
        piece = (line.left, line.right)
        touching = [piece, *(other for other in taken if _touch(other, piece))]
        taken = [other for other in taken if other not in touching]
        insort(taken, (min(t[0] for t in touching), max(t[1] for t in touching)))
        now = [
            (before[1], after[0])
            for before, after in pairwise(taken)
            if after[0] - before[1] >= _GUTTER * usual
        ]
        check([g for g in gutters if not any(_touch(g, other) for other in now)], count)
        gutters = now
    if most == len(lines):
        check(gutters, most)
    return found


def _touch(a: _Piece, b: _Piece) -> bool:
    return a[0] < b[1] and b[0] < a[1]


def _are_columns(lines: Sequence[_Line], gutter: float, usual: float) -> bool:
    """Say whether there is prose on both sides of a gutter, side by side."""
    sides = [
        [line for line in lines if line.right <= gutter],
        [line for line in lines if line.right > gutter],
    ]
    if min(map(len, sides)) < 2:
        return False
    tops, bottoms = zip(
        *((side[0].top, max(b.bottom for b in side)) for side in sides), strict=True
    )
    beside = min(bottoms) > max(tops)
    return beside and all(np.median([b.width for b in side]) >= _COLUMN * usual for side in sides)


def _row(lines: Sequence[_Line]) -> _Row:
    """Return the lines that lie in a row with the first, from left to right."""
    first = lines[0]
    row = [first]
    for line in lines[1:]:
        if line.top > first.bottom:
            break
        shared = min(first.bottom, line.bottom) - max(first.top, line.top)
        level = shared > 0.5 * min(first.height, line.height)
        if level and all(line.left >= b.right or line.right <= b.left for b in row):
            row.append(line)
    return sorted(row, key=lambda line: line.left)


def _parts(before: _Row, after: _Row, apart: float) -> bool:
    """Say whether a new paragraph begins between two rows."""
    heights = [float(np.median([line.height for line in row])) or 1.0 for row in (before, after)]
    gap = min(line.top for line in after) - max(line.bottom for line in before)
    return gap > apart or max(heights) / min(heights) >= _LARGER


def _block(rows: Sequence[_Row], usual: float) -> Block:
    height = float(np.median([line.height for row in rows for line in row]))
    ends = [max(line.right for line in row) - min(row[0].left for row in rows) for row in rows]
    early = any(end < _FULL * max(ends) for end in ends[:-1])
    is_list = early or any(len(row) > 1 for row in rows)
    text = tuple(tuple(line.text for line in row) for row in rows)
    lines = tuple(tuple(line.index for line in row) for row in rows)
    return Block(text, height / usual, is_list, lines)


def _block_markdown(block: Block) -> str:
    rows = [" ".join(_escaped(cell) for cell in row) for row in block.rows]
    if block.is_heading:
        return f"{'#' if block.size >= _TITLE else '##'} {' '.join(rows)}"
    if block.is_list:
        return "\\\n".join(map(_begun, rows))
    text = _begun(rows[0])
    for row in rows[1:]:
        text = _joined(text, row)
    return text


def _joined(before: str, after: str) -> str:
    """Join two lines of a paragraph: a word that was parted becomes one again."""
    if re.search(r"[^\W\d_]-$", before) and after[0].islower():
        return before[:-1] + after
    wide = before[-1] >= "\u2e80" and after[0] >= "\u2e80"  # East Asian signs stand without spaces
    return before + ("" if wide else " ") + after


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|~&!$])", r"\\\1", text.strip())


def _begun(line: str) -> str:
    """Return a line of Markdown that begins no list and underlines no heading."""
    return re.sub(r"^(?:(?=[-+=])|(\d+)(?=[.)](?:\s|$)))", r"\1\\", line)
