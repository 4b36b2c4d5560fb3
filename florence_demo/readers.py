"""Every way a set of rows gets in and out: JSONL, COCO, captions, ``datasets``, scenes.

Knows file formats. A reader yields an ``Example`` for each row, and a ``DatasetError`` in its place
where a row is not usable, so that one bad row does not hide the others. Does not know models.

To add a format, write one reader and add it to ``READERS``.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from florence_demo.data import Example, as_strings, example_from_strings, usable
from florence_demo.data_files import MALFORMED, file_of, json_lines, json_of, region_of
from florence_demo.errors import DatasetError
from florence_demo.generated import FORMS, SCENES, read_forms, read_scenes
from florence_demo.prediction import Detections

Rows = Iterator[Example | DatasetError]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
HELDOUT_FILE = "truth.jsonl"
JSONL_FILES = ("annotations.jsonl", "train.jsonl", "metadata.jsonl", "data.jsonl")
COCO_FILES = ("_annotations.coco.json", "annotations.json", "instances.json")
_SAVED = ("state.json", "dataset_dict.json", "dataset_info.json")
MISSING_DATASETS = (
    "Reading this set needs the package “datasets”: install it with `pip install datasets`."
)


_NO_PARTS = "“{source}” has no parts: leave out “#{split}”, or name other data to measure on."


@dataclass(frozen=True)
class Reader:
    """Hold one format.

    Attributes:
        name: What a person calls it.
        accepts: Whether a source, a path or a name, is of this format.
        read: From the source and its split ("" for the default) to rows.
        help: What the source looks like.
    """

    name: str
    accepts: Callable[[str], bool]
    read: Callable[[str, str], Rows]
    help: str


def read_jsonl(source: str, _split: str = "") -> Rows:
    """Yield the rows of {"image", "prefix", "suffix"} lines; image paths are the file's own."""
    path = file_of(source, JSONL_FILES)
    for where, row in json_lines(path):
        if isinstance(row, DatasetError):
            yield row
            continue
        missing = [k for k in ("image", "prefix", "suffix") if row.get(k) is None]
        if missing:
            yield DatasetError(f"{where}: the row has no {', '.join(missing)}.")
            continue
        suffix = row["suffix"]
        answers = _answers(suffix)
        try:
            yield example_from_strings(
                path.parent / str(row["image"]),
                str(row["prefix"]),
                answers[0] if answers else "",
                where,
                answers[1:] and answers,
            )
        except DatasetError as exc:
            yield exc


def read_heldout(source: str, _split: str = "") -> Rows:
    """Yield every truth of a folder of scenes: one line a picture, see ``heldout``."""
    path = file_of(source, (HELDOUT_FILE,))
    for where, row in json_lines(path):
        if isinstance(row, DatasetError):
            yield row
            continue
        try:
            yield from _truths(path.parent, row, where)
        except MALFORMED as exc:
            yield DatasetError(f"{where}: the row is not in the form of this format ({exc!r}).")


def _truths(folder: Path, row: dict[str, Any], where: str) -> Iterator[Example]:
    for truth in row["truths"]:
        region = truth.get("region")
        yield Example(
            folder / str(row["image"]),
            str(truth["task"]),
            str(truth.get("text", "")),
            None if region is None else region_of(region),
            str(truth.get("answer", "")),
            detections_from_json(truth.get("detections", [])),
            tuple(truth.get("references", ())),
            where=where,
            tags=tuple(str(row[k]) for k in ("kind", "style") if k in row),
        )


def detections_from_json(rows: Sequence[dict[str, Any]]) -> Detections:
    """Return the detections that ``Detections.to_json`` wrote."""
    if not rows:
        return Detections.empty()
    return Detections(
        np.array([r["box"] for r in rows], np.float32).reshape(-1, 4),
        tuple(str(r.get("label", "")) for r in rows),
        tuple(
            tuple(np.array(ring, np.float32).reshape(-1, 2) for ring in r.get("polygons", ()))
            for r in rows
        ),
    )


