"""How sure an answer is, in one number that a person can read.

A model's probabilities rank what it found, but say little of how much of it is right: one that
learned soft places gives a perfect box a few hundredths. Over answers with known truth, a curve
from the two probabilities, of the name and of the place, to the share that is right mends that:
logistic regression on their logits (Platt 1999; Kull et al. 2017, "Beta calibration"), rising in
both. A checkpoint's folder may hold a curve for each task; one that holds none says nothing.

Knows scores and numbers. Does not know models, pictures or what is right.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from florence_demo.bounded_json import JsonLimits, load_json
from florence_demo.prediction import Detections
from florence_demo.tasks import TASKS, Task

log = logging.getLogger(__name__)

FILE = "confidence.json"
MAX_BYTES = 16 << 10
LEAST = 50
"""Answers with known truth that a curve needs; fewer would tell of chance."""

_LIMITS = JsonLimits(max_bytes=MAX_BYTES, max_values=500, max_depth=3)
_STEEPEST = 100.0
_FLOOR = 1e-4

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Hold one curve: sigmoid(bias + place * logit(p of the place) + name * logit(p of the name)).

    Attributes:
        bias: Height of the curve.
        place: Weight of the place's logit, 0 or more.
        name: Weight of the name's logit, 0 or more.
    """

    bias: float
    place: float
    name: float

    def __call__(self, places: Any, names: Any) -> Floats:
        """Return the share that is right, (n,), of probabilities (n,) of place and of name."""
        height = self.bias + self.place * _logit(places) + self.name * _logit(names)
        return 1 / (1 + np.exp(-np.clip(height, -30, 30)))

    @classmethod
    def fit(cls, places: Any, names: Any, right: Any) -> Curve:
        """Fit to answers of known truth.

        Args:
            places: Probabilities of the places, (n,).
            names: Probabilities of the names, (n,).
            right: Whether each was right, (n,).
        """
        import torch

        logits = np.stack([_logit(places), _logit(names)], axis=1)
        x = torch.from_numpy(logits)
        y = torch.from_numpy(np.asarray(right, np.float64))
        # Exponents keep the weights above nothing, so that more sure is never less right.
        bias, weights = (torch.zeros(n, dtype=torch.float64, requires_grad=True) for n in (1, 2))
        search = torch.optim.LBFGS([bias, weights], max_iter=200, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            search.zero_grad()
            height = bias + x @ weights.exp()
            off = torch.nn.functional.binary_cross_entropy_with_logits(height, y)
            # A pull towards the given numbers, for where all answers are right, or none.
            off = off + 1e-3 * (bias.square().sum() + weights.square().sum())
            off.backward()
            return off

        with torch.enable_grad():
            search.step(loss)
        found = torch.cat([bias, weights.exp()]).detach().clamp(-_STEEPEST, _STEEPEST)
        return cls(*(round(value, 4) for value in found.tolist()))


@dataclass(frozen=True)
class Confidence:
    """Hold the curves of a model, by the name of the task."""

    curves: Mapping[str, Curve]

    def rate(self, task: Task, found: Detections) -> Detections | None:
        """Return detections with calibrated scores, or None where there is no curve or no score."""
        # A task that works on another's answer asks what the plain one asks, and has its curve.
        asked = (curve for name, curve in self.curves.items() if TASKS[name].prompt == task.prompt)
        curve = next(asked, None)
        if curve is None or found.place_scores is None or found.label_scores is None:
            return None
        scores = curve(found.place_scores, found.label_scores).astype(np.float32)
        return replace(found, scores=scores)

    def save(self, folder: Path) -> None:
        """Write it into a checkpoint's folder."""
        rows = {task: asdict(curve) for task, curve in sorted(self.curves.items())}
        text = json.dumps({"version": 1, "curves": rows}, indent=1)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Confidence | None:
        """Return what a checkpoint's folder holds; None if there is none that can be read."""
        file = folder / FILE
        if not file.is_file():
            return None
        # The folder may be a stranger's.
        try:
            stored = load_json(file, _LIMITS)
            if not isinstance(stored, dict) or stored.get("version") != 1:
                raise ValueError("is of another version")
            rows = stored.get("curves")
            if not isinstance(rows, dict):
                raise ValueError("holds no curves")
            curves = {task: _curve(row) for task, row in rows.items() if task in TASKS}
        except (OSError, ValueError) as exc:
            log.warning("%s is left out: it %s", file, exc)
            return None
        return cls(curves)


def _curve(row: Any) -> Curve:
    """Return a stored curve.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(row, dict) or row.keys() != {"bias", "place", "name"}:
        raise ValueError("holds a curve without its three numbers")
    for value in row.values():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or abs(value) > _STEEPEST:
            raise ValueError("holds a curve of impossible numbers")
    if row["place"] < 0 or row["name"] < 0:
        raise ValueError("holds a curve that falls where the model is surer")
    return Curve(float(row["bias"]), float(row["place"]), float(row["name"]))


def _logit(probabilities: Any) -> Floats:
    p = np.clip(np.asarray(probabilities, np.float64), _FLOOR, 1 - _FLOOR)
    result: Floats = np.log(p / (1 - p))
    return result
