"""Every way a set of rows gets in: which formats there are, and what they are told of by.

Knows which reader takes what. A reader yields an ``Example`` for each row, and a ``DatasetError``
where a row is not usable, so that one bad row does not hide the others. Does not know models.

To add a format, write its function (``formats``) and add a ``Reader`` to ``READERS``: whatever
lists formats, takes uploads or helps a person looks there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from florence_demo.data.example import Example
from florence_demo.data.formats import (
    COCO_FILES,
    IMAGE_SUFFIXES,
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
        upload: What a visitor uploads of it, in Markdown; "" where a stranger's files may not be
            of this format. Each picture that its rows name must be found by ``Pictures``.
        suffixes: Of its files, pictures left out: only what is listed is kept of an upload.
    """

    name: str
    accepts: Callable[[str], bool]
    read: Callable[[DataSource], Rows]
    help: str
    parts: bool = False
    upload: str = ""
    suffixes: tuple[str, ...] = ()


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
            upload=f"`{TRUTH_FILE}` of drawn scenes",
            suffixes=(".jsonl",),
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
            upload='lines of `{"image": "a.png", "prefix": "<OD>", "suffix": "…"}` in'
            " `annotations.jsonl`",
            suffixes=(".jsonl",),
        ),
        Reader(
            "coco",
            _is_file(".json", COCO_FILES),
            read_coco,
            "a COCO .json, or the folder with it",
            upload="a COCO `.json`",
            suffixes=(".json",),
        ),
        Reader(
            "captions",
            lambda s: Path(s).is_dir() and any(Path(s).glob("*.txt")),
            read_captions,
            "a folder of pictures with .txt captions",
            upload="pictures with a `.txt` caption of the same name beside each",
            suffixes=(".txt",),
        ),
    )
}
"""Formats by name; the first that accepts a location reads it, so the particular come first."""


def formats_help() -> str:
    """Return what an operator may name as data, for a command's help."""
    return "; ".join(reader.help for reader in READERS.values())


def upload_help() -> str:
    """Return what a visitor may upload as data, as a part of a sentence in Markdown."""
    # A person is told of the common ones first.
    *most, last = [r.upload for r in reversed(READERS.values()) if r.upload]
    return f"{', '.join(most)}, or {last}"


def upload_suffixes() -> set[str]:
    """Return the endings of the files that are kept of an upload, in lower case."""
    return {*IMAGE_SUFFIXES, *(s for r in READERS.values() if r.upload for s in r.suffixes)}


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
    raise DatasetError(f"“{text}” is no data that can be read. Known are: {formats_help()}.")


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
        if (reader.upload or limits is None) and _accepts(reader, str(folder)):
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
    if reader is None or (source.limits and not reader.upload):
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
    """Yield the rows, and refuse a stranger's when there are too many or they take too long."""
    began = monotonic()
    for count, row in enumerate(rows, 1):
        if limits and monotonic() - began > limits.seconds:
            raise DatasetError(
                f"Reading the data takes more than {limits.seconds} s: upload a part of it, or let"
                " the owner of this app put the folder where its data lies."
            )
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
    rest = f"\nand {len(problems) - most:,} more." if len(problems) > most else ""
    noun = "row is" if len(problems) == 1 else "rows are"
    return f"{len(problems):,} {noun} not usable:\n" + "\n".join(problems[:most]) + rest


def _first(rows: Rows, limit: int | None) -> Rows:
    for count, row in enumerate(rows):
        if limit is not None and count >= limit:
            return
        yield row
