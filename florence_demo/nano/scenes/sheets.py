"""Signs, pages, receipts, forms, tables and charts: drawn sheets that know what they say.

Knows how a line is set in a font, where each of its characters lies, and which facts a document
states. Does not know the scene that a sheet is laid into, nor how a truth about it is worded.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from florence_demo.nano.scenes.types import TextLine
from florence_demo.nano.scenes.words import CITIES, NAMES, SIGNS, WORDS
from florence_demo.prediction import FloatArray

Ink = tuple[int, int, int]
Font = ImageFont.FreeTypeFont

SMALLEST = 14.0
"""Font size in pixels at a longer side of 256: below it an x is under 7 pixels high."""

PLATES: dict[str, tuple[Ink, Ink]] = {
    "white": ((250, 250, 248), (20, 20, 24)),
    "yellow": ((250, 212, 40), (24, 20, 10)),
    "red": ((200, 30, 36), (255, 255, 255)),
    "blue": ((28, 74, 168), (255, 255, 255)),
    "green": ((20, 112, 62), (255, 255, 255)),
    "black": ((24, 24, 28), (248, 248, 244)),
    "orange": ((244, 138, 30), (26, 16, 6)),
    "pink": ((250, 176, 204), (60, 10, 40)),
}


@dataclass(frozen=True, eq=False)
class Sheet:
    """Hold a drawn layer and what is written on it, in the layer's own pixels.

    Attributes:
        image: RGBA layer.
        lines: In reading order.
        facts: Questions a document answers, with the answer as it is written.
        about: Words for the captions, such as the colour of a plate or the number of items.
    """

    image: Image.Image
    lines: tuple[TextLine, ...]
    facts: tuple[tuple[str, str], ...] = ()
    about: dict[str, str] = field(default_factory=dict)


@functools.lru_cache(maxsize=512)
def font_at(path: Path | None, pixels: int) -> Font:
    """Open a font file at a size; None is Pillow's own font."""
    if path is None:
        return ImageFont.load_default(pixels)  # type: ignore[return-value]
    return ImageFont.truetype(str(path), pixels, layout_engine=ImageFont.Layout.BASIC)


@dataclass(frozen=True, eq=False)
class _Glyph:
    """Hold one drawn character: its ink, where the ink lies from the pen, and how far to go on."""

    ink: Image.Image | None
    box: tuple[int, int, int, int]
    advance: float


# Setting a line anew costs a millisecond, most of it spent on loading the same few glyphs.
@functools.lru_cache(maxsize=60_000)
def _glyph(path: Path | None, pixels: int, char: str) -> _Glyph:
    font = font_at(path, pixels)
    left, top, right, bottom = (round(v) for v in font.getbbox(char))
    advance = float(font.getlength(char))
    if right <= left or bottom <= top:
        return _Glyph(None, (0, 0, 0, 0), advance)
    ink = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(ink).text((-left, -top), char, font=font, fill=255)
    return _Glyph(ink, (left, top, right, bottom), advance)


