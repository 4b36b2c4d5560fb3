"""A table with a row for each box, as TensorFlow's tools and their exports have it.

Knows the columns of a box's corners and of its name; the rows of one picture are put together.
Does not know files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from florence_demo.data.annotated import Annotated, with_all_names
from florence_demo.data.columns import ROLES
from florence_demo.data.listings import check_places, floats_of, in_pixels
from florence_demo.data.named_pictures import Pictures
from florence_demo.errors import DatasetError
from florence_demo.prediction import Detections

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_NAMES = ("class", "label", "name", "category", "class_name", "labelname")


def box_columns(names: Iterable[str]) -> tuple[str, str, tuple[str, ...]] | None:
    """Return the columns of the picture, the name and the four corners; None where one lacks."""
    known = {name.lower(): name for name in names}
    image = next((known[name] for name in ROLES["image"] if name in known), None)
    label = next((known[name] for name in _NAMES if name in known), None)
    if image is None or label is None or not all(side in known for side in _CORNERS):
        return None
    return image, label, tuple(known[side] for side in _CORNERS)


def pictures_of(
    rows: Iterable[tuple[str, Mapping[str, Any] | DatasetError]],
    columns: tuple[str, str, tuple[str, ...]],
    pictures: Pictures,
) -> Iterator[Annotated | DatasetError]:
    """Yield each picture with the boxes of all its rows; a row without corners is "nothing there".

    Args:
        rows: "file:line" with the cells by column.
        columns: Those that ``box_columns`` found.
        pictures: Finds the pictures.
    """
    image, label, corners = columns
    found: dict[Any, tuple[str, list[Any], list[str]]] = {}
    for where, row in rows:
        if isinstance(row, DatasetError):
            yield row
            continue
        _, boxes, labels = found.setdefault(row.get(image), (where, [], []))
        cells = [row.get(side) for side in corners]
        if not any(cells):
            continue
        if not row.get(label):
            yield DatasetError(f"{where}: the box has no name: write one, or remove the row.")
            continue
        try:
            boxes.append([float(str(cell)) for cell in cells])
        except ValueError:
            yield DatasetError(f"{where}: a corner of the box is no number.")
            continue
        labels.append(str(row[label]))
    marked: list[Annotated] = []
    for name, (where, boxes, labels) in found.items():
        try:
            check_places(boxes)
            places = in_pixels(boxes) if boxes else floats_of([]).reshape(-1, 4)
            things = Detections(places, tuple(labels))
            marked.append(Annotated(pictures.path(name), things, where=where))
        except DatasetError as exc:
            yield DatasetError(f"{where}: {exc}")
    yield from with_all_names(marked)
