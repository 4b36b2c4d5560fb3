"""Label Studio's own exports: JSON, tasks with what people marked, and JSON-MIN, its short form.

Knows boxes and outlines in hundredths of a picture; other marks are left out and told. Its COCO and
YOLO exports are those formats. What a file says may be a stranger's word.
"""

from __future__ import annotations

from collections import Counter as Kinds
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from florence_demo.data.annotated import Annotated, Rows, with_all_names
from florence_demo.data.listings import (
    IMAGE_SUFFIXES,
    MALFORMED,
    check_places,
    floats_of,
    json_of,
    listing_of,
    shows,
)
from florence_demo.data.named_pictures import Pictures
from florence_demo.data.parts import Listing
from florence_demo.data.source import DataSource
from florence_demo.errors import DatasetError, LeftOut, plain
from florence_demo.prediction import Detections, Rings

_BOXES, _OUTLINES = "rectanglelabels", "polygonlabels"
_SIDES = ("x", "y", "width", "height")


def _is_one(path: Path) -> bool:
    marked = shows(path, f'"{_BOXES}"'.encode()) or shows(path, f'"{_OUTLINES}"'.encode())
    return marked and shows(path, b'"original_width"')


find_labelstudio = Listing(".json", _is_one).find


def read_labelstudio(source: DataSource) -> Rows:
    """Yield each picture with its boxes and outlines; a picture that nobody looked at is told."""
    path = listing_of(source)
    table = json_of(path, source.limits)
    if not isinstance(table, list):
        raise DatasetError(f"{path.name} is no export of Label Studio: it must be a list of tasks.")
    pictures = Pictures(source, path.parent, path.parent / "images", path.parent / "upload")
    found: list[Annotated] = []
    odd: Kinds[str] = Kinds()
    for number, task in enumerate(table, 1):
        where = f"{path.name}: task {number}"
        try:
            found.append(_picture(task, pictures, where, odd))
        except DatasetError as exc:
            yield DatasetError(f"{where}: {exc}")
        except MALFORMED as exc:
            yield DatasetError(f"{where}: a mark is not in Label Studio's form ({exc!r}).")
    for kind, count in sorted(odd.items()):
        yield LeftOut(f"{path.name}: marks of the kind {plain(kind, 40)} are left out: {count:,}.")
    yield from with_all_names(found)


def _picture(task: Any, pictures: Pictures, where: str, odd: Kinds[str]) -> Annotated:
    """Return a picture with what is marked on it, and count the kinds of marks that are left out.

    Raises:
        DatasetError: The task has no picture, or nobody has looked at it.
    """
    image = pictures.path(_named(task["data"] if "annotations" in task else task))
    marks = list(_marks(task))
    check_places(marks)
    boxes: list[Any] = []
    labels: list[str] = []
    outlines: list[Rings] = []
    for mark in marks:
        kind = next((k for k in (_BOXES, _OUTLINES) if mark.get(k)), None)
        if kind is None or mark.get("rotation"):
            odd["turned boxes" if kind else _kind_of(mark)] += 1
            continue
        size = floats_of([mark["original_width"], mark["original_height"]]) / 100
        if kind == _BOXES:
            x, y, width, height = (mark[side] for side in _SIDES)
            corners = floats_of([[x, y], [x + width, y + height]])
        else:
            corners = floats_of(mark["points"]).reshape(-1, 2)
        corners = floats_of(corners * size)
        boxes.append(np.concatenate([corners.min(axis=0), corners.max(axis=0)]))
        labels.append(str(mark[kind][0]))
        outlines.append((corners,) if kind == _OUTLINES else ())
    found = Detections(floats_of(boxes).reshape(-1, 4), tuple(labels), tuple(outlines))
    return Annotated(image, found, where=where)


def _named(data: Mapping[str, Any]) -> str:
    """Return the name of a task's picture: the value, whatever it is called, that names one.

    Raises:
        DatasetError: There is none.
    """
    for value in data.values():
        if isinstance(value, str):
            # "/data/local-files/?d=folder/a.jpg" of pictures that the server reads itself.
            name = value.rpartition("?d=")[2]
            if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES:
                return name
    raise DatasetError("it names no picture.")


def _marks(task: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what is marked: of the last person who looked, in the long form."""
    if "annotations" not in task:
        for value in task.values():
            if isinstance(value, list):
                yield from (mark for mark in value if isinstance(mark, dict))
        return
    done = [a for a in task["annotations"] if not a.get("was_cancelled")]
    if not done:
        raise DatasetError("nobody has marked it yet: leave it out of the export.")
    for result in done[-1]["result"]:
        yield {**result, **result["value"]}


def _kind_of(mark: Mapping[str, Any]) -> str:
    return next((key for key in mark if key.endswith("labels")), str(mark.get("type", "unknown")))
