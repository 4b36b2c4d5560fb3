"""What was found in overlapping tiles of a picture, as one answer: nothing twice, nothing in half.

Knows boxes and names. Does not know text, pictures or models. A box that ends where its tile ends,
inside the picture, is a cut part. It is left out where the whole thing was found elsewhere; two
parts that face each other across a border are joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from florence_demo.engine.tiles import Plan, Tile
from florence_demo.prediction import Detections, FloatArray

_NEAR = 0.015
"""Share of a tile's side within which a box ends at its border."""
_LEFTOVER = 0.5
"""Share of a cut part that nothing was joined to, which lies in any other box."""
_FACING = 0.6
"""Overlap over union along a border, from which two parts face each other."""
_SAME, _SAME_PLACE = 0.5, 0.75
"""Overlap over union from which boxes of one name, of any names, are one thing."""

_LEFT, _TOP, _RIGHT, _BOTTOM = range(4)
_JOINED = -1

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class View:
    """Hold what was found in one part of a picture.

    Attributes:
        tile: Which part; all of the picture where it was asked about as a whole.
        found: In pixels of the picture.
    """

    tile: Tile
    found: Detections


@dataclass(frozen=True, eq=False)
class Pool:
    """Hold what was found in all views together, in their order.

    Attributes:
        found: In pixels of the picture.
        view: Number of the view of each, (n,); -1 for what was joined.
        cut: (n, 4), whether it ends at the left, top, right, bottom of its tile inside the picture.
        whole: (n,), whether it was found in the picture as a whole.
    """

    found: Detections
    view: NDArray[np.int64]
    cut: Bools
    whole: Bools

    def select(self, keep: Bools | Sequence[int]) -> Pool:
        """Return those of a mask or of indices."""
        index = np.arange(len(self.view))[np.asarray(keep)] if len(keep) else np.zeros(0, int)
        return Pool(
            self.found.select(index.tolist()),
            self.view[index],
            self.cut[index],
            self.whole[index],
        )


def pooled(views: Sequence[View], size: tuple[int, int], near: float = _NEAR) -> Pool:
    """Return what was found in all views, each with the borders that cut it.

    Args:
        views: Of one picture.
        size: (width, height) of the picture.
        near: Share of a tile's side within which something ends at its border.
    """
    cuts, whole = [], []
    for view in views:
        tile = np.asarray(view.tile, np.float64)
        reach = near * np.tile(tile[2:] - tile[:2], 2)
        inner = tile != np.array([0, 0, *size])
        cuts.append((np.abs(view.found.xyxy - tile) <= reach) & inner)
        whole += [not inner.any()] * len(view.found)
    numbers = np.repeat(np.arange(len(views)), [len(view.found) for view in views])
    cut = np.concatenate(cuts) if cuts else np.zeros((0, 4), bool)
    found = together([view.found for view in views])
    return Pool(found, numbers.astype(np.int64), cut.astype(bool), np.array(whole, bool))


def merge_things(views: Sequence[View], plan: Plan) -> Detections:
    """Return what was found in all views as one answer.

    Args:
        views: Of the tiles and of the picture as a whole.
        plan: How the picture was cut.
    """
    pool = pooled(views, plan.size)
    sides = pool.found.xyxy[:, 2:] - pool.found.xyxy[:, :2]
    # What is small enough to lie whole in a tile is left to the tiles, which see it better.
    pool = pool.select(~pool.whole | (sides > plan.shared).any(axis=1))
    pool = _joined(pool)
    return pool.found.select(_each_once(pool))


def together(found: Sequence[Detections]) -> Detections:
    """Return several answers' detections as one; scores only where all have them."""
    some = [each for each in found if len(each)]
    if not some:
        return Detections.empty()
    scores = (
        None if any(v is None for v in values) else np.concatenate(values)
        for values in (
            [getattr(each, name) for each in some]
            for name in ("scores", "label_scores", "place_scores")
        )
    )
    return Detections(
        np.concatenate([each.xyxy for each in some]),
        tuple(label for each in some for label in each.labels),
        tuple(rings for each in some for rings in each.polygons),
        *scores,
    )


