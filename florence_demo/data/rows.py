"""Rows together: which are usable, which share a picture, which are held back."""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from florence_demo.data.example import MAX_SAID, Example, check_example
from florence_demo.errors import DatasetError, printable


def usable(examples: Iterable[Example | DatasetError], problems: list[str]) -> list[Example]:
    """Return the rows that pass the check and append what is wrong with the others."""
    kept: list[Example] = []
    for example in examples:
        try:
            if isinstance(example, DatasetError):
                raise example
            check_example(example)
        except DatasetError as exc:
            problems.append(printable(str(exc)[:MAX_SAID]))
        else:
            kept.append(example)
    return kept


def tells_nothing(rows: Iterable[Example]) -> bool:
    """Say whether no row has an answer: neither words nor a place."""
    return not any(row.answer or len(row.detections) for row in rows)


def distinct_pictures(examples: Sequence[Example]) -> tuple[list[str], list[int]]:
    """Return a key for each distinct picture, and the number of the picture of each row.

    A file is told by its path, size and time, so that a changed picture is looked at again.
    """
    number: dict[object, int] = {}
    keys: list[str] = []
    row_of: list[int] = []
    for example in examples:
        source = example.image
        if example.shown not in number:
            number[example.shown] = len(keys)
            if isinstance(source, Path):
                stat = source.stat()
                keys.append(f"{source.resolve()} {stat.st_size} {stat.st_mtime_ns}")
            elif callable(source):
                keys.append(example.where)
            else:
                keys.append(hashlib.sha256(source.tobytes()).hexdigest())
        row_of.append(number[example.shown])
    return keys, row_of


def shared_pictures(rows: Sequence[Example], others: Sequence[Example]) -> list[str]:
    """Return where pictures stand among some rows that are among others too, told by content.

    Where all are files, only those are read whose size is one of the other side's too.
    """
    if all(isinstance(row.image, Path) for row in (*rows, *others)):
        sizes = {_size(row) for row in rows} & {_size(row) for row in others}
        rows, others = ([row for row in side if _size(row) in sizes] for side in (rows, others))
    seen = {_content(row) for row in rows}
    found = {_content(row): row.where for row in others}
    return [where for content, where in found.items() if content in seen]


def _size(row: Example) -> int:
    assert isinstance(row.image, Path)
    return row.image.stat().st_size


def _content(row: Example) -> object:
    """Return what two rows about equal pictures have in common, whatever the files are called."""
    source = row.image() if callable(row.image) else row.image
    if isinstance(source, Path):
        return _digest_of_file(source, source.stat().st_mtime_ns)
    if isinstance(source, bytes):
        return _digest(source)
    return _digest(row.load().tobytes())


@functools.lru_cache(65_536)
def _digest_of_file(path: Path, _changed: int) -> bytes:
    return _digest(path.read_bytes())


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


ONE_PICTURE = "One picture is too few to learn from and to measure on: add more pictures."


def split_rows(
    rows: Sequence[Example], seed: int, share: float = 0.05
) -> tuple[list[Example], list[Example]]:
    """Split off a share of the pictures, at least one, with all their rows."""
    keys, row_of = distinct_pictures(rows)
    if len(keys) < 2:
        raise DatasetError(ONE_PICTURE)
    held = set(random.Random(seed).sample(range(len(keys)), max(1, round(share * len(keys)))))
    parts: tuple[list[Example], list[Example]] = ([], [])
    for row, picture in zip(rows, row_of, strict=True):
        parts[picture in held].append(row)
    return parts


def spread(rows: Sequence[Example], most: int) -> list[Example]:
    """Return at most so many rows, evenly over the whole."""
    if len(rows) <= most:
        return list(rows)
    return [rows[i * len(rows) // most] for i in range(most)]
