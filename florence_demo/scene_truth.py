"""The grammar of what is true about a scene: captions, phrases, questions and their answers.

One deterministic wording, so that a small model can learn it: objects go left to right, lines of
text from top to bottom. Knows objects, lines and words. Does not know how anything was drawn.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from florence_demo.prediction import Detections, FloatArray
from florence_demo.scene_types import SceneObject, TextLine, Truth
from florence_demo.sprites import CLASSES, COLORS, PAINTED

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
ANIMALS = frozenset(
    [
        "dog",
        "cat",
        "horse",
        "cow",
        "pig",
        "sheep",
        "elephant",
        "lion",
        "rabbit",
        "duck",
        "penguin",
        "fish",
        "turtle",
        "frog",
        "butterfly",
        "bee",
        "snail",
        "bear",
        "tiger",
        "monkey",
        "giraffe",
        "owl",
        "octopus",
        "whale",
        "crab",
    ]
)

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
    x1, y1, x2, y2 = (float(v) for v in thing.xyxy)
    return float(np.sqrt((x2 - x1) * (y2 - y1) / (size[0] * size[1])))


def size_word(thing: SceneObject, size: tuple[int, int]) -> str:
    """Return "small ", "large " or nothing."""
    share = extent(thing, size)
    return "small " if share < SMALL else "large " if share > LARGE else ""


def position(thing: SceneObject, size: tuple[int, int]) -> str:
    """Return where the middle of an object lies in a grid of three by three."""
    middle = (thing.xyxy[:2] + thing.xyxy[2:]) / 2 / np.array(size, np.float32)
    column, row = np.clip((middle * 3).astype(int), 0, 2)
    return _ROWS[row][column]


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


def _boxes(objects: Sequence[SceneObject], labels: Sequence[str]) -> Detections:
    boxes = np.array([o.xyxy for o in objects], np.float32).reshape(-1, 4)
    return Detections(boxes, tuple(labels))


# ---------------------------------------------------------------------------------- captions


def captions(facts: Facts) -> tuple[str, str, str]:
    """Return the caption at three lengths."""
    return _DOCUMENT_CAPTIONS.get(facts.kind, _object_captions)(facts)


def _object_captions(facts: Facts) -> tuple[str, str, str]:
    objects, size = facts.objects, facts.size
    says = f" sign that says {spoken(facts.lines)}" if facts.lines else ""
    short = join([counted(phrase, len(indices)) for phrase, indices in groups(objects)])
    placed = [f"{with_article(name(o))} {at_position(o, size)}" for o in objects]
    middle = f"The image shows {join(placed)}."
    count = (
        f"There {'is one object' if len(objects) == 1 else f'are {NUMBERS[len(objects)]} objects'}"
    )
    long = [f"{count} in the image."]
    long += [sentence(f"{at_position(o, size)} is {dense_phrase(o, size)}") for o in objects]
    behind = f"The background is {facts.background}."
    if says:
        sign = f"{with_article(facts.about['color'])}{says}"
        return (
            sentence(f"{short} with a{says}"),
            f"{middle} {sentence(sign)} {behind}",
            f"{' '.join(long)} {sentence(sign)} {behind}",
        )
    return sentence(short), f"{middle} {behind}", f"{' '.join(long)} {behind}"


def _sign_captions(facts: Facts) -> tuple[str, str, str]:
    says, color, count = spoken(facts.lines), facts.about["color"], len(facts.lines)
    middle = sentence(f"The image shows {with_article(color)} sign that says {says}")
    rows = "one line" if count == 1 else f"{NUMBERS[count]} lines"
    behind = f"The background is {facts.background}."
    long = f"{middle} There {'is' if count == 1 else 'are'} {rows} of text on the sign. {behind}"
    return sentence(f"A sign that says {says}"), f"{middle} {behind}", long


def _page_captions(facts: Facts) -> tuple[str, str, str]:
    title, count = facts.about.get("title"), len(facts.lines)
    called = f" with the title {title}" if title else ""
    rows = "one line" if count == 1 else f"{NUMBERS[count] if count < 11 else count} lines"
    middle = f"The image shows a page of text with {rows}."
    first = sentence(f"The first line says {facts.lines[0].text}")
    return sentence(f"A page of text{called}"), middle, f"{middle} {first}"


def _receipt_captions(facts: Facts) -> tuple[str, str, str]:
    count = int(facts.about["count"])
    items = "one item" if count == 1 else f"{NUMBERS[count]} items"
    middle = f"The image shows a receipt from {facts.about['shop']} with {items}."
    total = f"The total is {facts.about['total']}."
    bought = [
        q.removeprefix("What is the price of ").rstrip("?") for q, _ in facts.facts if "price" in q
    ]
    return (
        f"A receipt with {items}.",
        f"{middle} {total}",
        f"{middle} It lists {join(bought)}. {total}",
    )


def _form_captions(facts: Facts) -> tuple[str, str, str]:
    count = int(facts.about["count"])
    fields = "one field" if count == 1 else f"{NUMBERS[count]} fields"
    middle = f"The image shows a form with the title {facts.about['title']} and {fields}."
    return f"A form with {fields}.", middle, f"{middle} It gives {facts.about['fields']}."


def _table_captions(facts: Facts) -> tuple[str, str, str]:
    count = int(facts.about["count"])
    rows = "one row" if count == 1 else f"{NUMBERS[count]} rows"
    middle = f"The image shows a table of {facts.about['heads']} with {rows}."
    first = f"The first row is {facts.about['first']}."
    return f"A table with {rows}.", middle, f"{middle} {first}"


def _chart_captions(facts: Facts) -> tuple[str, str, str]:
    bars = f"{NUMBERS[int(facts.about['count'])]} bars"
    middle = f"The image shows a bar chart of {facts.about['title']} with {bars}."
    answers = dict(facts.facts)
    high, low = answers["Which bar is the highest?"], answers["Which bar is the lowest?"]
    long = f"{middle} The highest bar is {high} and the lowest bar is {low}."
    return f"A bar chart with {bars}.", middle, long


_DOCUMENT_CAPTIONS: dict[str, Callable[[Facts], tuple[str, str, str]]] = {
    "sign": _sign_captions,
    "page": _page_captions,
    "receipt": _receipt_captions,
    "form": _form_captions,
    "table": _table_captions,
    "chart": _chart_captions,
}

# ----------------------------------------------------------------------------------- phrases


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


def _absent(rng: random.Random, facts: Facts) -> str:
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


# ------------------------------------------------------------------------- truths about objects


def object_truths(rng: random.Random, facts: Facts) -> list[Truth]:
    """Return the truths about what is in a scene."""
    objects, size = facts.objects, facts.size
    labels = [o.label for o in objects]
    out = [
        Truth("od", detections=_boxes(objects, labels)),
        Truth(
            "dense_region_caption",
            detections=_boxes(objects, [dense_phrase(o, size) for o in objects]),
        ),
        Truth("region_proposal", detections=_boxes(objects, [""] * len(objects))),
    ]
    out += [_grounding(rng, facts, whole=True), _grounding(rng, facts, whole=False)]
    out += _vocabulary(rng, facts)
    order = list(range(len(objects)))
    rng.shuffle(order)
    told = 0
    for i in order:
        phrases = referring(facts, i)
        if phrases and told < 3:
            told += 1
            phrase = rng.choice(phrases)
            lead = rng.choice(("the ", "the ", ""))
            places = Detections.from_polygons([objects[i].rings], [""])
            out.append(Truth("referring_expression_segmentation", lead + phrase, detections=places))
    for i in order[:3]:
        out += _region_truths(rng, facts, objects[i])
    return out


def _grounding(rng: random.Random, facts: Facts, *, whole: bool) -> Truth:
    """Return a caption, or some phrases, and the boxes of each phrase."""
    objects = facts.objects
    found = groups(objects)
    if whole or len(found) == 1:
        chosen = found
    else:
        keep = sorted(rng.sample(range(len(found)), rng.randint(1, len(found) - 1)))
        chosen = [found[k] for k in keep]
    style = (
        rng.choice(("caption", "caption", "bare", "the"))
        if whole
        else rng.choice(("caption", "bare", "the"))
    )
    if style == "caption":
        phrases = [counted(p, len(i)) for p, i in chosen]
        phrases[0] = phrases[0][0].upper() + phrases[0][1:]
        text = f"{join(phrases)}."
    elif style == "bare":
        phrases = [p if len(i) == 1 else plural(p) for p, i in chosen]
        text = ", ".join(phrases)
    else:
        phrases = [f"the {p}" if len(i) == 1 else f"the {plural(p)}" for p, i in chosen]
        text = join(phrases)
    rows = [(objects[k], phrase) for phrase, (_, i) in zip(phrases, chosen, strict=True) for k in i]
    places = _boxes([o for o, _ in rows], [phrase for _, phrase in rows])
    return Truth("caption_to_phrase_grounding", text, detections=places)


def _vocabulary(rng: random.Random, facts: Facts) -> list[Truth]:
    """Return a class, a phrase and sometimes something absent to look for."""
    objects = facts.objects
    thing = rng.choice(objects)
    wanted = [rng.choice((thing.label, name(thing)))]
    if rng.random() < 0.6:
        wanted.append(rng.choice((name(rng.choice(objects)), rng.choice(objects).label)))
    if rng.random() < 0.5:
        wanted.append(_absent(rng, facts))
    out = []
    for phrase in dict.fromkeys(wanted):
        found = [objects[i] for i in matching(objects, phrase)]
        places = _boxes(found, [phrase] * len(found))
        out.append(Truth("open_vocabulary_detection", phrase, detections=places))
    return out


def jittered(
    rng: random.Random, box: FloatArray, size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Return a box as a hand would draw it: every side off by up to 2 %."""
    x1, y1, x2, y2 = (float(v) for v in box)
    dx, dy = 0.02 * (x2 - x1), 0.02 * (y2 - y1)
    left, right = x1 + rng.uniform(-dx, dx), x2 + rng.uniform(-dx, dx)
    top, bottom = y1 + rng.uniform(-dy, dy), y2 + rng.uniform(-dy, dy)
    return max(0.0, left), max(0.0, top), min(float(size[0]), right), min(float(size[1]), bottom)


