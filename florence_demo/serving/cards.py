"""What is shown of one answered picture among many: a small picture, what was found, how sure.

Knows rows of a job. Does not know where cards stand.
"""

from __future__ import annotations

import logging
from typing import Any

from florence_demo.data.batches import Row
from florence_demo.data.places import Place
from florence_demo.errors import FlorenceDemoError
from florence_demo.output.overlay import overlay
from florence_demo.pictures.images import display_copy, open_image
from florence_demo.prediction import Prediction
from florence_demo.serving.asking import Service

log = logging.getLogger(__name__)

SIDE = 360
"""Longest side of a card's picture, in pixels."""

_LETTERS = 300


def make_card(service: Service, row: Row) -> dict[str, Any]:
    """Return what a card shows of a row.

    Returns:
        {"name", "picture" (a file or None), "size", "error", "answers": [{"sentence", "overlay",
        "things": [[label, score or None], ...]}]}, an answer for each task.
    """
    card: dict[str, Any] = {"name": name_of(row), "picture": None, "size": row.get("size")}
    if "error" in row:
        return {**card, "error": row["error"], "answers": []}
    try:
        image = open_image(Place.from_json(row["place"]).read())
        card["picture"] = service.handed_out(*display_copy(image, SIDE))
    except (FlorenceDemoError, OSError):
        log.warning("no small picture of %r", row["source"], exc_info=True)
    return {**card, "error": "", "answers": [_answer(each) for each in row["answers"].values()]}


def name_of(row: Row) -> str:
    """Return what a person calls the picture of a row: its file, its page, its second."""
    name = str(row["source"])
    if row.get("page"):
        return f"{name}, page {row['page']}"
    if row.get("frame") is not None:
        return f"{name}, {row['time']:.1f} s"
    return name


def _answer(told: dict[str, Any]) -> dict[str, Any]:
    if "error" in told:
        return {"sentence": told["error"], "overlay": "", "things": [], "failed": True}
    found = Prediction.from_json(told)
    scores = found.detections.scores
    return {
        "sentence": found.sentence()[:_LETTERS],
        "overlay": overlay(found, always=4),
        "things": [
            [label, None if scores is None else round(float(scores[i]), 3)]
            for i, label in enumerate(found.detections.labels)
        ],
    }
