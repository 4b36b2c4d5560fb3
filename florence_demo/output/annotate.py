"""An answer drawn into a copy of its picture, to take home."""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from florence_demo.output.tags import (
    anchors_of,
    captions_of,
    colors_of,
    kind_of,
    large_first,
    places_of,
    rgb,
    text_color,
)
from florence_demo.prediction import Detections, Prediction, bounds


def annotate(
    image: Image.Image,
    found: Prediction | Detections,
    *,
    scores: bool = False,
    held: dict[str, str] | None = None,
) -> Image.Image:
    """Return a copy of a picture with everything that was found drawn on it, at full resolution.

    Args:
        image: The original picture.
        found: What was found, in this picture's pixels.
        scores: Write the score beside the label where there is one.
        held: Colours that names have already, extended: for pictures that follow one another.
    """
    found = found.detections if isinstance(found, Prediction) else found
    canvas = image.copy() if image.mode == "RGB" else image.convert("RGB")
    if not len(found):
        return canvas
    side = math.sqrt(canvas.width * canvas.height)
    line = max(2, round(side / 400))
    order, colors = large_first(found), colors_of(found.labels, held)
    draw = ImageDraw.Draw(canvas)
    for i in sorted(order, key=lambda i: not found.polygons[i]):  # no mask over a box's line
        if found.polygons[i]:
            _draw_rings(canvas, found, i, line, rgb(colors[i]))
        else:
            _draw_box(draw, found, i, line, rgb(colors[i]))
    captions = captions_of(found, scores=scores)
    tagged = [_Tag(i, captions[i], colors[i]) for i in order if captions[i]]
    _write_tags(draw, found, tagged, side)
    return canvas


class _Tag(NamedTuple):
    """Hold what is written at a place: which one, the words and their colour."""

    at: int
    caption: str
    color: str


_Rgb = tuple[int, int, int]


def _draw_box(
    draw: ImageDraw.ImageDraw, found: Detections, index: int, line: int, color: _Rgb
) -> None:
    shade = tuple(v // 4 for v in color)  # a dark rim keeps the line visible on its own colour
    x1, y1, x2, y2 = found.xyxy[index].round().tolist()
    draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=shade, width=line + 2)
    draw.rectangle((x1, y1, x2, y2), outline=color, width=line)


def _draw_rings(canvas: Image.Image, found: Detections, index: int, line: int, color: _Rgb) -> None:
    """Lay an instance's colour over it, touching only its own rectangle."""
    corners = bounds(found.polygons[index])
    left, top = (max(0, math.floor(v) - line) for v in corners[:2])
    right = min(canvas.width, math.ceil(corners[2]) + line + 1)
    bottom = min(canvas.height, math.ceil(corners[3]) + line + 1)
    if right <= left or bottom <= top:
        return
    mask = Image.new("L", (right - left, bottom - top))
    draw = ImageDraw.Draw(mask)
    rings = [(ring - (left, top)).ravel().tolist() for ring in found.polygons[index]]
    for ring in rings:
        draw.line(ring + ring[:4], fill=255, width=2 * line, joint="curve")
    # the areas after all lines: what is left of the lines goes around the union of the parts
    for ring in rings:
        draw.polygon(ring, fill=20 if kind_of(found, index) == "quad" else 96)
    canvas.paste(color, (left, top, right, bottom), mask)


def _write_tags(
    draw: ImageDraw.ImageDraw, found: Detections, tagged: list[_Tag], side: float
) -> None:
    """Write the captions, all after all shapes, so that no line crosses a word."""
    width, height = draw.im.size
    letter = max(11, round(side / 62))
    tall, pad = round(letter * 1.4), round(letter * 0.35)
    room = min(width, max(letter * 6, width * 0.45)) - 2 * pad
    texts = []
    for tag in tagged:
        font = _font(letter, any(c >= "\u2e80" for c in tag.caption))
        texts.append((_shorten(tag.caption, font.getlength, room), font))
    tags = [(font.getlength(text) + 2 * pad, float(tall)) for text, font in texts]
    anchors = anchors_of(found, [tag.at for tag in tagged], tags, (width, height))
    places = places_of(anchors, tags, (width, height))
    for tag, (text, font), (wide, _), place in zip(tagged, texts, tags, places, strict=True):
        x, y = round(place.x), round(place.y)
        corners = (x, y, min(x + math.ceil(wide), width) - 1, y + tall - 1)
        draw.rounded_rectangle(corners, radius=round(letter * 0.22), fill=rgb(tag.color))
        middle = y + tall / 2
        draw.text((x + pad, middle), text, fill=text_color(tag.color), font=font, anchor="lm")


def _shorten(text: str, measure: Callable[[str], float], room: float) -> str:
    """Return a text, cut with an ellipsis where it is longer than there is room."""
    if measure(text) <= room:
        return text
    low, high = 0, len(text)  # the longest beginning that fits lies in [low, high)
    while high - low > 1:
        middle = (low + high) // 2
        if measure(text[:middle].rstrip() + "…") <= room:
            low = middle
        else:
            high = middle
    return text[:low].rstrip() + "…"


_WIDE_FONTS = (
    "NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "wqy-microhei.ttc",
    "DroidSansFallbackFull.ttf", "DroidSansFallback.ttf", "PingFang.ttc", "Hiragino Sans GB.ttc",
    "msyh.ttc", "msgothic.ttc", "malgun.ttf", "Arial Unicode.ttf",
)  # fmt: skip


@functools.lru_cache(maxsize=32)
def _font(size: int, wide: bool) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return a font for tags, one with East Asian signs where the system has such a font."""
    names = [*_WIDE_FONTS] if wide else []
    # DejaVu knows Latin, Greek, Cyrillic, Arabic and more; finding the package does not import it
    package = importlib.util.find_spec("matplotlib")
    if package is not None and package.origin is not None:
        fonts = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf"
        names.append(str(fonts / "DejaVuSans-Bold.ttf"))
    for name in [*names, "DejaVuSans-Bold.ttf", "DejaVuSans.ttf", "arialbd.ttf", "Arial Bold.ttf"]:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)
