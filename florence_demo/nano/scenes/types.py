"""The records a synthetic scene is made of: what is in the picture, and what is true about it.

Knows names and shapes only. Does not know how a scene is drawn or how a truth is worded.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from florence_demo.nano.scenes.contours import contours
from florence_demo.prediction import Detections, FloatArray, Rings

NOWHERE = Detections.empty()
"""Where a truth lies that is words only."""


@dataclass(frozen=True, eq=False)
class SceneObject:
    """Describe one object as far as it can be seen.

    Attributes:
        label: Class name, one of ``CLASSES``.
        style: Name of the drawing style it was cut from.
        color: One of ``COLORS`` where the object was painted, else None.
        xyxy: (4,) float32 bounds of the visible mask in pixels.
        mask: (h, w) bool, what is seen of it within these bounds.
    """

    label: str
    style: str
    color: str | None
    xyxy: FloatArray
    mask: NDArray[np.bool_]

    @functools.cached_property
    def rings(self) -> Rings:
        """Return the contours of the mask in the picture, as ``contours`` finds them.

        They are found when they are asked for: few questions do, and it takes long.
        """
        return contours(self.mask, (int(self.xyxy[0]), int(self.xyxy[1])))


@dataclass(frozen=True, eq=False)
class Truth:
    """Hold one question about a scene and its right answer.

    Attributes:
        task: Name of the task: its token in lower case, such as "od".
        text: What the person typed: a phrase, a caption or a question; "" where nothing is typed.
        region: The box a region task asks about, x1, y1, x2, y2 in pixels, or None.
        answer: The answer in words; "" where it is places only.
        places: Boxes, or one ring of four points a text line.
        outlined: The object whose outline is asked for, instead of places.
    """

    task: str
    text: str = ""
    region: tuple[float, float, float, float] | None = None
    answer: str = ""
    places: Detections = NOWHERE
    outlined: SceneObject | None = None

    @functools.cached_property
    def detections(self) -> Detections:
        """Return the places or the outline."""
        if self.outlined is None:
            return self.places
        return Detections.from_polygons([self.outlined.rings], [""])


@dataclass(frozen=True, eq=False)
class TextLine:
    """Describe one line of text.

    Attributes:
        text: The line as it is written.
        quad: (4, 2) float32 pixels, clockwise from the line's own top left.
        chars: (len(text), 4) float32 bounds of every character; a space's box is empty of ink.
    """

    text: str
    quad: FloatArray
    chars: FloatArray


@dataclass(frozen=True, eq=False)
class Scene:
    """Hold a picture and everything that is true about it.

    Attributes:
        image: The picture, RGB.
        kind: "objects", "sign", "page", "receipt", "form", "table" or "chart".
        objects: What is in it, left to right.
        lines: What is written in it, top to bottom, then left to right.
        instances: (H, W) uint8: 0 background, i + 1 where object i is seen.
        truths: Questions with their right answers, several a task.
    """

    image: Image.Image
    kind: str
    objects: tuple[SceneObject, ...]
    lines: tuple[TextLine, ...]
    instances: NDArray[np.uint8]
    truths: tuple[Truth, ...]
