"""Tables with columns: the hub's folders of pictures with metadata, CSV, JSON, its lines, Parquet.

Knows where the files of the parts lie, cells, and which sign stands between them; what a column
means is the matter of ``columns``. What a CSV or a line of JSON says may be a stranger's word.
Parquet is for operators alone: its pages unpack to whatever they say before anyone can count it.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

from florence_demo.bounded_json import JsonLimits, parse_json
from florence_demo.data.annotated import Rows
from florence_demo.data.box_formats import LOOKED_AT, with_box_format
from florence_demo.data.box_rows import box_columns, pictures_of
from florence_demo.data.columns import Columns, columns_of, fits, row_of
from florence_demo.data.example import Picture
from florence_demo.data.listings import (
    Counter,
    check_size,
    json_lines,
    json_of,
    listing_of,
    text_of,
)
from florence_demo.data.named_pictures import Pictures
from florence_demo.data.parts import WHOLE, by_part, files_in, part_folders
from florence_demo.data.saved_sets import MISSING_DATASETS, rows_of_set
from florence_demo.data.source import DataLimits, DataSource
from florence_demo.errors import DatasetError, LeftOut, plain

SUFFIXES = (".jsonl", ".csv", ".tsv", ".parquet", ".json")
METADATA = "metadata"
"""How the hub calls the table of a folder of pictures."""
_PARQUET, _LINES, _JSON = ".parquet", ".jsonl", ".json"
_BEGINNING = 64 << 10
_FILES = 100
_LIST = re.compile(r'\s*(?:\[|\{.*?"data"\s*:\s*\[)\s*(?=\{)', re.DOTALL)
"""How a JSON file of rows begins: they are its list, or the list that it calls its data."""
_SEPARATORS = ",;\t"
_SHARD = re.compile(r"-\d+-of-\d+$")
_TOLD = re.compile(r"sep=([,;\t|])\r?\n", re.IGNORECASE)
_MORE = (
    "the line has {:,} cells for {:,} columns: put quotation marks around text with a separator."
)
_CELL = JsonLimits(1 << 20, 20_000, 16)


def is_table(path: Path) -> bool:
    """Say whether a file is a table with columns that make rows."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES or not path.is_file():
        return False
    if suffix == _PARQUET or path.stem == METADATA:
        return True
    if suffix == _JSON:
        return fits(first_of_list(path))
    if suffix != _LINES:
        names = _header(text_of(path, _BEGINNING))
        return fits(names) or box_columns(names) is not None
    first = next(iter(text_of(path, _BEGINNING).splitlines()), "")
    try:
        row = parse_json(first.encode(errors="replace"), _CELL)
    except ValueError:
        return False
    # Lines of prefix and suffix are a format of their own.
    return isinstance(row, dict) and "prefix" not in row and fits(row)


def first_of_list(path: Path) -> dict[str, Any]:
    """Return the first row of a JSON file that holds a list of them, nothing of another file."""
    text = text_of(path, _BEGINNING)
    begins = _LIST.match(text)
    try:
        first = json.JSONDecoder().raw_decode(text, begins.end())[0] if begins else {}
    except (ValueError, RecursionError):
        first = {}
    return first if isinstance(first, dict) else {}


def find_tables(location: str) -> Mapping[str, str] | None:
    """Return the parts of a table: a file, those in a folder, or in its parts' folders."""
    path = Path(location)
    if not path.is_dir():
        return {WHOLE: location} if is_table(path) else None
    for folder in (path, path / "data"):
        found = _within(folder) if folder.is_dir() else None
        if found:
            return found
    inside = {part: _within(folder) for part, folder in part_folders(path).items()}
    return {part: next(iter(files.values())) for part, files in inside.items() if files} or None


def _within(folder: Path) -> dict[str, str]:
    """Return the tables in a folder by part: the hub's metadata alone, else those of one kind."""
    files = files_in(folder, *SUFFIXES)
    own = [p for p in files if p.stem == METADATA]
    for suffix in SUFFIXES:
        of_kind = [p for p in own or files if p.suffix.lower() == suffix]
        # Beside an archive of pictures lies a table of where they came from.
        loose = [p for p in of_kind[:_FILES] if not p.with_suffix(".tar").exists()]
        chosen = [p for p in loose if is_table(p)]
        parts = by_part(chosen)
        if chosen:
            return {k: str(p) for k, p in parts.items()} or {WHOLE: str(chosen[0])}
    return {}


def read_tables(source: DataSource) -> Rows:
    """Yield the rows of a table, after what its columns were taken for."""
    path = listing_of(source)
    if path.suffix.lower() == _PARQUET:
        yield from _read_parquet(source, path)
        return
    rows = _READ.get(path.suffix.lower(), _csv_rows)(path, source.limits)
    first = list(islice(rows, LOOKED_AT))
    tables = [row for _, row in first if isinstance(row, dict)]
    names = dict.fromkeys(name for row in tables for name in row)
    if not names:
        yield from (row for _, row in first if isinstance(row, DatasetError))
        yield DatasetError(f"{path.name}: no row at its beginning has a column: name them first.")
        return
    pictures = Pictures(source, path.parent, path.parent / "images")
    boxed = None if source.columns else box_columns(names)
    if boxed:
        told = f"image = {plain(boxed[0])}, name = {plain(boxed[1])}, a box a row"
        yield LeftOut(f"{path.name}: columns taken: {told}.")
        yield from pictures_of(chain(first, rows), boxed, pictures)
        return
    columns = columns_of(path.name, tuple(names), source.columns)
    columns = with_box_format(columns, _boxed(tables, columns, pictures))
    yield columns.note(path.name)
    yield from _rows(path, columns, pictures, chain(first, rows))


