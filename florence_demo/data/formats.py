"""The formats of data in files: JSONL, COCO, captions.

Knows how each names pictures, questions and answers, and how the one is written that every trainer
of the field reads. What a file says may be a stranger's word: its
pictures are found by ``Pictures``, its JSON is read within the source's limits.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from florence_demo.data.example import Example, as_strings, example_from_strings
from florence_demo.data.listings import (
    MALFORMED,
    Pictures,
    answers_of,
    caption_of,
    check_places,
    file_of,
    floats_of,
    json_lines,
    json_of,
    region_of,
)
from florence_demo.data.source import DataSource
from florence_demo.errors import DatasetError
from florence_demo.prediction import Detections

Rows = Iterator[Example | DatasetError]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
JSONL_FILES = ("annotations.jsonl", "train.jsonl", "metadata.jsonl", "data.jsonl")
COCO_FILES = ("_annotations.coco.json", "annotations.json", "instances.json")


def read_jsonl(source: DataSource) -> Rows:
    """Yield the rows of {"image", "prefix", "suffix"} lines; image paths are the file's own."""
    path = file_of(source, JSONL_FILES)
    pictures = Pictures(source, path.parent)
    for where, row in json_lines(path, source.limits):
        if isinstance(row, DatasetError):
            yield row
            continue
        missing = [k for k in ("image", "prefix", "suffix") if row.get(k) is None]
        if missing:
            yield DatasetError(f"{where}: the row has no {', '.join(missing)}.")
            continue
        try:
            if not isinstance(row["prefix"], str):
                raise DatasetError("the prefix must be text.")
            answers = answers_of(row["suffix"])
            picture = pictures.path(row["image"])
        except DatasetError as exc:
            yield DatasetError(f"{where}: {exc}")
            continue
        try:
            suffix = answers[0] if answers else ""
            yield example_from_strings(
                picture, row["prefix"], suffix, where, answers[1:] and answers
            )
        except DatasetError as exc:
            yield exc


def write_jsonl(examples: Sequence[Example], folder: Path) -> Path:
    """Write rows as {"image", "prefix", "suffix"} with their pictures and return the .jsonl.

    Files are copied as they are; a picture that comes from elsewhere becomes a PNG.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    written: dict[object, str] = {}
    path = folder / JSONL_FILES[0]
    with path.open("w", encoding="utf-8") as out:
        for i, example in enumerate(examples):
            # Rows about one picture share its file.
            key = example.image if isinstance(example.image, Path) else id(example.image)
            if key not in written:
                written[key] = _write_picture(example, images, i)
            prefix, suffix = as_strings(example, example.size())
            row: dict[str, Any] = {"image": written[key], "prefix": prefix, "suffix": suffix}
            if len(example.accepted) > 1:
                row["suffix"] = [suffix, *(a for a in example.accepted if a != suffix)]
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path


def _write_picture(example: Example, images: Path, number: int) -> str:
    if isinstance(example.image, Path):
        name = f"{number:06}{example.image.suffix.lower()}"
        shutil.copyfile(example.image, images / name)
    else:
        name = f"{number:06}.png"
        example.load().save(images / name)
    return f"images/{name}"


def read_coco(source: DataSource) -> Rows:
    """Yield a detection row for each picture and an outline row for each segmented thing."""
    path = file_of(source, COCO_FILES)
    table = json_of(path, source.limits)
    lists = ("images", "annotations", "categories")
    if not isinstance(table, dict) or not all(isinstance(table.get(k), list) for k in lists):
        raise DatasetError(f"{path} is no COCO file: it needs images, annotations and categories.")
    things: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    try:
        names = {c["id"]: str(c["name"]) for c in table["categories"]}
        for annotation in table["annotations"]:
            if not annotation.get("iscrowd"):
                things[annotation["image_id"]].append(annotation)
    except MALFORMED as exc:
        raise DatasetError(f"{path} is not in COCO's form ({exc!r}).") from exc
    around = (path.parent, path.parent.parent)
    pictures = Pictures(source, *around, *(folder / "images" for folder in around))
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
            # Left to right: a model of sequences learns a fixed order best.
            rows = sorted(found, key=lambda a: (a["bbox"][0], a["bbox"][1]))
            yield from _coco_picture(image, rows, names, where)
        except DatasetError as exc:
            yield DatasetError(f"{where}: {exc}")
        except MALFORMED as exc:
            yield DatasetError(f"{where}: an annotation is not in COCO's form ({exc!r}).")


def _coco_picture(
    image: Path, rows: list[dict[str, Any]], names: dict[Any, str], where: str
) -> Rows:
    unknown = [r for r in rows if r["category_id"] not in names]
    if unknown:
        yield DatasetError(f"{where}: the category {unknown[0]['category_id']} is not listed.")
        return
    boxes = [(x, y, x + w, y + h) for x, y, w, h in (r["bbox"] for r in rows)]
    labels = tuple(names[r["category_id"]] for r in rows)
    detections = Detections(floats_of(boxes).reshape(-1, 4), labels)
    yield Example(image, "od", detections=detections, where=where)
    for row, box in zip(rows, boxes, strict=True):
        outline = row.get("segmentation")
        if not outline:
            continue
        here = f"{where}, annotation {str(row.get('id', '?'))[:40]}"
        if isinstance(outline, dict):
            yield DatasetError(f"{here}: a run-length mask is not read: export outlines instead.")
            continue
        rings = [floats_of(ring).reshape(-1, 2) for ring in outline]
        yield Example(
            image,
            "region_to_segmentation",
            region=region_of(box),
            detections=Detections.from_polygons([rings], [""]),
            where=here,
        )


def read_captions(source: DataSource) -> Rows:
    """Yield a caption row for each picture of a folder that has a .txt of the same name."""
    folder = Path(source.location)
    pictures = Pictures(source, folder)
    names = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    for name in names:
        words = (folder / name).with_suffix(".txt")
        if not words.is_file() or not source.holds(words):
            yield DatasetError(f"{name}: there is no {words.name} with its caption beside it.")
            continue
        try:
            caption, picture = caption_of(words), pictures.path(name)
        except DatasetError as exc:
            yield DatasetError(f"{words}: {exc}")
            continue
        yield Example(picture, "caption", answer=caption, where=f"{words}:1")
