"""Words for the things in a scene: names, numbers, sizes, places, and phrases that single one out.

One deterministic wording, so that a small model can learn it. Knows objects and English. Does not
know tasks.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from florence_demo.nano.scenes.catalogue import CLASSES, COLORS, PAINTED
from florence_demo.nano.scenes.catalogue import labels as _labels
from florence_demo.nano.scenes.types import SceneObject, TextLine

ANIMALS = _labels(
    "dog cat horse cow pig sheep elephant lion rabbit duck penguin fish turtle frog butterfly bee "
    "snail bear tiger monkey giraffe owl octopus whale crab"
)

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

PLURALS = {
    "fish": "fish",
    "sheep": "sheep",
    "butterfly": "butterflies",
    "strawberry": "strawberries",
    "cactus": "cactuses",
    "snowman": "snowmen",
}

# Counted by a measure word in English.
MEASURES = {
    "grapes": ("bunch", "bunches"), "scissors": ("pair", "pairs"), "glasses": ("pair", "pairs"),
    "bread": ("loaf", "loaves"),
}  # fmt: skip

SMALL, LARGE = 0.22, 0.42
"""Square root of an object's share of the picture, under which it is small, over which large."""

_ROWS = (
    ("top left", "top", "top right"),
    ("left", "centre", "right"),
    ("bottom left", "bottom", "bottom right"),
)


@dataclass(frozen=True, eq=False)
class Facts:
    """Hold everything that is known about a scene before it is put into words.

    Attributes:
        kind: Kind of the scene.
        size: (W, H) in pixels.
        objects: Left to right.
        lines: In reading order.
        background: A clause such as "light blue" or "a brick wall".
        about: What a sheet says about itself.
        facts: Questions that a document answers.
    """

    kind: str
    size: tuple[int, int]
    objects: tuple[SceneObject, ...]
    lines: tuple[TextLine, ...]
    background: str
    about: dict[str, str] = field(default_factory=dict)
    facts: tuple[tuple[str, str], ...] = ()


def name(thing: SceneObject) -> str:
    """Return "red car", or "dog" where no colour was painted."""
    return f"{thing.color} {thing.label}" if thing.color else thing.label


def with_article(phrase: str) -> str:
    """Return a phrase for one thing: "an apple", "a bunch of grapes"."""
    label = phrase.rsplit(" ", 1)[-1]
    if label in MEASURES:
        *words, last = phrase.split(" ")
        # "a small pair of glasses": size before the measure, as a person says it.
        phrase = " ".join((*words, MEASURES[label][0], "of", last))
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def plural(phrase: str) -> str:
    """Return a phrase for several things: "red cars", "pairs of scissors"."""
    *words, label = phrase.split(" ")
    if label in MEASURES:
        return " ".join((*words, MEASURES[label][1], "of", label))
    if label in PLURALS:
        ending = PLURALS[label]
    else:
        ending = label + ("es" if label.endswith(("s", "x", "ch", "sh")) else "s")
    return " ".join((*words, ending))


def counted(phrase: str, count: int) -> str:
    """Return "a dog" or "two dogs"."""
    return with_article(phrase) if count == 1 else f"{NUMBERS[count]} {plural(phrase)}"


def join(parts: Sequence[str]) -> str:
    """Return "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def sentence(text: str) -> str:
    """Return a text with a capital and a full stop."""
    return f"{text[0].upper()}{text[1:]}{'' if text[-1] in '.?!' else '.'}"


def groups(objects: Sequence[SceneObject]) -> list[tuple[str, list[int]]]:
    """Return (phrase, indices) a class, in order of first appearance.

    The phrase carries a colour where everything of the class has the same one.
    """
    found: dict[str, list[int]] = {}
    for i, thing in enumerate(objects):
        found.setdefault(thing.label, []).append(i)
    out = []
    for label, indices in found.items():
        colors = {objects[i].color for i in indices}
        out.append((name(objects[indices[0]]) if len(colors) == 1 else label, indices))
    return out


def extent(thing: SceneObject, size: tuple[int, int]) -> float:
    """Return the square root of the share of the picture that an object's box takes."""
    x1, y1, x2, y2 = thing.xyxy.tolist()
    return math.sqrt((x2 - x1) * (y2 - y1) / (size[0] * size[1]))


