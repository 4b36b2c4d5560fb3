"""LabelMe: a JSON file for each picture, with shapes of points.

Knows rectangles, outlines, circles and masks; other shapes are left out and told. The picture may
be in the file itself, which counts where there is no other. What a file says may be a stranger's
word.
"""

from __future__ import annotations

import base64
import json
from collections import Counter as Kinds
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from florence_demo.data.annotated import Annotated, Rows, with_all_names
from florence_demo.data.example import Example, Picture
from florence_demo.data.listings import (
    MALFORMED,
    Counter,
    check_places,
    floats_of,
    json_of,
    shows,
)
from florence_demo.data.masks import rings_of
from florence_demo.data.named_pictures import Pictures, likely_names
from florence_demo.data.parts import files_in, in_folders
from florence_demo.data.source import DataLimits, DataSource
from florence_demo.data.written import write_pictures
from florence_demo.errors import DatasetError, InputError, LeftOut, plain
from florence_demo.pictures.images import LIMITS, open_image, too_many_bytes
from florence_demo.prediction import Detections, FloatArray, Rings

_VERSION = "5.5.0"
"""Of the program, whose form is written: it refuses files that tell none."""
_LOOKED_AT = 20


def _is_labelme(folder: Path) -> bool:
    return any(
        shows(path, b'"shapes"') and shows(path, b'"imagePath"')
        for path in _files(folder)[:_LOOKED_AT]
    )


find_labelme = in_folders(_is_labelme)


def _files(folder: Path) -> list[Path]:
    return files_in(folder, ".json")


def read_labelme(source: DataSource) -> Rows:
    """Yield each picture with its boxes and outlines, and what of its shapes is left out."""
    folder = Path(source.location)
    pictures = Pictures(source, folder, folder.parent / "images")
    count = Counter(source.limits)
    found: list[Annotated] = []
    odd: Kinds[str] = Kinds()
    for file in _files(folder):
        if not source.holds(file):
            yield DatasetError(f"{file.name} lies outside the data's own folder.")
            continue
        try:
            found.append(_picture(file, pictures, source.limits, count, odd))
        except DatasetError as exc:
            yield DatasetError(f"{file.name}: {exc}")
        except MALFORMED as exc:
            yield DatasetError(f"{file.name}: a shape is not in LabelMe's form ({exc!r}).")
    for kind, files in sorted(odd.items()):
        where = "1 file" if files == 1 else f"{files:,} files"
        yield LeftOut(
            f"{folder.name}: shapes of the kind {plain(kind, 40)} are left out, in {where}."
        )
    yield from with_all_names(found)


def _picture(
    file: Path,
    pictures: Pictures,
    limits: DataLimits | None,
    count: Counter,
    odd: Kinds[str],
) -> Annotated:
    """Return a picture with what its file marks, and count the kinds of shapes that are left out.

    Raises:
        DatasetError: The file or a shape in it cannot be read.
    """
    table = json_of(file, limits)
    if not isinstance(table, dict) or not isinstance(table.get("shapes"), list):
        raise DatasetError("the file is not LabelMe's: it has no shapes.")
    shapes = table["shapes"]
    check_places(shapes)
    count.take(sum(3 + 2 * len(shape["points"]) for shape in shapes))
    image = _image(table, file, pictures, limits)
    kinds = {str(shape.get("shape_type") or "polygon") for shape in shapes}
    found = _found(shapes, image, file.name)
    odd.update(kinds - _PLACES.keys())
    return Annotated(image, found, where=file.name)


def _image(
    table: dict[str, Any], file: Path, pictures: Pictures, limits: DataLimits | None
) -> Picture:
    within = PictureWithin(file, limits) if isinstance(table.get("imageData"), str) else None
    try:
        path = pictures.first(*likely_names(table.get("imagePath"), file.stem))
    except DatasetError:
        if within is None:
            raise
        return within
    return path if within is None or path.is_file() else within


