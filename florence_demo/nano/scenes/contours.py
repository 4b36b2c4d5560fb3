"""Outlines of masks as polygons of a fixed number of points.

Knows grids of pixels. Does not know objects or scenes.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), bool)
    inside = padded[1:-1, 1:-1]
    inside[:] = mask
    width = padded.shape[1] + 1
    starts, ends = [], []
    # Each side of a pixel that faces outside is a step from one grid point to the next.
    for there, start, end in (
        (padded[:-2, 1:-1], 0, 1),
        (padded[1:-1, 2:], 1, width + 1),
        (padded[2:, 1:-1], width + 1, width),
        (padded[1:-1, :-2], width, 0),
    ):
        side = np.flatnonzero(inside > there)
        # Grid points lie in rows of ``width``, pixels in rows of three fewer.
        side += side // mask.shape[1] * 3
        starts += (side + start).tolist()
        ends += (side + end).tolist()
    ways = dict(zip(starts, ends, strict=True))
    spare: dict[int, int] = {}
    if len(ways) < len(starts):
        # Two ways go on where only the corners of pixels touch: the one found last is taken first.
        found_first = dict(zip(reversed(starts), reversed(ends), strict=True))
        spare = {corner: end for corner, end in found_first.items() if ways[corner] != end}
    rings = []
    while ways:
        first = here = next(iter(ways))
        path = []
        while here in ways:
            path.append(here)
            if here in spare:
                ways[here], here = spare.pop(here), ways[here]
            else:
                here = ways.pop(here)
            if here == first:
                break
        rows, columns = np.divmod(np.array([*path, path[0]]), width)
        ring = np.stack([columns, rows], axis=1).astype(np.float64)
        # The middles of the steps cut the corners of the staircase.
        rings.append((ring[:-1] + ring[1:]) / 2)
    return rings


def _area(ring: NDArray[np.float64]) -> float:
    """Return the signed area, positive where the ring runs clockwise on the screen."""
    x, y = ring.T
    swept = np.dot(x[:-1], y[1:]) - np.dot(y[:-1], x[1:]) + x[-1] * y[0] - y[-1] * x[0]
    return float(swept) / 2


def _resample(ring: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return points along a ring, from its topmost, then leftmost point.

    They start evenly spaced; then every second one slides, within its share of the way, to where
    the two chords beside it leave the least area out, and the others after it. Corners are kept so,
    and the spacing stays regular enough to be learnt.
    """
    line = _Line.along(ring)
    at = np.linspace(0, line.length, count, endpoint=False)
    slides = _SLIDES * line.length / count
    for odd in (1, 0, 1, 0):
        # The first point stays: it is where every ring begins.
        moving = slice(odd or 2, count, 2)
        before, after = at[(odd or 2) - 1 : count - 1 : 2, None], at[(odd or 2) + 1 :: 2, None]
        if len(after) < len(before):
            after = np.concatenate([after, [[line.length]]])
        tried = np.minimum(np.maximum(at[moving, None] + slides, before + 0.5), after - 0.5)
        x, y, swept = line.at(np.concatenate([before, tried, after], axis=1))
        here, points, there = slice(0, 1), slice(1, -1), slice(-1, None)
        lost: NDArray[np.float64] = np.abs(
            swept[:, points]
            - swept[:, here]
            - (x[:, here] * y[:, points] - y[:, here] * x[:, points]) / 2
        )
        lost += np.abs(
            swept[:, points]
            - swept[:, there]
            - (x[:, there] * y[:, points] - y[:, there] * x[:, points]) / 2
        )
        at[moving] = tried[np.arange(len(tried)), lost.argmin(axis=1)]
    return line.at(at)[:2].T


_SLIDES = np.linspace(-0.45, 0.45, 9)


@dataclass(frozen=True, eq=False)
class _Line:
    """Hold a closed line of n points and what is known along it.

    Attributes:
        ways: (n + 1,) the length up to each point.
        values: (3, n + 1) x, y and the area swept so far, seen from the origin.
        slopes: (3, n + 1) how fast they change from each point to the next; 0 at the end.
    """

    ways: NDArray[np.float64]
    values: NDArray[np.float64]
    slopes: NDArray[np.float64]

    @property
    def length(self) -> float:
        """Return the length of the whole line."""
        return float(self.ways[-1])

    @classmethod
    def along(cls, ring: NDArray[np.float64]) -> _Line:
        """Return the line through the points (n, 2) of a ring, from the topmost, then leftmost."""
        first = int((ring[:, 1] * _FAR + ring[:, 0]).argmin())
        values = np.zeros((3, len(ring) + 1))
        values[:2] = np.concatenate([ring[first:], ring[: first + 1]]).T
        x, y, swept = values
        ways = np.zeros(len(ring) + 1)
        np.cumsum(np.hypot(x[1:] - x[:-1], y[1:] - y[:-1]), out=ways[1:])
        np.cumsum((x[:-1] * y[1:] - y[:-1] * x[1:]) / 2, out=swept[1:])
        slopes = np.zeros_like(values)
        slopes[:, :-1] = (values[:, 1:] - values[:, :-1]) / (ways[1:] - ways[:-1])
        return cls(ways, values, slopes)

    def at(self, where: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return x, y and area (3, ...) at some lengths (...)."""
        before = self.ways.searchsorted(where, "right") - 1
        beyond = where - self.ways.take(before)
        found: NDArray[np.float64] = self.slopes.take(before, axis=1) * beyond
        found += self.values.take(before, axis=1)
        return found


_FAR = 2.0**20
"""Farther than any point of a picture."""
