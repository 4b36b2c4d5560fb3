"""Outlines of masks as polygons of a fixed number of points.

Knows grids of pixels. Does not know objects or scenes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from florence_demo.prediction import FloatArray, Rings

POINTS = 24
"""Points of an instance's largest ring; a further ring has half as many."""


def contours(mask: NDArray[np.bool_], offset: tuple[int, int]) -> Rings:
    """Return the outlines of a mask as evenly spaced points, the largest part first.

    Args:
        mask: (h, w) bool, cut to what is seen.
        offset: Where the cut lies in the picture, x and y.

    Returns:
        Rings (k, 2) float32, clockwise from the topmost point. Holes are left out, and so are
        parts under a twelfth of the whole.
    """
    step = max(1, -(-max(mask.shape) // 100))
    if step > 1:
        # Thinned for speed: the outline of a large mask moves by half a step at most.
        mask = mask[step // 2 :: step, step // 2 :: step]
    rings = [r for r in _trace(mask) if len(r) > 6]
    areas = [_area(r) for r in rings]
    kept = sorted(((a, i) for i, a in enumerate(areas) if a > 0), reverse=True)
    total = sum(a for a, _ in kept)
    out: list[FloatArray] = []
    for area, i in kept[:3]:
        if area >= total / 12:
            ring = _resample(rings[i], POINTS if not out else POINTS // 2)
            out.append((ring * step + np.array(offset)).astype(np.float32))
    if not out:
        height, width = mask.shape
        box = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        out.append((box * step + np.array(offset)).astype(np.float32))
    return tuple(out)


def _trace(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Walk along the edges between mask and not-mask; outer rings run clockwise."""
    padded = np.pad(mask, 1)
    width = padded.shape[1] + 1
    inside = padded[1:-1, 1:-1]
    ways: dict[int, list[int]] = {}
    # Each side of a pixel that faces outside is a step from one grid point to the next.
    for there, (ya, xa), (yb, xb) in (
        (padded[:-2, 1:-1], (0, 0), (0, 1)),
        (padded[1:-1, 2:], (0, 1), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (1, 0)),
        (padded[1:-1, :-2], (1, 0), (0, 0)),
    ):
        ys, xs = np.nonzero(inside & ~there)
        starts, ends = (ys + ya) * width + xs + xa, (ys + yb) * width + xs + xb
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            ways.setdefault(start, []).append(end)
    rings = []
    while ways:
        first = here = next(iter(ways))
        path = []
        while here in ways:
            path.append(here)
            ends = ways[here]
            following = ends.pop()
            if not ends:
                del ways[here]
            here = following
            if here == first:
                break
        points = np.array(path)
        ring = np.stack([points % width, points // width], axis=1).astype(np.float64)
        # The middles of the steps cut the corners of the staircase.
        rings.append((ring + np.roll(ring, -1, axis=0)) / 2)
    return rings


def _area(ring: NDArray[np.float64]) -> float:
    """Return the signed area, positive where the ring runs clockwise on the screen."""
    x, y = ring[:, 0], ring[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def _resample(ring: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return points along a ring, from its topmost, then leftmost point.

    They start evenly spaced; then every second one slides, within its share of the way, to where
    the two chords beside it leave the least area out, and the others after it. Corners are kept so,
    and the spacing stays regular enough to be learnt.
    """
    ring = np.roll(ring, -int(np.lexsort((ring[:, 0], ring[:, 1]))[0]), axis=0)
    closed = np.concatenate([ring, ring[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    swept = np.concatenate([[0.0], np.cumsum(_cross(closed[:-1], closed[1:]) / 2)])
    length = along[-1]
    at = np.linspace(0, length, count, endpoint=False)
    slides = np.linspace(-0.45, 0.45, 9) * length / count
    for odd in (1, 0, 1, 0):
        # The first point stays: it is where every ring begins.
        moving = np.arange(odd or 2, count, 2)
        before, after = at[moving - 1], np.append(at, length)[moving + 1]
        tried = at[moving, None] + slides
        tried = np.clip(tried, before[:, None] + 0.5, after[:, None] - 0.5)
        points = _at(tried, along, closed)
        area = np.interp(tried, along, swept)
        lost = np.zeros_like(tried)
        for end, sign in ((before, 1.0), (after, -1.0)):
            here = _at(end, along, closed)[:, None]
            arc = sign * (area - np.interp(end, along, swept)[:, None])
            lost += np.abs(arc - sign * _cross(here, points) / 2)
        at[moving] = tried[np.arange(len(moving)), lost.argmin(axis=1)]
    return _at(at, along, closed)


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return twice the area swept from the origin by going from a to b, each (..., 2)."""
    swept: NDArray[np.float64] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return swept


def _at(
    where: NDArray[np.float64], along: NDArray[np.float64], closed: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the points (..., 2) at some lengths along a closed line."""
    return np.stack([np.interp(where, along, closed[:, k]) for k in (0, 1)], axis=-1)
