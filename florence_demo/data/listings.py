"""Files of rows: where one lies in a folder, its JSON, its pictures, and what cannot be read.

Knows paths, lines and numbers, and what a stranger's may cost. Does not know what a row means.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections import Counter as Kinds
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from florence_demo.bounded_json import JsonLimits, parse_json
from florence_demo.data.example import MAX_PLACES
from florence_demo.data.source import DataLimits, DataSource
from florence_demo.errors import DatasetError, printable
from florence_demo.files import leads_out
from florence_demo.prediction import FloatArray
from florence_demo.tasks import Region

MALFORMED = (
    KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip
"""What reading a file raises whose rows are not of its format."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")

MAX_CAPTION = 64 << 10
"""Bytes of a caption's file: more is no caption."""
_MAX_NAME = 1_000
_MAX_PART = 255
_LINE_VALUES, _DEPTH = 20_000, 16
_SHOWN = 64 << 10
_LOOKED_AT = 3
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def shows(path: Path, word: bytes) -> bool:
    """Say whether a word stands near the beginning or the end of a file, in any case none here."""
    try:
        with path.open("rb") as file:
            if word in file.read(_SHOWN):
                return True
            file.seek(max(0, path.stat().st_size - _SHOWN))
            return word in file.read(_SHOWN)
    except OSError:
        return False


def utf8_of(data: bytes) -> bytes:
    """Return a text in UTF-8 and without a byte order mark, whether it came so or in UTF-16."""
    if data.startswith(_UTF16):
        return data.decode("utf-16", errors="replace").encode("utf-8", errors="replace")
    return data.removeprefix(codecs.BOM_UTF8)


def text_of(path: Path, most: int) -> str:
    """Return the first bytes of a text file, at most so many, as text.

    What is no UTF-8 is taken for Windows' usual alphabet, in which old tools write.
    """
    with path.open("rb") as file:
        read = file.read(most)
    return words_of(read, cut=len(read) == most)


def words_of(data: bytes, cut: bool = False) -> str:
    """Return bytes as text, as ``text_of`` does; ``cut`` where they may end within a letter."""
    data = utf8_of(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        if cut and exc.start >= len(data) - 3:
            return data[: exc.start].decode("utf-8")
        return data.decode("cp1252", errors="replace")


def looked_at(folder: str | Path) -> str:
    """Return what lies in a folder that is no set, as the end of a sentence; "" where is none."""
    try:
        found = [p for p in Path(folder).iterdir() if not p.name.startswith(".")]
    except (OSError, ValueError):
        return ""
    kinds = Kinds(p.suffix.lower() or "without an ending" for p in found if p.is_file())
    told = [f"{count:,} {kind}" for kind, count in kinds.most_common(_LOOKED_AT)]
    folders = [printable(p.name) for p in found if p.is_dir()][:_LOOKED_AT]
    told += [f"the folders {', '.join(folders)}"] if folders else []
    return f": it holds {', '.join(told) or 'nothing'}"


def listing_of(source: DataSource) -> Path:
    """Return the file that a source is.

    Raises:
        DatasetError: There is none, or it lies elsewhere.
    """
    path = Path(source.location)
    if not path.is_file() or not source.holds(path):
        raise DatasetError(f"There is no file {path}: correct the path.")
    return path


class Pictures:
    """Find a source's pictures by the names that its rows give, and look for each once."""

    def __init__(self, source: DataSource, *folders: Path):
        """Take the folders to look in.

        Args:
            source: Says where its files may lie.
            folders: Tried in this order; where no picture is found, the first counts.
        """
        self._source = source
        self._folders = [f for f in folders if source.holds(f)]
        self._found: dict[str, Path | str] = {}

    def path(self, name: Any) -> Path:
        """Return the path that a name stands for, whether or not a picture is there.

        Raises:
            DatasetError: It is no name, or leads out of where the source's files may lie.
        """
        if not isinstance(name, str):
            raise DatasetError("the name of a picture must be text.")
        if name not in self._found:
            self._found[name] = self._look(name)
        found = self._found[name]
        if isinstance(found, str):
            raise DatasetError(found)
        return found

    def first(self, *names: Any) -> Path:
        """Return the path of the first of these names at which a picture is, or of the first name.

        Raises:
            DatasetError: No picture is there, and the first is no name or leads out.
        """
        for name in names:
            try:
                path = self.path(name)
            except DatasetError:
                continue
            if path.is_file():
                return path
        return self.path(names[0])

    def _look(self, name: str) -> Path | str:
        shown = f"“{name[:60]}”" + (" …" if len(name) > 60 else "")
        if not _is_name(name):
            return f"{shown} is no name of a picture: it is empty, too long or holds odd signs."
        out = f"{shown} leads out of the data's own folder: name pictures by their place within it."
        if self._source.limits and leads_out(name):
            return out
        try:
            found = (folder / name for folder in self._folders)
            path = next((p for p in found if p.is_file()), self._folders[0] / name)
            return path if self._source.holds(path) else out
        except (OSError, IndexError):
            return out


def likely_names(given: Any, stem: str) -> list[Any]:
    """Return by which names a picture may be found whose marks lie in a file of their own.

    Args:
        given: The name that the file gives: often a path of another machine, or without an ending.
        stem: The file's own name without its ending, which is the picture's in all such tools.
    """
    last = [re.split(r"[\\/]", given)[-1]] if isinstance(given, str) else []
    endings = (*IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES))
    beside = [stem + ending for ending in endings]
    return [*([given] if given else []), *filter(None, last), *beside]


