"""The classes that scenes are made of, their colours and styles, and what to leave out.

Knows names and numbers only. Does not open a picture.
"""

from __future__ import annotations


def labels(text: str) -> frozenset[str]:
    """Return the names in a line of text."""
    return frozenset(text.split())


def _code_points(text: str) -> dict[str, tuple[str, ...]]:
    rows = [row.split() for row in text.split(",")]
    return {row[0]: tuple(row[1:]) for row in rows}


CODE_POINTS: dict[str, tuple[str, ...]] = _code_points(
    """
    dog 1f415 1f436, cat 1f408 1f431, horse 1f40e 1f434, cow 1f404 1f42e, pig 1f416 1f437,
    sheep 1f411 1f40f, elephant 1f418, lion 1f981, rabbit 1f407 1f430, duck 1f986,
    penguin 1f427, fish 1f41f 1f420, turtle 1f422, frog 1f438, butterfly 1f98b, bee 1f41d,
    snail 1f40c, car 1f697 1f699, bus 1f68c 1f68d, truck 1f69a 1f69b, bicycle 1f6b2,
    motorcycle 1f3cd, airplane 2708 1f6e9, helicopter 1f681, rocket 1f680, boat 26f5 1f6a4,
    ship 1f6a2 1f6f3, apple 1f34e 1f34f, banana 1f34c, orange 1f34a, strawberry 1f353,
    grapes 1f347, watermelon 1f349, pineapple 1f34d, carrot 1f955, pizza 1f355,
    hamburger 1f354, cake 1f382 1f370, donut 1f369, bread 1f35e 1f956, cup 2615 1f375,
    tree 1f333 1f332, cactus 1f335, sunflower 1f33b, rose 1f339, mushroom 1f344,
    house 1f3e0 1f3e1, umbrella 2602 2614, clock 23f0 1f570 1f552, chair 1fa91,
    book 1f4d5 1f4d6 1f4d8, key 1f511 1f5dd, guitar 1f3b8, camera 1f4f7 1f4f8, laptop 1f4bb,
    phone 1f4f1 260e, scissors 2702, hammer 1f528, backpack 1f392, shoe 1f45f 1f45e,
    shirt 1f455, ball 26bd 1f3c0 1f3d0, balloon 1f388, gift 1f381, bear 1f43b,
    tiger 1f405 1f42f, monkey 1f412 1f435, giraffe 1f992, owl 1f989, octopus 1f419,
    whale 1f433 1f40b, crab 1f980, train 1f686 1f682, tractor 1f69c, lemon 1f34b, pear 1f350,
    hat 1f3a9 1f452, glasses 1f453, crown 1f451, bell 1f514, drum 1f941, snowman 26c4,
    robot 1f916, star 2b50
    """
)
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

PAINTED = labels(
    "car bus truck bicycle motorcycle helicopter fish butterfly umbrella chair book guitar "
    "backpack shoe shirt balloon gift star tractor"
)
"""Classes that come in any colour, so that their colour is always painted and named."""

# These are drawn in several hues at once; all of them change, not the leading one alone.
ALL_HUES = labels("truck bicycle motorcycle fish butterfly shoe guitar")

# Blue glass stays as it is.
WINDOWS = labels("car bus truck tractor helicopter")

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
UNUSABLE = labels(
    "fx/boat-0 fx/ship-0 fx/laptop-0 noto1/laptop-0 noto1/train-0 noto1/ball-1 fx/umbrella-0"
)

# What a shape is drawn with: ("ellipse" | "polygon" | "rectangle", points in 0..100, colour).
Drawing = tuple[tuple[str, tuple[float, ...], str], ...]

DRAWINGS: dict[str, Drawing] = {
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
