"""Pictures far larger than a model sees: pages, lists and scenes of many things, with truths.

The same seed gives the same picture. Knows what is drawn and where. Does not know a model. nano is
not trained on these: they show what becomes of small things in a large picture.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from florence_demo.nano.scenes.backgrounds import draw_background
from florence_demo.nano.scenes.sheets import Style, Writer, word
from florence_demo.nano.scenes.sprites import Library, Pose, lay
from florence_demo.nano.scenes.types import TextLine
from florence_demo.prediction import Detections

EDGE = 2000
"""Longer side in pixels."""
LINES, THINGS = 60, 40

_MARGIN = 60
_LETTERS = 24
"""Font size in pixels."""
_COLUMNS = 4
"""Of a list."""
_SMALL, _LARGE = 50, 360
"""Longer side of a thing in pixels."""


@dataclass(frozen=True, eq=False)
class Large:
    """Hold a large picture and what is in it.

    Attributes:
        image: RGB.
        text: Its lines from top to bottom, "" where nothing is written.
        things: Boxes and names, or the lines as quadrilaterals.
        lines: What is written, with the place of each letter.
    """

    image: Image.Image
    text: str
    things: Detections
    lines: tuple[TextLine, ...] = ()


def large_page(seed: int, library: Library) -> Large:
    """Draw a page of 60 lines of running text, each from side to side."""
    rng = random.Random(f"large page {seed}")
    style, writer = _paper(rng, library)
    room = writer.image.width - 2 * _MARGIN
    step = (EDGE - 2 * _MARGIN) / LINES
    for i in range(LINES):
        row, following = "", word(rng)
        while style.width(f"{row} {following}".strip()) <= room:
            row, following = f"{row} {following}".strip(), word(rng)
        writer.put(row, (_MARGIN, _MARGIN + i * step), style)
    return _written(writer)


def large_list(seed: int, library: Library) -> Large:
    """Draw a list of 60 entries of a word or two, row by row in four columns."""
    rng = random.Random(f"large list {seed}")
    style, writer = _paper(rng, library)
    wide = (writer.image.width - 2 * _MARGIN) / _COLUMNS
    high = (EDGE - 2 * _MARGIN) / (LINES // _COLUMNS)
    for i in range(LINES):
        text = f"{word(rng)} {word(rng)}" if rng.random() < 0.5 else word(rng)
        at = (_MARGIN + i % _COLUMNS * wide, _MARGIN + i // _COLUMNS * high)
        writer.put(text if style.width(text) < 0.8 * wide else text.split()[0], at, style)
    return _written(writer)


def _paper(rng: random.Random, library: Library) -> tuple[Style, Writer]:
    path = rng.choice(library.fonts) if library.fonts else None
    style = Style(path, _LETTERS, rng.choice(((16, 16, 20), (30, 30, 90), (70, 30, 20))))
    return style, Writer((round(EDGE * rng.uniform(0.7, 0.8)), EDGE), (255, 255, 255))


def _written(writer: Writer) -> Large:
    texts = [line.text for line in writer.lines]
    things = Detections.from_polygons([[line.quad] for line in writer.lines], texts)
    image = writer.image.convert("RGB")
    return Large(image, "\n".join(texts), things, tuple(writer.lines))


def large_scene(seed: int, library: Library) -> Large:
    """Draw a scene of 40 things, none of which hides another, most of them small."""
    rng = random.Random(f"large scene {seed}/{library.name}")
    image, _ = draw_background(rng, (EDGE, round(EDGE * rng.uniform(0.75, 1))), library)
    boxes: list[NDArray[np.int64]] = []
    labels: list[str] = []
    while len(boxes) < THINGS:
        label = rng.choice(library.labels)
        sprite = rng.choice(library.sprites[label])
        edge = _SMALL * (_LARGE / _SMALL) ** rng.random()
        top = sprite.levels(None, edge)[0]
        share = edge / max(top.size)
        cut = lay(sprite, None, Pose(top.width * share, top.height * share, rng.random() < 0.5))
        x, y = rng.randint(0, EDGE - cut.width), rng.randint(0, max(0, image.height - cut.height))
        ys, xs = np.nonzero(np.asarray(cut.getchannel("A")) > 127)
        if not len(xs):
            continue
        box = np.array([x + xs.min(), y + ys.min(), x + xs.max() + 1, y + ys.max() + 1])
        if any((np.minimum(box[2:], o[2:]) > np.maximum(box[:2], o[:2])).all() for o in boxes):
            continue
        image.paste(cut, (x, y), cut)
        boxes.append(box)
        labels.append(label)
    return Large(image, "", Detections(np.array(boxes, np.float32), tuple(labels)))
