"""Every way a set of rows gets in: from what a person names to rows that were checked.

Knows which reader takes what. A reader yields an ``Example`` for each row, and a ``DatasetError``
where a row is not usable, so that one bad row does not hide the others. Does not know models.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic

from florence_demo.data.annotated import Annotated, Rows, cut_at_edges, rows_about
from florence_demo.data.columns import checked
from florence_demo.data.example import MAX_SAID, Example
from florence_demo.data.formats import OPENED_FIRST, READERS, USUAL, Reader, formats_help
from florence_demo.data.listings import looked_at
from florence_demo.data.parts import TRAIN, WHOLE, files_in, part_called, usual
from florence_demo.data.rows import tells_nothing, usable
from florence_demo.data.saved_sets import NO_PARTS, hub_parts
from florence_demo.data.source import DataLimits, DataSource, Spec
from florence_demo.data.tables import SUFFIXES, first_of_list
from florence_demo.errors import DatasetError, LeftOut, printable
from florence_demo.files import folders_under

_DEPTH, _FOLDERS = 4, 2_000
"""Floors and folders below a folder that is no set in which one is looked for."""
_TOLD = 3
"""Notes that are told where all rows are left out."""


def parse_source(text: str) -> DataSource:
    """Return the source that an operator's text names: a path or a hub id, "#part" after it.

    Raises:
        DatasetError: It is of no known format, or has no such part.
    """
    location, _, part = text.rpartition("#")
    # The whole text first: a "#" may be in a name.
    for named, of in ((text, ""), (location, part)):
        found = _find(named) if named else None
        if found:
            source = DataSource(found[0].name, named, of)
            return part_of(source, of) if of else source
    for named, of in ((text, ""), (location, part)):
        below = _below(named) if named else None
        if below:
            return part_of(below, of) if of else below
    raise DatasetError(
        f"“{text}” is no data that can be read{looked_at(text)}. Known are: {formats_help()}."
    )


def _below(location: str) -> DataSource | None:
    """Return the one set that lies somewhere in a folder, or the one table in it, None for none.

    Raises:
        DatasetError: There are several sets, and a person has to name one.
    """
    folder = Path(location)
    if not _is(folder.is_dir):
        return None
    found: list[tuple[Path, Reader]] = []
    for inner in folders_under(folder, depth=_DEPTH, most=_FOLDERS):
        if not any(inner.is_relative_to(known) for known, _ in found):
            reader = _find(str(inner))
            found += [(inner, reader[0])] if reader else []
    if len(found) > 1:
        names = [printable(str(path.relative_to(folder))) for path, _ in found[:_TOLD]]
        more = ", …" if len(found) > _TOLD else ""
        raise DatasetError(
            f"“{location}” holds {len(found)} sets, {', '.join(names)}{more}: name one of them."
        )
    if found:
        return DataSource(found[0][1].name, str(found[0][0]))
    table = lone_table(folder)
    return DataSource("tables", str(table)) if table else None


def lone_table(folder: Path) -> Path | None:
    """Return the only table in a folder that is no set: it says what its columns are."""
    tables = [p for p in files_in(folder, *USUAL) if _usual(p) == "tables"]
    return tables[0] if len(tables) == 1 else None


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
    found = _find(str(folder), strangers=limits is not None) if folder.is_dir() else None
    return DataSource(found[0].name, str(folder), "", str(root), limits) if found else None


def with_columns(source: DataSource, pairs: Sequence[tuple[str, str]]) -> DataSource:
    """Return a source with what a person says of its columns: ("image", "img"), ("task", "vqa").

    Raises:
        DatasetError: The source has no columns, or a pair names no role of ``columns.ROLES``.
    """
    if not pairs:
        return source
    if not READERS[source.format].columns:
        # A table whose columns nobody can guess looks like another format's file.
        suffix = Path(source.location).suffix.lower()
        known = suffix == ".json" and _parts(READERS[source.format], source.location)
        if known or suffix not in SUFFIXES or not _is_file(source.location):
            raise DatasetError(
                f"“{source}” is in the format “{source.format}”, which has no columns: leave out"
                " --columns."
            )
        source = replace(source, format="tables")
    return replace(source, columns=checked(pairs))


def parts_of(source: DataSource) -> tuple[str, ...]:
    """Return the names of a source's parts; empty where it is a whole, or nobody can tell."""
    reader = READERS.get(source.format)
    if source.format in OPENED_FIRST:
        return hub_parts(source.location)
    return tuple(part for part in (reader and _parts(reader, source.location)) or () if part)


def part_of(source: DataSource, name: str) -> DataSource:
    """Return a part of a source by any of its names: "val" is "validation".

    Raises:
        DatasetError: It has none of that name.
    """
    known = parts_of(source)
    part = name if name in known else part_called(name)
    if part in known:
        return replace(source, part=part)
    if not known and source.format in OPENED_FIRST:
        return replace(source, part=name)
    if not known:
        raise DatasetError(NO_PARTS.format(source=source.location, part=name))
    raise DatasetError(f"“{source.location}” has no part “{name}”, only {', '.join(known)}.")


