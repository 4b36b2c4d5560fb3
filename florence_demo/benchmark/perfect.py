"""What a model that makes no mistake would find in a tile, to measure merging by itself.

Knows truths and tiles. Letters and things that a border cuts are seen as far as they show: of a cut
letter that is a stroke, of a cut thing a smaller box. Does not know a model.
"""

from __future__ import annotations

import numpy as np

from florence_demo.engine.lines import merge_lines
from florence_demo.engine.things import View, merge_things
from florence_demo.engine.tiles import Tile, plan
from florence_demo.nano.scenes.large import Large
from florence_demo.nano.scenes.types import TextLine
from florence_demo.prediction import Detections, FloatArray, Prediction

_SHOWN, _READ = 0.3, 0.95
"""Share of a letter or a thing that must show for it to be seen at all, and to be read rightly."""


def merged(picture: Large, task: str, side: int) -> Prediction:
    """Return the answer that perfect looks at the tiles of a picture make, the whole left out.

    Args:
        picture: With its truth.
        task: What the answer is called.
        side: Pixels a side that a model sees.
    """
    cut = plan(picture.image.size, side)
    views = [View(tile, _seen(picture, tile)) for tile in cut.tiles]
    found = merge_lines(views, cut) if picture.lines else merge_things(views, cut)
    text = "\n".join(found.labels) if picture.lines else ""
    return Prediction(task, "", "", text, picture.image.size, found, {})


def _seen(picture: Large, tile: Tile) -> Detections:
    if picture.lines:
        pieces = [piece for line in picture.lines if (piece := _piece(line, tile)) is not None]
        quads = [[box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2)] for _, box in pieces]
        return Detections.from_polygons(quads, [text for text, _ in pieces])
    boxes, shares = _clipped(picture.things.xyxy, tile)
    shown = picture.things.select(shares >= _SHOWN)
    return Detections(boxes[shares >= _SHOWN], shown.labels)


def _piece(line: TextLine, tile: Tile) -> tuple[str, FloatArray] | None:
    """Return what a tile shows of a line and where, None if it shows none."""
    chars, shares = _clipped(line.chars, tile)
    shown = np.flatnonzero(shares >= _SHOWN)
    text = "".join(
        line.text[i] if shares[i] >= _READ or line.text[i] == " " else "|" for i in shown
    )
    if not text.strip():
        return None
    shown = shown[len(text) - len(text.lstrip()) :][: len(text.strip())]
    box = np.concatenate([chars[shown, :2].min(axis=0), chars[shown, 2:].max(axis=0)])
    return text.strip(), box.astype(np.float32)


def _clipped(boxes: FloatArray, tile: Tile) -> tuple[FloatArray, FloatArray]:
    """Return boxes (n, 4) as far as a tile shows them, and which share (n,) of each that is."""
    low, high = np.array(tile[:2] * 2, np.float32), np.array(tile[2:] * 2, np.float32)
    inside = np.clip(boxes, low, high)
    areas = [np.maximum(b[:, 2:] - b[:, :2], 0).prod(axis=1) for b in (inside, boxes)]
    return inside, (areas[0] / np.maximum(areas[1], 1e-6)).astype(np.float32)
