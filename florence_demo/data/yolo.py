"""YOLO's labels (docs.ultralytics.com, "Object Detection Datasets", "Instance Segmentation").

Knows ``data.yaml``, where its parts lie (folders, or lists of pictures as Darknet has them), and
lines of a class number and numbers of 0 to 1: centre, width and height of a box, or the points of
an outline. Key points are left out and told. What a file says may be a stranger's word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from florence_demo.data.annotated import Annotated, Rows
from florence_demo.data.example import Example
from florence_demo.data.listings import (
    IMAGE_SUFFIXES,
    MALFORMED,
    MAX_CAPTION,
    check_places,
    floats_of,
    text_of,
)
from florence_demo.data.named_pictures import Pictures, spelled
from florence_demo.data.parts import TRAIN, WHOLE, by_part, files_in, part_folders
from florence_demo.data.source import DataSource
from florence_demo.data.written import write_pictures
from florence_demo.errors import DatasetError, LeftOut, plain
from florence_demo.prediction import Detections, FloatArray, Rings

FILES = ("data.yaml", "data.yml", "dataset.yaml")
NAMES = ("classes.txt", "obj.names", "labels.txt")
_IMAGES, _LABELS = "images", "labels"
_LINE = re.compile(r"\d+(?:\s+-?\d*\.?\d+(?:[eE][-+]?\d+)?){4,}\s*")
_NAMED = re.compile(r"^names\s*:", re.MULTILINE)
_DARKNET = "data/"
"""Before each name in Darknet's lists, wherever the set lies."""
_PIXELS = 2.0
"""More than any place of 0 to 1, however far a tool let it reach over the edge."""
_LOOKED_AT = 20
_MAX_YAML, _MAX_LIST = 64 << 10, 16 << 20
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
        return part_folders(images) or _lists(folder) or {WHOLE: images}
    parts = part_folders(folder)
    parts = {part: p / _IMAGES if (p / _IMAGES).is_dir() else p for part, p in parts.items()}
    return parts or _lists(folder) or {WHOLE: folder}


def _lists(folder: Path) -> dict[str, Path]:
    """Return the lists of pictures in a folder, "train.txt" and "valid.txt", by part."""
    return by_part(p for p in files_in(folder, ".txt") if p.is_file() and _is_list(p))


def _is_list(path: Path) -> bool:
    lines = text_of(path, 4096).split("\n")
    return PurePosixPath(lines[0].strip()).suffix.lower() in IMAGE_SUFFIXES


def _labelled(place: Path) -> bool:
    """Say whether the first pictures of a folder, or of a list, have a file of labels."""
    # Beside a list of classes even damaged labels are labels, and what is wrong can be told.
    numbered = any(_lists_of_classes(near) for near in _near(place))
    pictures = Pictures(DataSource("yolo", str(place)), _folder_of(place))
    for picture in _pictures(place, pictures, _LOOKED_AT):
        label = _label_of(picture)
        if label.is_file():
            text = text_of(label, 4096)
            if is_labels(text) or (numbered and (not text.strip() or text[:1].isdigit())):
                return True
    return False


def _folder_of(place: Path) -> Path:
    return place.parent if place.is_file() else place


def _near(place: Path) -> tuple[Path, ...]:
    """Return where the list of classes may lie: with the pictures, or up to three folders above."""
    folder = _folder_of(place)
    return (folder, *list(folder.parents)[:3])


def _lists_of_classes(folder: Path) -> list[Path]:
    """Return the files in a folder that may name the classes, the usual ones first."""
    usual = [folder / name for name in (*FILES, *NAMES) if (folder / name).is_file()]
    if usual:
        return usual
    others: list[Path] = []
    with suppress(OSError):  # a folder above the set may be anybody's
        others = [p for p in files_in(folder, ".yaml", ".yml") if p.is_file()]
    return [p for p in others[:_LOOKED_AT] if _NAMED.search(text_of(p, _MAX_YAML))]


def _pictures(place: Path, pictures: Pictures, most: int | None = None) -> Iterable[Path]:
    """Yield the pictures of a folder or a list, whether or not they are there.

    Raises:
        DatasetError: A name in a list is none, or leads out of the set.
    """
    if not place.is_file():
        yield from (pictures.path(path.name) for path in files_in(place, *IMAGE_SUFFIXES)[:most])
        return
    lines = [line.strip() for line in text_of(place, _MAX_LIST).splitlines()]
    for line in list(filter(None, lines))[:most]:
        yield pictures.first(line, line.removeprefix(_DARKNET))