def _region_truths(rng: random.Random, facts: Facts, thing: SceneObject) -> list[Truth]:
    region = jittered(rng, thing.xyxy, facts.size)
    box = _boxes([thing], [thing.label])
    words = f"{dense_phrase(thing, facts.size)} {at_position(thing, facts.size)}"
    polygon = Detections.from_polygons([thing.rings], [""])
    return [
        Truth("region_to_segmentation", region=region, detections=polygon),
        Truth("region_to_category", region=region, answer=thing.label, detections=box),
        Truth(
            "region_to_description",
            region=region,
            answer=words,
            detections=_boxes([thing], [words]),
        ),
    ]


# --------------------------------------------------------------------------------- questions


def object_questions(rng: random.Random, facts: Facts) -> list[Truth]:
    """Return questions about objects with answers of a few words."""
    objects, size = facts.objects, facts.size
    asked: list[tuple[str, str]] = []
    thing = rng.choice(objects)
    same = sum(o.label == thing.label for o in objects)
    asked.append((f"How many {plural(thing.label)} are there?", str(same)))
    asked.append(("How many objects are there?", str(len(objects))))
    painted = [o for o in objects if o.color and matching(objects, o.label) == [objects.index(o)]]
    if painted:
        one = rng.choice(painted)
        word = rng.choice(("colour", "color"))
        asked.append(
            (f"{rng.choice(('Which', 'What'))} {word} is the {one.label}?", str(one.color))
        )
    asked.append((f"Is there {with_article(rng.choice((thing.label, name(thing))))}?", "yes"))
    asked.append((f"Is there {with_article(_absent(rng, facts))}?", "no"))
    single = [o for o in objects if matching(objects, o.label) == [objects.index(o)]]
    placed = [o for o in single if _clearly_placed(o, size)]
    if placed:
        one = rng.choice(placed)
        asked.append((f"Where is the {one.label}?", position(one, size)))
    asked += _neighbours(rng, single, facts)
    extents = sorted(((extent(o, size), i) for i, o in enumerate(objects)), reverse=True)
    if len(objects) > 1 and extents[0][0] > 1.2 * extents[1][0]:
        asked.append(("What is the largest object?", objects[extents[0][1]].label))
    if len(objects) > 1 and extents[-1][0] < extents[-2][0] / 1.2:
        asked.append(("What is the smallest object?", objects[extents[-1][1]].label))
    asked.append(("What is in the image?", join([counted(p, len(i)) for p, i in groups(objects)])))
    animals = [o for o in objects if o.label in ANIMALS]
    if len(animals) == 1:
        asked.append(("What animal is in the image?", animals[0].label))
    if facts.lines:
        asked.append(("What does the sign say?", spoken(facts.lines)))
    chosen = rng.sample(asked, min(5, len(asked)))
    return [Truth("vqa", question, answer=answer) for question, answer in chosen]


