"""Every way a set of rows gets in and out: JSONL, COCO, captions, ``datasets``, scenes.

Knows which reader takes what. A reader yields an ``Example`` for each row, and a ``DatasetError``
where a row is not usable, so that one bad row does not hide the others. Does not know models.

To add a format, write one reader (``formats``) and add it to ``READERS``.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from florence_demo.data.example import Example, as_strings
from florence_demo.data.formats import (
    COCO_FILES,
    JSONL_FILES,
    Rows,
    read_captions,
    read_coco,
    read_jsonl,
)
from florence_demo.data.forms import FORMS, read_forms
from florence_demo.data.rows import usable
from florence_demo.data.saved_sets import NO_PARTS, SAVED_FILES, read_hub, read_saved
from florence_demo.data.source import DataLimits, DataSource, Spec
from florence_demo.data.truths import TRUTH_FILE, read_truths
from florence_demo.errors import DatasetError


@dataclass(frozen=True)
class Reader:
    """Hold one format.

    Attributes:
        name: What a person calls it.
        accepts: Whether a location, a path or a name, is of this format.
        read: From the source to rows.
        help: What the location looks like.
        parts: Whether a source of this format may have parts.
        uploads: Whether a stranger's files may be of this format: each picture that its rows name
            must be found by ``Pictures``.
    """

    name: str
    accepts: Callable[[str], bool]
    read: Callable[[DataSource], Rows]
    help: str
    parts: bool = False
    uploads: bool = False


def _is_file(suffix: str, names: Sequence[str]) -> Callable[[str], bool]:
    """Return whether a location is such a file, there or not, or a folder with one of the names."""

    def accepts(location: str) -> bool:
        path = Path(location)
        if path.is_dir():
            return any((path / name).is_file() for name in names)
        return location.endswith(suffix)

    return accepts


def _is_hub_id(location: str) -> bool:
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+", location)) and not Path(location).exists()


READERS: dict[str, Reader] = {
    r.name: r
    for r in (
        Reader("forms", lambda s: s.startswith(FORMS), read_forms, "forms:FIRST:COUNT"),
        Reader(
            "heldout",
            _is_file(TRUTH_FILE, (TRUTH_FILE,)),
            read_truths,
            f"a folder with {TRUTH_FILE}",
            uploads=True,
        ),
        Reader(
            "datasets",
            lambda s: any((Path(s) / name).is_file() for name in SAVED_FILES),
            read_saved,
            "a folder of `save_to_disk`",
            parts=True,
        ),
        Reader(
            "hub",
            _is_hub_id,
            read_hub,
            "a hub id such as HuggingFaceM4/DocumentVQA",
            parts=True,
        ),
        Reader(
            "jsonl",
            _is_file(".jsonl", JSONL_FILES),
            read_jsonl,
            'a .jsonl file of {"image", "prefix", "suffix"}, or the folder with annotations.jsonl',
            uploads=True,
        ),
        Reader(
            "coco",
            _is_file(".json", COCO_FILES),
            read_coco,
            "a COCO .json, or the folder with it",
            uploads=True,
        ),
        Reader(
            "captions",
            lambda s: Path(s).is_dir() and any(Path(s).glob("*.txt")),
            read_captions,
            "a folder of pictures with .txt captions",
            uploads=True,
        ),
    )
}
"""Formats by name, the first that accepts a location reads it."""


def parse_source(text: str) -> DataSource:
    """Return the source that an operator's text names: a path or a hub id, "#part" after it.

    Raises:
        DatasetError: It is of no known format, or a part is named of what has none.
    """
    location, _, part = text.rpartition("#")
    # The whole text first: a "#" may be in a name.
    for found, of in ((text, ""), (location, part)):
        reader = next((r for r in READERS.values() if found and _accepts(r, found)), None)
        if reader and of and not reader.parts:
            raise DatasetError(NO_PARTS.format(source=found, part=of))
        if reader:
            return DataSource(reader.name, found, of)
    known = "; ".join(r.help for r in READERS.values())
    raise DatasetError(f"“{text}” is no data that can be read. Known are: {known}.")


def as_source(spec: Spec) -> DataSource:
    """Return a source as it is, and what an operator's text names."""
    return spec if isinstance(spec, DataSource) else parse_source(spec)


def source_in(folder: Path, root: Path, limits: DataLimits | None = None) -> DataSource | None:
    """Return the source that a folder is, None where it is none.

    Args:
        folder: The folder; its name is a name and nothing else.
        root: Where its files must lie.
        limits: What a stranger's may cost; only formats for uploads are taken then.
    """
    if not folder.is_dir():
        return None
    for reader in READERS.values():
        if (reader.uploads or limits is None) and _accepts(reader, str(folder)):
            return DataSource(reader.name, str(folder), "", str(root), limits)
    return None


def _accepts(reader: Reader, location: str) -> bool:
    try:
        return reader.accepts(location)
    except (OSError, ValueError):  # no path at all: too long, or with a zero byte
        return False


def open_data(
    spec: Spec,
    *,
    tasks: Sequence[str] = (),
    limit: int | None = None,
    problems: list[str] | None = None,
) -> list[Example]:
    """Return the checked rows of a source.

    Args:
        spec: A source, or an operator's text for ``parse_source``.
        tasks: Names of the tasks to keep; all of them where empty.
        limit: Most rows to read.
        problems: Takes what is wrong with each unusable row; without it, any such row raises.

    Raises:
        DatasetError: The source is of no known format, has more than a stranger may send, no row is
            usable, or, without ``problems``, a row is not.
    """
    source = as_source(spec)
    reader = READERS.get(source.format)
    if reader is None or (source.limits and not reader.uploads):
        raise DatasetError(f"“{source}” is in no format that is read here.")
    found: list[str] = []
    rows: Rows = (
        r
        for r in _bounded(reader.read(source), source.limits)
        if isinstance(r, DatasetError) or not tasks or r.task in tasks
    )
    kept = usable(_first(rows, limit), found)
    if problems is not None:
        problems.extend(found)
    elif found:
        raise DatasetError(tell_problems(found))
    if not kept:
        raise DatasetError(f"“{source}” has no usable row. {tell_problems(found)}".strip())
    return kept


def _bounded(rows: Rows, limits: DataLimits | None) -> Rows:
    """Yield the rows, and refuse a stranger's when there are too many."""
    for count, row in enumerate(rows, 1):
        if limits and count > limits.rows:
            raise DatasetError(
                f"The data has more than {limits.rows:,} rows: upload a part of them, or let the"
                " owner of this app put the folder where its data lies."
            )
        yield row


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
