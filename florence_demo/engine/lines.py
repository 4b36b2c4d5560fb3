"""Lines of text read in overlapping tiles of a picture, as one answer in the order of reading.

Knows quadrilaterals and words. Does not know pictures or models. A line that goes over a border is
read in pieces, which lie on one strip and have some letters in common; a letter that the border
cuts is read wrongly, so pieces are put together at the letters on which both agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from florence_demo.engine.things import Pool, View, pooled
from florence_demo.engine.tiles import Plan
from florence_demo.output.reading_order import order_of
from florence_demo.prediction import Detections, FloatArray

_NEAR = 0.02
"""Share of a tile's side within which a line ends at its border."""
_ON_STRIP = 0.5
"""Share of the lower of two lines' heights that they have in common when they are one line."""
_INSIDE = 0.6
"""Share of a piece's length that another reading of the same line covers."""
_OUT = 0.35
"""How far, in heights, a piece may stick out of another and show no letter more."""
_LEVEL = 0.97
"""Cosine of the angle between two pieces of one line, at least."""
_TALLER = 1.8
"""How many times as high as another a piece of the same line may be."""
_WORD = 1.5
"""Gap between two pieces of a line that no letter is common to, in heights."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Line:
    """Hold one line, or a piece of one.

    Attributes:
        text: As it was read.
        quad: (4, 2) pixels, clockwise from its own top left.
        views: The tiles it was read in.
        cut: (4,), whether it ends at the left, top, right, bottom of its tile.
        scores: (3,) score, of the name, of the place; NaN where there are none.
    """

    text: str
    quad: FloatArray
    views: frozenset[int]
    cut: NDArray[np.bool_]
    scores: Floats

    @property
    def axes(self) -> Floats:
        """Return the directions (2, 2) along and down the line, of length 1."""
        q = self.quad.astype(np.float64)
        along = q[1] - q[0] + q[2] - q[3]
        length = float(np.hypot(*along))
        x, y = along / length if length > 1e-6 else np.array([1.0, 0.0])
        return np.array([[x, y], [-y, x]])

    def reach(self, quads: FloatArray) -> tuple[Floats, Floats]:
        """Return where quads (n, 4, 2) begin and end along this line (n, 2), and across it."""
        along, across = np.moveaxis(quads.astype(np.float64) @ self.axes.T, -1, 0)
        return _ends(along), _ends(across)


def merge_lines(views: Sequence[View], plan: Plan) -> Detections:
    """Return what was read in all views as one answer, in the order of reading.

    Args:
        views: Of the tiles and of the picture as a whole; each thing has one ring of four points.
        plan: How the picture was cut.
    """
    pool = pooled(views, plan.size, _NEAR)
    lines = [_line(pool, i) for i in range(len(pool.view)) if pool.found.labels[i].strip()]
    whole = {i for i, view in enumerate(views) if view.tile == (0, 0, *plan.size)}
    # Letters too large to lie whole in a tile are read in the picture as a whole, others in tiles.
    large = [x for x in lines if x.views <= whole and _height(x) > _shared(x, plan)]
    small = [x for x in lines if not x.views <= whole]
    order = sorted(small, key=lambda x: _rank(x, views, plan))
    kept = _without_repeats([*large, *order], _OUT)
    joined = _without_repeats(sorted(_joined(kept), key=_length, reverse=True), np.inf)
    found = _detections(joined)
    return found.select(order_of(found))


def join_texts(first: str, second: str, common: tuple[float, float]) -> str:
    """Return the text of two pieces of a line whose ends show the same letters.

    Args:
        first: The left piece; its last letter may be cut.
        second: The right piece; its first letter may be cut.
        common: About how many letters at the end of the first and at the start of the second show
            the same, by their places.
    """
    most = [min(len(t), int(2 * c) + 4) for t, c in zip((first, second), common, strict=True)]
    tail, head = first[len(first) - most[0] :], second[: most[1]]
    best, at = 0.0, (0, 0, 0)
    letters, places = np.array(list(head)), np.arange(len(head))
    run = np.zeros(len(head), int)
    for i, letter in enumerate(tail):
        # How many letters up to here are the same in both, by where that is in the head.
        run = np.where(letters == letter, np.concatenate([[0], run[:-1]]) + 1, 0)
        # By their places the first of them are so many letters apart; letters differ in width.
        left, right = len(tail) - 1 - i + run, places - run + 1
        worth = run - np.abs(left / common[0] - 1 + right / common[1]) * max(common)
        worth[run == 0] = 0
        j = int(worth.argmax())
        if worth[j] > best:
            best, at = float(worth[j]), (i - int(run[j]) + 1, j - int(run[j]) + 1, int(run[j]))
    i, j, size = at
    if best >= 1:
        return first[: len(first) - most[0] + i + size] + second[j + size :]
    # No letter to hold on to: each gives the half that is farther from its border.
    less = [round(c / 2) for c in common]
    return first[: max(0, len(first) - less[0])] + second[less[1] :]


def _ends(values: Floats) -> Floats:
    return np.stack([values.min(axis=-1), values.max(axis=-1)], axis=-1)


def _line(pool: Pool, i: int) -> _Line:
    rings, box = pool.found.polygons[i], pool.found.xyxy[i]
    quad = rings[0] if rings and len(rings[0]) == 4 else box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2)
    told = (pool.found.scores, pool.found.label_scores, pool.found.place_scores)
    scores = np.array([np.nan if v is None else v[i] for v in told])
    text = pool.found.labels[i].strip()
    return _Line(text, quad, frozenset([int(pool.view[i])]), pool.cut[i], scores)


def _own(line: _Line) -> tuple[Floats, Floats]:
    along, across = line.reach(line.quad[None])
    return along[0], across[0]


def _height(line: _Line) -> float:
    low, high = _own(line)[1]
    return max(float(high - low), 1.0)


def _length(line: _Line) -> float:
    low, high = _own(line)[0]
    return max(float(high - low), 1.0)


def _upright(line: _Line) -> bool:
    """Whether a line goes from side to side rather than up or down."""
    along = line.axes[0]
    return bool(abs(along[0]) >= abs(along[1]))


def _shared(line: _Line, plan: Plan) -> float:
    """Return the height of a line that surely lies in one tile."""
    wide, high = plan.shared
    return high if _upright(line) else wide


def _rank(line: _Line, views: Sequence[View], plan: Plan) -> tuple[float, bool, float]:
    """Return how well a line is seen, the best first: far from borders, whole, then by score."""
    (number,) = line.views
    tile, size = np.asarray(views[number].tile, np.float64), plan.size
    inner = tile != np.array([0, 0, *size])
    box = np.concatenate([line.quad.min(axis=0), line.quad.max(axis=0)])
    gaps = np.where(inner, np.abs(box - tile), np.inf)
    clear = gaps[[1, 3]].min() if _upright(line) else gaps[[0, 2]].min()
    score = 0.0 if np.isnan(line.scores[0]) else float(line.scores[0])
    return -min(float(clear) / _height(line), 0.5), _ends_cut(line), -score


def _ends_cut(line: _Line) -> bool:
    """Whether a border cuts a line at its start or its end."""
    return bool(line.cut[[0, 2] if _upright(line) else [1, 3]].any())


def _without_repeats(lines: Sequence[_Line], out: float) -> list[_Line]:
    """Return lines without those that an earlier one of another view covers.

    Args:
        lines: The best first.
        out: How far, in heights, a repeat may stick out at an end. One that its border cuts along
            its whole length shows no letter well, so it may stick out anyhow.
    """
    kept: list[_Line] = []
    quads, fine = np.zeros((len(lines), 4, 2), np.float32), np.ones(len(lines))
    for line in lines:
        along, across = line.reach(quads[: len(kept)])
        (start, end), (top, bottom) = _own(line)
        height = np.minimum(across[:, 1] - across[:, 0], bottom - top)
        level = np.minimum(across[:, 1], bottom) - np.maximum(across[:, 0], top)
        shared = np.minimum(along[:, 1], end) - np.maximum(along[:, 0], start)
        covered = (level >= _ON_STRIP * height) & (shared >= _INSIDE * max(end - start, 1e-6))
        sticks = np.maximum(along[:, 0] - start, end - along[:, 1])
        if not line.cut[[1, 3] if _upright(line) else [0, 2]].any():
            # Where the other one ends at a border, its last letter may be half a letter.
            covered &= sticks <= out * fine[: len(kept)] * (bottom - top)
        if not any(not line.views & kept[i].views for i in np.flatnonzero(covered)):
            quads[len(kept)], fine[len(kept)] = line.quad, 0.25 if _ends_cut(line) else 1.0
            kept.append(line)
    return kept


def _joined(lines: Sequence[_Line]) -> list[_Line]:
    """Return lines with the pieces of one line joined, from its start to its end."""
    waiting = sorted(lines, key=lambda x: float(x.axes[0] @ x.quad.mean(axis=0)))
    done: list[_Line] = []
    gone: set[int] = set()
    quads = np.array([x.quad for x in waiting]).reshape(-1, 4, 2)
    for at in range(len(waiting)):
        if at in gone:
            continue
        gone.add(at)
        line = waiting[at]
        while (following := _next(line, waiting, quads, gone)) is not None:
            gone.add(following)
            line = _union(line, waiting[following])
        done.append(line)
    return done


def _next(line: _Line, lines: Sequence[_Line], quads: FloatArray, gone: set[int]) -> int | None:
    """Return which of some lines goes on where a line ends, None if none does."""
    along, across = line.reach(quads)
    (start, end), (top, bottom) = _own(line)
    height = bottom - top
    heights = across[:, 1] - across[:, 0]
    low, high = np.minimum(heights, height), np.maximum(heights, height)
    level = np.minimum(across[:, 1], bottom) - np.maximum(across[:, 0], top)
    fits = (level >= _ON_STRIP * low) & (high <= _TALLER * np.maximum(low, 1))
    fits &= (along[:, 0] > start) & (along[:, 1] > end)
    fits &= along[:, 0] - end <= _WORD * height
    near = [i for i in np.flatnonzero(fits).tolist() if i not in gone]
    for i in sorted(near, key=lambda i: float(along[i, 0])):
        other = lines[i]
        turned = float(line.axes[0] @ other.axes[0]) < _LEVEL
        # A gap is no gap where both ends are at borders: the word between was left out.
        apart = along[i, 0] > end and not (line.cut.any() and other.cut.any())
        if not (turned or apart or line.views & other.views):
            return i
    return None


def _union(line: _Line, other: _Line) -> _Line:
    """Return a line and what goes on after it as one."""
    (start, end), _ = _own(line)
    (begins, ends), _ = (each[0] for each in line.reach(other.quad[None]))
    shared = end - begins
    counts = (
        shared / max(end - start, 1e-6) * len(line.text),
        shared / max(ends - begins, 1e-6) * len(other.text),
    )
    apart = shared <= 0
    text = f"{line.text} {other.text}" if apart else join_texts(line.text, other.text, counts)
    quad = np.stack([line.quad[0], other.quad[1], other.quad[2], line.quad[3]])
    return replace(
        line,
        text=text,
        quad=quad,
        views=line.views | other.views,
        cut=line.cut | other.cut,
        scores=np.minimum(line.scores, other.scores),
    )


def _detections(lines: Sequence[_Line]) -> Detections:
    found = Detections.from_polygons([[x.quad] for x in lines], [x.text for x in lines])
    scores: Any = np.array([x.scores for x in lines], np.float32).reshape(-1, 3).T
    told = (None if np.isnan(v).any() or not len(lines) else v for v in scores)
    return Detections(found.xyxy, found.labels, found.polygons, *told)
