"""How an answer is drawn: an overlay for the browser, a picture to download.

Knows colours, tags and their places. Does not know tasks or models: whatever has boxes, polygons
and labels is drawn the same way. A label is a stranger's text (it may be read from the picture),
so nothing of it reaches the page unescaped.
"""

from __future__ import annotations

import functools
import html
import importlib.util
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from florence_demo.prediction import Detections, FloatArray, Prediction, bounds

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
    """Return the colour of a label, "#rrggbb", the same everywhere and on every run."""
    name = " ".join(label.split()).casefold()
    return PALETTE[zlib.crc32(name.encode("utf-8", "replace"), _SEED) % len(PALETTE)]


def text_color(background: str) -> str:
    """Return black or white, whichever reads better on a colour (at least 4.58 to 1)."""
    red, green, blue = (_linear(v / 255) for v in _rgb(background))
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue  # WCAG 2.2, relative luminance
    on_black, on_white = (luminance + 0.05) / 0.05, 1.05 / (luminance + 0.05)
    return "#000000" if on_black >= on_white else "#ffffff"


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


# --------------------------------------------------------------------------- what a tag says


def _captions(found: Detections, *, scores: bool) -> list[str]:
    """Return what is written at each detection: its label, or a number where it has none."""
    captions = []
    for i, label in enumerate(found.labels):
        # control and direction characters could reorder or hide what stands beside them
        kept = (c if c.isprintable() or c in "\u200c\u200d" else " " for c in label[: 4 * _LONGEST])
        text = " ".join("".join(kept).split()) or (str(i + 1) if len(found) > 1 else "")
        if len(text) > _LONGEST:
            text = text[: _LONGEST - 1].rstrip() + "…"
        if scores and found.scores is not None:
            text = f"{text} {found.scores[i]:.2f}".strip()
        captions.append(text)
    return captions


def _large_first(found: Detections) -> list[int]:
    """Return the order to draw in, so that a small thing is never hidden by a large one."""
    sides = found.xyxy[:, 2:] - found.xyxy[:, :2]
    return [int(i) for i in np.argsort(-sides[:, 0] * sides[:, 1], kind="stable")]


def _kind(found: Detections, index: int) -> str:
    """Return "box", "quad" (a frame around words, which stay readable) or "mask"."""
    rings = found.polygons[index]
    if not rings:
        return "box"
    return "quad" if len(rings) == 1 and len(rings[0]) == 4 else "mask"


def _anchors(
    found: Detections, order: list[int], tags: list[tuple[float, float]], size: tuple[int, int]
) -> FloatArray:
    """Return the boxes that tags hang on; a mask's is at its middle, where it surely is."""
    boxes = found.xyxy[order]
    for row, (i, tag) in enumerate(zip(order, tags, strict=True)):
        if _kind(found, i) == "mask":
            rings = [np.clip(ring, 0, size).astype(np.float64) for ring in found.polygons[i]]
            middle = _middle(max(rings, key=lambda ring: abs(_area(ring))))
            half = np.array(tag) / 2
            boxes[row] = np.concatenate([middle - half, middle + half])
    return boxes


def _cross(ring: NDArray[Any]) -> NDArray[Any]:
    after = np.roll(ring, -1, axis=0)
    return np.asarray(ring[:, 0] * after[:, 1] - ring[:, 1] * after[:, 0])


def _area(ring: NDArray[Any]) -> float:
    return float(_cross(ring).sum()) / 2


def _middle(ring: NDArray[Any]) -> NDArray[Any]:
    """Return the centre of mass (2,) of a ring's area."""
    area = _area(ring)
    if abs(area) < 1:
        return np.asarray(ring.mean(axis=0))
    pairs = ring + np.roll(ring, -1, axis=0)
    return np.asarray((pairs * _cross(ring)[:, None]).sum(axis=0) / (6 * area))


class _Place(NamedTuple):
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


def _places(
    boxes: FloatArray, tags: list[tuple[float, float]], size: tuple[float, float]
) -> list[_Place]:
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
        places.append(_Place(float(x[best]), float(y[best]), *corner))
    return places


# --------------------------------------------------------------------------- the page

