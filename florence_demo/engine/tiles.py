"""Where a picture far larger than a model sees is cut into tiles that overlap.

Knows sizes in pixels. Does not know pictures, models or answers. Tiles overlap by a fifth of their
side, so that what is no larger than that lies whole in one of them at least.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from florence_demo.errors import InputError, plain

AUTO = "auto"
SIDE = 768
"""Pixels a side that Microsoft's models see; others say theirs."""

MAX_TILES = 64
OVERLAP = 0.2
"""Share of a tile's side that the next one shows too."""

_ROOMY = 1.25
"""Pixels of an automatic tile for one that the model sees: so little squeezing costs nothing."""
_SMALLEST = 16
"""Pixels a side of a tile at least."""
_FAR = 2.0
"""Pixels of a picture for one that the model sees, from which a person is told."""

Tile = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels of the picture."""


@dataclass(frozen=True)
class Plan:
    """Say how a picture is cut.

    Attributes:
        size: (width, height) of the picture.
        rows: Tiles from top to bottom.
        columns: Tiles from left to right.
        tiles: Row by row; the whole picture where it is not cut.
    """

    size: tuple[int, int]
    rows: int
    columns: int
    tiles: tuple[Tile, ...]

    @property
    def whole(self) -> bool:
        """Whether the picture is not cut at all."""
        return len(self.tiles) == 1

    @property
    def shared(self) -> tuple[float, float]:
        """Return the largest (width, height) that surely lies whole in one of the tiles."""
        x1, y1, x2, y2 = self.tiles[0]
        wide = OVERLAP * (x2 - x1) if self.columns > 1 else x2 - x1
        high = OVERLAP * (y2 - y1) if self.rows > 1 else y2 - y1
        return wide, high


def plan(size: tuple[int, int], side: int = SIDE, how: str = AUTO) -> Plan:
    """Return where a picture is cut.

    Args:
        size: (width, height) of the picture in pixels.
        side: Pixels a side that the model sees.
        how: "auto": tiles about as large as the model sees, larger ones where they would be too
            many; or rows by columns, "3x4".

    Raises:
        InputError: ``how`` is neither, asks for too many, or for tiles of hardly any pixels.
    """
    rows, columns = _automatic(size, side) if how == AUTO else _given(how)
    if rows * columns > MAX_TILES:
        raise InputError(
            f"{rows}x{columns} makes {rows * columns} tiles, {MAX_TILES} are allowed: ask for"
            " fewer."
        )
    across, down = _cuts(size[0], columns), _cuts(size[1], rows)
    for cuts, count in ((across, columns), (down, rows)):
        if count > 1 and min(end - start for start, end in cuts) < _SMALLEST:
            raise InputError(
                f"A picture of {size[0]} × {size[1]} pixels is too small for {rows}x{columns}"
                " tiles: ask for fewer."
            )
    tiles = tuple((x1, y1, x2, y2) for y1, y2 in down for x1, x2 in across)
    return Plan(size, rows, columns, tiles)


def check_tiles(how: str) -> None:
    """Raise InputError where ``how`` can be no plan of any picture."""
    if how != AUTO:
        plan((1 << 20, 1 << 20), SIDE, how)


def squeezed(size: tuple[int, int], side: int = SIDE) -> str | None:
    """Return a sentence where a picture is far larger than what a model sees of it, or None.

    Args:
        size: (width, height) of the picture in pixels.
        side: Pixels a side that the model sees.
    """
    if max(size) < _FAR * side:
        return None
    return (
        f"A model sees {side} × {side} pixels of it at most: small text and small things may be"
        " missed or read wrongly."
    )


def _given(how: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,3})\s*[x×]\s*([1-9]\d{0,3})", how.strip().lower())
    if found is None:
        raise InputError(
            f"“{plain(how, 40)}” says no tiles: write auto, or rows by columns, such as 3x4."
        )
    return int(found[1]), int(found[2])


def _automatic(size: tuple[int, int], side: int) -> tuple[int, int]:
    largest = _ROOMY * side
    while True:
        columns, rows = (_count(extent, largest) for extent in size)
        if rows * columns <= MAX_TILES:
            return rows, columns
        largest *= 1.02


def _count(extent: int, largest: float) -> int:
    """Return how many tiles of at most some pixels cover an extent."""
    return max(1, math.ceil(round((extent / largest - OVERLAP) / (1 - OVERLAP), 6)))


def _cuts(extent: int, count: int) -> list[tuple[int, int]]:
    """Return where equal tiles begin and end along an extent."""
    length = min(extent, math.ceil(extent / (count * (1 - OVERLAP) + OVERLAP)))
    starts = [round(i * (extent - length) / max(1, count - 1)) for i in range(count)]
    return [(start, start + length) for start in starts]