class Counter:
    """Count what all files of a set hold: each may be small, and all of them together many."""

    def __init__(self, limits: DataLimits | None):
        """Take what a stranger's set may hold; None counts nothing."""
        self._limits, self._values = limits, 0

    def take(self, values: int) -> None:
        """Add the values of a file.

        Raises:
            DatasetError: They are too many now.
        """
        self._values += values
        if self._limits and self._values > self._limits.values:
            raise DatasetError(
                f"The data holds more than {self._limits.values:,} values in all its files.{_SPLIT}"
            )


def _is_name(name: str) -> bool:
    try:
        parts = [len(part) for part in name.encode().split(b"/")]
    except UnicodeEncodeError:
        return False
    return 0 < len(name) <= _MAX_NAME and "\0" not in name and max(parts) <= _MAX_PART


def json_lines(path: Path, limits: DataLimits | None = None) -> Iterator[tuple[str, Any]]:
    """Yield "file:line" and the object of each line, or a DatasetError in its place.

    Args:
        path: The file.
        limits: What a stranger's may cost; None reads lines of any length.

    Raises:
        DatasetError: The file is larger than the limits.
    """
    check_size(path, limits)
    values = 0
    with _opened(path) as lines:
        for number, line in enumerate(_lines(lines, limits), 1):
            where = f"{path}:{number}"
            if not line.strip():
                continue
            # At most one comma fewer than values: what is kept of them all is bounded, too.
            values += line.count(b",") + 1
            if limits and values > limits.values:
                raise DatasetError(f"{path.name} holds more than {limits.values:,} values.{_SPLIT}")
            try:
                row = _line_value(line, limits)
            except ValueError as exc:
                yield where, DatasetError(f"{where}: the line {exc}.")
                continue
            if not isinstance(row, dict):
                row = DatasetError(f"{where}: the line is no object with named values.")
            yield where, row


def json_of(path: Path, limits: DataLimits | None = None) -> Any:
    """Return what a JSON file holds.

    Args:
        path: The file.
        limits: What a stranger's may cost; None reads a file of any size.

    Raises:
        DatasetError: It is no JSON, or larger than the limits.
    """
    check_size(path, limits)
    bounds = JsonLimits(limits.listing_bytes, limits.values, _DEPTH) if limits else None
    try:
        return _value(utf8_of(path.read_bytes()), bounds)
    except ValueError as exc:
        raise DatasetError(f"{path} {exc}.{_SPLIT if limits else ''}") from exc


_SPLIT = " Leave out what is not needed, or upload the data in parts."


def check_size(path: Path, limits: DataLimits | None) -> None:
    """Refuse a stranger's file of rows that is too large.

    Raises:
        DatasetError: It is.
    """
    if limits and path.stat().st_size > limits.listing_bytes:
        most = f"{limits.listing_bytes / 1e6:,.0f} MB"
        raise DatasetError(f"{path.name} is larger than {most}.{_SPLIT}")


def caption_of(path: Path) -> str:
    """Return the text of a caption's file.

    Raises:
        DatasetError: It is too long to be a caption.
    """
    if path.stat().st_size > MAX_CAPTION:
        raise DatasetError(f"the caption is longer than {MAX_CAPTION >> 10} KB: shorten it.")
    return text_of(path, MAX_CAPTION).strip()


def region_of(values: Sequence[float]) -> Region:
    """Return four numbers as x1, y1, x2, y2.

    Raises:
        ValueError: They are not four.
    """
    x1, y1, x2, y2 = (float(v) for v in values)
    return x1, y1, x2, y2


def floats_of(values: Any) -> FloatArray:
    """Return numbers as float32; those too large become infinite, which no check lets pass."""
    with np.errstate(over="ignore"):
        return np.array(values, np.float32)


def check_places(rows: Sequence[Any]) -> None:
    """Refuse more places than one row may have.

    Raises:
        DatasetError: There are.
    """
    if len(rows) > MAX_PLACES:
        raise DatasetError(f"the row has {len(rows):,} places, at most {MAX_PLACES:,} are read.")


def answers_of(given: Any) -> tuple[str, ...]:
    """Return the accepted answers of a cell that holds one, several, or nothing.

    Raises:
        DatasetError: An answer is neither text nor a number.
    """
    several = given if isinstance(given, list) else [given]
    found = [answer for answer in several if answer is not None]
    if not all(isinstance(answer, str | int | float) for answer in found):
        raise DatasetError("an answer must be text.")
    return tuple(map(str, found))


def _opened(path: Path) -> IO[bytes]:
    """Return a file to read lines of UTF-8 from, after its byte order mark."""
    file = path.open("rb")
    start = file.read(3)
    if start.startswith(_UTF16):
        with file:
            file.seek(0)
            return io.BytesIO(utf8_of(file.read()))
    file.seek(3 if start == codecs.BOM_UTF8 else 0)
    return file


def _lines(file: IO[bytes], limits: DataLimits | None) -> Iterator[bytes]:
    """Yield each line; of one over the limit as much as shows that it is."""
    most = limits.line_bytes if limits else -1
    while line := file.readline(most + 1 if limits else -1):
        yield line
        while limits and len(line) > most and not line.endswith(b"\n"):
            line = file.readline(most + 1)


def _line_value(line: bytes, limits: DataLimits | None) -> Any:
    bounds = JsonLimits(limits.line_bytes, _LINE_VALUES, _DEPTH) if limits else None
    return _value(line, bounds)


def _value(data: bytes, limits: JsonLimits | None) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: It is none; the message is the end of a sentence.
    """
    if limits:
        return parse_json(data, limits)
    try:
        return json.loads(data.decode("utf-8-sig", errors="replace"))
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"is no JSON ({exc})") from exc