OVERLAY_CSS = """
.fd-overlay{position:absolute;inset:0;overflow:hidden;pointer-events:none;
  font:600 clamp(11px,.5rem + .4vw,18px)/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
.fd-overlay svg{position:absolute;inset:0;width:100%;height:100%;overflow:hidden}
.fd-lines{filter:drop-shadow(0 0 1px rgb(0 0 0/.75))}
.fd-shape{fill:none;stroke:var(--c);stroke-width:2.5px;stroke-linejoin:round;
  vector-effect:non-scaling-stroke}
.fd-mask{fill:var(--c);fill-opacity:.38;stroke-width:2px}
.fd-quad{fill:var(--c);fill-opacity:.08;stroke-width:2px}
.fd-item{position:absolute;inset:0;pointer-events:none;outline:none;border-radius:0}
.fd-hit{fill:transparent;stroke:transparent;stroke-width:10px;stroke-linejoin:round;
  vector-effect:non-scaling-stroke;pointer-events:all;cursor:pointer}
.fd-item:is(:hover,:focus-visible,.fd-on) .fd-hit{fill:var(--c);fill-opacity:.22;stroke:var(--c);
  stroke-width:4px}
.fd-item:focus-visible .fd-hit{stroke-width:6px;
  filter:drop-shadow(0 0 1px #fff) drop-shadow(0 0 2px #000)}
.fd-label{position:absolute;box-sizing:border-box;height:1.5em;padding:0 .45em;overflow:hidden;
  white-space:nowrap;text-overflow:ellipsis;unicode-bidi:isolate;border-radius:.3em;
  color:var(--t);background:var(--c);box-shadow:0 0 2px rgb(0 0 0/.6);transition:opacity .12s}
.fd-crowded .fd-label{opacity:0}
.fd-overlay:has(.fd-item:is(:hover,:focus-visible,.fd-on)) .fd-label{opacity:.15}
.fd-overlay .fd-item:is(:hover,:focus-visible,.fd-on){z-index:1}
.fd-overlay .fd-item:is(:hover,:focus-visible,.fd-on) .fd-label{opacity:1}
.fd-overlay.fd-crowded:has(.fd-item:is(:hover,:focus-visible,.fd-on)) .fd-item:not(:is(:hover,
  :focus-visible,.fd-on)) .fd-label{opacity:0}
@media (prefers-reduced-motion:reduce){.fd-label{transition:none}}
"""
"""The overlay's looks, for the page to include once; only ``--c`` and ``--t`` come from labels."""

# what a tag measures, for choosing its corner, on a page that shows the picture 600 pixels wide
_PAGE_WIDTH, _PAGE_LETTER, _PAGE_TAG, _PAGE_WIDEST = 600.0, 7.4, 21.0, 290.0


def overlay(
    found: Prediction | Detections,
    size: tuple[int, int] | None = None,
    *,
    scores: bool = False,
    always: int = ALWAYS,
) -> str:
    """Return the markup that lies over the picture in the page: shapes, and tags on them.

    The shapes are SVG in the picture's own pixels. The tags are text beside them, since text
    inside a scaled SVG would shrink with the picture, to nothing on a phone. All that was found is
    reached by pointer and Tab key; ``data-index`` tells which row of the answer it is.

    Args:
        found: What was found.
        size: (width, height) of the original picture; a ``Prediction`` knows it.
        scores: Write the score beside the label where there is one.
        always: Up to this many tags are shown at once; more are shown on hover and focus.
    """
    if isinstance(found, Prediction):
        size, found = size or found.size, found.detections
    if size is None:
        raise ValueError("size must be given with Detections, got None")
    if not len(found):
        return ""
    order = _large_first(found)
    captions = _captions(found, scores=scores)
    view = f'viewBox="0 0 {size[0]} {size[1]}" preserveAspectRatio="none" aria-hidden="true"'
    outlines = {i: _path(found, i) for i in order}
    areas: list[str] = []
    lines: list[str] = []
    for i in order:
        kind, color = _kind(found, i), color_of(found.labels[i])
        shape = f'<path class="fd-shape fd-{kind}" style="--c:{color}" d="{outlines[i]}"/>'
        (lines if kind == "box" else areas).append(shape)
    unit = size[0] / _PAGE_WIDTH
    widths = [min(_PAGE_WIDEST, len(captions[i]) * _PAGE_LETTER + 12) for i in order]
    tags = [(width * unit, _PAGE_TAG * unit) for width in widths]
    anchors = _anchors(found, order, tags, size)
    places = _places(anchors, tags, size)
    items = []
    for i, anchor, place in zip(order, anchors, places, strict=True):
        color = color_of(found.labels[i])
        spoken = _escape(captions[i] or "one place")
        at = _position(anchor, size, place)
        label = f'<span class="fd-label" style="{at}">{spoken}</span>' if captions[i] else ""
        items.append(
            f'<div class="fd-item" tabindex="0" role="img" aria-label="{spoken}" data-index="{i}"'
            f' style="--c:{color};--t:{text_color(color)}">'
            f'<svg {view}><path class="fd-hit" d="{outlines[i]}"/></svg>{label}</div>'
        )
    crowded = " fd-crowded" if len(found) > always else ""
    return (
        f'<div class="fd-overlay{crowded}" role="group" aria-label="What was found">'
        f'<svg class="fd-shapes" {view}><g>{"".join(areas)}</g>'
        f'<g class="fd-lines">{"".join(lines)}</g></svg>{"".join(items)}</div>'
    )