def _label_of(picture: Path) -> Path:
    """Return where a picture's labels lie: in "labels" where it is in "images", or beside it."""
    parts = list(picture.parts)
    at = next((i for i in range(len(parts) - 2, -1, -1) if parts[i] == _IMAGES), None)
    beside = picture.with_suffix(".txt")
    if at is not None:
        parts[at] = _LABELS
        own = Path(*parts).with_suffix(".txt")
        if found := spelled(own, own.parent):
            return found
    return spelled(beside, beside.parent) or (beside if at is None else own)


def read_yolo(source: DataSource) -> Rows:
    """Yield each picture with its boxes or outlines; one with an empty file or none has nothing."""
    place = Path(source.location)
    if not source.holds(place):
        raise DatasetError(f"{place.name} lies outside the data's own folder.")
    classes = _classes(source, place)
    if classes.points:
        yield LeftOut(f"{classes.file}: key points are not learned; their boxes are.")
    pictures = Pictures(source, _folder_of(place))
    for image in _pictures(place, pictures):
        label = _label_of(image)
        try:
            if label.is_file() and not source.holds(label):
                raise DatasetError("its labels lie outside the data's own folder.")
            text = text_of(label, MAX_CAPTION) if label.is_file() else ""
            yield _picture(image, text, classes, f"{label.name}")
        except DatasetError as exc:
            yield DatasetError(f"{image.name}: {exc}")


@dataclass(frozen=True)
class _Classes:
    """Hold what the numbers of a set mean.

    Attributes:
        names: By number.
        file: Where that is said.
        points: Numbers of key points behind each box.
    """

    names: Mapping[int, str]
    file: str
    points: int = 0


def _picture(image: Path, text: str, classes: _Classes, where: str) -> Annotated:
    names = classes.names
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
            raise DatasetError(
                f"line {number}, “{plain(' '.join(row), 40)}”, is no class number with places:"
                " write numbers with a point."
            ) from exc
        if kind not in names:
            raise DatasetError(
                f"line {number} has the class {kind}, and {classes.file} names none so: add it."
            )
        if classes.points and len(values) == 4 + classes.points:
            values = values[:4]
        if values[:4].max(initial=0) > _PIXELS:
            raise DatasetError(
                f"line {number} has places in pixels: divide them by the picture's width and"
                " height, {} x {}.".format(*map(int, size))
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


def _classes(source: DataSource, place: Path) -> _Classes:
    """Return the classes by number, from ``data.yaml`` or a list of names near the pictures.

    Raises:
        DatasetError: There are none, so that nobody knows what the numbers mean.
    """
    for path in (path for near in _near(place) for path in _lists_of_classes(near)):
        if source.holds(path):
            of_yaml = path.suffix.lower() in (".yaml", ".yml")
            return _yaml_classes(path) if of_yaml else _Classes(_listed_names(path), path.name)
    raise DatasetError(
        f"The labels in {_folder_of(place).name} are numbers, and no data.yaml or classes.txt says"
        " what they mean: add one with the names in the order of the numbers."
    )


def _listed_names(path: Path) -> dict[int, str]:
    lines = text_of(path, _MAX_YAML).splitlines()
    return {i: line.strip() for i, line in enumerate(lines) if line.strip()}


def _yaml_classes(path: Path) -> _Classes:
    try:
        table = yaml.safe_load(text_of(path, _MAX_YAML))
        names = table["names"]
        rows = names.items() if isinstance(names, dict) else enumerate(names)
        found = {int(number): name for number, name in rows}
        each, *values = table.get("kpt_shape") or (0, 0)
        points = int(each) * int(values[0])
    except (yaml.YAMLError, *MALFORMED) as exc:
        raise DatasetError(
            f"{path.name} lists no names of classes under “names:”: write them there, in the order"
            " of their numbers."
        ) from exc
    if not all(isinstance(name, str | int | float) for name in found.values()):
        raise DatasetError(f"{path.name} has a name under “names:” that is no text.")
    names = {number: str(name)[:_MAX_NAME] for number, name in found.items()}
    return _Classes(names, path.name, points)


def write_yolo(pictures: Sequence[Annotated], folder: Path) -> Path:
    """Write images/train, labels/train and data.yaml; return the folder.

    Outlines are written where all things of the set have one: a line is one or the other, and
    trainers mix them badly. Of several parts they are one, joined by seams.
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
            values = (_joined(rings) / scale).clip(0, 1).ravel()
        else:
            corners = box.reshape(2, 2).astype(np.float64) / scale
            values = np.concatenate([corners.mean(axis=0), corners[1] - corners[0]])
        yield " ".join([str(names.index(label)), *(f"{v:.6f}" for v in values)]) + "\n"


def _joined(rings: Rings) -> FloatArray:
    """Return one outline (k, 2) through all parts of a thing: the format has one a line.

    After each it goes back to the first point, over seams that have no area.
    """
    home = rings[0][:1]
    parts = [rings[0]]
    for ring in rings[1:]:
        parts += [home, ring, ring[:1]]
    return np.concatenate(parts)
