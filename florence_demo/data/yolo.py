"""YOLO's labels (docs.ultralytics.com, "Object Detection Datasets", "Instance Segmentation").

Knows ``data.yaml``, where its parts lie, and lines of a class number and numbers of 0 to 1: centre,
width and height of a box, or the points of an outline. What a file says may be a stranger's word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from florence_demo.data.annotated import Annotated, Rows
from florence_demo.data.example import Example
from florence_demo.data.listings import (
    IMAGE_SUFFIXES,
    MAX_CAPTION,
    Pictures,
    check_places,
    floats_of,
    text_of,
)
from florence_demo.data.parts import TRAIN, WHOLE, part_folders
from florence_demo.data.source import DataSource
from florence_demo.data.written import write_pictures
from florence_demo.errors import DatasetError
from florence_demo.prediction import Detections, Rings

FILES = ("data.yaml", "data.yml", "dataset.yaml")
NAMES = ("classes.txt", "obj.names", "labels.txt")
_IMAGES, _LABELS = "images", "labels"
_LINE = re.compile(r"\d+(?:\s+-?\d*\.?\d+(?:[eE][-+]?\d+)?){4,}\s*")
_MAX_YAML = 64 << 10
_MAX_NAME = 200


def is_labels(text: str) -> bool:
    """Say whether a text is lines of class numbers and places, and nothing else."""
    lines = [line for line in text.splitlines() if line.strip()]
    return bool(lines) and all(_LINE.fullmatch(line.strip()) for line in lines[:20])


def find_yolo(location: str) -> Mapping[str, str] | None:
    """Return the parts of a YOLO set, each by the folder of its pictures or its list of them."""
    folder = Path(location)
    if not folder.is_dir():
        return None
    found = {part: str(path) for part, path in _parts(folder).items() if _labelled(path)}
    return found or None


def _parts(folder: Path) -> dict[str, Path]:
    """Return the folders of pictures by part, whether ``data.yaml`` names them or their names do.

    The paths in ``data.yaml`` are seldom those of this machine: the folders that are here count.
    """
    images = folder / _IMAGES
    if images.is_dir() and (folder / _LABELS).is_dir():
        return part_folders(images) or {WHOLE: images}
    parts = part_folders(folder)
    parts = {part: p / _IMAGES if (p / _IMAGES).is_dir() else p for part, p in parts.items()}
    return parts or {WHOLE: folder}


def _labelled(folder: Path) -> bool:
    """Say whether the first pictures of a folder have a file of labels."""
    # Beside a list of classes even damaged labels are labels, and what is wrong can be told.
    numbered = any((near / n).is_file() for near in _near(folder) for n in (*FILES, *NAMES))
    for picture in _pictures(folder, most=20):
        label = _label_of(picture)
        if label.is_file():
            text = text_of(label, 4096)
            if is_labels(text) or (numbered and text[:1].isdigit()):
                return True
    return False


def _near(folder: Path) -> tuple[Path, ...]:
    """Return where the list of classes may lie: with the pictures, or up to three folders above."""
    return (folder, *list(folder.parents)[:3])


def _pictures(folder: Path, most: int | None = None) -> list[Path]:
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            found.append(path)
        if most is not None and len(found) >= most:
            break
    return found


def _label_of(picture: Path) -> Path:
    """Return where a picture's labels lie: beside it, or in "labels" where it is in "images"."""
    parts = list(picture.parts)
    for at in range(len(parts) - 2, -1, -1):
        if parts[at] == _IMAGES:
            parts[at] = _LABELS
            return Path(*parts).with_suffix(".txt")
    return picture.with_suffix(".txt")


def read_yolo(source: DataSource) -> Rows:
    """Yield each picture with its boxes or outlines; one with an empty file or none has nothing."""
    folder = Path(source.location)
    names = _names(source, folder)
    pictures = Pictures(source, folder)
    for path in _pictures(folder):
        label = _label_of(path)
        try:
            image = pictures.path(path.name)
            if label.is_file() and not source.holds(label):
                raise DatasetError("its labels lie outside the data's own folder.")
            text = text_of(label, MAX_CAPTION) if label.is_file() else ""
            yield _picture(image, text, names, f"{label.name}")
        except DatasetError as exc:
            yield DatasetError(f"{path.name}: {exc}")


