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
    """Return evenly spaced points along a ring, from its topmost, then leftmost point."""
    ring = np.roll(ring, -int(np.lexsort((ring[:, 0], ring[:, 1]))[0]), axis=0)
    closed = np.concatenate([ring, ring[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    at = np.linspace(0, along[-1], count, endpoint=False)
    return np.stack([np.interp(at, along, closed[:, k]) for k in (0, 1)], axis=1)
