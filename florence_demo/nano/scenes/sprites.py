"""The cut-outs, fonts and backgrounds that a synthetic scene is put together from.

Knows the classes, how an object is painted in a colour, and how to lay a sprite into a box at any
size and angle. Does not know scenes or truths. ``python -m florence_demo.nano.scenes.sprites DEST``
fills the folder that ``Library.load`` reads; ``Library.drawn`` draws a small library of its own.
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
from florence_demo.nano.scenes.catalogue import (
    ALL_HUES,
    CLASSES,
    CODE_POINTS,
    COLORS,
    DRAWINGS,
    HELD_OUT_FONTS,
    HELD_OUT_STYLES,
    PAINTED,
    TRAIN_STYLES,
    UNUSABLE,
    WINDOWS,
    Drawing,
)
from florence_demo.pictures.decoder import open_own

__all__ = [
    "CLASSES",
    "COLORS",
    "HELD_OUT_FONTS",
    "HELD_OUT_STYLES",
    "PAINTED",
    "TRAIN_STYLES",
    "Library",
    "Pose",
    "Sprite",
    "lay",
    "paint",
]


SMALL_EDGE = 160
"""Longer side up to which a shrunken copy of a sprite will do."""


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
    _levels: dict[tuple[str | None, bool], list[Image.Image]] = field(default_factory=dict)

    def levels(self, color: str | None, edge: float = 0.0) -> list[Image.Image]:
        """Return the picture in a colour at shrinking sizes, the largest first.

        Args:
            color: One of ``COLORS``, or None for the colours it was drawn in.
            edge: Longer side it will be drawn at, in pixels.
        """
        # The full size is kept only where large scenes ask for it: in training it would fill
        # the memory of every worker.
        key = (color, edge > SMALL_EDGE)
        if key not in self._levels:
            picture = self.read()
            if not key[1]:
                picture.thumbnail((SMALL_EDGE, SMALL_EDGE), Image.Resampling.BOX)
            if color is not None:
                picture = paint(
                    picture,
                    color,
                    all_hues=self.label in ALL_HUES,
                    windows=self.label in WINDOWS,
                )
            levels = [picture.convert("RGBa")]
            # Steps of 1/sqrt 2, so that laying a sprite never shrinks so far that it flickers.
            while max(levels[-1].size) > 24:
                width, height = levels[-1].size
                size = (max(1, round(width * 0.7071)), max(1, round(height * 0.7071)))
                levels.append(levels[-1].resize(size, Image.Resampling.BOX))
            self._levels[key] = levels
        return self._levels[key]


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
    chosen = _chosen(hsv, alpha > 60, all_hues=all_hues, windows=windows)
    value = hsv[..., 2] / 255
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


def _chosen(
    hsv: NDArray[np.float32], opaque: NDArray[np.bool_], *, all_hues: bool, windows: bool
) -> NDArray[np.bool_]:
    """Return which pixels carry the colour that a thing is named by, (H, W).

    Args:
        hsv: (H, W, 3), 0 to 255.
        opaque: (H, W).
        all_hues: Every strong colour, not the leading one alone.
        windows: But not blue glass.
    """
    hue, saturation, value = hsv[..., 0] * (360 / 255), hsv[..., 1] / 255, hsv[..., 2] / 255
    area = int(opaque.sum())
    strong = opaque & (saturation > 0.28) & (value > 0.2)
    if windows:
        glass = strong & (hue > 172) & (hue < 238)
        other = int((strong & ~glass).sum())
        if other > 0.6 * glass.sum():
            strong = strong & ~glass
        elif glass.sum() < 0.45 * area:
            # Little but glass has a colour: the body is grey.
            strong = np.zeros_like(strong)
    if strong.sum() < 0.12 * area:
        pale: NDArray[np.bool_] = opaque & (saturation <= 0.28) & (value > 0.3)
        return pale
    if all_hues:
        return strong
    counts, _ = np.histogram(hue[strong], bins=24, range=(0, 360))
    around = counts + np.roll(counts, 1) + np.roll(counts, -1)
    leading = (int(around.argmax()) + 0.5) * 15
    distance = np.abs((hue - leading + 180) % 360 - 180)
    leading_pixels: NDArray[np.bool_] = strong & (distance < 36)
    return leading_pixels


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
    levels = sprite.levels(color, max(pose.width, pose.height))
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
        resample=Image.Resampling.BICUBIC if need > 1 else Image.Resampling.BILINEAR,
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
        """Open the folder that ``python -m florence_demo.nano.scenes.sprites`` has filled.

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
                if label in CODE_POINTS and f"{style}/{path.stem}" not in UNUSABLE:
                    read = functools.partial(_open_sprite, path)
                    sprites.setdefault(label, []).append(Sprite(label, style, read))
        if not sprites:
            raise DatasetError(
                f"{folder} holds no sprites of {', '.join(styles)}; "
                "run python -m florence_demo.nano.scenes.sprites first."
            )
        files = sorted((folder / "fonts").glob("*.ttf"))
        if fonts is None:
            chosen = [p for p in files if not p.name.startswith(HELD_OUT_FONTS)]
        else:
            chosen = [p for p in files if p.name.startswith(tuple(fonts))]
        backgrounds = {
            path.stem: open_own(path) for path in sorted((folder / "backgrounds").glob("*.webp"))
        }
        ready = {label: tuple(found) for label, found in sprites.items()}
        return cls("+".join(styles), ready, tuple(chosen), backgrounds)

    @classmethod
    def drawn(cls) -> Library:
        """Return a small library of plain shapes that needs no file at all."""
        sprites: dict[str, tuple[Sprite, ...]] = {}
        for label, draw in DRAWINGS.items():
            read = functools.partial(_draw_shape, draw)
            sprites[label] = (Sprite(label, "drawn", read),)
        return cls("drawn", sprites, (), {})


def _open_sprite(path: Path) -> Image.Image:
    return open_own(path, "RGBA")


def _draw_shape(drawing: Drawing) -> Image.Image:
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
    from florence_demo.nano.scenes.sources import fetch

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("dest", nargs="?", type=Path, default=Path("build/sprites"))
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"))
    parser.add_argument("--cache", type=Path, help="keep the downloaded packages here")
    options = parser.parse_args(arguments)
    fetch(options.dest.resolve(), CODE_POINTS, options.fonts, options.cache)


if __name__ == "__main__":
    main()
