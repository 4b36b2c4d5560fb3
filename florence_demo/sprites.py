"""The cut-outs, fonts and backgrounds that a synthetic scene is put together from.

Knows the classes, how an object is painted in a colour, and how to lay a sprite into a box at any
size and angle. Does not know scenes or truths. ``python -m florence_demo.sprites DEST`` fills the
folder that ``Library.load`` reads; ``Library.drawn`` draws a small library of its own.
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from florence_demo.errors import DatasetError

CODE_POINTS: dict[str, tuple[str, ...]] = {
    "dog": ("1f415", "1f436"),
    "cat": ("1f408", "1f431"),
    "horse": ("1f40e", "1f434"),
    "cow": ("1f404", "1f42e"),
    "pig": ("1f416", "1f437"),
    "sheep": ("1f411", "1f40f"),
    "elephant": ("1f418",),
    "lion": ("1f981",),
    "rabbit": ("1f407", "1f430"),
    "duck": ("1f986",),
    "penguin": ("1f427",),
    "fish": ("1f41f", "1f420"),
    "turtle": ("1f422",),
    "frog": ("1f438",),
    "butterfly": ("1f98b",),
    "bee": ("1f41d",),
    "snail": ("1f40c",),
    "car": ("1f697", "1f699"),
    "bus": ("1f68c", "1f68d"),
    "truck": ("1f69a", "1f69b"),
    "bicycle": ("1f6b2",),
    "motorcycle": ("1f3cd",),
    "airplane": ("2708", "1f6e9"),
    "helicopter": ("1f681",),
    "rocket": ("1f680",),
    "boat": ("26f5", "1f6a4"),
    "ship": ("1f6a2", "1f6f3"),
    "apple": ("1f34e", "1f34f"),
    "banana": ("1f34c",),
    "orange": ("1f34a",),
    "strawberry": ("1f353",),
    "grapes": ("1f347",),
    "watermelon": ("1f349",),
    "pineapple": ("1f34d",),
    "carrot": ("1f955",),
    "pizza": ("1f355",),
    "hamburger": ("1f354",),
    "cake": ("1f382", "1f370"),
    "donut": ("1f369",),
    "bread": ("1f35e", "1f956"),
    "cup": ("2615", "1f375"),
    "tree": ("1f333", "1f332"),
    "cactus": ("1f335",),
    "sunflower": ("1f33b",),
    "rose": ("1f339",),
    "mushroom": ("1f344",),
    "house": ("1f3e0", "1f3e1"),
    "umbrella": ("2602", "2614"),
    "clock": ("23f0", "1f570", "1f552"),
    "chair": ("1fa91",),
    "book": ("1f4d5", "1f4d6", "1f4d8"),
    "key": ("1f511", "1f5dd"),
    "guitar": ("1f3b8",),
    "camera": ("1f4f7", "1f4f8"),
    "laptop": ("1f4bb",),
    "phone": ("1f4f1", "260e"),
    "scissors": ("2702",),
    "hammer": ("1f528",),
    "backpack": ("1f392",),
    "shoe": ("1f45f", "1f45e"),
    "shirt": ("1f455",),
    "ball": ("26bd", "1f3c0", "1f3d0"),
    "balloon": ("1f388",),
    "gift": ("1f381",),
    "bear": ("1f43b",),
    "tiger": ("1f405", "1f42f"),
    "monkey": ("1f412", "1f435"),
    "giraffe": ("1f992",),
    "owl": ("1f989",),
    "octopus": ("1f419",),
    "whale": ("1f433", "1f40b"),
    "crab": ("1f980",),
    "train": ("1f686", "1f682"),
    "tractor": ("1f69c",),
    "lemon": ("1f34b",),
    "pear": ("1f350",),
    "hat": ("1f3a9", "1f452"),
    "glasses": ("1f453",),
    "crown": ("1f451",),
    "bell": ("1f514",),
    "drum": ("1f941",),
    "snowman": ("26c4",),
    "robot": ("1f916",),
    "star": ("2b50",),
}
"""Class name to the Unicode code points of its drawings, the usual one first."""

CLASSES: tuple[str, ...] = tuple(CODE_POINTS)

# Hue in degrees, saturation, value: far enough apart that a person names them at a glance.
COLORS: dict[str, tuple[float, float, float]] = {
    "red": (357.0, 0.84, 0.86),
    "orange": (27.0, 0.92, 0.97),
    "yellow": (50.0, 0.88, 0.98),
    "green": (130.0, 0.70, 0.66),
    "blue": (216.0, 0.80, 0.88),
    "purple": (276.0, 0.64, 0.74),
    "pink": (334.0, 0.46, 0.98),
}

PAINTED = frozenset(
    [
        "car",
        "bus",
        "truck",
        "bicycle",
        "motorcycle",
        "helicopter",
        "fish",
        "butterfly",
        "umbrella",
        "chair",
        "book",
        "guitar",
        "backpack",
        "shoe",
        "shirt",
        "balloon",
        "gift",
        "star",
        "tractor",
    ]
)
"""Classes that come in any colour, so that their colour is always painted and named."""

# These are drawn in several hues at once; all of them change, not the leading one alone.
_ALL_HUES = frozenset(["bicycle", "motorcycle", "fish", "butterfly", "shoe", "guitar"])

_WINDOWS = frozenset(["car", "bus", "truck", "tractor", "helicopter"])

TRAIN_STYLES = ("fluent", "flat", "noto", "noto1", "fx")
HELD_OUT_STYLES = ("twemoji",)
HELD_OUT_FONTS = (
    "LiberationSerif",
    "LiberationMono",
    "RobotoCondensed",
    "NotoSerifDisplay",
    "Lato-Black",
)
"""Beginnings of the font files that training never sees."""

# Drawings that show something else, or the thing within a square scene of its own.
_UNUSABLE = frozenset(
    [
        "fx/boat-0",
        "fx/ship-0",
        "fx/laptop-0",
        "noto1/laptop-0",
        "noto1/train-0",
        "noto1/ball-1",
        "fx/umbrella-0",
    ]
)


@dataclass(frozen=True, eq=False)
class Sprite:
    """Hold one cut-out, opened when it is first needed.

    Attributes:
        label: Class name.
        style: Name of the drawing style.
        read: Returns the RGBA picture, cut to what is opaque.
    """

    label: str
    style: str
    read: Callable[[], Image.Image]
    _levels: dict[str | None, list[Image.Image]] = field(default_factory=dict)

    def levels(self, color: str | None) -> list[Image.Image]:
        """Return the picture in a colour at shrinking sizes, the largest first."""
        if color not in self._levels:
            picture = self.read()
            if color is not None:
                picture = paint(
                    picture,
                    color,
                    all_hues=self.label in _ALL_HUES,
                    windows=self.label in _WINDOWS,
                )
            levels = [picture.convert("RGBa")]
            # Steps of 1/sqrt 2, so that laying a sprite never shrinks so far that it flickers.
            while max(levels[-1].size) > 24:
                width, height = levels[-1].size
                size = (max(1, round(width * 0.7071)), max(1, round(height * 0.7071)))
                levels.append(levels[-1].resize(size, Image.Resampling.BOX, reducing_gap=None))
            self._levels[color] = levels
        return self._levels[color]


def paint(
    picture: Image.Image, color: str, *, all_hues: bool = False, windows: bool = False
) -> Image.Image:
    """Return a picture with its leading colour changed, shading kept.

    Args:
        picture: RGBA.
        color: One of ``COLORS``.
        all_hues: Change every strong colour, not the leading one alone.
        windows: Leave blue glass as it is, where the rest has a colour of its own.
    """
    alpha = np.asarray(picture.getchannel("A"))
    hsv = np.asarray(picture.convert("RGB").convert("HSV")).astype(np.float32)
    hue, saturation, value = hsv[..., 0] * (360 / 255), hsv[..., 1] / 255, hsv[..., 2] / 255
    strong = (alpha > 60) & (saturation > 0.28) & (value > 0.2)
    opaque = int((alpha > 60).sum())
    if strong.sum() > 0.12 * opaque:
        chosen = strong
        glass = strong & (hue > 172) & (hue < 238)
        if windows and (strong & ~glass).sum() > 0.12 * opaque:
            strong = chosen = strong & ~glass
        if not all_hues:
            counts, _ = np.histogram(hue[strong], bins=24, range=(0, 360))
            around = counts + np.roll(counts, 1) + np.roll(counts, -1)
            leading = (int(around.argmax()) + 0.5) * 15
            distance = np.abs((hue - leading + 180) % 360 - 180)
            chosen = strong & (distance < 36)
    else:
        chosen = (alpha > 60) & (value > 0.3)
    target_hue, target_saturation, target_value = COLORS[color]
    middle = float(np.median(value[chosen])) if chosen.any() else 1.0
    shade = np.clip(value / max(middle, 0.05), 0.35, 1.35)
    new_value = np.clip(target_value * shade, 0.0, 1.0)
    # What is brighter than the target can show turns paler instead: highlights stay highlights.
    excess = np.clip(target_value * shade - 1.0, 0.0, 0.4)
    new_saturation = np.clip(target_saturation * (1 - 1.4 * excess), 0, 1)
    out = hsv.copy()
    out[..., 0] = np.where(chosen, target_hue * (255 / 360), hsv[..., 0])
    out[..., 1] = np.where(chosen, new_saturation * 255, hsv[..., 1])
    out[..., 2] = np.where(chosen, new_value * 255, hsv[..., 2])
    painted = Image.fromarray(out.astype(np.uint8), "HSV").convert("RGB")
    painted.putalpha(picture.getchannel("A"))
    return painted


@dataclass(frozen=True)
class Pose:
    """Say how a sprite lies: its size before turning, a mirror, an angle.

    Attributes:
        width: Pixels.
        height: Pixels.
        flip: Whether it is mirrored left to right.
        angle: Degrees clockwise.
    """

    width: float
    height: float
    flip: bool = False
    angle: float = 0.0


def lay(sprite: Sprite, color: str | None, pose: Pose) -> Image.Image:
    """Return the sprite drawn in a pose: RGBA, just large enough to hold it."""
    levels = sprite.levels(color)
    need = max(pose.width / levels[0].width, pose.height / levels[0].height)
    step = 0 if need >= 1 else min(len(levels) - 1, int(math.log(need) / math.log(0.7071)))
    source = levels[step]
    turn = math.radians(pose.angle)
    cos, sin = math.cos(turn), math.sin(turn)
    width = max(2, math.ceil(abs(pose.width * cos) + abs(pose.height * sin)))
    height = max(2, math.ceil(abs(pose.width * sin) + abs(pose.height * cos)))
    scale_x = source.width / pose.width * (-1 if pose.flip else 1)
    scale_y = source.height / pose.height
    a, b = cos * scale_x, sin * scale_x
    d, e = -sin * scale_y, cos * scale_y
    c = source.width / 2 - a * width / 2 - b * height / 2
    f = source.height / 2 - d * width / 2 - e * height / 2
    laid = source.transform(
        (width, height),
        Image.Transform.AFFINE,
        (a, b, c, d, e, f),
        resample=Image.Resampling.BICUBIC,
    ).convert("RGBA")
    if need > 1.25:
        # An enlarged edge is soft; a steeper ramp makes it a cut-out again.
        steep = min(need, 4.0)
        ramp = [round(min(255.0, max(0.0, (v - 128) * steep + 128))) for v in range(256)]
        laid.putalpha(laid.getchannel("A").point(ramp))
    return laid


@dataclass(frozen=True, eq=False)
class Library:
    """Hold what scenes are drawn from.

    Attributes:
        name: Says which library it is; part of a scene's seed.
        sprites: Class name to its cut-outs, the usual drawings of every style.
        fonts: Font files; empty where Pillow's own font is to be used.
        backgrounds: Name to photograph, RGB.
    """

    name: str
    sprites: dict[str, tuple[Sprite, ...]]
    fonts: tuple[Path, ...]
    backgrounds: dict[str, Image.Image]

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the class names that can be drawn, in the order of ``CLASSES``."""
        return tuple(label for label in CLASSES if label in self.sprites)

    @classmethod
    def load(
        cls,
        folder: Path,
        styles: Sequence[str] = TRAIN_STYLES,
        fonts: Sequence[str] | None = None,
    ) -> Library:
        """Open the folder that ``python -m florence_demo.sprites`` has filled.

        Args:
            folder: Where the sprites are.
            styles: Names of the drawing styles to use.
            fonts: Beginnings of the names of the font files to use; None takes all but
                ``HELD_OUT_FONTS``.

        Raises:
            DatasetError: The folder does not hold the sprites of these styles.
        """
        sprites: dict[str, list[Sprite]] = {}
        for style in styles:
            for path in sorted((folder / style).glob("*.webp")):
                label = path.stem.rsplit("-", 1)[0].replace("_", " ")
                if label in CODE_POINTS and f"{style}/{path.stem}" not in _UNUSABLE:
                    read = functools.partial(_open_sprite, path)
                    sprites.setdefault(label, []).append(Sprite(label, style, read))
        if not sprites:
            raise DatasetError(
                f"{folder} holds no sprites of {', '.join(styles)}; "
                "run python -m florence_demo.sprites first."
            )
        files = sorted((folder / "fonts").glob("*.ttf"))
        if fonts is None:
            chosen = [p for p in files if not p.name.startswith(HELD_OUT_FONTS)]
        else:
            chosen = [p for p in files if p.name.startswith(tuple(fonts))]
        backgrounds = {
            path.stem: Image.open(path).convert("RGB")
            for path in sorted((folder / "backgrounds").glob("*.webp"))
        }
        ready = {label: tuple(found) for label, found in sprites.items()}
        return cls("+".join(styles), ready, tuple(chosen), backgrounds)

    @classmethod
    def drawn(cls) -> Library:
        """Return a small library of plain shapes that needs no file at all."""
        sprites = {}
        for label, draw in _DRAWINGS.items():
            read = functools.partial(_draw_shape, draw)
            sprites[label] = (Sprite(label, "drawn", read),)
        return cls("drawn", sprites, (), {})


