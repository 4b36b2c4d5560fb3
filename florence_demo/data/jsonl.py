"""Lines of {"image", "prefix", "suffix"}: the form in which trainers take data for Florence-2.

Knows the three names, and the files of the parts. What a line says may be a stranger's word: its
pictures are found by ``Pictures``, its JSON is read within the source's limits.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from florence_demo.data.annotated import Rows
from florence_demo.data.example import Example, as_line, example_from_answers
from florence_demo.data.listings import answers_of, json_lines, listing_of, shows
from florence_demo.data.named_pictures import Pictures
from florence_demo.data.parts import Listing
from florence_demo.data.source import DataSource
from florence_demo.data.tables import is_table
from florence_demo.errors import DatasetError

FILE = "annotations.jsonl"


def is_listing(path: Path) -> bool:
    """Say whether a file looks like such lines."""
    return shows(path, b'"prefix"') and shows(path, b'"suffix"')


_LISTING = Listing(".jsonl", is_listing, (FILE, "train.jsonl", "data.jsonl"))


def find_jsonl(location: str) -> Mapping[str, str] | None:
    """Return the parts of such lines; lines with other names are a table, whatever it is called."""
    found = _LISTING.find(location)
    other = found and any(is_table(Path(file)) for file in found.values())
    return None if other else found


def read_jsonl(source: DataSource) -> Rows:
    """Yield the rows of {"image", "prefix", "suffix"} lines; image paths are the file's own."""
    path = listing_of(source)
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
            yield example_from_answers(picture, row["prefix"], answers, where)
        except DatasetError as exc:
            yield exc


def write_jsonl(examples: Sequence[Example], folder: Path) -> Path:
    """Write rows as {"image", "prefix", "suffix"} with their pictures and return the .jsonl.

    Files are copied as they are; a picture that comes from elsewhere becomes a PNG.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    written: dict[object, str] = {}
    path = folder / FILE
    with path.open("w", encoding="utf-8") as out:
        for i, example in enumerate(examples):
            # Rows about one picture share its file.
            if example.shown not in written:
                written[example.shown] = _write_picture(example, images, i)
            row = {"image": written[example.shown], **as_line(example)}
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