def size_word(thing: SceneObject, size: tuple[int, int]) -> str:
    """Return "small ", "large " or nothing."""
    share = extent(thing, size)
    return "small " if share < SMALL else "large " if share > LARGE else ""


def position(thing: SceneObject, size: tuple[int, int]) -> str:
    """Return where the middle of an object lies in a grid of three by three."""
    x1, y1, x2, y2 = thing.xyxy.tolist()
    column, row = (int(3 * (x1 + x2) / (2 * size[0])), int(3 * (y1 + y2) / (2 * size[1])))
    return _ROWS[min(max(row, 0), 2)][min(max(column, 0), 2)]


def at_position(thing: SceneObject, size: tuple[int, int]) -> str:
    """Return "on the left", "in the centre" or "at the top right"."""
    place = position(thing, size)
    lead = "in" if place == "centre" else "on" if place in ("left", "right") else "at"
    return f"{lead} the {place}"


def dense_phrase(thing: SceneObject, size: tuple[int, int]) -> str:
    """Return "a small red car"."""
    return with_article(f"{size_word(thing, size)}{name(thing)}")


def spoken(lines: Sequence[TextLine]) -> str:
    """Return what a sign says, on one line."""
    return " ".join(line.text for line in lines)


def matching(objects: Sequence[SceneObject], phrase: str) -> list[int]:
    """Return the indices of the objects that "car" or "red car" names."""
    return [i for i, o in enumerate(objects) if phrase in (o.label, name(o))]


def referring(facts: Facts, index: int) -> list[str]:
    """Return every phrase of the grammar that means this object and no other.

    Differences have to be plain to see: a phrase about size or place is given only where the
    next object of the class is clearly smaller, or clearly further away.
    """
    objects, size = facts.objects, facts.size
    thing = objects[index]
    phrases = [
        p for p in dict.fromkeys((thing.label, name(thing))) if matching(objects, p) == [index]
    ]
    rivals = [o for i, o in enumerate(objects) if o.label == thing.label and i != index]
    if rivals:
        phrases += _comparisons(thing, rivals, size)
    if len({*map(id, rivals)}) == 0 and len(objects) > 1:
        phrases.append(f"{thing.label} {at_position(thing, size)}")
    return phrases


def _comparisons(
    thing: SceneObject, rivals: Sequence[SceneObject], size: tuple[int, int]
) -> list[str]:
    """Return phrases that tell an object from others of its class by place or size."""
    out = []
    middle = (thing.xyxy[:2] + thing.xyxy[2:]) / 2 / np.array(size, np.float32)
    others = np.array([(r.xyxy[:2] + r.xyxy[2:]) / 2 for r in rivals]) / np.array(size, np.float32)
    for axis, low, high in ((0, "left", "right"), (1, "top", "bottom")):
        if middle[axis] < others[:, axis].min() - 0.1:
            out += [f"{low} {thing.label}"]
        elif middle[axis] > others[:, axis].max() + 0.1:
            out += [f"{high} {thing.label}"]
    mine, theirs = extent(thing, size), [extent(r, size) for r in rivals]
    if mine > 1.2 * max(theirs):
        out.append(f"largest {thing.label}")
    elif mine < min(theirs) / 1.2:
        out.append(f"smallest {thing.label}")
    return out


def absent(rng: random.Random, facts: Facts) -> str:
    """Return a class, or a class in a colour, that is not in the scene."""
    present = {o.label for o in facts.objects}
    painted = [o for o in facts.objects if o.color]
    if painted and rng.random() < 0.35:
        thing = rng.choice(painted)
        used = {o.color for o in facts.objects if o.label == thing.label}
        return f"{rng.choice([c for c in COLORS if c not in used])} {thing.label}"
    label = rng.choice([c for c in CLASSES if c not in present])
    if label in PAINTED and rng.random() < 0.4:
        return f"{rng.choice(tuple(COLORS))} {label}"
    return label
