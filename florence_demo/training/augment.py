"""Rows seen otherwise: turned over, nearer, farther, in other light, with the marks of a camera.

Knows which change leaves a row true: places move with their pixels, text is never turned over, and
what a sentence says of left and right stays where it is. The changes themselves are torchvision's
(``transforms.v2``). Does not know models or formats.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
from PIL import Image

from florence_demo.data.example import Example
from florence_demo.data.listings import region_of
from florence_demo.prediction import Detections, FloatArray
from florence_demo.tasks import task_named

_SIDES = re.compile(r"\b(?:left|right)\b", re.IGNORECASE)
_SEEN = 0.3
"""Share of a box from which it still counts after a cut; less often looks like another thing."""
_WHOLE = 0.95
"""The same of a thing that must not be lost: what is asked about, or named in a sentence."""
_TRIES = 5

Move = Callable[[FloatArray], FloatArray]
_Change = Callable[[Example, Image.Image, random.Random], Example | None]


def augmented(row: Example, kinds: Collection[str], rng: random.Random) -> Example:
    """Return a row with its picture and its places changed, each kind of change half of the time.

    Args:
        row: The row; its places lie in pixels of its picture.
        kinds: Some of ``KINDS``.
        rng: Where chance comes from.

    Raises:
        DatasetError: The picture cannot be read.
    """
    for kind, change in _CHANGES.items():
        if kind in kinds and rng.random() < 0.5:
            row = change(row, row.load(), rng) or row
    return row


def _flip(row: Example, image: Image.Image, rng: random.Random) -> Example | None:
    from torchvision.transforms.v2 import functional

    said = " ".join((row.text, *row.accepted, *row.detections.labels))
    if not _has_places(row) or _reads(row) or _SIDES.search(said):
        return None
    return _moved(row, functional.horizontal_flip(image), _mover(image, functional.horizontal_flip))


def _crop(row: Example, image: Image.Image, rng: random.Random) -> Example | None:
    """Cut out half to nearly all of the picture, so that what is asked about stays."""
    from torchvision.transforms.v2 import functional

    if not _has_places(row):
        return None
    for _ in range(_TRIES):
        width, height = (max(2, round(side * rng.uniform(0.5, 0.95))) for side in image.size)
        left, top = (
            rng.randint(0, whole - part)
            for whole, part in zip(image.size, (width, height), strict=True)
        )
        box = np.array([left, top, left + width, top + height], np.float32)
        seen = _shares(row.detections.xyxy, box)
        lost = seen < (_SEEN if _may_lose(row) else _WHOLE)
        region = np.asarray(row.region or box, np.float32)
        if _shares(region[None], box)[0] < _WHOLE or (lost.any() and not _may_lose(row)):
            continue
        kept = replace(row, detections=row.detections.select(~lost))
        place = (top, left, height, width)

        def cut(what: object, place: tuple[int, ...] = place) -> object:
            return functional.crop(what, *place)

        return _moved(kept, functional.crop(image, *place), _mover(image, cut))
    return None


def _scale(row: Example, image: Image.Image, rng: random.Random) -> Example | None:
    """Put the picture, made smaller, somewhere on grey: things are seen from farther away."""
    from torchvision.transforms.v2 import functional

    if not _has_places(row) and task_named(row.task).answer.name == "TEXT":
        return None  # a small print that nobody can read is no question
    wide, high = (round(side * rng.uniform(0.1, 0.6)) for side in image.size)
    left, top = rng.randint(0, wide), rng.randint(0, high)
    around = [left, top, wide - left, high - top]

    def pad(what: object) -> object:
        return functional.pad(what, around, fill=127)

    return _moved(row, functional.pad(image, around, fill=127), _mover(image, pad))


def _color(row: Example, image: Image.Image, rng: random.Random) -> Example | None:
    """Change brightness, contrast and strength of colours; never the hue, which has a name."""
    from torchvision.transforms.v2 import functional

    image = functional.adjust_brightness(image, rng.uniform(0.7, 1.3))
    image = functional.adjust_contrast(image, rng.uniform(0.7, 1.3))
    return replace(row, image=functional.adjust_saturation(image, rng.uniform(0.7, 1.3)))


def _jpeg(row: Example, image: Image.Image, rng: random.Random) -> Example | None:
    from torchvision.transforms.v2 import functional

    pixels = functional.jpeg(functional.pil_to_tensor(image), rng.randint(40, 90))
    return replace(row, image=functional.to_pil_image(pixels))


_CHANGES: dict[str, _Change] = {
    "flip": _flip,
    "crop": _crop,
    "scale": _scale,
    "color": _color,
    "jpeg": _jpeg,
}
KINDS = tuple(_CHANGES)
"""The kinds of changes, in the order in which they are made."""


def _has_places(row: Example) -> bool:
    """Say whether an answer is about places: a sentence about the whole picture stays with it."""
    return task_named(row.task).answer.name != "TEXT" or row.region is not None


def _reads(row: Example) -> bool:
    return "ocr" in row.task


def _may_lose(row: Example) -> bool:
    """Say whether a thing that is out of sight may leave the answer: where all there is is told."""
    answer = task_named(row.task).answer.name
    return answer in ("BOXES", "QUADS") or row.task == "open_vocabulary_detection"


def _mover(image: Image.Image, change: Callable[[object], object]) -> Move:
    """Return what moves points (n, 2) as a change of torchvision's moves the pixels."""
    import torch
    from torchvision import tv_tensors

    def move(points: FloatArray) -> FloatArray:
        # As boxes without area: key points would be taken for the middles of pixels.
        corners = torch.from_numpy(np.concatenate([points, points], axis=1))
        boxes = tv_tensors.BoundingBoxes(
            corners, format="XYXY", canvas_size=image.size[::-1], clamping_mode=None
        )
        found: FloatArray = np.asarray(change(boxes), np.float32)[:, :2]
        return found

    return move


def _moved(row: Example, image: Image.Image, move: Move) -> Example:
    """Return a row with another picture and its places there, cut at its edges."""
    size = np.asarray(image.size, np.float32)

    def points(values: FloatArray) -> FloatArray:
        result: FloatArray = np.clip(move(values), 0, size).astype(np.float32)
        return result

    def boxes(values: FloatArray) -> FloatArray:
        corners = points(values.reshape(-1, 2)).reshape(-1, 2, 2)
        return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)

    found = row.detections
    rings = tuple(tuple(points(ring) for ring in rings) for rings in found.polygons)
    region = row.region
    if region is not None:
        region = region_of(boxes(np.asarray([region], np.float32))[0].tolist())
    places = Detections(boxes(found.xyxy) if len(found) else found.xyxy, found.labels, rings)
    return replace(row, image=image, detections=places, region=region)


def _shares(boxes: FloatArray, window: FloatArray) -> FloatArray:
    """Return how much of each box (n, 4) lies in a window (4,), 0 to 1."""
    inner = np.concatenate(
        [np.maximum(boxes[:, :2], window[:2]), np.minimum(boxes[:, 2:], window[2:])], axis=1
    )
    areas = [np.clip(b[:, 2:] - b[:, :2], 0, None).prod(axis=1) for b in (inner, boxes)]
    shares: FloatArray = np.divide(
        areas[0], areas[1], out=np.zeros_like(areas[0]), where=areas[1] > 0
    )
    return shares