def read_coco(source: str, _split: str = "") -> Rows:
    """Yield a detection row for each picture and an outline row for each segmented thing."""
    path = file_of(source, COCO_FILES)
    table = json_of(path)
    if not isinstance(table, dict) or not {"images", "annotations", "categories"} <= set(table):
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
    folders = [*around, *(folder / "images" for folder in around)]
    for number, picture in enumerate(table["images"], 1):
        where = f"{path.name}: picture {number}"
        try:
            where = f"{path.name}: {picture['file_name']}"
            found = (folder / picture["file_name"] for folder in folders)
            image = next((p for p in found if p.is_file()), path.parent / picture["file_name"])
            # Left to right: a model of sequences learns a fixed order best.
            rows = sorted(things[picture["id"]], key=lambda a: (a["bbox"][0], a["bbox"][1]))
            yield from _coco_picture(image, rows, names, where)
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
    detections = Detections(np.array(boxes, np.float32).reshape(-1, 4), labels)
    yield Example(image, "od", detections=detections, where=where)
    for row, box in zip(rows, boxes, strict=True):
        outline = row.get("segmentation")
        if not outline:
            continue
        here = f"{where}, annotation {row.get('id', '?')}"
        if isinstance(outline, dict):
            yield DatasetError(f"{here}: a run-length mask is not read: export outlines instead.")
            continue
        rings = [np.array(ring, np.float32).reshape(-1, 2) for ring in outline]
        yield Example(
            image,
            "region_to_segmentation",
            region=region_of(box),
            detections=Detections.from_polygons([rings], [""]),
            where=here,
        )


