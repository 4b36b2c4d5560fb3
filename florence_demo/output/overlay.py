"""How an answer is drawn: an overlay for the browser, a picture to download.

Knows colours, tags and their places. Does not know tasks or models: whatever has boxes, polygons
and labels is drawn the same way. A label is a stranger's text (it may be read from the picture),
so nothing of it reaches the page unescaped.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from florence_demo.output.reading_order import order_of
from florence_demo.output.tags import (
    ALWAYS,
    Place,
    anchors_of,
    area_of,
    captions_of,
    colors_of,
    kind_of,
    large_first,
    places_of,
    text_color,
    visible,
)
from florence_demo.prediction import Detections, FloatArray, Prediction

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
.fd-item.fd-picked .fd-hit{fill-opacity:0;stroke:#fff;stroke-width:5px;
  filter:drop-shadow(0 0 1px #000) drop-shadow(0 0 2px #000)}
.fd-label{position:absolute;box-sizing:border-box;height:1.5em;padding:0 .45em;overflow:hidden;
  white-space:nowrap;text-overflow:ellipsis;unicode-bidi:isolate;border-radius:.3em;
  color:var(--t);background:var(--c);box-shadow:0 0 2px rgb(0 0 0/.6);transition:opacity .12s}
.fd-crowded .fd-label{opacity:0}
.fd-overlay:has(.fd-item:is(:hover,:focus-visible,.fd-on)) .fd-label{opacity:.15}
.fd-overlay .fd-item:is(:hover,:focus-visible,.fd-on){z-index:1}
.fd-overlay .fd-item:is(:hover,:focus-visible,.fd-on) .fd-label{opacity:1}
.fd-overlay.fd-crowded:has(.fd-item:is(:hover,:focus-visible,.fd-on)) .fd-item:not(:is(:hover,
  :focus-visible,.fd-on)) .fd-label{opacity:0}
.fd-text{fill:transparent;font-family:system-ui,sans-serif;pointer-events:all;cursor:text;
  user-select:text;-webkit-user-select:text}
.fd-text::selection{background:rgb(0 120 255/.4);fill:transparent}
.fd-overlay [hidden],.fd-shape[hidden]{display:none}
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
    words: bool = False,
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
        words: Write lines of text into their places, unseen, to be selected as in a PDF.
    """
    if isinstance(found, Prediction):
        size, found = size or found.size, found.detections
    if size is None:
        raise ValueError("size must be given with Detections, got None")
    if not len(found):
        return ""
    lined = words and all(kind_of(found, i) == "quad" for i in range(len(found)))
    # Of lines one is selected after the other, and none lies in another.
    order = _read_first(found) if lined else large_first(found)
    captions = captions_of(found, scores=scores)
    view = f'viewBox="0 0 {size[0]} {size[1]}" preserveAspectRatio="none" aria-hidden="true"'
    outlines, colors = {i: _path(found, i) for i in order}, colors_of(found.labels)
    areas, lines = _shapes(found, outlines, colors)
    unit = size[0] / _PAGE_WIDTH
    widths = [min(_PAGE_WIDEST, len(captions[i]) * _PAGE_LETTER + 12) for i in order]
    tags = [(width * unit, _PAGE_TAG * unit) for width in widths]
    anchors = anchors_of(found, order, tags, size)
    places = places_of(anchors, tags, size)
    items = []
    for i, anchor, place in zip(order, anchors, places, strict=True):
        spoken = _escape(captions[i] or "one place")
        at = _position(anchor, size, place)
        label = f'<span class="fd-label" style="{at}">{spoken}</span>' if captions[i] else ""
        items.append(
            f'<div class="fd-item" tabindex="0" role="img" aria-label="{spoken}" data-index="{i}"'
            f' style="--c:{colors[i]};--t:{text_color(colors[i])}">'
            f'<svg {view}><path class="fd-hit" d="{outlines[i]}"/>'
            f"{_line(found, i) if lined else ''}</svg>{label}</div>"
        )
    crowded = " fd-crowded" if len(found) > always else ""
    return (
        f'<div class="fd-overlay{crowded}" role="group" aria-label="What was found">'
        f'<svg class="fd-shapes" {view}><g>{areas}</g>'
        f'<g class="fd-lines">{lines}</g></svg>{"".join(items)}</div>'
    )


def _shapes(found: Detections, outlines: dict[int, str], colors: Sequence[str]) -> tuple[str, str]:
    """Return the paths of areas, then those of boxes, in the order to draw in."""
    areas: list[str] = []
    lines: list[str] = []
    for i, outline in outlines.items():
        kind = kind_of(found, i)
        shape = (
            f'<path class="fd-shape fd-{kind}" data-shape="{i}" style="--c:{colors[i]}"'
            f' d="{outline}"/>'
        )
        (lines if kind == "box" else areas).append(shape)
    return "".join(areas), "".join(lines)


def _read_first(found: Detections) -> list[int]:
    """Return the order in which lines are read; those without text come last."""
    read = order_of(found)
    return [*read, *sorted(set(range(len(found))) - set(read))]


def _line(found: Detections, index: int) -> str:
    """Return a line's text as wide and high as its place, for the eye of a cursor alone."""
    text = visible(found.labels[index])
    ring = found.polygons[index][0].astype(float)
    along, down = ring[1] - ring[0], ring[3] - ring[0]
    wide, high = math.hypot(*along), math.hypot(*down)
    if not text or wide < 1 or high < 1:
        return ""
    x, y = ring[0] + down / 2
    turn = math.degrees(math.atan2(along[1], along[0]))
    return (
        f'<text class="fd-text" font-size="{_number(0.8 * high)}" textLength="{_number(wide)}"'
        f' lengthAdjust="spacingAndGlyphs" dominant-baseline="central"'
        f' transform="translate({_number(x)} {_number(y)}) rotate({_number(turn)})">'
        f"{_escape(text)}</text>"
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
    return ring if area_of(ring) >= 0 else ring[::-1]


def _number(value: float) -> str:
    return f"{float(value):.1f}".removesuffix(".0")


def _position(box: FloatArray, size: tuple[int, int], place: Place) -> str:
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
