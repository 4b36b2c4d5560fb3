"""Colours and name tags of an answer's drawing, and where they find room."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from florence_demo.prediction import Detections, FloatArray

PALETTE = (
    "#ff4d4f", "#36cfc9", "#ffc53d", "#9254de", "#73d13d", "#ff85c0", "#00a2ff", "#fa8c16",
    "#0b8a8a", "#eb2f96", "#bae637", "#597ef7", "#d4380d", "#91d5ff", "#b37feb", "#389e0d",
    "#ffbb96", "#0958d9", "#b8860b", "#e35bd8",
)  # fmt: skip
"""Bright enough for dark pictures, strong enough for light ones; neighbours differ plainly."""


# chosen so that the things most often seen (person, car, dog, cat, ...) get colours of their own
_SEED = 9753


ALWAYS = 12
"""Up to this many labels are all shown at once; more would hide the picture."""


_LONGEST = 160  # characters of a label that are shown; the table beside the picture has the rest


def color_of(label: str) -> str:
    """Return a label's own colour, "#rrggbb", the same everywhere and on every run."""
    return PALETTE[_own(_name(label))]


def colors_of(labels: Sequence[str], held: dict[str, str] | None = None) -> list[str]:
    """Return the colour of each label: its own, or the next free one where another has that.

    Of as many names as there are colours no two look the same; any more keep their own colour.

    Args:
        labels: Of one answer; what comes first keeps its colour.
        held: Colours that names have already, extended: for answers that follow one another.
    """
    held = {} if held is None else held
    for name in map(_name, labels):
        if name not in held and len(held) < len(PALETTE):
            own, taken = _own(name), set(held.values())
            turns = (PALETTE[(own + step) % len(PALETTE)] for step in range(len(PALETTE)))
            held[name] = next(color for color in turns if color not in taken)
    return [held.get(_name(label)) or color_of(label) for label in labels]


def _name(label: str) -> str:
    return " ".join(label.split()).casefold()


def _own(name: str) -> int:
    return zlib.crc32(name.encode("utf-8", "replace"), _SEED) % len(PALETTE)


def text_color(background: str) -> str:
    """Return black or white, whichever reads better on a colour (at least 4.58 to 1)."""
    red, green, blue = (_linear(v / 255) for v in rgb(background))
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue  # WCAG 2.2, relative luminance
    on_black, on_white = (luminance + 0.05) / 0.05, 1.05 / (luminance + 0.05)
    return "#000000" if on_black >= on_white else "#ffffff"


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


def rgb(color: str) -> tuple[int, int, int]:
    """Return red, green and blue of "#rrggbb", 0 to 255."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def visible(text: str) -> str:
    """Return a text in one line, without what is not seen.

    Control and direction characters could reorder or hide what stands beside them.
    """
    kept = (c if c.isprintable() or c in "\u200c\u200d" else " " for c in text)
    return " ".join("".join(kept).split())


def captions_of(found: Detections, *, scores: bool) -> list[str]:
    """Return what is written at each detection: its label, or a number where it has none."""
    captions = []
    for i, label in enumerate(found.labels):
        text = visible(label[: 4 * _LONGEST]) or (str(i + 1) if len(found) > 1 else "")
        if len(text) > _LONGEST:
            text = text[: _LONGEST - 1].rstrip() + "…"
        if scores and found.scores is not None:
            text = f"{text} {found.scores[i]:.2f}".strip()
        captions.append(text)
    return captions


def large_first(found: Detections) -> list[int]:
    """Return the order to draw in, so that a small thing is never hidden by a large one."""
    sides = found.xyxy[:, 2:] - found.xyxy[:, :2]
    return [int(i) for i in np.argsort(-sides[:, 0] * sides[:, 1], kind="stable")]


def kind_of(found: Detections, index: int) -> str:
    """Return "box", "quad" (a frame around words, which stay readable) or "mask"."""
    rings = found.polygons[index]
    if not rings:
        return "box"
    return "quad" if len(rings) == 1 and len(rings[0]) == 4 else "mask"


def anchors_of(
    found: Detections, order: list[int], tags: list[tuple[float, float]], size: tuple[int, int]
) -> FloatArray:
    """Return the boxes that tags hang on; a mask's is at its middle, where it surely is."""
    boxes = found.xyxy[order]
    for row, (i, tag) in enumerate(zip(order, tags, strict=True)):
        if kind_of(found, i) == "mask":
            rings = [np.clip(ring, 0, size).astype(np.float64) for ring in found.polygons[i]]
            middle = _middle(max(rings, key=lambda ring: abs(area_of(ring))))
            half = np.array(tag) / 2
            boxes[row] = np.concatenate([middle - half, middle + half])
    return boxes