def shared_area(box: FloatArray, boxes: FloatArray) -> NDArray[np.float64]:
    """Return the area (n,) that a box (4,) has in common with each of some boxes (n, 4)."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    area: NDArray[np.float64] = np.clip(sides.astype(np.float64), 0, None).prod(axis=1)
    return area


def _area(boxes: FloatArray) -> NDArray[np.float64]:
    area: NDArray[np.float64] = (boxes[..., 2:] - boxes[..., :2]).astype(np.float64).prod(axis=-1)
    return np.maximum(area, 1e-9)


def _names(found: Detections) -> NDArray[np.int64]:
    """Return a number for each name, apart from case and spaces."""
    known: dict[str, int] = {}
    plain = (" ".join(label.lower().split()) for label in found.labels)
    return np.array([known.setdefault(name, len(known)) for name in plain], np.int64)


def _joined(pool: Pool) -> Pool:
    """Return the same with parts of one thing that face each other joined."""
    names = _names(pool.found)
    gone = np.zeros(len(pool.view), bool)
    waiting = np.flatnonzero(pool.cut.any(axis=1)).tolist()
    for i in waiting:  # grows by what was joined, which may face a third part
        if gone[i]:
            continue
        alike = (names == names[i]) & ~gone
        alike &= (pool.view != pool.view[i]) | (pool.view == _JOINED)
        other = _facing(pool, i, alike)
        if other is None:
            continue
        gone[[i, other]] = True
        waiting.append(len(gone))
        pool = _stacked(pool, _union(pool.select([i]), pool.select([other])))
        gone, names = np.append(gone, False), np.append(names, names[i])
    return pool.select(~gone)


def _stacked(one: Pool, other: Pool) -> Pool:
    return Pool(
        together([one.found, other.found]),
        np.concatenate([one.view, other.view]),
        np.concatenate([one.cut, other.cut]),
        np.concatenate([one.whole, other.whole]),
    )


def _facing(pool: Pool, part: int, alike: Bools) -> int | None:
    """Return which part meets one at a border, None if none does.

    Args:
        pool: All parts.
        part: Which one.
        alike: Those (n,) that could be of the same thing.
    """
    boxes, box = pool.found.xyxy, pool.found.xyxy[part]
    for side in np.flatnonzero(pool.cut[part]).tolist():
        along, across = side % 2, 1 - side % 2
        first, second = (box, boxes) if side in (_RIGHT, _BOTTOM) else (boxes, box)
        # Each shows an end that the other does not, and no gap is between them.
        meets = first[..., along] < second[..., along]
        meets &= first[..., along + 2] < second[..., along + 2]
        meets &= first[..., along + 2] >= second[..., along]
        low, high = boxes[:, across], boxes[:, across + 2]
        agreed = np.minimum(high, box[across + 2]) - np.maximum(low, box[across])
        agreed /= np.maximum(np.maximum(high, box[across + 2]) - np.minimum(low, box[across]), 1e-6)
        fitting = alike & pool.cut[:, (side + 2) % 4] & meets & (agreed >= _FACING)
        if fitting.any():
            return int(np.where(fitting, agreed, -1).argmax())
    return None


def _union(one: Pool, other: Pool) -> Pool:
    """Return two parts as one thing, as sure as its least sure part."""
    a, b = one.found, other.found
    box = np.concatenate([np.minimum(a.xyxy, b.xyxy)[:, :2], np.maximum(a.xyxy, b.xyxy)[:, 2:]], 1)
    outlined = a.polygons[0] and b.polygons[0]
    scores = (
        None if x is None or y is None else np.minimum(x, y)
        for x, y in (
            (a.scores, b.scores),
            (a.label_scores, b.label_scores),
            (a.place_scores, b.place_scores),
        )
    )
    rings = (*a.polygons[0], *b.polygons[0]) if outlined else ()
    # At each side the part that reaches farther tells whether the whole is cut there.
    ahead = (b.xyxy - a.xyxy) * np.array([-1, -1, 1, 1])
    cut = np.where(ahead == 0, one.cut & other.cut, np.where(ahead > 0, other.cut, one.cut))
    found = Detections(box, a.labels, (rings,), *scores)
    return Pool(found, np.array([_JOINED]), cut, one.whole & other.whole)


def _each_once(pool: Pool) -> list[int]:
    """Return what stays, in order, where several views show the same thing."""
    boxes, names = pool.found.xyxy, _names(pool.found)
    areas = _area(boxes)
    # The best look at a thing: whole in a tile, then in the picture, then put together. Of parts
    # that are left over the largest says the most.
    left_over: Bools = np.asarray(pool.cut.any(axis=1))
    rank = np.select([left_over, pool.view == _JOINED, pool.whole], [3, 2, 1], 0)
    scores = np.zeros(len(rank)) if pool.found.scores is None else pool.found.scores
    kept, count = np.zeros(len(rank), int), 0
    for i in np.lexsort((-np.where(left_over, areas, scores), rank)):
        others = kept[:count]
        shared = shared_area(boxes[i], boxes[others])
        iou = shared / (areas[i] + areas[others] - shared)
        alike = np.where(names[others] == names[i], iou >= _SAME, iou >= _SAME_PLACE)
        if left_over[i]:
            # What a tile shows of a large thing may look like another thing to the model.
            alike |= shared >= _LEFTOVER * areas[i]
        elsewhere = (pool.view[others] != pool.view[i]) | (pool.view[others] == _JOINED)
        if not (alike & elsewhere).any():
            kept[count] = i
            count += 1
    return sorted(kept[:count].tolist())
