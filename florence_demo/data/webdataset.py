"""WebDataset: tar files in which the parts of a row follow each other under one name.

Knows a picture beside its caption (.txt) or its rows (.json): {"caption": …} or our own lines'
{"prefix", "suffix"}, one or a list of them. What an archive says may be a stranger's word: nothing
is unpacked, its names are never paths, and links in it lead nowhere. Archives that are packed as a
whole (.tar.gz) are not read: a picture's bytes are taken from their place when they are used.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from florence_demo.bounded_json import JsonLimits, parse_json
from florence_demo.data.annotated import Rows
from florence_demo.data.columns import ROLES
from florence_demo.data.example import Example, as_line, example_from_answers
from florence_demo.data.listings import IMAGE_SUFFIXES, MAX_CAPTION, Counter, answers_of, words_of
from florence_demo.data.parts import WHOLE, files_in, part_called, part_folders
from florence_demo.data.source import DATA_LIMITS, DataSource
from florence_demo.data.written import write_rows
from florence_demo.errors import DatasetError, LeftOut, plain
from florence_demo.pictures.images import LIMITS, too_many_bytes

SUFFIX = ".tar"
FILE = "train-000000.tar"
_WORDS, _ROWS = ".txt", ".json"
_JSON = JsonLimits(DATA_LIMITS.line_bytes, 20_000, 16)
_MAX_HEADER = 1 << 20
_CAPTIONS = ("caption", "text")


def find_webdataset(location: str) -> Mapping[str, str] | None:
    """Return the parts of a set of tar files, each by the folder of its shards."""
    path = Path(location)
    if not path.is_dir():
        return {WHOLE: location} if path.suffix.lower() == SUFFIX and path.is_file() else None
    if files_in(path, *IMAGE_SUFFIXES):
        return None  # somebody's archive beside a set of loose pictures
    own = {part_called(p.stem) for p in _shards(path)}
    if own:
        return {part: location for part in sorted(own) if part} or {WHOLE: location}
    return {part: str(p) for part, p in part_folders(path).items() if _shards(p)} or None


def _shards(folder: Path) -> list[Path]:
    return [p for p in files_in(folder, SUFFIX) if p.is_file()]


def read_webdataset(source: DataSource) -> Rows:
    """Yield the rows of all shards of a part; what belongs to no picture is left out."""
    path = Path(source.location)
    shards = _shards(path) if path.is_dir() else [path]
    named = [p for p in shards if source.part and part_called(p.stem) == source.part]
    left = source.limits.files if source.limits else None
    count = Counter(source.limits)
    for shard in named or shards:
        if not source.holds(shard):
            yield DatasetError(f"{shard.name} lies outside the data's own folder.")
            continue
        samples, members, notes = _samples(shard, left)
        left = None if left is None else left - members
        yield from notes
        for key, parts in samples.items():
            where = f"{shard.name}: {plain(key)}"
            try:
                yield from _rows(shard, parts, where, count)
            except DatasetError as exc:
                said = str(exc)
                yield exc if said.startswith(where) else DatasetError(f"{where}: {said}")


@dataclass(frozen=True)
class _Place:
    """Where a file's bytes lie in an archive."""

    start: int
    size: int


Parts = dict[str, _Place]
"""The files of a row by their ending, in small letters."""


class _Headers(io.FileIO):
    """Give an archive's headers, and none so large that it would fill the memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return so many bytes, or refuse."""
        if size is None or not 0 <= size <= _MAX_HEADER:
            raise DatasetError("it has a name that is too long: pack it again.")
        return super().read(size) or b""


def _samples(shard: Path, most: int | None) -> tuple[dict[str, Parts], int, list[LeftOut]]:
    """Return the files of each row of an archive, how many members it has, and what is left out.

    Raises:
        DatasetError: It is no archive, is cut off, or has more members than it may.
    """
    found: dict[str, Parts] = {}
    odd = twice = members = last = 0
    try:
        end = shard.stat().st_size
        with _Headers(shard) as raw, tarfile.open(fileobj=raw, mode="r:") as archive:
            while member := archive.next():
                members += 1
                if member.size < 0 or member.offset_data < last:
                    raise DatasetError("it leads back to its own beginning: pack it again.")
                last = member.offset_data
                if most is not None and members > most:
                    raise DatasetError("it holds more files than are taken: send fewer.")
                if member.isdir():
                    continue
                if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse:
                    odd += 1
                    continue
                key, ending = _split(member.name)
                if not ending:
                    continue
                if member.offset_data + member.size > end:
                    raise DatasetError("it is cut off: copy it again.")
                parts = found.setdefault(key, {})
                twice += ending in parts
                parts.setdefault(ending, _Place(member.offset_data, member.size))
    except DatasetError as exc:
        raise DatasetError(f"{shard.name}: {exc}") from exc
    except (tarfile.TarError, *_BROKEN) as exc:
        raise DatasetError(
            f"{shard.name} is no tar archive that can be read, or is packed: unpack .tar.gz first."
        ) from exc
    notes = []
    if odd:
        notes.append(LeftOut(f"{shard.name}: links and devices in it are left out: {odd:,}."))
    if twice:
        notes.append(
            LeftOut(f"{shard.name}: files with the name of another are left out: {twice:,}.")
        )
    return found, members, notes


