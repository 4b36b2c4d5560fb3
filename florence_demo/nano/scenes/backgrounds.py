"""What lies behind a scene: plain colours, patterns, a landscape, or a piece of a photograph.

Knows how a background is drawn and what it is called. Does not know what is laid onto it.
"""

from __future__ import annotations

import random

import numpy as np
from PIL import Image, ImageFilter

from florence_demo.nano.scenes.sprites import Library

PLAIN: dict[str, tuple[int, int, int]] = {
    "white": (246, 246, 246),
    "grey": (146, 148, 150),
    "black": (24, 24, 28),
    "beige": (232, 214, 180),
    "brown": (128, 88, 56),
    "light blue": (168, 208, 240),
    "blue": (52, 96, 190),
    "light green": (176, 222, 160),
    "green": (56, 140, 72),
    "yellow": (244, 222, 104),
    "orange": (238, 152, 70),
    "pink": (244, 184, 206),
    "red": (188, 58, 58),
    "purple": (128, 84, 168),
}

_PATTERNS = {"stripes": "striped", "squares": "checked", "dots": "dotted"}

PHOTOGRAPHS = {"grass": "grass", "gravel": "gravel", "brick": "a brick wall"}
"""Photographs of one material; every other one is called "a photo"."""


def _color(rng: random.Random, name: str) -> np.ndarray:
    if name == "grey":
        return np.full(3, rng.uniform(92, 182), np.float32)
    return np.clip(
        np.array(PLAIN[name], np.float32) + [rng.uniform(-9, 9) for _ in range(3)], 0, 255
    )


def draw_background(
    rng: random.Random, size: tuple[int, int], library: Library
) -> tuple[Image.Image, str]:
    """Return a background and what it is called after "the background is".

    Args:
        rng: Dice.
        size: (W, H) in pixels.
        library: Where the photographs are.
    """
    roll = rng.random()
    if library.backgrounds and roll < 0.3:
        return _photo(rng, size, library)
    if roll < 0.62:
        return _plain(rng, size)
    if roll < 0.76:
        return _gradient(rng, size)
    if roll < 0.88:
        return _landscape(rng, size)
    return _pattern(rng, size)


