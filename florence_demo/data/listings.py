"""Files of rows: where one lies in a folder, its JSON, its alphabet, and what cannot be read.

Knows paths, lines and numbers, and what a stranger's may cost. Does not know what a row means.
"""

from __future__ import annotations

import codecs
import io
import json
from collections import Counter as Kinds
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from florence_demo.bounded_json import JsonLimits, parse_json
from florence_demo.data.example import MAX_PLACES
from florence_demo.data.source import DataLimits, DataSource
from florence_demo.errors import DatasetError, printable
from florence_demo.prediction import FloatArray
from florence_demo.regions import Region

MALFORMED = (
    KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip
"""What reading a file raises whose rows are not of its format."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")

MAX_CAPTION = 64 << 10
"""Bytes of a caption's file: more is no caption."""
_LINE_VALUES, _DEPTH = 20_000, 16
_SHOWN = 64 << 10
_LOOKED_AT = 3
_MARK = 64
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
    kind = _utf16(data[:_MARK])
    if kind:
        return data.decode(kind, errors="replace").encode("utf-8", errors="replace")
    return data.removeprefix(codecs.BOM_UTF8)


def _utf16(start: bytes) -> str:
    """Return which UTF-16 a text begins in, "" for none; without a mark its zeros tell."""
    if start.startswith(_UTF16):
        return "utf-16"
    # Every other byte of most letters in use.
    even, odd = start[0::2], start[1::2]
    if start and 0 not in even and odd.count(0) > len(odd) / 2:
        return "utf-16-le"
    return "utf-16-be" if start and 0 not in odd and even.count(0) > len(even) / 2 else ""


def _mended(data: bytes) -> bytes:
    """Return a text in UTF-8: what is none is taken for Windows' usual alphabet."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace").encode()
    return data


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
        return _value(_mended(utf8_of(path.read_bytes())), bounds)
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


def in_pixels(boxes: Sequence[Any]) -> FloatArray:
    """Return boxes as (n, 4) float32.

    Raises:
        DatasetError: They are told as shares of the picture, which would be boxes of one pixel.
    """
    found = floats_of(boxes).reshape(-1, 4)
    if len(found) and (found >= 0).all() and (found <= 1).all() and found.any():
        raise DatasetError(
            "its places lie between 0 and 1, and here pixels are meant: multiply them by the"
            " picture's width and height."
        )
    return found


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
    start = file.read(_MARK)
    if _utf16(start):
        with file:
            file.seek(0)
            return io.BytesIO(utf8_of(file.read()))
    file.seek(3 if start.startswith(codecs.BOM_UTF8) else 0)
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
    return _value(_mended(line), bounds)


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