def _open_sprite(path: Path) -> Image.Image:
    return Image.open(path).convert("RGBA")


# What a shape is drawn with: ("ellipse" | "polygon" | "rectangle", points in 0..100, colour).
_Drawing = tuple[tuple[str, tuple[float, ...], str], ...]

_DRAWINGS: dict[str, _Drawing] = {
    "dog": (
        ("rectangle", (14, 36, 78, 66), "#a9713c"),
        ("ellipse", (62, 14, 98, 50), "#8a5a2c"),
        ("rectangle", (18, 60, 30, 94), "#8a5a2c"),
        ("rectangle", (62, 60, 74, 94), "#8a5a2c"),
    ),
    "cat": (
        ("ellipse", (10, 26, 90, 96), "#e0a030"),
        ("polygon", (14, 50, 18, 4, 46, 30), "#e0a030"),
        ("polygon", (86, 50, 82, 4, 54, 30), "#e0a030"),
        ("ellipse", (30, 48, 40, 60), "#202020"),
        ("ellipse", (60, 48, 70, 60), "#202020"),
    ),
    "fish": (
        ("ellipse", (4, 24, 76, 76), "#3a86c8"),
        ("polygon", (66, 50, 98, 22, 98, 78), "#2a6090"),
        ("ellipse", (16, 40, 26, 50), "#101010"),
    ),
    "car": (
        ("polygon", (24, 44, 36, 22, 68, 22, 80, 44), "#c03028"),
        ("rectangle", (4, 42, 96, 66), "#c03028"),
        ("ellipse", (14, 56, 36, 80), "#222222"),
        ("ellipse", (64, 56, 86, 80), "#222222"),
    ),
    "apple": (
        ("ellipse", (8, 22, 92, 98), "#c82020"),
        ("rectangle", (46, 2, 54, 26), "#604020"),
    ),
    "tree": (
        ("rectangle", (42, 60, 58, 98), "#70482a"),
        ("polygon", (50, 2, 90, 70, 10, 70), "#2a8a3a"),
    ),
    "house": (
        ("rectangle", (14, 44, 86, 96), "#d8c8a0"),
        ("polygon", (4, 46, 50, 4, 96, 46), "#a04030"),
        ("rectangle", (42, 66, 58, 96), "#604020"),
    ),
    "cup": (
        ("rectangle", (10, 14, 70, 90), "#d8d8e4"),
        ("ellipse", (62, 30, 96, 70), "#b8b8c8"),
    ),
    "book": (
        ("rectangle", (16, 4, 84, 96), "#2850a0"),
        ("rectangle", (22, 88, 84, 94), "#f4f0e4"),
    ),
    "balloon": (
        ("ellipse", (14, 2, 86, 80), "#d02050"),
        ("polygon", (50, 76, 62, 96, 38, 96), "#b01840"),
    ),
    "ball": (
        ("ellipse", (2, 2, 98, 98), "#e8e8e8"),
        ("polygon", (50, 30, 70, 64, 30, 64), "#202020"),
    ),
    "star": (
        (
            "polygon",
            (50, 2, 62, 37, 98, 37, 69, 59, 80, 96, 50, 74, 20, 96, 31, 59, 2, 37, 38, 37),
            "#e8b820",
        ),
    ),
}


def _draw_shape(drawing: _Drawing) -> Image.Image:
    edge = 4 * 96
    picture = Image.new("RGBA", (edge, edge))
    pen = ImageDraw.Draw(picture)
    for shape, points, color in drawing:
        scaled = [v * edge / 100 for v in points]
        getattr(pen, shape)(scaled, fill=color)
    small = picture.resize((96, 96), Image.Resampling.BOX)
    return small.crop(small.getchannel("A").getbbox())


def opaque(picture: Image.Image) -> NDArray[np.bool_]:
    """Return where a picture covers what lies behind it, (H, W) bool."""
    return np.asarray(picture.getchannel("A")) > 127


def main(arguments: Sequence[str] | None = None) -> None:
    """Fetch the sprites, fonts and backgrounds into a folder."""
    from florence_demo.sprite_sources import fetch

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("dest", nargs="?", type=Path, default=Path("build/sprites"))
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"))
    parser.add_argument("--cache", type=Path, help="keep the downloaded packages here")
    options = parser.parse_args(arguments)
    fetch(options.dest.resolve(), CODE_POINTS, options.fonts, options.cache)


if __name__ == "__main__":
    main()