def _ladder(pixels: float) -> int:
    """Return the next smaller of a few font sizes, so that glyphs are drawn again and again."""
    coarse = 1 if pixels < 20 else 2 if pixels < 32 else 4 if pixels < 64 else 8
    return max(6, int(pixels) // coarse * coarse)


@dataclass(frozen=True, eq=False)
class Style:
    """Say how a line is set: font file, size in pixels, colour."""

    path: Path | None
    pixels: int
    ink: Ink

    @property
    def font(self) -> Font:
        """Return the opened font."""
        return font_at(self.path, self.pixels)

    def width(self, text: str) -> float:
        """Return the advance of a line in pixels, pairs of letters not drawn together."""
        return sum(_glyph(self.path, self.pixels, c).advance for c in text)

    def sized(self, factor: float) -> Style:
        """Return the same style, larger or smaller."""
        return Style(self.path, _ladder(self.pixels * factor), self.ink)


class Writer:
    """Draw lines on a layer and remember where they and their characters are."""

    def __init__(self, size: tuple[int, int], paper: Ink | None) -> None:
        fill = (0, 0, 0, 0) if paper is None else (*paper, 255)
        self.image = Image.new("RGBA", size, fill)
        self.pen = ImageDraw.Draw(self.image)
        self.lines: list[TextLine] = []

    def put(self, text: str, at: tuple[float, float], style: Style, anchor: str = "la") -> None:
        """Write one line.

        Args:
            text: What to write.
            at: Where, in pixels of the layer.
            style: How.
            anchor: "la" when ``at`` is the top left, "ma" the top middle, "ra" the top right.
        """
        x, y = at
        width = style.width(text)
        x = round(x - {"l": 0.0, "m": width / 2, "r": width}[anchor[0]])
        y = round(y)
        boxes, ends = [], [float(x)]
        for char in text:
            glyph = _glyph(style.path, style.pixels, char)
            if glyph.ink is not None:
                left, top, right, bottom = glyph.box
                pen = round(ends[-1])
                self.image.paste(style.ink, (pen + left, y + top), glyph.ink)
                boxes.append((pen + left, y + top, pen + right, y + bottom))
            ends.append(ends[-1] + glyph.advance)
        lefts, tops, rights, bottoms = zip(*boxes, strict=True)
        left, top, right, bottom = min(lefts), min(tops), max(rights), max(bottoms)
        chars = np.empty((len(text), 4), np.float32)
        chars[:, 0], chars[:, 2] = ends[:-1], ends[1:]
        chars[:, 1], chars[:, 3] = top, bottom
        quad = [(left, top), (right, top), (right, bottom), (left, bottom)]
        self.lines.append(TextLine(text, np.array(quad, np.float32), chars))

    def sheet(
        self, facts: Sequence[tuple[str, str]] = (), about: dict[str, str] | None = None
    ) -> Sheet:
        """Return what was drawn."""
        return Sheet(self.image, tuple(self.lines), tuple(facts), about or {})


@dataclass(frozen=True, eq=False)
class Desk:
    """Hold what a layout needs: the dice, the room, one pixel of a 256 px picture, the fonts."""

    rng: random.Random
    room: tuple[int, int]
    unit: float
    fonts: tuple[Path, ...]

    def style(self, low: float, high: float, ink: Ink) -> Style:
        """Choose a font and a size between two, given at 256 px."""
        path = self.rng.choice(self.fonts) if self.fonts else None
        return Style(path, _ladder(self.rng.uniform(low, high) * self.unit), ink)


def _code(rng: random.Random) -> str:
    """Return a made-up string of letters and digits, so that reading means spelling."""
    upper, digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
    shape = rng.choice(
        ("AA 00 AAA", "A-000", "000-000", "AA-0000", "00:00", "00/00/0000", "A00", "000")
    )
    return "".join(
        rng.choice(upper) if c == "A" else rng.choice(digits) if c == "0" else c for c in shape
    )


def _syllables(rng: random.Random) -> str:
    """Return a word that is in no dictionary."""
    parts = [
        rng.choice("bcdfghjklmnprstvwz")
        + rng.choice(("a", "e", "i", "o", "u", "é", "ö") if rng.random() < 0.1 else "aeiouy")
        + rng.choice(("", "", "n", "r", "s", "l", "t"))
        for _ in range(rng.randint(1, 3))
    ]
    return "".join(parts)


def word(rng: random.Random) -> str:
    """Return one word of running text, now and then a made-up one or a number."""
    roll = rng.random()
    if roll < 0.72:
        text = rng.choice(WORDS)
    elif roll < 0.84:
        text = _syllables(rng)
    elif roll < 0.93:
        text = str(rng.choice((rng.randint(0, 9), rng.randint(10, 99), rng.randint(100, 9999))))
    else:
        text = rng.choice(NAMES + CITIES).split()[0]
    return text


def in_case(rng: random.Random, text: str) -> str:
    """Return a text in capitals, with capital initials, or as it is."""
    roll = rng.random()
    return text.upper() if roll < 0.45 else text.title() if roll < 0.65 else text


def sign_text(rng: random.Random) -> list[str]:
    """Return the one to three lines of a sign."""
    roll = rng.random()
    if roll < 0.45:
        text = in_case(rng, rng.choice(SIGNS))
    elif roll < 0.6:
        text = _code(rng)
    elif roll < 0.7:
        text = (
            f"{rng.choice('$€£')}{price(rng)}" if rng.random() < 0.6 else f"{rng.randint(5, 90)}%"
        )
    else:
        text = in_case(rng, " ".join(word(rng) for _ in range(rng.randint(1, 4))))
    words = text.split(" ")
    if len(words) < 2 or rng.random() < 0.3:
        return [text]
    count = min(len(words), rng.randint(1, 3))
    cuts = [round(i * len(words) / count) for i in range(count + 1)]
    return [" ".join(words[a:b]) for a, b in itertools.pairwise(cuts) if b > a]


def price(rng: random.Random) -> str:
    """Return an amount of money without its currency."""
    whole = rng.choice((rng.randint(0, 9), rng.randint(10, 99)))
    cents = rng.choice((rng.randint(0, 99), 50, 0, 99, 95))
    return f"{whole}.{cents:02d}"


def sign(desk: Desk, *, label: bool = False) -> Sheet | None:
    """Draw a plate with large letters; a label is a small one line plate.

    Returns:
        None where the text would have to be too small to be read.
    """
    rng, unit = desk.rng, desk.unit
    name = rng.choice(tuple(PLATES))
    paper, ink = PLATES[name]
    rows = sign_text(rng)
    if label and len(" ".join(rows)) > 14:
        rows = [rng.choice(rows)]
    style = desk.style(17, 24, ink) if label else desk.style(20, 64, ink)
    widest = max(style.width(row) for row in rows)
    pad = style.pixels * rng.uniform(0.3, 0.6)
    step = style.pixels * rng.uniform(1.15, 1.35)
    fits = min(
        (desk.room[0] - 2 * pad) / widest,
        (desk.room[1] - 2 * pad) / (step * len(rows)),
        1.0,
    )
    if style.pixels * fits < (SMALLEST + 1) * unit:
        return None
    style, pad, step = style.sized(fits), pad * fits, step * fits
    widest = max(style.width(row) for row in rows)
    size = (math.ceil(widest + 2 * pad), math.ceil(step * len(rows) + 1.6 * pad))
    writer = Writer(size, None)
    corner = rng.choice((0.0, 0.1, 0.25)) * min(size)
    writer.pen.rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), corner, fill=(*paper, 255))
    if rng.random() < 0.5:
        edge = max(1, round(rng.uniform(1, 3) * unit))
        inset = rng.choice((0, 1)) * edge
        box = (inset, inset, size[0] - 1 - inset, size[1] - 1 - inset)
        writer.pen.rounded_rectangle(box, corner, outline=(*ink, 255), width=edge)
    for i, row in enumerate(rows):
        writer.put(row, (size[0] / 2, 0.8 * pad + i * step), style, "ma")
    return writer.sheet(about={"color": name})


_CORNERS = [0, 1, 2, 1, 2, 3, 0, 3]


def place(
    line: TextLine, at: tuple[float, float], turn: FloatArray, center: FloatArray
) -> TextLine:
    """Return a line moved with its sheet: turned about the sheet's centre, then shifted.

    Args:
        line: In the sheet's own pixels.
        at: Where the centre of the sheet goes.
        turn: (2, 2) rotation.
        center: (2,) centre of the sheet.
    """
    target = np.asarray(at, np.float32)
    quad = (line.quad - center) @ turn.T + target
    corners = line.chars[:, _CORNERS].reshape(-1, 4, 2)
    moved = (corners - center) @ turn.T + target
    chars = np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1)
    return TextLine(line.text, quad.astype(np.float32), chars.astype(np.float32))