def _clearly_placed(thing: SceneObject, size: tuple[int, int]) -> bool:
    """Say whether the middle of an object keeps off the borders of the grid of nine."""
    middle = (thing.xyxy[:2] + thing.xyxy[2:]) / 2 / np.array(size, np.float32)
    gaps = np.abs(middle[:, None] - np.array([[1 / 3, 2 / 3]]))
    return bool(gaps.min() > 0.03)


def _neighbours(
    rng: random.Random, single: Sequence[SceneObject], facts: Facts
) -> list[tuple[str, str]]:
    """Return what is next to an object, asked only where exactly one object lies on that side."""
    out = []
    middles = {id(o): float(o.xyxy[0] + o.xyxy[2]) / 2 / facts.size[0] for o in facts.objects}
    for thing in rng.sample(list(single), len(single)):
        here = middles[id(thing)]
        others = [o for o in facts.objects if o is not thing]
        if any(abs(middles[id(o)] - here) < 0.06 for o in others):
            continue
        left = [o for o in others if middles[id(o)] < here]
        right = [o for o in others if middles[id(o)] > here]
        for side, found in (("left", left), ("right", right)):
            if len(found) == 1:
                out.append((f"What is {side} of the {thing.label}?", name(found[0])))
        if out:
            break
    return out[:1]