def _found(shapes: Sequence[Any], image: Picture, where: str) -> Detections:
    """Return the things that shapes mean; outlines of one group and name are parts of one thing."""
    things: dict[object, tuple[str, list[Any], list[Any]]] = {}
    for number, shape in enumerate(shapes, 1):
        kind = str(shape.get("shape_type") or "polygon")
        if kind not in _PLACES:
            continue
        label, points = shape["label"], floats_of(shape["points"]).reshape(-1, 2)
        if not isinstance(label, str) or not label.strip():
            raise DatasetError(f"shape {number} has no name: write one, or remove it.")
        if len(points) < _PLACES[kind]:
            raise DatasetError(f"shape {number} has too few points for a {kind}.")
        group = shape.get("group_id")
        shared = kind == "polygon" and isinstance(group, int)
        key: object = (label, group) if shared else number
        _, corners, rings = things.setdefault(key, (label.strip(), [], []))
        own: Rings = ()
        if kind == "mask":
            own = _painted(shape, points)
        elif kind == "polygon":
            own = (points,)
        rings.extend(own)
        if kind == "circle":
            points = _circle(points, image, where)
        corners.append(np.concatenate(own) if own else points)
    boxes = [_bounds(np.concatenate(corners)) for _, corners, _ in things.values()]
    labels = tuple(label for label, _, _ in things.values())
    outlines: tuple[Rings, ...] = tuple(tuple(rings) for _, _, rings in things.values())
    return Detections(floats_of(boxes).reshape(-1, 4), labels, outlines)


_PLACES = {"polygon": 3, "rectangle": 2, "circle": 2, "mask": 2}
"""The kinds of shapes that are places, with the points that each needs."""


def _painted(shape: dict[str, Any], points: FloatArray) -> Rings:
    """Return the outlines of what was painted: a small picture that lies between two corners.

    Raises:
        DatasetError: It is damaged.
    """
    try:
        mask = open_image(_unpacked(str(shape["mask"])))
    except (ValueError, InputError) as exc:
        raise DatasetError(
            f"the mask of “{plain(shape['label'])}” is damaged: paint it again."
        ) from exc
    return tuple(ring + points.min(axis=0) for ring in rings_of(np.asarray(mask)[..., 0] > 0))


def _unpacked(data: str) -> bytes:
    """Return the bytes of a picture that a file holds as text.

    Raises:
        DatasetError: They are more than a picture may have.
        ValueError: The text is none of bytes.
    """
    if len(data) > LIMITS.max_bytes * 4 // 3 + 4:
        raise DatasetError(too_many_bytes(LIMITS))
    return base64.b64decode(data)


def _circle(points: FloatArray, image: Picture, where: str) -> FloatArray:
    """Return two corners of the box around a circle, of its middle and a point on it."""
    middle, edge = points[:2]
    radius = np.hypot(*(edge - middle))
    corners = np.stack([middle - radius, middle + radius])
    # The tool lets a circle reach over the edge of its picture.
    return floats_of(corners.clip(0, Example(image, "od", where=where).size()))


def _bounds(points: FloatArray) -> FloatArray:
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


@dataclass(frozen=True, eq=False)
class PictureWithin:
    """Get a picture out of a LabelMe file when it is used: until then nothing of it is kept.

    Attributes:
        file: The JSON file.
        limits: What it may cost; None where the operator vouches for it.
    """

    file: Path
    limits: DataLimits | None = None

    def __call__(self) -> bytes:
        """Return the picture's bytes.

        Raises:
            DatasetError: The file holds none, or more than a picture may have.
        """
        table = json_of(self.file, self.limits)
        data = table.get("imageData") if isinstance(table, dict) else None
        if not isinstance(data, str):
            raise DatasetError(f"{self.file.name} holds no picture.")
        try:
            return _unpacked(data)
        except ValueError as exc:
            raise DatasetError(f"the picture within {self.file.name} is damaged.") from exc


def write_labelme(pictures: Sequence[Annotated], folder: Path) -> Path:
    """Write each picture with its JSON file beside it; return the folder."""
    for picture, name, size in write_pictures(pictures, folder):
        table: dict[str, Any] = {
            "version": _VERSION,
            "flags": {},
            "shapes": list(_shapes(picture.found)),
            "imagePath": name,
            "imageData": None,
            "imageHeight": size[1],
            "imageWidth": size[0],
        }
        text = json.dumps(table, ensure_ascii=False, indent=1)
        (folder / name).with_suffix(".json").write_text(text, encoding="utf-8")
    return folder


def _shapes(found: Detections) -> Iterator[dict[str, Any]]:
    things = zip(found.xyxy, found.labels, found.polygons, strict=True)
    for number, (box, label, rings) in enumerate(things, 1):
        group = number if len(rings) > 1 else None
        for points in rings or (box.reshape(2, 2),):
            yield {
                "label": label,
                "points": points.astype(float).round(2).tolist(),
                "group_id": group,
                "shape_type": "polygon" if rings else "rectangle",
                "flags": {},
            }
