"""A picture with everything that is marked on it, and the questions that one can learn from that.

Knows which tasks are answered by boxes with names and outlines. Does not know files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from florence_demo.data.example import Example, Picture
from florence_demo.data.listings import region_of
from florence_demo.errors import DatasetError
from florence_demo.prediction import Detections

Rows = Iterator["Example | Annotated | DatasetError"]
"""What a reader yields; an error stands for a row that is not usable."""

ABSENT = 1
"""Names that are not in a picture, asked about beside each of those that are: at most so many."""


@dataclass(frozen=True, eq=False)
class Annotated:
    """Hold one picture and what is marked on it.

    Attributes:
        image: The picture, its path, or a function that returns it.
        found: Boxes with names, and the outlines of those that have one; nothing is a true answer.
        names: All names of the set, in its order; of these the absent ones are told.
        caption: A sentence about it, "" for none.
        where: "file:line", for messages.
    """

    image: Picture
    found: Detections = field(default_factory=Detections.empty)
    names: tuple[str, ...] = ()
    caption: str = ""
    where: str = ""


def with_all_names(pictures: Sequence[Annotated]) -> Iterator[Annotated]:
    """Yield the pictures of a set whose files list no names, with all names that are in them."""
    names = tuple(dict.fromkeys(name for picture in pictures for name in picture.found.labels))
    for picture in pictures:
        yield replace(picture, names=names)


def cut_at_edges(picture: Annotated) -> tuple[Annotated, int]:
    """Return a picture without what its places have outside of it, and how many that are.

    Tools write boxes a few pixels over the edge. One of which a quarter or more lies outside is a
    mistake, such as a size of another copy, and stays as it is, to be told.
    """
    found = picture.found
    try:
        size = np.asarray(Example(picture.image, "od").size(), np.float32)
    except DatasetError:
        return picture, 0
    corners = found.xyxy.reshape(-1, 2, 2)
    inside = np.clip(corners, 0, size)
    over = np.abs(inside - corners).max(axis=(1, 2), initial=0) > 1  # exporters round
    kept, whole = (np.prod(each[:, 1] - each[:, 0], axis=-1) for each in (inside, corners))
    cut = np.flatnonzero(over & np.isfinite(whole) & (kept > 0) & (kept > 0.75 * whole))
    if not len(cut):
        return picture, 0
    boxes = found.xyxy.copy()
    boxes[cut] = inside[cut].reshape(-1, 4)
    polygons = list(found.polygons)
    for i in cut.tolist():
        polygons[i] = tuple(np.clip(ring, 0, size) for ring in polygons[i])
    return replace(picture, found=replace(found, xyxy=boxes, polygons=tuple(polygons))), len(cut)


def usual_tasks(picture: Annotated) -> tuple[str, ...]:
    """Return the tasks that are learned where none is named: what the marks say most plainly."""
    if picture.caption and not len(picture.found):
        return ("caption",)
    outlined = any(picture.found.polygons)
    words = ("caption",) if picture.caption else ()
    return ("od", *(("region_to_segmentation",) if outlined else ()), *words)


def rows_about(picture: Annotated, tasks: Sequence[str] = ()) -> Iterator[Example]:
    """Yield the rows of a picture for these tasks, those of ``usual_tasks`` where there are none.

    Places go from left to right: a model of sequences learns a fixed order best.
    """
    order = np.lexsort((picture.found.xyxy[:, 1], picture.found.xyxy[:, 0])).tolist()
    ordered = replace(picture, found=picture.found.select(order))
    for task in tasks or usual_tasks(picture):
        if task in _ROWS:
            yield from _ROWS[task](ordered, task)


def learnable() -> tuple[str, ...]:
    """Return the names of the tasks that can be learned from marked pictures."""
    return tuple(_ROWS)


def _one(picture: Annotated, task: str, found: Detections, text: str = "") -> Example:
    return Example(picture.image, task, text, detections=found, where=picture.where)


def _boxes(picture: Annotated, task: str) -> Iterator[Example]:
    yield _one(picture, task, _plain(picture.found))


def _proposals(picture: Annotated, task: str) -> Iterator[Example]:
    found = _plain(picture.found)
    yield _one(picture, task, replace(found, labels=("",) * len(found)))


def _named(picture: Annotated, task: str) -> Iterator[Example]:
    """Yield a row for each name there, and for an absent one: nothing is found then."""
    for name in dict.fromkeys(picture.found.labels):
        yield _one(picture, task, _plain(_called(picture.found, name)), name)
    for name in _absent(picture):
        yield _one(picture, task, Detections.empty(), name)


def _phrases(picture: Annotated, task: str) -> Iterator[Example]:
    """Yield one row whose sentence lists the names; all things of a name follow each other."""
    names = dict.fromkeys(picture.found.labels)
    if names:
        order = [i for name in names for i in _where(picture.found, name)]
        yield _one(picture, task, _plain(picture.found.select(order)), ", ".join(names))


def _outlines(picture: Annotated, task: str) -> Iterator[Example]:
    """Yield a row for each name all of whose things have an outline."""
    for name in dict.fromkeys(picture.found.labels):
        found = _called(picture.found, name)
        if all(found.polygons):
            rings = [ring for rings in found.polygons for ring in rings]
            yield _one(picture, task, Detections.from_polygons([rings], [""]), name)


def _region_names(picture: Annotated, task: str) -> Iterator[Example]:
    for box, name in zip(picture.found.xyxy, picture.found.labels, strict=True):
        if name:
            yield Example(
                picture.image, task, region=region_of(box), answer=name, where=picture.where
            )


def _region_outlines(picture: Annotated, task: str) -> Iterator[Example]:
    for box, rings in zip(picture.found.xyxy, picture.found.polygons, strict=True):
        if rings:
            found = Detections.from_polygons([rings], [""])
            row = _one(picture, task, found)
            yield replace(row, region=region_of(box))


def _captions(picture: Annotated, task: str) -> Iterator[Example]:
    if picture.caption:
        yield Example(picture.image, task, answer=picture.caption, where=picture.where)


_ROWS: dict[str, Callable[[Annotated, str], Iterator[Example]]] = {
    "od": _boxes,
    "dense_region_caption": _boxes,
    "region_proposal": _proposals,
    "open_vocabulary_detection": _named,
    "caption_to_phrase_grounding": _phrases,
    "referring_expression_segmentation": _outlines,
    "region_to_category": _region_names,
    "region_to_description": _region_names,
    "region_to_segmentation": _region_outlines,
    "caption": _captions,
    "detailed_caption": _captions,
    "more_detailed_caption": _captions,
}


def _plain(found: Detections) -> Detections:
    """Return the boxes with their names and without outlines."""
    return Detections(found.xyxy, found.labels)


def _where(found: Detections, name: str) -> list[int]:
    return [i for i, label in enumerate(found.labels) if label == name]


def _called(found: Detections, name: str) -> Detections:
    return found.select(_where(found, name))


def _absent(picture: Annotated) -> list[str]:
    """Return names that are not there, the same at each reading and others in each picture."""
    missing = [name for name in picture.names if name not in picture.found.labels]
    drawn = hashlib.blake2b(picture.where.encode("utf-8", "replace"), digest_size=8).digest()
    start = int.from_bytes(drawn, "big")
    return [missing[(start + i) % len(missing)] for i in range(min(ABSENT, len(missing)))]


def annotated_of(rows: Sequence[Example]) -> list[Annotated]:
    """Return the pictures of rows with what their rows mark, to write them in another format.

    Boxes come from the rows of object detection, or of another task with names and places; outlines
    of a region go to the box that it is.
    """
    pictures: dict[object, Annotated] = {}
    names = tuple(
        dict.fromkeys(n for row in rows if row.task in _MARKED for n in row.detections.labels if n)
    )
    for row in rows:
        new = Annotated(row.image, names=names, where=row.where)
        picture = pictures.setdefault(row.shown, new)
        if row.task in _MARKED and not len(picture.found):
            picture = replace(picture, found=row.detections)
        elif row.task == "region_to_segmentation" and row.region:
            picture = replace(picture, found=_outlined(picture.found, row))
        elif row.task.endswith("caption") and row.answer and not picture.caption:
            picture = replace(picture, caption=row.answer)
        pictures[row.shown] = picture
    return list(pictures.values())


_MARKED = ("od", "dense_region_caption", "ocr_with_region")


def _outlined(found: Detections, row: Example) -> Detections:
    """Return detections, of which the one that lies at a row's region has the row's outline."""
    away = np.abs(found.xyxy - np.asarray(row.region, np.float32)).max(axis=1)
    if not len(found) or away.min() > 1:
        return found
    polygons = list(found.polygons)
    rings = tuple(ring for rings in row.detections.polygons for ring in rings)
    polygons[int(away.argmin())] = rings
    return replace(found, polygons=tuple(polygons))
