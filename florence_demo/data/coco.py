"""COCO's files of detections (cocodataset.org, "Data format"), as every tool writes them.

Knows where the files of the parts lie, boxes, outlines, run-length masks and captions, and how a
set is written so. Key points are left out and told. What a file says may be a stranger's word.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from florence_demo.data.annotated import Annotated, Rows
from florence_demo.data.listings import (
    MALFORMED,
    check_places,
    floats_of,
    in_pixels,
    json_of,
    listing_of,
    shows,
)
from florence_demo.data.masks import area_of, outlines_of
from florence_demo.data.named_pictures import Pictures
from florence_demo.data.parts import Listing
from florence_demo.data.source import DataSource
from florence_demo.data.written import write_pictures
from florence_demo.errors import DatasetError, LeftOut
from florence_demo.prediction import Detections, Rings

_LISTS = ("images", "annotations")
# COCO's own download has these beside the boxes of the same pictures.
_OTHERS = ("captions_", "person_keypoints_", "stuff_", "panoptic_", "image_info_")
FILE = "_annotations.coco.json"


def _is_coco(path: Path) -> bool:
    named = shows(path, b'"annotations"') or shows(path, b'"categories"')
    return named and shows(path, b'"images"')


_NAMES = (FILE, "annotations.json", "instances.json")
find_coco = Listing(".json", _is_coco, _NAMES, "annotations", _OTHERS).find


def read_coco(source: DataSource) -> Rows:
    """Yield each picture with its boxes, outlines and caption; crowds are no things to find."""
    path = listing_of(source)
    table = json_of(path, source.limits)
    if not isinstance(table, dict) or not all(isinstance(table.get(k), list) for k in _LISTS):
        raise DatasetError(f"{path} is no COCO file: it needs images and annotations.")
    if any(isinstance(row, dict) and "segments_info" in row for row in table["annotations"][:1]):
        raise DatasetError(
            f"{path.name} tells every pixel's thing (“panoptic”), which is not read: take the file"
            " of instances."
        )
    things: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    try:
        names = {c["id"]: str(c["name"]) for c in table.get("categories", ())}
        for annotation in table["annotations"]:
            if not annotation.get("iscrowd"):
                things[annotation["image_id"]].append(annotation)
    except MALFORMED as exc:
        raise DatasetError(f"{path} is not in COCO's form ({exc!r}).") from exc
    if any(row.get("keypoints") for rows in things.values() for row in rows):
        yield LeftOut(f"{path.name}: key points are not learned; their boxes are.")
    pictures = Pictures(source, *_folders(path))
    seen: set[Any] = set()
    for number, picture in enumerate(table["images"], 1):
        where = f"{path.name}: picture {number}"
        try:
            image = pictures.path(picture["file_name"])
            where = f"{path.name}: {picture['file_name']}"
            if picture["id"] in seen:
                raise DatasetError(f"another picture has its id, {str(picture['id'])[:40]}.")
            seen.add(picture["id"])
            found = things[picture["id"]]
            check_places(found)
            yield from _picture(image, found, names, where)
        except DatasetError as exc:
            yield DatasetError(f"{where}: {exc}")
        except MALFORMED as exc:
            yield DatasetError(f"{where}: an annotation is not in COCO's form ({exc!r}).")


def _folders(file: Path) -> Iterable[Path]:
    """Yield where a file's pictures may lie, the likely first: beside it, or named as its part."""
    part = file.stem.rpartition("_")[2]
    for around in (file.parent, file.parent.parent):
        yield from (around, around / "images", around / part, around / "images" / part)


def _picture(image: Path, rows: list[dict[str, Any]], names: dict[Any, str], where: str) -> Rows:
    captions = [str(row["caption"]).strip() for row in rows if row.get("caption")]
    boxed = [row for row in rows if not row.get("caption")]
    unknown = [r for r in boxed if r["category_id"] not in names]
    if unknown:
        raise DatasetError(
            f"the category {str(unknown[0]['category_id'])[:40]} is not listed: add it to"
            " “categories” with its name."
        )
    boxes = [(x, y, x + w, y + h) for x, y, w, h in (r["bbox"] for r in boxed)]
    outlines: list[Rings] = []
    for row in boxed:
        try:
            outlines.append(_outline(row.get("segmentation")))
        except DatasetError as exc:
            # The box is right all the same.
            outlines.append(())
            yield LeftOut(f"{where}, annotation {str(row.get('id', '?'))[:40]}: {exc}")
    labels = tuple(names[r["category_id"]] for r in boxed)
    found = Detections(in_pixels(boxes), labels, tuple(outlines))
    caption = captions[0] if captions else ""
    if caption or not rows or boxed:
        yield Annotated(image, found, tuple(names.values()), caption, where)


def _outline(given: Any) -> Rings:
    if not given:
        return ()
    if isinstance(given, dict):
        return outlines_of(given)
    rings = tuple(floats_of(ring).reshape(-1, 2) for ring in given)
    return tuple(ring for ring in rings if len(ring) >= 3)


def write_coco(pictures: Sequence[Annotated], folder: Path) -> Path:
    """Write pictures and one file of boxes and outlines; return the folder."""
    names = sorted({n for p in pictures for n in (*p.names, *p.found.labels)})
    number = {name: i for i, name in enumerate(names, 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for i, (picture, name, size) in enumerate(write_pictures(pictures, folder), 1):
        images.append({"id": i, "file_name": name, "width": size[0], "height": size[1]})
        for row, rings in zip(picture.found.to_json(), picture.found.polygons, strict=True):
            x1, y1, x2, y2 = row["box"]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i,
                    "category_id": number[row["label"]],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": area_of(rings) if rings else (x2 - x1) * (y2 - y1),
                    "segmentation": row["polygons"],
                    "iscrowd": 0,
                    # Of answers; what a person marked has none.
                    **({} if row["score"] is None else {"score": row["score"]}),
                }
            )
    categories = [{"id": i, "name": name} for name, i in number.items()]
    table = {"images": images, "annotations": annotations, "categories": categories}
    (folder / FILE).write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")
    return folder
