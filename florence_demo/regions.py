"""The box that a question is about, as it comes from outside: checked, ordered, cut to the picture.

Knows pixels. Does not know tasks or who drew it.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from florence_demo.errors import InputError

Region = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the picture."""


def check_region(
    region: Region | None, size: tuple[int, int], title: str = "This task"
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the region as ordered float32 pixels (4,) inside the picture.

    Raises:
        InputError: There is none, it has no area, or it lies outside the picture.
    """
    if region is None:
        raise InputError(f"“{title}” needs a region: draw a box on the picture.")
    box = _numbers(region)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise InputError("The region must be four numbers: x1, y1, x2, y2 in pixels.")
    width, height = size
    box = np.array([*np.minimum(box[:2], box[2:]), *np.maximum(box[:2], box[2:])])
    if box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0:
        raise InputError(
            f"The region lies outside the picture, which is {width} x {height} pixels: draw it on"
            " the picture."
        )
    box = np.clip(box, 0, [width, height, width, height])
    if box[2] - box[0] < 1 or box[3] - box[1] < 1:
        raise InputError("The region has no area: drag a box of at least one pixel each way.")
    return box.astype(np.float32)


def _numbers(region: object) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return what is given as a region, or nothing where it is not four numbers."""
    given = region.tolist() if isinstance(region, np.ndarray) else region
    if not isinstance(given, list | tuple) or len(given) != 4:
        return np.empty(0)
    if not all(isinstance(n, Real) and not isinstance(n, bool) for n in given):
        return np.empty(0)
    try:
        return np.array([float(n) for n in given])
    except OverflowError:  # an integer of hundreds of digits
        return np.empty(0)
