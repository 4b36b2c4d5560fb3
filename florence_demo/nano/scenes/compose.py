"""Synthetic scenes: ``make_scene(seed, library=...)`` gives a picture and the truth for every task.

The same seed, size, kind and library give the same bytes. Knows how objects, sheets of text and
backgrounds are put together into one picture with exact masks. Does not know how a truth is worded
(``scene_truth``), how a sheet is set (``sheets``), or any model.
"""

from __future__ import annotations

import io
import math
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from florence_demo.nano.scenes.backgrounds import draw_background, scaled
from florence_demo.nano.scenes.catalogue import CLASSES, COLORS, PAINTED
from florence_demo.nano.scenes.documents import LAYOUTS
from florence_demo.nano.scenes.phrases import Facts
from florence_demo.nano.scenes.sheets import Desk, Sheet, place, sign
from florence_demo.nano.scenes.sprites import Library, Pose, Sprite, lay
from florence_demo.nano.scenes.truth import truths
from florence_demo.nano.scenes.types import Scene, SceneObject, TextLine, Truth
from florence_demo.pictures.decoder import open_own

__all__ = ["CLASSES", "KINDS", "Library", "Scene", "SceneObject", "TextLine", "Truth", "make_scene"]

KINDS = {
    "objects": 0.56,
    "sign": 0.14,
    "page": 0.08,
    "receipt": 0.07,
    "form": 0.06,
    "table": 0.05,
    "chart": 0.04,
}
"""Kind of scene to its share."""

_SIGN = 255
"""Number of the pixels that a sheet of text covers, while a scene is put together."""

_AS_IT_IS = list(range(256))

_COVERED = 0.22
"""Share of an object that a later one may hide."""


@dataclass(eq=False)
class _Canvas:
    """Hold the picture while it is put together, and who is seen where."""

    image: Image.Image
    instances: NDArray[np.uint8]
    seen: list[int]
    full: list[int]


def make_scene(seed: int, size: int = 256, *, library: Library, kind: str | None = None) -> Scene:
    """Draw one scene.

    Args:
        seed: Which scene.
        size: Longer side in pixels; everything scales with it.
        library: Sprites, fonts and backgrounds.
        kind: One of ``KINDS``; None draws it by its share.
    """
    rng = random.Random(f"{seed}/{size}/{kind}/{library.name}")
    kind = kind or rng.choices(tuple(KINDS), tuple(KINDS.values()))[0]
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    ratio = 2 ** rng.uniform(-1, 1) if kind in ("objects", "sign") else 2 ** rng.uniform(-0.8, 0.5)
    short = round(size * min(ratio, 1 / ratio))
    width, height = (size, short) if ratio > 1 else (short, size)
    image, background = draw_background(rng, (width, height), library)
    canvas = _Canvas(image, np.zeros((height, width), np.uint8), [], [])
    sheet: Sheet | None = None
    lines: tuple[TextLine, ...] = ()
    if kind != "objects":
        sheet, lines = _lay_sheet(rng, canvas, kind, size / 256, library)
    elif rng.random() < 0.33:
        sheet, lines = _lay_label(rng, canvas, size / 256, library)
    objects = _lay_objects(rng, canvas, library, size) if kind == "objects" else ()
    instances, objects = _in_order(canvas.instances, objects)
    about = sheet.about if sheet else {}
    facts = Facts(
        kind, (width, height), objects, lines, background, about, sheet.facts if sheet else ()
    )
    return Scene(
        _photograph(rng, canvas.image, calm=kind != "objects" or bool(lines)),
        kind,
        objects,
        lines,
        instances,
        truths(rng, facts),
    )


def _lay_objects(
    rng: random.Random, canvas: _Canvas, library: Library, size: int
) -> tuple[SceneObject, ...]:
    """Put one to six objects onto the canvas; returns them in the order they were laid."""
    wanted = rng.choices((1, 2, 3, 4, 5, 6), (14, 22, 23, 18, 13, 10))[0]
    largest = (0.58, 0.52, 0.46, 0.42, 0.38, 0.34)[wanted - 1]
    style = rng.choice(library.name.split("+")) if rng.random() < 0.6 else None
    labels = library.labels
    placed: list[tuple[Sprite, str | None]] = []
    for _ in range(wanted):
        label = rng.choice(placed)[0].label if placed and rng.random() < 0.3 else rng.choice(labels)
        sprite = _choose(rng, library.sprites[label], style)
        color = rng.choice(tuple(COLORS)) if label in PAINTED else None
        for _ in range(4):
            edge = size * (0.14 + (largest - 0.14) * rng.random() ** 0.8)
            cut = _cut(rng, (sprite, color), edge, canvas.image.size)
            if cut is not None and _find_place(rng, canvas, cut):
                placed.append((sprite, color))
                break
    if not placed:
        return _lay_objects(rng, canvas, library, size)
    return _seen_objects(canvas, placed)


