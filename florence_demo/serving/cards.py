"""What is shown of one answered picture among many: a small picture, what was found, how sure.

Knows rows of a job. Does not know where cards stand.
"""

from __future__ import annotations

from typing import Any

from PIL import Image

from florence_demo.batch.sources import Item
from florence_demo.data.batches import Row, key_of
from florence_demo.output.overlay import overlay
from florence_demo.pictures.images import display_copy
from florence_demo.prediction import Prediction
from florence_demo.serving.asking import Service

SIDE = 360
"""Longest side of a card's picture, in pixels."""

_LETTERS = 300


class SmallPictures:
    """Keep a small copy of each picture from when it is opened until its card is made."""

    def __init__(self, service: Service) -> None:
        """Take where copies are handed out."""
        self._service = service
        self._kept: dict[str, dict[str, Any]] = {}

    def look(self, item: Item, picture: Image.Image) -> None:
        """Keep a picture's small copy."""
        self._kept[item.key] = self._service.handed_out(*display_copy(picture, SIDE))

    def take(self, row: Row) -> dict[str, Any] | None:
        """Return the copy of a row's picture, as a file that the page may show."""
        return self._kept.pop(key_of(row), None)


def make_card(row: Row, picture: dict[str, Any] | None) -> dict[str, Any]:
    """Return what a card shows of a row.

    Args:
        row: The row.
        picture: Its small picture, as a file that the page may show.

    Returns:
        {"name", "picture" (a file or None), "size", "error", "answers": [{"sentence", "overlay",
        "things": [[label, score or None], ...]}]}, an answer for each task.
    """
    card: dict[str, Any] = {"name": name_of(row), "picture": picture, "size": row.get("size")}
    if "error" in row:
        return {**card, "error": row["error"], "answers": []}
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
