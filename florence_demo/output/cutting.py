"""Things cut out of their picture: each a small picture of its own, transparent around its outline.

Knows pixels. Does not know tasks, files or why somebody wants the pieces.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw

from florence_demo.prediction import Detections

Box = tuple[int, int, int, int]

_MAX_LABEL = 40


def cut_out(image: Image.Image, found: Detections) -> Iterator[tuple[int, Image.Image]]:
    """Yield each thing's index and its piece; of an outline what lies outside is transparent.

    A place without pixels of this picture gives none.
    """
    for index in range(len(found)):
        box = _whole_pixels(found, index, image.size)
        if box is None:
            continue
        piece = image.crop(box)
        if found.polygons[index]:
            mask = Image.new("L", piece.size)
            draw = ImageDraw.Draw(mask)
            for ring in found.polygons[index]:
                draw.polygon((ring - box[:2]).ravel().tolist(), fill=255)
            piece.putalpha(mask)
        yield index, piece


def pixels_of(found: Detections, size: tuple[int, int]) -> int:
    """Return how many pixels the pieces have together; each may be as large as the picture.

    Args:
        found: What would be cut out.
        size: (width, height) of the picture.
    """
    boxes = filter(None, (_whole_pixels(found, i, size) for i in range(len(found))))
    return sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes)


def name_of(label: str, otherwise: str) -> str:
    """Return a label as a file may be called: letters and digits of any script, and hyphens."""
    return "".join(c if c.isalnum() else "-" for c in label[:_MAX_LABEL]) or otherwise


def _whole_pixels(found: Detections, index: int, size: tuple[int, int]) -> Box | None:
    """Return the pixels that a box touches, or None where it lies outside or has no area."""
    left, top = (max(0, int(v)) for v in found.xyxy[index, :2].tolist())
    right, bottom = np.ceil(found.xyxy[index, 2:]).astype(int).tolist()
    box = (left, top, min(size[0], right), min(size[1], bottom))
    return box if box[2] > box[0] and box[3] > box[1] else None
