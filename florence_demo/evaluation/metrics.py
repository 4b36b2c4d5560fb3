"""How far an answer is from the truth: texts, boxes, outlines.

Knows numbers only: strings, boxes and rings in, a score out. A judgement is a pair (gained,
possible), so that a table's value is the sum of one over the sum of the other, whether it is a
mean, an accuracy over things or an error rate over characters. Does not know tasks or models.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rapidfuzz.distance import LCSseq, Levenshtein

from florence_demo.prediction import Detections, FloatArray, Rings, bounds
from florence_demo.prediction import box_iou as box_iou

Judgement = tuple[float, float]
"""What was gained, and what was possible."""

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_COUNTS = {word: i for i, word in enumerate(_NUMBERS)} | {"a": 1, "an": 1, "another": 1}
# "An orange shirt" is no fruit, and neither the background nor what a sign says is a thing.
_ORANGE = re.compile(
    r"\borange(?=\s+(?!(?:and|or|is|are|at|in|on|to|with|of|by|next|near|behind|under|above|below"
    r"|beside|left|right|between)\b)\w)",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"[^.]*\bbackground\b[^.]*\.?|\bthat says [^.]*", re.IGNORECASE)
_ANLS_LIMIT = 0.5
_RASTER = 256


def normal(text: str) -> str:
    """Return a text as answers are compared: lower case, one space between words."""
    return " ".join(text.lower().split())


def anls(text: str, references: Sequence[str]) -> Judgement:
    """Judge by average normalized Levenshtein similarity (Biten et al. 2019, arXiv:1905.13648).

    The best of all references counts; an answer with half of its characters wrong is worth nothing.
    """
    distances = (
        Levenshtein.normalized_distance(normal(text), normal(r)) for r in references or ("",)
    )
    distance = min(distances)
    return (1 - distance if distance < _ANLS_LIMIT else 0.0), 1.0


def exact(text: str, references: Sequence[str]) -> Judgement:
    """Judge whether the answer is one of the references, apart from case and spaces."""
    return float(normal(text) in {normal(r) for r in references}), 1.0


def character_errors(text: str, references: Sequence[str]) -> Judgement:
    """Judge by wrong, missing and added characters over the characters of the nearest reference."""
    return min(
        ((float(Levenshtein.distance(_spaced(text), _spaced(r))), float(len(_spaced(r)) or 1)))
        for r in references or ("",)
    )


def word_errors(text: str, references: Sequence[str]) -> Judgement:
    """Judge by wrong, missing and added words over the words of the nearest reference."""
    return min(
        ((float(Levenshtein.distance(text.split(), r.split())), float(len(r.split()) or 1)))
        for r in references or ("",)
    )


def rouge_l(text: str, references: Sequence[str]) -> Judgement:
    """Judge by the longest common run of words in order, as F-measure (Lin 2004)."""
    words = normal(text).split()
    best = 0.0
    for reference in references:
        other = normal(reference).split()
        common = LCSseq.similarity(words, other)
        if common:
            best = max(best, 2 * common / (len(words) + len(other)))
    return best, 1.0


def _spaced(text: str) -> str:
    return " ".join(text.split())


@cache
def _mention(vocabulary: tuple[str, ...]) -> re.Pattern[str]:
    names = "|".join(re.escape(n) for n in sorted(vocabulary, key=len, reverse=True))
    counts = "|".join(_COUNTS)
    return re.compile(
        rf"\b(?:(?P<count>{counts}|\d+)\s+(?:[\w-]+\s+){{0,3}}?)?(?P<name>{names})"
        r"(?P<plural>es|s)?\b",
        re.IGNORECASE,
    )


def named_objects(text: str, vocabulary: tuple[str, ...]) -> Counter[str]:
    """Return how many of each kind a caption names: "two red cars and a dog" is 2 cars, 1 dog.

    Args:
        text: The caption.
        vocabulary: Names of kinds in the singular, lower case; what ends in "s" is its own plural.
    """
    irregular = {_plural(name): name for name in vocabulary}
    known = tuple(sorted({*vocabulary, *irregular}))
    found: Counter[str] = Counter()
    if not vocabulary:
        return found
    text = _ORANGE.sub("coloured", _ASIDE.sub("", text))
    for match in _mention(known).finditer(text):
        name = match["name"].lower()
        count = (match["count"] or "1").lower()
        found[irregular.get(name, name)] += int(count) if count.isdigit() else _COUNTS[count]
    return +found


def _plural(name: str) -> str:
    if name.endswith(("sheep", "fish", "scissors", "grapes")):
        return name
    if re.search(r"[^aeiou]y$", name):
        return name[:-1] + "ies"
    return name + ("es" if name.endswith(("s", "x", "ch", "sh")) else "s")


def names_right(text: str, truth: str, vocabulary: tuple[str, ...]) -> Judgement:
    """Judge whether a caption names exactly the things that the true one names, as often.

    Where the true one names none there is nothing to judge: saying nothing is no merit.
    """
    named = named_objects(truth, vocabulary)
    return (float(named_objects(text, vocabulary) == named), 1.0) if named else (0.0, 0.0)


def match(iou: NDArray[np.float64], least: float = 0.5) -> list[tuple[int, int]]:
    """Return pairs (row, column) of at least this overlap, the best first, each index once."""
    pairs: list[tuple[int, int]] = []
    left = np.array(iou, copy=True)
    while left.size:
        row, column = np.unravel_index(int(left.argmax()), left.shape)
        if left[row, column] < least:
            break
        pairs.append((int(row), int(column)))
        left[row, :] = left[:, column] = -1
    return pairs


def outline_iou(a: Rings, b: Rings) -> float:
    """Return the intersection over union of two instances, each the union of its rings."""
    if not a or not b:
        return float(not a and not b)
    window = bounds((*a, *b))
    # Each axis with its own scale: the ratio of areas stays, and a long line keeps its height.
    scale = _RASTER / np.maximum(window[2:] - window[:2], 1e-6)
    masks = [_raster(rings, window[:2], scale) for rings in (a, b)]
    union = int((masks[0] | masks[1]).sum())
    return float((masks[0] & masks[1]).sum() / union) if union else 0.0


def _raster(rings: Rings, origin: FloatArray, scale: FloatArray) -> NDArray[np.bool_]:
    """Draw rings into a square window, so that thin and small things keep their shape."""
    canvas = Image.new("1", (_RASTER + 1, _RASTER + 1))
    draw = ImageDraw.Draw(canvas)
    for ring in rings:
        draw.polygon([(float(x), float(y)) for x, y in (ring - origin) * scale], fill=1)
    return np.asarray(canvas)


def places_right(found: Detections, truth: Detections, use_labels: bool = True) -> Judgement:
    """Judge the share of boxes that agree one to one at an overlap of 0.5.

    A missing and an extra box both cost; nothing where nothing is, is right.
    """
    if not len(found) and not len(truth):
        return 1.0, 1.0
    return _agreeing(found, truth, 0.5, use_labels) / max(len(found), len(truth)), 1.0


def f1(
    found: Detections, truth: Detections, least: float = 0.5, use_labels: bool = True
) -> Judgement:
    """Judge by twice the boxes that agree one to one, over the boxes on both sides.

    Args:
        found: Detections of a picture.
        truth: True detections of it.
        least: Overlap from which two boxes agree.
        use_labels: Whether they must also have the same name.
    """
    return 2.0 * _agreeing(found, truth, least, use_labels), float(len(found) + len(truth))


def _agreeing(found: Detections, truth: Detections, least: float, use_labels: bool) -> int:
    iou = box_iou(found.xyxy, truth.xyxy)
    return len(match(iou * _same_label(found, truth) if use_labels else iou, least))


def quads_right(found: Detections, truth: Detections) -> Judgement:
    """Judge the share of quadrilaterals that agree one to one at an overlap of 0.5."""
    if not len(found) and not len(truth):
        return 1.0, 1.0
    return len(match(overlaps(found, truth))) / max(len(found), len(truth)), 1.0


def overlaps(found: Detections, truth: Detections) -> NDArray[np.float64]:
    """Return the intersection over union (n, m) of things: of outlines where both have some."""
    iou = box_iou(found.xyxy, truth.xyxy)
    for i, j in zip(*np.nonzero(iou), strict=True):
        if found.polygons[i] and truth.polygons[j]:
            iou[i, j] = outline_iou(found.polygons[i], truth.polygons[j])
    return iou


def things_right(
    found: Detections, truth: Detections, use_labels: bool = True
) -> NDArray[np.bool_]:
    """Return which things (n,) agree one to one with a true one at an overlap of 0.5.

    Args:
        found: Detections of a picture.
        truth: True detections of it.
        use_labels: Whether they must also have the same name.
    """
    iou = overlaps(found, truth)
    right = np.zeros(len(found), bool)
    right[[i for i, _ in match(iou * _same_label(found, truth) if use_labels else iou)]] = True
    return right


def classes_right(found: Detections, truth: Detections) -> Judgement:
    """Judge the names of those boxes that lie where a true box lies, whatever their names."""
    pairs = match(box_iou(found.xyxy, truth.xyxy))
    same = sum(normal(found.labels[i]) == normal(truth.labels[j]) for i, j in pairs)
    return float(same), float(len(pairs))


def masks_right(found: Detections, truth: Detections) -> Judgement:
    """Judge by the overlap of all outlines found with all true outlines."""
    rings = [tuple(r for rings in d.polygons for r in rings) for d in (found, truth)]
    return outline_iou(rings[0], rings[1]), 1.0


def _same_label(found: Detections, truth: Detections) -> NDArray[np.bool_]:
    names = [np.array([normal(n) for n in d.labels], object) for d in (found, truth)]
    same: NDArray[np.bool_] = (names[0][:, None] == names[1][None]).astype(bool)
    return same


def confidence(found: Detections) -> NDArray[np.float64]:
    """Return (n,) the model's confidence in box and name together, 1 where it has none."""
    return np.ones(len(found)) if found.scores is None else found.scores.astype(np.float64)