def read_captions(source: str, _split: str = "") -> Rows:
    """Yield a caption row for each picture of a folder that has a .txt of the same name."""
    pictures = sorted(p for p in Path(source).iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    for picture in pictures:
        words = picture.with_suffix(".txt")
        if not words.is_file():
            yield DatasetError(f"{picture}: there is no {words.name} with its caption beside it.")
            continue
        caption = words.read_text(encoding="utf-8", errors="replace").strip()
        yield Example(picture, "caption", answer=caption, where=f"{words}:1")


def read_datasets(source: str, split: str = "") -> Rows:
    """Yield the question rows of a set of the package ``datasets``, from disk or from the hub."""
    try:
        import datasets
    except ImportError as exc:
        raise DatasetError(MISSING_DATASETS) from exc
    try:
        folder = Path(source)
        loaded = (
            datasets.load_from_disk(source)
            if folder.is_dir()
            else datasets.load_dataset(source, split=split or "train")
        )
    except Exception as exc:
        # The package raises whatever its file systems raise; none of it is for a person.
        raise DatasetError(
            f"The set “{source}” cannot be opened ({type(exc).__name__}): check its name and the"
            " connection, or save it with `save_to_disk` and name that folder."
        ) from exc
    if split and folder.is_dir() and not isinstance(loaded, dict):
        raise DatasetError(_NO_PARTS.format(source=source, split=split))
    if isinstance(loaded, dict):
        if split and split not in loaded:
            raise DatasetError(f"“{source}” has no part “{split}”, only {', '.join(loaded)}.")
        loaded = loaded[split or next(iter(loaded))]
    columns = set(loaded.column_names)
    answers = "answers" if "answers" in columns else "answer"
    if not {"image", "question", answers} <= columns:
        raise DatasetError(
            f"“{source}” has the columns {', '.join(sorted(columns))}: image, question and answers"
            " are needed."
        )
    words = loaded.select_columns(["question", answers])
    # Undecoded: nothing of a picture but its bytes is looked at until it is learned from.
    pictures = loaded.select_columns(["image"]).cast_column("image", datasets.Image(decode=False))
    # Rows about one picture share its source: none is both learned from and measured on.
    sources: dict[object, Callable[[], Image.Image]] = {}
    for i in range(len(words)):
        row, cell = words[i], pictures[i]["image"]
        if cell is None:
            yield DatasetError(f"{source}:{i}: the row has no picture.")
            continue
        source_of = sources.setdefault(_identity(cell), partial(_picture_of, pictures, i))
        accepted = _answers(row[answers])
        yield Example(
            source_of,
            "docvqa",
            str(row["question"] or ""),
            answer=accepted[0] if accepted else "",
            references=accepted,
            where=f"{source}:{i}",
        )


def _answers(given: Any) -> tuple[str, ...]:
    """Return the accepted answers of a cell that holds one, several, or nothing."""
    several = given if isinstance(given, list) else [given]
    return tuple(str(answer) for answer in several if answer is not None)


def _identity(cell: dict[str, Any]) -> object:
    """Return what two cells with one picture have in common."""
    if cell["bytes"]:
        return hashlib.blake2b(cell["bytes"], digest_size=16).digest()
    return cell["path"]


def _picture_of(table: Any, row: int) -> Image.Image:
    cell = table[row]["image"]
    return Image.open(io.BytesIO(cell["bytes"]) if cell["bytes"] else cell["path"])


READERS: dict[str, Reader] = {
    r.name: r
    for r in (
        Reader("forms", lambda s: s.startswith(FORMS), read_forms, "forms:FIRST:COUNT"),
        Reader(
            "scenes",
            lambda s: s.startswith(SCENES),
            read_scenes,
            "scenes:FOLDER:FIRST:COUNT, the folder with sprites or “drawn”",
        ),
        Reader(
            "heldout",
            lambda s: s.endswith(HELDOUT_FILE) or (Path(s) / HELDOUT_FILE).is_file(),
            read_heldout,
            "a folder with truth.jsonl",
        ),
        Reader(
            "datasets",
            lambda s: any((Path(s) / name).is_file() for name in _SAVED) or _is_hub_id(s),
            read_datasets,
            "a folder of `save_to_disk` or a hub id such as HuggingFaceM4/DocumentVQA",
        ),
        Reader(
            "jsonl",
            lambda s: s.endswith(".jsonl") or any((Path(s) / n).is_file() for n in JSONL_FILES),
            read_jsonl,
            'a .jsonl file of {"image", "prefix", "suffix"}, or the folder with annotations.jsonl',
        ),
        Reader(
            "coco",
            lambda s: s.endswith(".json") or any((Path(s) / n).is_file() for n in COCO_FILES),
            read_coco,
            "a COCO .json, or the folder with it",
        ),
        Reader(
            "captions",
            lambda s: Path(s).is_dir() and any(Path(s).glob("*.txt")),
            read_captions,
            "a folder of pictures with .txt captions",
        ),
    )
}
"""Formats by name, the first that accepts a source reads it."""


def open_data(
    spec: str,
    *,
    tasks: Sequence[str] = (),
    limit: int | None = None,
    problems: list[str] | None = None,
    confined: bool = False,
) -> list[Example]:
    """Return the checked rows of a source.

    Args:
        spec: A path or a hub id, with "#split" after it where the source has parts.
        tasks: Names of the tasks to keep; all of them where empty.
        limit: Most rows to read.
        problems: Takes what is wrong with each unusable row; without it, any such row raises.
        confined: Whether pictures must lie inside the source's own folder, as in a stranger's zip.

    Raises:
        DatasetError: The source is of no known format, no row is usable, or, without
            ``problems``, a row is not.
    """
    source, _, split = spec.partition("#")
    reader = next((r for r in READERS.values() if r.accepts(source)), None)
    if reader is None:
        known = "; ".join(r.help for r in READERS.values())
        raise DatasetError(f"“{spec}” is no data that can be read. Known are: {known}.")
    if split and reader.name != "datasets":
        raise DatasetError(_NO_PARTS.format(source=source, split=split))
    found: list[str] = []
    rows: Rows = (
        r
        for r in reader.read(source, split)
        if isinstance(r, DatasetError) or not tasks or r.task in tasks
    )
    rows = _first(rows, limit)
    kept = usable(_within(rows, Path(source)) if confined else rows, found)
    if problems is not None:
        problems.extend(found)
    elif found:
        raise DatasetError(tell_problems(found))
    if not kept:
        raise DatasetError(f"“{spec}” has no usable row. {tell_problems(found)}".strip())
    return kept


def tell_problems(problems: Sequence[str], most: int = 5) -> str:
    """Return a count and the first problems, or "" where there are none."""
    if not problems:
        return ""
    rest = f"\nand {len(problems) - most:,} more" if len(problems) > most else ""
    noun = "row is" if len(problems) == 1 else "rows are"
    return f"{len(problems):,} {noun} not usable:\n" + "\n".join(problems[:most]) + rest


def _first(rows: Rows, limit: int | None) -> Rows:
    for count, row in enumerate(rows):
        if limit is not None and count >= limit:
            return
        yield row


def _within(rows: Rows, source: Path) -> Rows:
    folder = (source if source.is_dir() else source.parent).resolve()
    for row in rows:
        picture = row.image if isinstance(row, Example) else None
        if isinstance(picture, Path) and not picture.resolve().is_relative_to(folder):
            where = row.where if isinstance(row, Example) else ""
            yield DatasetError(f"{where}: the picture lies outside the data's own folder.")
        else:
            yield row


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


def _is_hub_id(source: str) -> bool:
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+", source)) and not Path(source).exists()