def _picture(image: Path, text: str, names: Mapping[int, str], where: str) -> Annotated:
    rows = [line.split() for line in text.splitlines() if line.strip()]
    check_places(rows)
    size = np.asarray(Example(image, "od", where=where).size() if rows else (1, 1), np.float32)
    boxes: list[Any] = []
    labels: list[str] = []
    outlines: list[Rings] = []
    for number, row in enumerate(rows, 1):
        try:
            kind = int(row[0])
            values = floats_of([float(v) for v in row[1:]])
        except ValueError as exc:
            raise DatasetError(f"line {number} is no class number with places.") from exc
        if kind not in names:
            raise DatasetError(
                f"line {number} has the class {kind}, and data.yaml or classes.txt names none so."
            )
        box, rings = _place(values, size, number)
        labels.append(names[kind])
        boxes.append(box)
        outlines.append(rings)
    found = Detections(floats_of(boxes).reshape(-1, 4), tuple(labels), tuple(outlines))
    return Annotated(image, found, tuple(names.values()), where=where)


def _place(values: Any, size: Any, number: int) -> tuple[Any, Rings]:
    """Return the box and the outline that a line's numbers mean; a sixth number is a score."""
    if len(values) in (4, 5):
        middle, sides = values[:2] * size, values[2:4] * size
        return np.concatenate([middle - sides / 2, middle + sides / 2]), ()
    if len(values) % 2 or len(values) < 6:
        raise DatasetError(f"line {number} is neither a box of four numbers nor an outline.")
    ring = values.reshape(-1, 2) * size
    return np.concatenate([ring.min(axis=0), ring.max(axis=0)]), (ring,)


def _names(source: DataSource, folder: Path) -> dict[int, str]:
    """Return the classes by number, from ``data.yaml`` or a list of names near the pictures.

    Raises:
        DatasetError: There are none, so that nobody knows what the numbers mean.
    """
    for near in _near(folder):
        for name in (*FILES, *NAMES):
            path = near / name
            if path.is_file() and source.holds(path):
                return _yaml_names(path) if name in FILES else _listed_names(path)
    raise DatasetError(
        f"The labels in {folder.name} are numbers, and no data.yaml or classes.txt says what they"
        " mean: add one with the names in the order of the numbers."
    )


def _listed_names(path: Path) -> dict[int, str]:
    lines = text_of(path, _MAX_YAML).splitlines()
    return {i: line.strip() for i, line in enumerate(lines) if line.strip()}


def _yaml_names(path: Path) -> dict[int, str]:
    try:
        table = yaml.safe_load(text_of(path, _MAX_YAML))
        names = table["names"]
        rows = names.items() if isinstance(names, dict) else enumerate(names)
        found = {int(number): name for number, name in rows}
    except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as exc:
        raise DatasetError(f"{path.name} lists no names of classes under “names:”.") from exc
    if not all(isinstance(name, str | int | float) for name in found.values()):
        raise DatasetError(f"{path.name} has a name under “names:” that is no text.")
    return {number: str(name)[:_MAX_NAME] for number, name in found.items()}


def write_yolo(pictures: Sequence[Annotated], folder: Path) -> Path:
    """Write images/train, labels/train and data.yaml; return the folder.

    Outlines are written where all things of the set have one: a line is one or the other, and
    trainers mix them badly.
    """
    names = sorted({n for p in pictures for n in (*p.names, *p.found.labels)})
    outlined = all(all(p.found.polygons) for p in pictures)
    labels = folder / _LABELS / TRAIN
    labels.mkdir(parents=True, exist_ok=True)
    for picture, name, size in write_pictures(pictures, folder / _IMAGES / TRAIN):
        lines = _lines(picture.found, names, size, outlined)
        (labels / name).with_suffix(".txt").write_text("".join(lines), encoding="utf-8")
    own = f"{_IMAGES}/{TRAIN}"
    table = {"path": ".", TRAIN: own, "val": own, "names": dict(enumerate(names))}
    text = yaml.safe_dump(table, allow_unicode=True, sort_keys=False)
    (folder / FILES[0]).write_text(text, encoding="utf-8")
    return folder


def _lines(
    found: Detections, names: Sequence[str], size: tuple[int, int], outlined: bool
) -> Iterator[str]:
    scale = np.asarray(size, np.float64)
    for box, label, rings in zip(found.xyxy, found.labels, found.polygons, strict=True):
        if outlined and rings:
            values = (max(rings, key=len) / scale).clip(0, 1).ravel()
        else:
            corners = box.reshape(2, 2).astype(np.float64) / scale
            values = np.concatenate([corners.mean(axis=0), corners[1] - corners[0]])
        yield " ".join([str(names.index(label)), *(f"{v:.6f}" for v in values)]) + "\n"