def average_precision(
    found: Sequence[Detections], truth: Sequence[Detections], use_labels: bool = True
) -> dict[str, float]:
    """Return mAP at 0.5, at 0.75 and over 0.5 to 0.95, as COCO defines it, class by class.

    Args:
        found: Detections of each picture, ranked by their confidences.
        truth: True detections of each picture.
        use_labels: Whether a box must also have the right name.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    kinds = sorted({normal(n) for t in truth for n in t.labels}) if use_labels else [""]
    number = {name: i + 1 for i, name in enumerate(kinds)}
    size = {"width": 10_000, "height": 10_000}
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for picture, (f, t) in enumerate(zip(found, truth, strict=True), 1):
        for rows, out, scores in ((t, annotations, None), (f, results, confidence(f))):
            for i, (x1, y1, x2, y2) in enumerate(rows.xyxy.tolist()):
                kind = number.get(normal(rows.labels[i]) if use_labels else "")
                if kind is None:
                    continue
                row: dict[str, Any] = {"id": len(out) + 1, "image_id": picture, "category_id": kind}
                row |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
                out.append(row | ({"iscrowd": 0} if scores is None else {"score": scores[i]}))
    names = ("map50", "map75", "map")
    if not annotations:
        return dict.fromkeys(names, float("nan"))
    if not results:
        return dict.fromkeys(names, 0.0)
    table = COCO(
        {
            "images": [{"id": i + 1, **size} for i in range(len(truth))],
            "categories": [{"id": i, "name": name} for name, i in number.items()],
            "annotations": annotations,
        }
    )
    run = COCOeval_faster(table, table.loadRes(results), "bbox", print_function=lambda *_: None)
    run.params.maxDets = [1, 10, 300]
    run.run()
    stats = run.stats_as_dict
    return {k: float(stats[s]) for k, s in zip(names, ("AP_50", "AP_75", "AP_all"), strict=True)}


def bootstrap(
    judgements: Sequence[Judgement], resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % interval of sum(gained) / sum(possible) over resampled rows."""
    pairs = np.asarray(judgements, np.float64).reshape(-1, 2)
    if not resamples or not pairs[:, 1].sum():
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed).multinomial(
        len(pairs), np.full(len(pairs), 1 / len(pairs)), size=resamples
    )
    gained, possible = (draws @ pairs).T
    values = gained[possible > 0] / possible[possible > 0]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def widened(value: float, low: float, high: float, count: int) -> tuple[float, float]:
    """Return an interval that does not shut itself where all answers were right, or all wrong.

    Resamples of equal answers are equal. What is never seen in n questions may still be so often
    that it is missed with probability 0.025 (Clopper and Pearson 1934, for all or nothing).

    Args:
        value: The number.
        low: Lower end by bootstrap.
        high: Upper end.
        count: Questions behind it.
    """
    if count and low == high == value and value in (0.0, 1.0):
        unseen = 1 - 0.025 ** (1 / count)
        return (1 - unseen, 1.0) if value else (0.0, unseen)
    return low, high