def _noise(rng: random.Random, size: tuple[int, int], strength: float, grain: int) -> np.ndarray:
    """Return (H, W) float32 noise in spots of some pixels."""
    width, height = size
    dice = np.random.default_rng(rng.getrandbits(32))
    small = dice.standard_normal((height // grain + 2, width // grain + 2), np.float32)
    if grain == 1:
        return small[:height, :width] * strength
    spots = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(spots) * strength


def _bytes(values: np.ndarray) -> np.ndarray:
    clipped: np.ndarray = np.minimum(np.maximum(values, 0), 255).astype(np.uint8)
    return clipped


def _speckled(colors: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return pixels (H, W, 3) uint8 of colours (H or 1, 3) with noise (H, W) on them."""
    pixels = np.empty((*noise.shape, 3), np.uint8)
    # A channel at a time: numpy takes three times as long over rows of three.
    for channel in range(3):
        pixels[..., channel] = _bytes(colors[:, channel, None] + noise)
    return pixels


def scaled(gain: float) -> list[int]:
    """Return each value of a byte times a gain, at most 255, for ``Image.point``."""
    table: list[int] = np.minimum(np.rint(_BYTES * gain), 255).astype(int).tolist()
    return table


_BYTES = np.arange(256)


def _plain(rng: random.Random, size: tuple[int, int]) -> tuple[Image.Image, str]:
    name = rng.choice(tuple(PLAIN))
    color = _color(rng, name)
    if rng.random() < 0.5:
        return Image.new("RGB", size, tuple(int(v) for v in color)), name
    grain = max(1, round(max(size) / 256 * rng.choice((1, 2, 6, 16))))
    noise = _noise(rng, size, rng.uniform(3, 12), grain)
    return Image.fromarray(_speckled(color[None], noise)), name


def _gradient(rng: random.Random, size: tuple[int, int]) -> tuple[Image.Image, str]:
    first, second = rng.sample(sorted(PLAIN), 2)
    width, height = size
    down = rng.random() < 0.6
    ramp = np.linspace(0, 1, height if down else width, dtype=np.float32)
    ramp = ramp[:, None, None] if down else ramp[None, :, None]
    strip = _bytes(_color(rng, first) * (1 - ramp) + _color(rng, second) * ramp)
    whole = Image.fromarray(strip).resize(size, Image.Resampling.NEAREST)
    return whole, f"{first} and {second}"


def _landscape(rng: random.Random, size: tuple[int, int]) -> tuple[Image.Image, str]:
    """Return a sky over a field, sand, snow or a floor."""
    width, height = size
    ground, color = rng.choice(
        (
            ("grass", (96, 160, 70)),
            ("sand", (222, 196, 140)),
            ("snow", (236, 240, 246)),
            ("a road", (110, 110, 116)),
        )
    )
    horizon = round(height * rng.uniform(0.35, 0.75))
    pixels = np.empty((height, width, 3), np.uint8)
    ramp = np.linspace(0, 1, max(horizon, 1), dtype=np.float32)[:, None, None]
    top = np.array([90, 160, 226], np.float32) + rng.uniform(-20, 20)
    pixels[:horizon] = _bytes(top * (1 - ramp) + np.array([206, 228, 244], np.float32) * ramp)
    ramp = np.linspace(1.08, 0.86, height - horizon, dtype=np.float32)[:, None]
    noise = _noise(rng, (width, height - horizon), 7, max(1, round(max(size) / 128)))
    pixels[horizon:] = _speckled(np.array(color, np.float32) * ramp, noise)
    return Image.fromarray(pixels), f"{ground} under a blue sky"


def _pattern(rng: random.Random, size: tuple[int, int]) -> tuple[Image.Image, str]:
    """Return stripes, squares or dots in two colours that keep quiet."""
    first, second = rng.sample(sorted(PLAIN), 2)
    width, height = size
    pitch = max(4, round(max(size) * rng.uniform(0.05, 0.12)))
    x, y = np.arange(width)[None, :], np.arange(height)[:, None]
    kind = rng.choice(tuple(_PATTERNS))
    if kind == "stripes":
        along = np.broadcast_to(x if rng.random() < 0.5 else y, (height, width))
        chosen = along // pitch % 2 == 0
    elif kind == "squares":
        chosen = (x // pitch + y // pitch) % 2 == 0
    else:
        chosen = (x % (2 * pitch) - pitch) ** 2 + (y % (2 * pitch) - pitch) ** 2 < (
            0.5 * pitch
        ) ** 2
    one, two = _color(rng, first), _color(rng, second)
    # Half way towards each other: a pattern that shouts is no background.
    two = two + (one - two) * rng.uniform(0.3, 0.6)
    pattern = Image.fromarray(chosen.astype(np.uint8))
    pattern.putpalette(_bytes(np.stack([one, two])).tobytes())
    return pattern.convert("RGB"), _PATTERNS[kind]


def _photo(rng: random.Random, size: tuple[int, int], library: Library) -> tuple[Image.Image, str]:
    """Return a piece of a photograph, mirrored, relit and sometimes out of focus."""
    name = rng.choice(sorted(library.backgrounds))
    photo = library.backgrounds[name]
    scale = min(photo.width / size[0], photo.height / size[1]) * rng.uniform(0.45, 1.0)
    width, height = size[0] * scale, size[1] * scale
    left, top = rng.uniform(0, photo.width - width), rng.uniform(0, photo.height - height)
    piece = photo.resize(size, Image.Resampling.BILINEAR, (left, top, left + width, top + height))
    if rng.random() < 0.5:
        piece = piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.4:
        piece = piece.filter(ImageFilter.BoxBlur(rng.uniform(1, 3) * max(size) / 256))
    gain = rng.uniform(0.7, 1.2)
    tints = (
        [gain * rng.uniform(0.85, 1.15) for _ in range(3)] if name in PHOTOGRAPHS else [gain] * 3
    )
    table = [value for tint in tints for value in scaled(tint)]
    return piece.point(table), PHOTOGRAPHS.get(name, "a photo")