def part_to_measure(source: DataSource, *names: str) -> DataSource | None:
    """Return the first of these parts of a source, None where it has none or is another part."""
    known = parts_of(source) if source.part in (WHOLE, TRAIN) else ()
    return next((replace(source, part=name) for name in names if name in known), None)


def _find(location: str, *, strangers: bool = False) -> tuple[Reader, Mapping[str, str]] | None:
    """Return the first format that a location is of, with its parts."""
    for reader in READERS.values():
        if reader.upload or not strangers:
            parts = _parts(reader, location)
            if parts:
                return reader, parts
    # A file of rows like nobody's is read as the usual one, which says what it lacks.
    name = _usual(Path(location)) if _is_file(location) else ""
    return (READERS[name], {WHOLE: location}) if name else None


def _usual(file: Path) -> str:
    """Return the format that a file of unknown rows is taken for, "" for none."""
    if file.suffix.lower() == ".json" and first_of_list(file):
        return "tables"
    return USUAL.get(file.suffix.lower(), "")


def _is_file(location: str) -> bool:
    return _is(Path(location).is_file)


def _is(asked: Callable[[], bool]) -> bool:
    try:
        return asked()
    except (OSError, ValueError):  # no path at all
        return False


def _parts(reader: Reader, location: str) -> Mapping[str, str] | None:
    try:
        return reader.find(location)
    except (OSError, ValueError):  # no path at all: too long, or with a zero byte
        return None


def _rows(reader: Reader, source: DataSource, tasks: Sequence[str]) -> Rows:
    """Yield the rows of a source's part for these tasks, all where there are none.

    Raises:
        DatasetError: The source is of this format no more, or has no such part.
    """
    parts = _parts(reader, source.location) or {WHOLE: source.location}
    part = source.part or usual(parts)
    if part in parts:
        source = replace(source, location=parts[part], part=part)
    over, first = 0, ""
    for row in reader.read(source):
        if isinstance(row, Annotated):
            row, cut = cut_at_edges(row)
            over, first = over + cut, first or (row.where if cut else "")
            yield from rows_about(row, tasks)
        elif isinstance(row, DatasetError) or not tasks or row.task in tasks:
            yield row
    if over:
        places = "1 place reaches" if over == 1 else f"{over:,} places reach"
        yield LeftOut(
            f"{places} over the edge of a picture (the first: {first}); what lies outside is cut"
            " off."
        )


def open_data(
    spec: Spec,
    *,
    tasks: Sequence[str] = (),
    limit: int | None = None,
    problems: list[str] | None = None,
    notes: list[str] | None = None,
) -> list[Example]:
    """Return the checked rows of a source.

    Args:
        spec: A source, or an operator's text for ``parse_source``.
        tasks: Names of the tasks to keep; all of them where empty.
        limit: Most rows to read.
        problems: Takes what is wrong with each unusable row; without it, any such row raises.
        notes: Takes what is left out on purpose.

    Raises:
        DatasetError: The source is of no known format, has more than a stranger may send, no row is
            usable, or, without ``problems``, a row is not.
    """
    source = as_source(spec)
    reader = READERS.get(source.format)
    if reader is None or (source.limits and not reader.upload):
        raise DatasetError(f"“{source}” is in no format that is read here.")
    found: list[str] = []
    told: list[str] = []
    rows = _bounded(_rows(reader, source, tasks), source.limits)
    kept = usable(_first(_kept(rows, told), limit), found)
    if kept and tells_nothing(kept):
        told.append(f"“{source}”: nothing is marked in any picture; is something missing?")
    if notes is not None:
        notes.extend(told)
    if problems is not None:
        problems.extend(found)
    elif found:
        raise DatasetError(tell_problems(found))
    if not kept:
        why = tell_problems(found) or " ".join(told[:_TOLD])
        raise DatasetError(f"“{source}” has no usable row. {why}".strip())
    return kept


def _kept(rows: Rows, notes: list[str]) -> Iterator[Example | DatasetError]:
    """Yield rows and faults, and note what is left out on purpose."""
    for row in rows:
        if isinstance(row, LeftOut):
            notes.append(printable(str(row)[:MAX_SAID]))
        elif not isinstance(row, Annotated):
            yield row


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


_TOLD_LETTERS = 450
"""Of the problems that are told: a page shows 600 of a message, and its end is the way out."""


def tell_problems(problems: Sequence[str], most: int = 5) -> str:
    """Return a count and the first problems, each to its end, or "" where there are none."""
    if not problems:
        return ""
    lengths = itertools.accumulate(map(len, problems[:most]))
    shown = max(1, sum(length <= _TOLD_LETTERS for length in lengths))
    rest = f"\nand {len(problems) - shown:,} more." if len(problems) > shown else ""
    noun = "row is" if len(problems) == 1 else "rows are"
    return f"{len(problems):,} {noun} not usable:\n" + "\n".join(problems[:shown]) + rest


def _first(
    rows: Iterator[Example | DatasetError], limit: int | None
) -> Iterator[Example | DatasetError]:
    for count, row in enumerate(rows):
        if limit is not None and count >= limit:
            return
        yield row
