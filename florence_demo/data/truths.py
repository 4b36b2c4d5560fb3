"""The held-out set's format: ``truth.jsonl``, a line a scene with all that is true about it.

Knows the names in a line and in its truths; what is written here is read here. A line may be a
stranger's. Does not know how a scene is drawn (``nano``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from florence_demo.data.example import Example
from florence_demo.data.listings import (
    MALFORMED,
    answers_of,
    check_places,
    floats_of,
    json_lines,
    listing_of,
    region_of,
)
from florence_demo.data.named_pictures import Pictures
from florence_demo.data.source import DataSource
from florence_demo.errors import DatasetError
from florence_demo.prediction import Detections

TRUTH_FILE = "truth.jsonl"
_TAGS = ("kind", "style")
_MAX_TAG = 40


def truth_line(image: str, tags: tuple[str, str], rows: Sequence[Example]) -> str:
    """Return the line of one picture; places are rounded to a tenth of a pixel.

    Args:
        image: The picture's name within the folder.
        tags: Kind and style of the scene.
        rows: The truths about it.
    """
    told = dict(zip(_TAGS, tags, strict=True))
    line = {"image": image, **told, "truths": [_truth(row) for row in rows]}
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n"


def _truth(row: Example) -> dict[str, Any]:
    """Return what one row says; what it does not say is left out."""
    said = {
        "task": row.task,
        "text": row.text,
        "region": _short(row.region or ()),
        "answer": row.answer,
        "detections": _places(row.detections),
        "references": list(row.references),
    }
    return {name: value for name, value in said.items() if value}


def _places(found: Detections) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for i, rings in enumerate(found.polygons):
        rows.append({"label": found.labels[i], "box": _short(found.xyxy[i])})
        if rings:
            rows[-1]["polygons"] = [_short(ring.ravel()) for ring in rings]
    return rows


def _short(values: Sequence[float] | np.ndarray) -> list[float]:
    return [round(float(v), 1) for v in values]


def read_truths(source: DataSource) -> Iterator[Example | DatasetError]:
    """Yield every truth of a folder of scenes."""
    path = listing_of(source)
    pictures = Pictures(source, path.parent)
    for where, line in json_lines(path, source.limits):
        if isinstance(line, DatasetError):
            yield line
            continue
        try:
            yield from _rows(pictures.path(line["image"]), line, where)
        except DatasetError as exc:
            yield DatasetError(f"{where}: {exc}")
        except MALFORMED as exc:
            yield DatasetError(f"{where}: the row is not in the form of this format ({exc!r}).")


def _rows(picture: Path, line: dict[str, Any], where: str) -> Iterator[Example]:
    for truth in line["truths"]:
        region = truth.get("region")
        yield Example(
            picture,
            str(truth["task"]),
            str(truth.get("text", "")),
            None if region is None else region_of(region),
            str(truth.get("answer", "")),
            _detections(truth.get("detections", [])),
            answers_of(truth.get("references", [])),
            where=where,
            tags=tuple(line[k][:_MAX_TAG] for k in _TAGS if isinstance(line.get(k), str)),
        )


def _detections(rows: Sequence[dict[str, Any]]) -> Detections:
    if not rows:
        return Detections.empty()
    check_places(rows)
    return Detections(
        floats_of([r["box"] for r in rows]),
        tuple(str(r.get("label", "")) for r in rows),
        tuple(
            tuple(floats_of(ring).reshape(-1, 2) for ring in r.get("polygons", ())) for r in rows
        ),
    )