_BROKEN = (OSError, ValueError, EOFError, OverflowError, RecursionError, MemoryError)


def _split(name: str) -> tuple[str, str]:
    """Return the name that the files of a row share, and the ending; "" where it is unknown."""
    path = PurePosixPath(name)
    if path.name.startswith("."):  # of the system that packed it
        return "", ""
    stem, _, ending = path.name.partition(".")
    ending = f".{ending.lower()}"
    return str(path.parent / stem), ending if ending in _KNOWN else ""


_KNOWN = (*IMAGE_SUFFIXES, _WORDS, _ROWS)


def _rows(shard: Path, parts: Parts, where: str, count: Counter) -> Rows:
    """Yield the rows of a picture.

    Raises:
        DatasetError: There is no picture, or nothing to learn about it.
    """
    place = next((parts[ending] for ending in IMAGE_SUFFIXES if ending in parts), None)
    if place is None:
        if parts.keys() == {_WORDS}:  # a README
            yield LeftOut(f"{where}.txt: there is no picture of this name, and it is left out.")
            return
        raise DatasetError("there is no picture of this name: pack it under the same one.")
    picture = TarPicture(shard, place.start, place.size)
    if _ROWS in parts:
        for row in _json(shard, parts[_ROWS], count):
            yield _row(picture, row, where)
    elif _WORDS in parts:
        words = _text(shard, parts[_WORDS], MAX_CAPTION, "caption").strip()
        yield Example(picture, "caption", answer=words, where=where)
    else:
        raise DatasetError("there is no .txt and no .json of this name beside the picture.")


def _row(picture: TarPicture, row: Any, where: str) -> Example:
    if not isinstance(row, dict):
        raise DatasetError("the .json is no object with named values.")
    if isinstance(row.get("prefix"), str) and "suffix" in row:
        return example_from_answers(picture, row["prefix"], answers_of(row["suffix"]), where)
    question = next((row[n] for n in ROLES["question"] if isinstance(row.get(n), str)), "")
    names = ROLES["answer"] if question else _CAPTIONS
    said = answers_of(next((row[n] for n in names if row.get(n) is not None), None))
    if not said:
        raise DatasetError("the .json has no caption, and no prefix and suffix: add one of them.")
    task = "docvqa" if question else "caption"
    return Example(picture, task, question, answer=said[0], references=said, where=where)


def _json(shard: Path, place: _Place, count: Counter) -> list[Any]:
    text = _text(shard, place, _JSON.max_bytes, ".json")
    count.take(text.count(",") + 1)
    try:
        value = parse_json(text.encode(errors="replace"), _JSON)
    except ValueError as exc:
        raise DatasetError(f"the .json {exc}.") from exc
    return value if isinstance(value, list) else [value]


def _text(shard: Path, place: _Place, most: int, what: str) -> str:
    if place.size > most:
        raise DatasetError(f"the {what} is longer than {most >> 10:,} KB: shorten it.")
    return words_of(_bytes(shard, place.start, place.size))


def _bytes(shard: Path, start: int, size: int) -> bytes:
    with shard.open("rb") as file:
        file.seek(start)
        return file.read(size)


@dataclass(frozen=True, eq=False)
class TarPicture:
    """Get a picture out of an archive when it is used: until then nothing of it is kept.

    Attributes:
        file: The archive.
        start: Where the picture's bytes begin.
        size: How many there are.
    """

    file: Path
    start: int
    size: int

    def __call__(self) -> bytes:
        """Return the picture's bytes.

        Raises:
            DatasetError: They are more than a picture may have.
        """
        if self.size > LIMITS.max_bytes:
            raise DatasetError(too_many_bytes(LIMITS))
        return _bytes(self.file, self.start, self.size)


def write_webdataset(rows: Sequence[Example], folder: Path) -> Path:
    """Write one archive of pictures, each with its caption or its rows; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    images = folder / "pictures.new"
    with tarfile.open(folder / FILE, "w") as archive:
        for name, about in write_rows(rows, images):
            picture = images / name
            _add(archive, name, picture.read_bytes())
            picture.unlink()
            _add(archive, *_told(name.partition(".")[0], about))
    if images.is_dir():
        images.rmdir()
    return folder


def _told(stem: str, about: Sequence[Example]) -> tuple[str, bytes]:
    """Return the name and the text of the file beside a picture."""
    if [row.task for row in about] == ["caption"]:
        return stem + _WORDS, about[0].answer.encode()
    found = [as_line(row) for row in about]
    value: Any = found[0] if len(found) == 1 else found
    return stem + _ROWS, json.dumps(value, ensure_ascii=False).encode()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))