# ------------------------------------------------------------------------------- text truths


def text_truths(rng: random.Random, facts: Facts) -> list[Truth]:
    """Return the truths about what is written in a scene."""
    lines = facts.lines
    if not lines:
        return [Truth("ocr")] if rng.random() < 0.05 else []
    out = [
        Truth("ocr", answer="\n".join(line.text for line in lines)),
        Truth(
            "ocr_with_region",
            detections=Detections.from_polygons(
                [[line.quad] for line in lines], [x.text for x in lines]
            ),
        ),
    ]
    for line in rng.sample(lines, min(3, len(lines))):
        box = np.concatenate([line.quad.min(axis=0), line.quad.max(axis=0)])
        region = jittered(rng, box, facts.size)
        out.append(Truth("region_to_ocr", region=region, answer=line.text))
    return out


def document_truths(rng: random.Random, facts: Facts) -> list[Truth]:
    """Return questions about a document, and about a sign."""
    chosen = rng.sample(facts.facts, min(4, len(facts.facts)))
    out = [Truth("docvqa", question, answer=answer) for question, answer in chosen]
    if facts.kind == "sign":
        out.append(Truth("vqa", "What does the sign say?", answer=spoken(facts.lines)))
        out.append(Truth("docvqa", "What does the sign say?", answer=spoken(facts.lines)))
        color = rng.choice(("colour", "color"))
        out.append(Truth("vqa", f"What {color} is the sign?", answer=facts.about["color"]))
    elif facts.kind == "page":
        out.append(Truth("docvqa", "What is the first line?", answer=facts.lines[0].text))
        out.append(Truth("docvqa", "What is the last line?", answer=facts.lines[-1].text))
        out.append(Truth("vqa", "How many lines are there?", answer=str(len(facts.lines))))
    else:
        things = {"receipt": "items", "form": "fields", "table": "rows", "chart": "bars"}[
            facts.kind
        ]
        out.append(Truth("vqa", f"How many {things} are there?", answer=facts.about["count"]))
        out.append(
            Truth(
                "vqa",
                "What is in the image?",
                answer=f"a {facts.kind}".replace("a chart", "a bar chart"),
            )
        )
    return out


def truths(rng: random.Random, facts: Facts) -> tuple[Truth, ...]:
    """Return every truth about a scene that its contents allow."""
    names = ("caption", "detailed_caption", "more_detailed_caption")
    out = [Truth(task, answer=text) for task, text in zip(names, captions(facts), strict=True)]
    if facts.objects:
        out += object_truths(rng, facts)
        out += object_questions(rng, facts)
    out += text_truths(rng, facts)
    if facts.kind != "objects":
        out += document_truths(rng, facts)
    return tuple(out)