def _choose(rng: random.Random, sprites: tuple[Sprite, ...], style: str | None) -> Sprite:
    same = [s for s in sprites if s.style == style]
    return rng.choice(same or sprites)


def _cut(
    rng: random.Random, what: tuple[Sprite, str | None], edge: float, room: tuple[int, int]
) -> Image.Image | None:
    """Draw a sprite stretched a little, mirrored and turned or not; None if it gets too thin."""
    sprite, color = what
    top = sprite.levels(color)[0]
    aspect = top.width / top.height * rng.uniform(0.9, 1.1)
    wide, tall = (edge, edge / aspect) if aspect > 1 else (edge * aspect, edge)
    shrink = min(1.0, 0.92 * room[0] / wide, 0.92 * room[1] / tall)
    wide, tall = wide * shrink, tall * shrink
    if min(wide, tall) < 0.04 * max(room):
        return None
    turn = rng.uniform(-15, 15) if rng.random() < 0.7 else 0.0
    return lay(sprite, color, Pose(wide, tall, rng.random() < 0.5, turn))


def _find_place(rng: random.Random, canvas: _Canvas, cut: Image.Image) -> bool:
    """Put a cut-out where it hides nothing too much; say whether there was such a place."""
    height, width = canvas.instances.shape
    whole = np.asarray(cut.getchannel("A")) > 127
    for _ in range(3):
        over = 0.22 if rng.random() < 0.14 else 0.0
        x = round(rng.uniform(-over * cut.width, width - (1 - over) * cut.width))
        y = round(rng.uniform(-over * cut.height, height - (1 - over) * cut.height))
        x1, y1 = max(0, x), max(0, y)
        x2, y2 = min(width, x + cut.width), min(height, y + cut.height)
        mask = whole[y1 - y : y2 - y, x1 - x : x2 - x]
        under = canvas.instances[y1:y2, x1:x2]
        area = int(np.count_nonzero(mask))
        if not area:
            continue
        left = canvas.seen
        if under.any():
            hidden = np.bincount(under[mask], minlength=256).tolist()
            left = [seen - hidden[i + 1] for i, seen in enumerate(canvas.seen)]
            if hidden[_SIGN] or any(
                n < (1 - _COVERED) * full for n, full in zip(left, canvas.full, strict=True)
            ):
                continue
        canvas.seen[:] = [*left, area]
        canvas.full.append(area)
        under[mask] = len(canvas.full)
        _paste(rng, canvas.image, cut.crop((x1 - x, y1 - y, x2 - x, y2 - y)), (x1, y1))
        return True
    return False


def _paste(rng: random.Random, image: Image.Image, cut: Image.Image, at: tuple[int, int]) -> None:
    """Draw a cut-out, with a shadow or without, a little brighter or darker or as it is."""
    if rng.random() < 0.8:
        _shadow(rng, image, cut, at)
    if rng.random() < 0.6:
        cut = _relit(rng, cut)
    image.paste(cut, at, cut)


def _relit(rng: random.Random, cut: Image.Image) -> Image.Image:
    """Return a cut-out a little brighter or darker."""
    gain = rng.uniform(0.82, 1.16)
    return cut.point(scaled(gain) * 3 + _AS_IT_IS)


def _shadow(rng: random.Random, image: Image.Image, cut: Image.Image, at: tuple[int, int]) -> None:
    """Darken the ground beside a cut-out."""
    spread = max(1.0, max(cut.size) * rng.uniform(0.02, 0.05))
    strength = rng.uniform(0.15, 0.45)
    soft = cut.getchannel("A").point(scaled(strength))
    pad = math.ceil(2 * spread)
    wide = Image.new("L", (cut.width + 2 * pad, cut.height + 2 * pad))
    wide.paste(soft, (pad, pad))
    wide = wide.filter(ImageFilter.BoxBlur(spread))
    shift = max(cut.size) * 0.05
    x = at[0] - pad + round(rng.uniform(-shift, shift))
    y = at[1] - pad + round(rng.uniform(0, shift))
    image.paste((12, 12, 18), (x, y), wide)


def _seen_objects(
    canvas: _Canvas, placed: list[tuple[Sprite, str | None]]
) -> tuple[SceneObject, ...]:
    """Measure what is left to be seen of every object."""
    out = []
    for i, (sprite, color) in enumerate(placed):
        mask = canvas.instances == i + 1
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        y1, y2, x1, x2 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        box = np.array([x1, y1, x2, y2], np.float32)
        seen = mask[y1:y2, x1:x2].copy()
        out.append(SceneObject(sprite.label, sprite.style, color, box, seen))
    return tuple(out)


