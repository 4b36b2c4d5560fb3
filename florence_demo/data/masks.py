"""Run-length masks as outlines: what a tool painted, as points that a model can learn to write.

Knows COCO's two ways of writing runs (cocodataset.org, "Data format"; the packed one is that of
its ``maskApi.c``). What a mask says may be a stranger's word: it is counted before it is drawn.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from florence_demo.errors import DatasetError
from florence_demo.prediction import FloatArray, Rings, bounds

POINTS = 48
"""Points of an outline at most: an answer has two tokens for each."""

PARTS = 6
"""Parts of one thing at most, the largest first; those under a fiftieth of it are left out."""

_MAX_PIXELS = 40_000_000


def outlines_of(mask: Any) -> Rings:
    """Return the outlines of a run-length mask, {"counts", "size": [height, width]}.

    Raises:
        DatasetError: It is none.
    """
    try:
        height, width = (int(v) for v in mask["size"])
        counts = mask["counts"]
        if not 0 < height * width <= _MAX_PIXELS or min(height, width) < 1:
            raise ValueError("its size is impossible")
        runs = _unpacked(counts) if isinstance(counts, str) else _whole(counts)
        if runs.sum() != height * width:
            raise ValueError("its runs do not fill the picture")
    except (KeyError, TypeError, ValueError, OverflowError) as exc:
        raise DatasetError(f"a run-length mask is damaged ({exc}).") from exc
    # Runs go down the columns, and begin with what is outside.
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return rings_of(flat.reshape(width, height).T)


def _whole(counts: Any) -> NDArray[np.int64]:
    if not isinstance(counts, list) or not all(type(v) is int and v >= 0 for v in counts):
        raise ValueError("its runs are no whole numbers")
    return np.array(counts, np.int64)


def _unpacked(text: str) -> NDArray[np.int64]:
    """Return the runs of a packed text: five bits a letter, and differences to the run but one."""
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError("its text is not packed as COCO packs")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
            if not 0 <= runs[-1] <= _MAX_PIXELS:
                raise ValueError("a run is impossible")
    return np.array(runs, np.int64)


def area_of(rings: Rings) -> float:
    """Return the area of the union of some rings in square pixels, to the pixel if they are many.

    Where that would be too much to draw, it is the sum.
    """
    corners = bounds(rings)
    left, top = np.floor(corners[:2])
    sides = np.ceil(corners[2:] - (left, top)) + 1
    if len(rings) == 1 or not sides.prod() <= _MAX_PIXELS:
        return sum(map(_area, rings))
    mask = Image.new("1", (int(sides[0]), int(sides[1])))
    draw = ImageDraw.Draw(mask)
    for ring in rings:
        draw.polygon((ring - (left, top)).ravel().tolist(), fill=1)
    return float(np.count_nonzero(np.asarray(mask)))


def rings_of(mask: NDArray[np.bool_]) -> Rings:
    """Return the outlines (k, 2) float32 of a mask (h, w), in its pixels; holes are left out."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return ()
    top, left = int(rows[0]), int(columns[0])
    cut = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    rings = sorted(_traced(np.pad(cut, 1).astype(np.float32)), key=_area, reverse=True)
    total = sum(map(_area, rings))
    kept = [ring for ring in rings[:PARTS] if _area(ring) >= total / 50]
    # A pixel's middle lies half a pixel from its corner, and the cut has a border of one.
    offset = np.array([left - 0.5, top - 0.5], np.float32)
    return tuple(_thinned(ring) + offset for ring in kept)


def _traced(values: FloatArray) -> list[FloatArray]:
    import contourpy

    lines = contourpy.contour_generator(z=values).lines(0.5)
    rings = [np.asarray(line[:-1], np.float32) for line in lines]
    # Around what is inside they run one way, around holes the other.
    return [ring for ring in rings if len(ring) >= 3 and _signed(ring) > 0]


def _signed(ring: FloatArray) -> float:
    x, y = ring.astype(np.float64).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def _area(ring: FloatArray) -> float:
    return abs(_signed(ring))


def _thinned(ring: FloatArray) -> FloatArray:
    """Return an outline by its corners, or by points at even steps where it has too many."""
    steps = np.stack([np.roll(ring, -1, axis=0) - ring, ring - np.roll(ring, 1, axis=0)])
    turns = np.abs(steps[0, :, 0] * steps[1, :, 1] - steps[0, :, 1] * steps[1, :, 0]) > 1e-6
    corners = ring[turns] if turns.sum() >= 3 else ring
    if len(corners) <= POINTS:
        return corners
    closed = np.concatenate([ring, ring[:1]])
    far = np.concatenate([[0.0], np.cumsum([np.hypot(*(b - a)) for a, b in pairwise(closed)])])
    at = np.arange(POINTS) * far[-1] / POINTS
    found = np.stack([np.interp(at, far, closed[:, axis]) for axis in (0, 1)], axis=1)
    return found.astype(np.float32)
