"""The two types that every module speaks: ``Detections`` and ``Prediction``.

Knows geometry in pixels and how to become JSON. Does not know tasks, tokens, models or drawing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Numbers = NDArray[np.floating[Any]]
Rings = tuple[FloatArray, ...]
"""The parts of one instance, each (k, 2) float32 pixels; an instance is the union of its parts."""


_SCORES = ("scores", "label_scores", "place_scores")


@dataclass(frozen=True, eq=False)
class Detections:
    """Hold n things found in a picture.

    Attributes:
        xyxy: Boxes, (n, 4) float32, pixels of the original image, origin top left, with
            x1 <= x2 and y1 <= y2.
        labels: n labels, "" where the task gives none.
        polygons: n instances, each a tuple of rings (k, 2) float32 pixels, k >= 3; an empty tuple
            where the instance is a plain box. A quadrilateral is one ring of four points.
        scores: (n,) float32 in 0..1, how sure it is that a thing of this name is there: the
            calibrated confidence where a model has one, else ``label_scores * place_scores``; or
            None.
        label_scores: (n,) float32 in 0..1, the probability of the whole label (1 where there is
            none), or None.
        place_scores: (n,) float32 in 0..1, the geometric mean probability of the location tokens,
            each with its nearest neighbours, or None.
    """

    xyxy: FloatArray
    labels: tuple[str, ...]
    polygons: tuple[Rings, ...] = ()
    scores: FloatArray | None = None
    label_scores: FloatArray | None = None
    place_scores: FloatArray | None = None

    def __post_init__(self) -> None:
        n = len(self.labels)
        boxes = np.asarray(self.xyxy, dtype=np.float32).reshape(-1, 4) if n == 0 else self.xyxy
        object.__setattr__(self, "xyxy", np.asarray(boxes, dtype=np.float32))
        if self.xyxy.shape != (n, 4):
            raise ValueError(f"xyxy must have shape ({n}, 4), got {self.xyxy.shape}")
        if not self.polygons:
            object.__setattr__(self, "polygons", ((),) * n)
        if len(self.polygons) != n:
            raise ValueError(f"polygons must have {n} instances, got {len(self.polygons)}")
        for rings in self.polygons:
            for ring in rings:
                if ring.ndim != 2 or ring.shape[0] < 3 or ring.shape[1] != 2:
                    raise ValueError(f"a ring must have shape (k >= 3, 2), got {ring.shape}")
        for name in _SCORES:
            values = getattr(self, name)
            if values is not None and values.shape != (n,):
                raise ValueError(f"{name} must have shape ({n},), got {values.shape}")

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def empty(cls) -> Detections:
        """Return no detections at all."""
        return cls(np.zeros((0, 4), np.float32), ())

    @classmethod
    def from_polygons(
        cls,
        polygons: Sequence[Iterable[FloatArray]],
        labels: Sequence[str],
    ) -> Detections:
        """Build detections whose boxes are the bounds of their rings.

        Args:
            polygons: n instances, each one or more rings (k, 2) in pixels.
            labels: n labels.
        """
        instances = tuple(tuple(np.asarray(r, np.float32) for r in rings) for rings in polygons)
        boxes = [bounds(rings) for rings in instances]
        return cls(np.array(boxes, np.float32).reshape(-1, 4), tuple(labels), instances)

    def select(self, keep: Sequence[int] | NDArray[np.bool_]) -> Detections:
        """Return the detections at these indices, or where a mask is true."""
        index = np.arange(len(self))[np.asarray(keep)] if len(keep) else np.zeros(0, int)
        scores = (getattr(self, name) for name in _SCORES)
        return Detections(
            self.xyxy[index],
            tuple(self.labels[i] for i in index),
            tuple(self.polygons[i] for i in index),
            *(None if values is None else values[index] for values in scores),
        )

    def named(self, name: str) -> Detections:
        """Return the detections, those without a name with this one, which was asked for."""
        return replace(self, labels=tuple(label or name.strip() for label in self.labels))

    @classmethod
    def from_json(cls, rows: Sequence[dict[str, Any]]) -> Detections:
        """Return the detections that ``to_json`` wrote.

        Raises:
            ValueError: The rows are not those of detections.
        """
        try:
            boxes = np.array([row["box"] for row in rows], np.float32).reshape(len(rows), 4)
            rings = [
                tuple(np.array(ring, np.float32).reshape(-1, 2) for ring in row["polygons"])
                for row in rows
            ]
            scores = [[row.get(name.removesuffix("s")) for row in rows] for name in _SCORES]
            given = [
                None if not rows or None in values else np.array(values, np.float32)
                for values in scores
            ]
            return cls(boxes, tuple(str(row["label"]) for row in rows), tuple(rings), *given)
        except (TypeError, KeyError, AttributeError, ValueError) as exc:
            raise ValueError(f"rows of detections expected, got {str(rows)[:60]}") from exc

    def to_json(self) -> list[dict[str, Any]]:
        """Return one dict of plain Python numbers a detection."""
        scores = {name.removesuffix("s"): getattr(self, name) for name in _SCORES}
        return [
            {
                "label": self.labels[i],
                "box": [float(v) for v in self.xyxy[i]],
                "polygons": [[float(v) for v in ring.ravel()] for ring in self.polygons[i]],
                **{k: None if values is None else float(values[i]) for k, values in scores.items()},
            }
            for i in range(len(self))
        ]


def bounds(rings: Iterable[FloatArray]) -> FloatArray:
    """Return the box (4,) x1, y1, x2, y2 around some rings of points."""
    points = np.concatenate([np.asarray(ring, np.float32) for ring in rings])
    return np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float32)


def box_iou(a: Numbers, b: Numbers) -> NDArray[np.float64]:
    """Return the intersection over union (n, m) of boxes (n, 4) and (m, 4)."""
    one, two = a[:, None].astype(np.float64), b[None].astype(np.float64)
    sides = np.minimum(one[..., 2:], two[..., 2:]) - np.maximum(one[..., :2], two[..., :2])
    shared = np.clip(sides, 0, None).prod(-1)
    areas = [(x[..., 2:] - x[..., :2]).clip(0).prod(-1) for x in (one, two)]
    union = areas[0] + areas[1] - shared
    iou: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(union), where=union > 0)
    return iou


@dataclass(frozen=True, eq=False)
class Prediction:
    """Hold one answer of a model about one picture, as everything after the model sees it.

    Attributes:
        task: Name of the task, such as "od".
        prompt: The sentence the model was asked.
        raw: The generated string as the model wrote it, special tokens included.
        text: The answer as a person reads it; "" where the answer is places only.
        size: (width, height) of the original picture in pixels.
        detections: What was found and where.
        parsed: Florence-2's own dict, {"<OD>": {"bboxes": [...], "labels": [...]}}.
        model: Title of the model that answered.
        device: Where it ran, such as "cpu" or "cuda:0".
        seconds: Wall-clock time of the answer; of several answered together, each one's share.
        tokens: Number of generated tokens.
        truncated: Whether the token limit cut the answer off.
        looped: Whether the answer only repeated itself and was ended for that.
        notices: Sentences a person should read beside the answer.
        calibrated: Whether the detections' scores are calibrated: of those at 0.8, four in five are
            right on pictures like those of the model's training.
        picture: Digest of the picture's pixels, so that no other one is taken for it; "" where
            unknown.
        names: The names that were asked for, where they were several; they are the labels.
        room: How many questions at once memory was enough for; None where it was never too little.
    """

    task: str
    prompt: str
    raw: str
    text: str
    size: tuple[int, int]
    detections: Detections
    parsed: dict[str, Any]
    model: str = ""
    device: str = ""
    seconds: float = 0.0
    tokens: int = 0
    truncated: bool = False
    looped: bool = False
    notices: tuple[str, ...] = field(default=())
    calibrated: bool = False
    picture: str = ""
    names: tuple[str, ...] = ()
    room: int | None = None

    def sentence(self) -> str:
        """Return the answer in one plain sentence: "3 objects: 2 × cat, car".

        Of names that were asked for: "2 × cat, car; no dog".
        """
        if self.names:
            return self._of_names()
        count = len(self.detections)
        if not count:
            return self.text or "Nothing was found."
        if self.text:
            return self.text
        named = Counter(label for label in self.detections.labels if label)
        kind = "outline" if any(self.detections.polygons) else "region"
        if not named:
            return f"{count} {kind}{'' if count == 1 else 's'}"
        listed = [f"{n} × {label}" if n > 1 else label for label, n in named.most_common(6)]
        more = len(named) - len(listed)
        rest = f" and {more} more" if more > 0 else ""
        return f"{count} object{'' if count == 1 else 's'}: {', '.join(listed)}{rest}"

    @property
    def counted(self) -> bool:
        """Whether its sentence is ours, of what was found, and not what the model wrote."""
        return bool(self.names) or not self.text

    def _of_names(self) -> str:
        found = Counter(self.detections.labels)
        # A person may have given a thing another name since.
        names = dict.fromkeys((*self.names, *found))
        there = [f"{found[n]} × {n}" if found[n] > 1 else n for n in names if found[n]]
        gone = [f"no {name}" for name in names if not found[name]]
        said = "; ".join(", ".join(part) for part in (there, gone) if part)
        return said if there else f"{said[:1].upper()}{said[1:]}"

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Prediction:
        """Return the prediction that ``to_json`` wrote; which pixels it is about is not known.

        Raises:
            ValueError: The values are not those of a prediction.
        """
        try:
            given = {f.name: values[f.name] for f in fields(cls) if f.name in values}
            width, height = given["size"]
            return cls(
                **{
                    **given,
                    "size": (int(width), int(height)),
                    "detections": Detections.from_json(given["detections"]),
                    "notices": tuple(given.get("notices", ())),
                    "names": tuple(given.get("names", ())),
                }
            )
        except (TypeError, KeyError, AttributeError) as exc:
            raise ValueError(f"a prediction expected, got {str(values)[:60]}") from exc

    def to_json(self) -> dict[str, Any]:
        """Return plain Python values that ``json.dumps`` takes as they are."""
        return {
            "task": self.task,
            "prompt": self.prompt,
            "text": self.text,
            "detections": self.detections.to_json(),
            "parsed": self.parsed,
            "raw": self.raw,
            "size": list(self.size),
            "model": self.model,
            "device": self.device,
            "seconds": round(self.seconds, 4),
            "tokens": self.tokens,
            "truncated": self.truncated,
            "looped": self.looped,
            "notices": list(self.notices),
            "calibrated": self.calibrated,
            "names": list(self.names),
        }