def _in_order(
    instances: NDArray[np.uint8], objects: tuple[SceneObject, ...]
) -> tuple[NDArray[np.uint8], tuple[SceneObject, ...]]:
    """Sort objects left to right, then top to bottom, and number their pixels to match."""
    order = sorted(range(len(objects)), key=lambda i: (objects[i].xyxy[0], objects[i].xyxy[1]))
    numbers = np.zeros(256, np.uint8)
    for rank, i in enumerate(order):
        numbers[i + 1] = rank + 1
    renumbered = bytearray(instances).translate(numbers.tobytes())
    return (
        np.frombuffer(renumbered, np.uint8).reshape(instances.shape),
        tuple(objects[i] for i in order),
    )


def _lay_sheet(
    rng: random.Random, canvas: _Canvas, kind: str, unit: float, library: Library
) -> tuple[Sheet, tuple[TextLine, ...]]:
    """Draw a document or a sign and lay it into the picture, whole."""
    width, height = canvas.image.size
    full = kind in ("page", "chart", "form") and rng.random() < 0.5
    share = 1.0 if full else rng.uniform(0.86, 0.98)
    for attempt in range(40):
        room = (round(width * share), round(height * share))
        sheet = LAYOUTS[kind](Desk(rng, room, unit, library.fonts))
        if sheet is not None and sheet.image.width <= width and sheet.image.height <= height:
            break
        share = min(1.0, share + 0.03)
        if attempt > 25:
            unit *= 0.93
    else:
        raise ValueError(f"no room for a {kind} in {width} x {height}")
    angle = 0.0 if full or rng.random() < 0.5 else rng.uniform(-7, 7)
    return sheet, _paste_sheet(rng, canvas, sheet, angle)


def _lay_label(
    rng: random.Random, canvas: _Canvas, unit: float, library: Library
) -> tuple[Sheet | None, tuple[TextLine, ...]]:
    """Lay a small sign that no object will hide; nothing where it finds no room."""
    width, height = canvas.image.size
    room = (round(0.7 * width), round(0.3 * height))
    sheet = sign(Desk(rng, room, unit, library.fonts), label=True)
    if sheet is None:
        return None, ()
    return sheet, _paste_sheet(rng, canvas, sheet, rng.choice((0.0, 0.0, rng.uniform(-6, 6))))


def _paste_sheet(
    rng: random.Random, canvas: _Canvas, sheet: Sheet, angle: float
) -> tuple[TextLine, ...]:
    """Turn a sheet, lay it where it fits, and return its lines in the picture's pixels."""
    width, height = canvas.image.size
    layer = sheet.image
    center = np.array([layer.width / 2, layer.height / 2], np.float32)
    turned = layer.rotate(angle, Image.Resampling.BICUBIC, expand=True) if angle else layer
    if turned.width > width or turned.height > height:
        turned, angle = layer, 0.0
    x = rng.randint(0, width - turned.width)
    y = rng.randint(0, height - turned.height)
    if turned.size != (width, height) and rng.random() < 0.7:
        _shadow(rng, canvas.image, turned, (x, y))
    canvas.image.paste(turned, (x, y), turned)
    covered = np.asarray(turned.getchannel("A")) > 0
    canvas.instances[y : y + turned.height, x : x + turned.width][covered] = _SIGN
    theta = math.radians(angle)
    turn = np.array(
        [[math.cos(theta), math.sin(theta)], [-math.sin(theta), math.cos(theta)]], np.float32
    )
    at = (x + turned.width / 2, y + turned.height / 2)
    return tuple(place(line, at, turn, center) for line in sheet.lines)


def _photograph(rng: random.Random, image: Image.Image, *, calm: bool) -> Image.Image:
    """Return the picture as a camera and a web page would leave it: nothing moves.

    Args:
        rng: Dice.
        image: The drawn picture.
        calm: Keep small text readable.
    """
    width, height = image.size
    if rng.random() < 0.3:
        image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.86, 1.12))
    if rng.random() < 0.25:
        image = ImageEnhance.Contrast(image).enhance(rng.uniform(0.75, 1.2))
    if rng.random() < 0.2:
        image = ImageEnhance.Color(image).enhance(rng.uniform(0.75, 1.25))
    roll = rng.random()
    if roll < 0.2:
        share = rng.uniform(0.8, 0.95) if calm else rng.uniform(0.5, 0.95)
        less = (max(8, round(width * share)), max(8, round(height * share)))
        method = rng.choice((Image.Resampling.BILINEAR, Image.Resampling.BICUBIC))
        image = image.resize(less, method).resize((width, height), method)
    elif roll < 0.32:
        image = image.filter(
            ImageFilter.GaussianBlur(rng.uniform(0.2, 0.5 if calm else 0.9) * max(image.size) / 256)
        )
    if rng.random() < 0.4:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=rng.randint(55 if calm else 35, 95))
        image = open_own(buffer)
    return image