def _cross(ring: NDArray[Any]) -> NDArray[Any]:
    after = np.roll(ring, -1, axis=0)
    return np.asarray(ring[:, 0] * after[:, 1] - ring[:, 1] * after[:, 0])


def area_of(ring: NDArray[Any]) -> float:
    """Return the signed area of a ring (k, 2)."""
    return float(_cross(ring).sum()) / 2


def _middle(ring: NDArray[Any]) -> NDArray[Any]:
    """Return the centre of mass (2,) of a ring's area."""
    area = area_of(ring)
    if abs(area) < 1:
        return np.asarray(ring.mean(axis=0))
    pairs = ring + np.roll(ring, -1, axis=0)
    return np.asarray((pairs * _cross(ring)[:, None]).sum(axis=0) / (6 * area))


class Place(NamedTuple):
    """Say where a tag stands: its top left corner, and how it hangs on its box."""

    x: float
    y: float
    outside: bool  # beyond the box's edge rather than within
    bottom: bool  # at the lower edge rather than the upper
    right: bool  # at the right corner rather than the left


# outside, bottom, right: the best first
_CORNERS = np.array(
    [[1, 0, 0], [0, 0, 0], [1, 1, 0], [1, 0, 1], [0, 0, 1], [0, 1, 0], [1, 1, 1], [0, 1, 1]], bool
)


def places_of(
    boxes: FloatArray, tags: list[tuple[float, float]], size: tuple[float, float]
) -> list[Place]:
    """Place one tag a box inside the picture, clear of the tags placed before where possible.

    Args:
        boxes: (n, 4) x1, y1, x2, y2, in the unit of ``size``.
        tags: Width and height of each tag.
        size: Width and height of the picture.
    """
    outside, bottom, right = _CORNERS.T
    taken = np.zeros((len(tags), 4))
    places = []
    for i, ((x1, y1, x2, y2), (width, height)) in enumerate(zip(boxes.tolist(), tags, strict=True)):
        wanted_x = np.where(right, x2 - width, x1)
        wanted_y = np.where(bottom, y2, y1) - height * (outside != bottom)
        x = np.clip(wanted_x, 0, max(0.0, size[0] - width))
        y = np.clip(wanted_y, 0, max(0.0, size[1] - height))
        left, top, end, low = taken[:i, :, None].transpose(1, 0, 2)  # each (i, 1)
        wide = np.minimum(x + width, end) - np.maximum(x, left)
        high = np.minimum(y + height, low) - np.maximum(y, top)
        hidden = (wide.clip(0) * high.clip(0)).sum(axis=0)  # (8,)
        moved = np.abs(x - wanted_x) * height + np.abs(y - wanted_y) * width
        # hiding another tag is worst, then leaving the corner, then a corner later in the list
        best = int(np.argmin(8 * hidden + moved + width * height * 0.03 * np.arange(len(x))))
        taken[i] = x[best], y[best], x[best] + width, y[best] + height
        corner = (bool(outside[best]), bool(bottom[best]), bool(right[best]))
        places.append(Place(float(x[best]), float(y[best]), *corner))
    return places
