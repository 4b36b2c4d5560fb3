"""The grammar of what is true about a scene: captions, phrases, questions and their answers.

One deterministic wording, so that a small model can learn it: objects go left to right, lines of
text from top to bottom. Knows objects, lines and words. Does not know how anything was drawn.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from florence_demo.nano.scenes.captions import captions
from florence_demo.nano.scenes.catalogue import CLASSES
from florence_demo.nano.scenes.phrases import (
    ANIMALS,
    Facts,
    absent,
    at_position,
    counted,
    dense_phrase,
    extent,
    groups,
    join,
    matching,
    name,
    plural,
    position,
    referring,
    spoken,
    with_article,
)
from florence_demo.nano.scenes.types import SceneObject, Truth
from florence_demo.prediction import Detections, FloatArray


def _boxes(objects: Sequence[SceneObject], labels: Sequence[str]) -> Detections:
    boxes = np.array([o.xyxy for o in objects], np.float32).reshape(-1, 4)
    return Detections(boxes, tuple(labels))


def object_truths(rng: random.Random, facts: Facts) -> list[Truth]:
    """Return the truths about what is in a scene."""
    objects, size = facts.objects, facts.size
    labels = [o.label for o in objects]
    out = [
        Truth("od", places=_boxes(objects, labels)),
        Truth(
            "dense_region_caption",
            places=_boxes(objects, [dense_phrase(o, size) for o in objects]),
        ),
        Truth("region_proposal", places=_boxes(objects, [""] * len(objects))),
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
            name_of = "referring_expression_segmentation"
            out.append(Truth(name_of, lead + phrase, outlined=objects[i]))
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
    style = rng.choice(("caption", "caption", "bare", "the"))
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
    return Truth("caption_to_phrase_grounding", text, places=places)


def _vocabulary(rng: random.Random, facts: Facts) -> list[Truth]:
    """Return a class, a phrase and sometimes something absent to look for."""
    objects = facts.objects
    thing = rng.choice(objects)
    wanted = [rng.choice((thing.label, name(thing)))]
    if rng.random() < 0.6:
        wanted.append(rng.choice((name(rng.choice(objects)), rng.choice(objects).label)))
    if rng.random() < 0.5:
        wanted.append(absent(rng, facts))
    out = []
    for phrase in dict.fromkeys(wanted):
        found = [objects[i] for i in matching(objects, phrase)]
        text = plural(phrase) if len(found) > 1 and rng.random() < 0.3 else phrase
        places = _boxes(found, [text] * len(found))
        out.append(Truth("open_vocabulary_detection", text, places=places))
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
    return [
        Truth("region_to_segmentation", region=region, outlined=thing),
        Truth("region_to_category", region=region, answer=thing.label, places=box),
        Truth(
            "region_to_description",
            region=region,
            answer=words,
            places=_boxes([thing], [words]),
        ),
    ]


def typed(rng: random.Random, question: str) -> str:
    """Return a question as somebody in a hurry types it, now and then."""
    roll = rng.random()
    if roll < 0.1:
        return question[0].lower() + question[1:].rstrip("?")
    if roll < 0.2:
        return question[0].lower() + question[1:]
    return question


def object_questions(rng: random.Random, facts: Facts) -> list[Truth]:
    """Return questions about objects with answers of a few words."""
    asked = _counting(rng, facts) + _naming(facts) + _looking(rng, facts)
    chosen = rng.sample(asked, min(5, len(asked)))
    # Asked about equally often, or "yes" would be a good guess.
    thing = rng.choice(facts.objects)
    if rng.random() < 0.5:
        chosen.append((f"Is there {with_article(rng.choice((thing.label, name(thing))))}?", "yes"))
    else:
        chosen.append((f"Is there {with_article(absent(rng, facts))}?", "no"))
    return [Truth("vqa", typed(rng, question), answer=answer) for question, answer in chosen]


def _counting(rng: random.Random, facts: Facts) -> list[tuple[str, str]]:
    """Return questions that ask how many."""
    objects = facts.objects
    several = [o for o in objects if sum(p.label == o.label for p in objects) > 1]
    # Something there is more than one of is asked about more often than its share.
    label = rng.choice(several if several and rng.random() < 0.5 else objects).label
    count = sum(o.label == label for o in objects)
    asked = [(f"How many {plural(label)} are there?", str(count))]
    asked.append(("How many objects are there?", str(len(objects))))
    animals = sum(o.label in ANIMALS for o in objects)
    if animals:
        asked.append(("How many animals are there?", str(animals)))
    if rng.random() < 0.15:
        missing = rng.choice([c for c in CLASSES if all(o.label != c for o in objects)])
        asked.append((f"How many {plural(missing)} are there?", "0"))
    return asked


def _naming(facts: Facts) -> list[tuple[str, str]]:
    """Return questions that ask what is there, or what it says."""
    objects, size = facts.objects, facts.size
    everything = join([counted(p, len(i)) for p, i in groups(objects)])
    asked = [("What is in the image?", everything)]
    extents = sorted(((extent(o, size), i) for i, o in enumerate(objects)), reverse=True)
    if len(objects) == 1:
        asked.append(("What is this?", everything))
    elif extents[0][0] > 1.2 * extents[1][0]:
        asked.append(("What is the largest object?", objects[extents[0][1]].label))
    if len(objects) > 1 and extents[-1][0] < extents[-2][0] / 1.2:
        asked.append(("What is the smallest object?", objects[extents[-1][1]].label))
    animals = [o for o in objects if o.label in ANIMALS]
    if len(animals) == 1:
        asked.append(("What animal is in the image?", animals[0].label))
    if facts.lines:
        asked.append(("What does the sign say?", spoken(facts.lines)))
    return asked


def _looking(rng: random.Random, facts: Facts) -> list[tuple[str, str]]:
    """Return questions about the colour and the place of things there is one of."""
    labels = [o.label for o in facts.objects]
    single = [o for o in facts.objects if labels.count(o.label) == 1]
    asked = []
    painted = [o for o in single if o.color]
    if painted:
        one = rng.choice(painted)
        which, color = rng.choice(("Which", "What")), rng.choice(("colour", "color"))
        asked.append((f"{which} {color} is the {one.label}?", str(one.color)))
    placed = [o for o in single if _clearly_placed(o, facts.size)]
    if placed:
        one = rng.choice(placed)
        asked.append((f"Where is the {one.label}?", position(one, facts.size)))
    return asked + _neighbours(rng, single, facts)


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


def text_truths(rng: random.Random, facts: Facts) -> list[Truth]:
    """Return the truths about what is written in a scene."""
    lines = facts.lines
    if not lines:
        return [Truth("ocr")] if rng.random() < 0.05 else []
    out = [
        Truth("ocr", answer="\n".join(line.text for line in lines)),
        Truth(
            "ocr_with_region",
            places=Detections.from_polygons(
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
    """Return questions about a document or a sign: its text word for word, its looks."""
    read = list(rng.sample(facts.facts, min(4, len(facts.facts))))
    seen: list[tuple[str, str]] = []
    if facts.kind == "sign":
        read.append(("What does the sign say?", spoken(facts.lines)))
        seen.append(("What does the sign say?", spoken(facts.lines)))
        color = rng.choice(("colour", "color"))
        seen.append((f"What {color} is the sign?", facts.about["color"]))
        seen.append(("What is in the image?", "a sign"))
    elif facts.kind == "page":
        read.append(("What is the first line?", facts.lines[0].text))
        read.append(("What is the last line?", facts.lines[-1].text))
        seen.append(("How many lines are there?", str(len(facts.lines))))
        seen.append(("What is in the image?", "a page of text"))
    else:
        parts = {"receipt": "items", "form": "fields", "table": "rows", "chart": "bars"}
        seen.append((f"How many {parts[facts.kind]} are there?", facts.about["count"]))
        what = "a bar chart" if facts.kind == "chart" else f"a {facts.kind}"
        seen.append(("What is in the image?", what))
    return [
        Truth(task, typed(rng, question), answer=answer)
        for task, asked in (("docvqa", read), ("vqa", seen))
        for question, answer in asked
    ]


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