def _boxed(
    rows: Iterable[Mapping[str, Any]], columns: Columns, pictures: Pictures
) -> Iterator[tuple[Any, Picture]]:
    """Yield the objects and the picture of those rows that have both."""
    for row in rows:
        with suppress(DatasetError):
            cells = _opened(row, columns)
            yield cells.get(columns.taken["objects"]), pictures.path(row[columns.taken["image"]])


def _rows(
    path: Path, columns: Columns, pictures: Pictures, rows: Iterable[tuple[str, Any]]
) -> Rows:
    numbers: list[Any] = []
    for where, row in rows:
        if isinstance(row, DatasetError):
            yield row
            continue
        try:
            picture = pictures.path(row.get(columns.taken["image"]))
            cells = row if path.suffix.lower() in _READ else _opened(row, columns)
        except DatasetError as exc:
            yield DatasetError(f"{where}: {exc}")
            continue
        try:
            # What names no category remembers it.
            yield row_of(columns, cells, picture, where, numbers.append)
        except DatasetError as exc:
            yield exc
    if numbers:
        yield LeftOut(
            f"{path.name}: categories are numbers that nothing names, and are learned as such:"
            " write names instead."
        )


def _json_rows(path: Path, limits: DataLimits | None) -> Iterator[tuple[str, Any]]:
    """Yield the rows of a JSON file, or a DatasetError in their place.

    Raises:
        DatasetError: It is no list of them.
    """
    table = json_of(path, limits)
    rows = table.get("data") if isinstance(table, dict) else table
    if not isinstance(rows, list):
        raise DatasetError(f"{path.name} is no list of rows.")
    for number, row in enumerate(rows, 1):
        where = f"{path}: row {number}"
        odd = DatasetError(f"{where} is no object with named values.")
        yield where, row if isinstance(row, dict) else odd


_READ = {_LINES: json_lines, _JSON: _json_rows}


# -- CSV ------------------------------------------------------------------------------------------


def _header(text: str) -> list[str]:
    """Return the names of the columns of a CSV."""
    try:
        return next(_split(text), [])
    except csv.Error:
        return []


def _split(text: str) -> Any:
    """Return a reader of the cells of a CSV's lines, whatever sign is between them."""
    text = text.lstrip("\r\n")
    told = _TOLD.match(text)  # as Excel tells itself
    text = text[told.end() :] if told else text
    head = re.sub(r'"[^"\n]*"', "", text[:_BEGINNING].split("\n", 1)[0])
    sign = told[1] if told else max(_SEPARATORS, key=head.count)
    return csv.reader(io.StringIO(text, newline=""), delimiter=sign)


def _csv_rows(path: Path, limits: DataLimits | None) -> Iterator[tuple[str, Any]]:
    """Yield "file:line" and the cells of each line by column, or a DatasetError in their place.

    Raises:
        DatasetError: The file is larger than the limits, or a quotation mark is left open.
    """
    check_size(path, limits)
    count = Counter(limits)
    lines = _split(text_of(path, path.stat().st_size + 1))
    try:
        names = [name.strip() for name in next(lines, [])]
        for cells in lines:
            where = f"{path}:{lines.line_num}"
            count.take(len(cells))
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(names):
                yield where, DatasetError(f"{where}: {_MORE.format(len(cells), len(names))}")
                continue
            row = {name: cell for name, cell in zip(names, cells, strict=False) if name}
            # Each column, that the first line tells all of them.
            yield where, {name: row.get(name) or None for name in names if name}
    except csv.Error as exc:
        raise DatasetError(
            f"{path.name}, line {lines.line_num}: the line cannot be split into cells"
            f" ({plain(exc)}): look for a quotation mark without its other one."
        ) from exc


def _opened(row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """Return the cells, those of objects or of several answers read as the JSON that they are.

    Raises:
        DatasetError: A cell of objects is no JSON.
    """
    cells = dict(row)
    for role in ("objects", "answer"):
        name = columns.taken.get(role, "")
        value = cells.get(name)
        if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
            continue
        try:
            found = parse_json(value.encode(errors="replace"), _CELL)
        except ValueError as exc:
            if role == "objects":
                raise DatasetError(f"the cell of “{plain(name)}” {exc}.") from exc
            continue  # words in brackets
        if role == "objects" or isinstance(found, list):
            cells[name] = found
    return cells


# -- Parquet --------------------------------------------------------------------------------------


def _read_parquet(source: DataSource, path: Path) -> Rows:
    """Yield the rows of a file and of the others that it was cut into."""
    if source.limits:
        raise DatasetError(f"{path.name}: Parquet is not taken as an upload: send CSV or JSONL.")
    try:
        import datasets
    except ImportError as exc:
        raise DatasetError(MISSING_DATASETS) from exc
    stem = _SHARD.sub("", path.stem)
    files = files_in(path.parent, _PARQUET)
    shards = [p for p in files if _SHARD.sub("", p.stem) == stem]
    try:
        loaded = datasets.Dataset.from_parquet([str(p) for p in shards])
    except Exception as exc:
        # The package raises whatever its file systems raise; none of it is for a person.
        raise DatasetError(f"{path.name} cannot be opened: write the Parquet file again.") from exc
    yield from rows_of_set(source, loaded, (path.parent,))