def _escape(text: str) -> str:
    # braces and the dollar sign too, in case the markup passes through a template on its way
    escaped = html.escape(text, quote=True)
    return escaped.translate({ord(c): f"&#{ord(c)};" for c in "{}$`"})


def _path(found: Detections, index: int) -> str:
    """Return an SVG path: the rings of an instance, or its box."""
    rings = found.polygons[index]
    if not rings:
        x1, y1, x2, y2 = (_number(v) for v in found.xyxy[index])
        return f"M{x1} {y1}H{x2}V{y2}H{x1}Z"
    return "".join(
        "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in _clockwise(ring)) + "Z"
        for ring in rings
    )


def _clockwise(ring: FloatArray) -> FloatArray:
    """Return a ring in the one direction in which overlapping rings fill as their union."""
    return ring if _area(ring) >= 0 else ring[::-1]


def _number(value: float) -> str:
    return f"{float(value):.1f}".removesuffix(".0")


def _position(box: FloatArray, size: tuple[int, int], place: _Place) -> str:
    """Return CSS that hangs a tag 1.5em high on its box and keeps it inside at any width."""
    x1, y1, x2, y2 = (
        max(0.0, min(100.0, 100.0 * float(v) / side))
        for v, side in zip(box, (*size, *size), strict=True)
    )
    edge = f"{y2 if place.bottom else y1:.2f}%"
    top = edge if place.outside == place.bottom else f"{edge} - 1.5em"
    side = f"right:{100 - x2:.2f}%" if place.right else f"left:{x1:.2f}%"
    room = x2 if place.right else 100 - x1
    return f"top:clamp(0px,{top},100% - 1.5em);{side};max-width:min({room:.2f}%,24em)"


# --------------------------------------------------------------------------- the picture


def annotate(
    image: Image.Image, found: Prediction | Detections, *, scores: bool = False
) -> Image.Image:
    """Return a copy of a picture with everything that was found drawn on it, at full resolution.

    Args:
        image: The original picture.
        found: What was found, in this picture's pixels.
        scores: Write the score beside the label where there is one.
    """
    found = found.detections if isinstance(found, Prediction) else found
    canvas = image.copy() if image.mode == "RGB" else image.convert("RGB")
    if not len(found):
        return canvas
    side = math.sqrt(canvas.width * canvas.height)
    line = max(2, round(side / 400))
    order = _large_first(found)
    draw = ImageDraw.Draw(canvas)
    for i in sorted(order, key=lambda i: not found.polygons[i]):  # no mask over a box's line
        if found.polygons[i]:
            _draw_rings(canvas, found, i, line)
        else:
            _draw_box(draw, found, i, line)
    captions = _captions(found, scores=scores)
    _write_tags(draw, found, [(i, captions[i]) for i in order if captions[i]], side)
    return canvas


def _draw_box(draw: ImageDraw.ImageDraw, found: Detections, index: int, line: int) -> None:
    color = _rgb(color_of(found.labels[index]))
    shade = tuple(v // 4 for v in color)  # a dark rim keeps the line visible on its own colour
    x1, y1, x2, y2 = found.xyxy[index].round().tolist()
    draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=shade, width=line + 2)
    draw.rectangle((x1, y1, x2, y2), outline=color, width=line)


def _draw_rings(canvas: Image.Image, found: Detections, index: int, line: int) -> None:
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
        draw.polygon(ring, fill=20 if _kind(found, index) == "quad" else 96)
    canvas.paste(_rgb(color_of(found.labels[index])), (left, top, right, bottom), mask)


def _write_tags(
    draw: ImageDraw.ImageDraw, found: Detections, tagged: list[tuple[int, str]], side: float
) -> None:
    """Write the captions, all after all shapes, so that no line crosses a word."""
    width, height = draw.im.size
    letter = max(11, round(side / 62))
    tall, pad = round(letter * 1.4), round(letter * 0.35)
    room = min(width, max(letter * 6, width * 0.45)) - 2 * pad
    texts = []
    for _, caption in tagged:
        font = _font(letter, any(c >= "\u2e80" for c in caption))
        texts.append((_shorten(caption, font.getlength, room), font))
    tags = [(font.getlength(text) + 2 * pad, float(tall)) for text, font in texts]
    anchors = _anchors(found, [i for i, _ in tagged], tags, (width, height))
    places = _places(anchors, tags, (width, height))
    for (i, _), (text, font), (wide, _), place in zip(tagged, texts, tags, places, strict=True):
        color = color_of(found.labels[i])
        x, y = round(place.x), round(place.y)
        corners = (x, y, min(x + math.ceil(wide), width) - 1, y + tall - 1)
        draw.rounded_rectangle(corners, radius=round(letter * 0.22), fill=_rgb(color))
        middle = y + tall / 2
        draw.text((x + pad, middle), text, fill=text_color(color), font=font, anchor="lm")


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
