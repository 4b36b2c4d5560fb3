"""Say what a set of rows is, part by part, write it in another format, draw some of it.

Knows the ``data`` command: check, count, convert, show. Does not know formats (``reading``).
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from florence_demo.commands.options import add_columns, with_named_columns
from florence_demo.data.example import Example, as_strings
from florence_demo.data.formats import READERS, Write, formats_help
from florence_demo.data.reading import as_source, open_data, parts_of, tell_problems
from florence_demo.data.rows import shared_pictures, spread
from florence_demo.data.showing import contact_sheet, parts_said
from florence_demo.data.source import DataSource, Spec
from florence_demo.errors import DatasetError, printable
from florence_demo.files import whole_folder
from florence_demo.nano.scenes.rows import offer_scenes
from florence_demo.pictures.images import save_picture
from florence_demo.tasks import task_named

_SHOWN, _LETTERS = 3, 120
_NOTES = 5


@dataclass(frozen=True)
class DataConfig:
    """Hold what to do with a set.

    Attributes:
        data: What ``open_data`` takes.
        tasks: Names of the tasks to keep; all of them where empty.
        limit: Most rows of a part.
        out: Folder for the rows with their pictures, None for none.
        to: Name of the format to write them in.
        sheet: File for a picture of ten rows, None for none.
    """

    data: Spec
    tasks: tuple[str, ...] = ()
    limit: int | None = None
    out: Path | None = None
    to: str = "jsonl"
    sheet: Path | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    offer_scenes()
    parser.add_argument("data", help=f"the set: {formats_help()}")
    add_columns(parser)
    parser.add_argument("--task", action="append", default=[], help="only this task; repeatable")
    parser.add_argument("--limit", type=int, help="most rows")
    written = ", ".join(name for name, reader in READERS.items() if reader.write)
    parser.add_argument("--out", type=Path, help="write the rows and their pictures here")
    parser.add_argument("--to", default="jsonl", metavar="FORMAT", help=f"as one of {written}")
    parser.add_argument("--sheet", type=Path, help="draw ten rows into this picture")


def config_from_args(args: argparse.Namespace) -> DataConfig:
    """Return the settings of a parsed command line.

    Raises:
        DatasetError: What is said of columns cannot be used.
    """
    tasks = tuple(task_named(name).name for name in args.task)
    data = with_named_columns(args.data, args.columns)
    return DataConfig(data, tasks, args.limit, args.out, args.to, args.sheet)


def run(config: DataConfig) -> list[str]:
    """Check a set, convert it, draw it, and return what a person should read, line by line.

    Raises:
        DatasetError: No row is usable, or no format is called so.
    """
    write = _writer(config.to) if config.out else None
    source = as_source(config.data)
    named = () if source.part else parts_of(source)
    sources = [replace(source, part=part) for part in named] or [source]
    lines = [_parts_said(source, named)] if named else []
    found: dict[str, list[Example]] = {}
    with whole_folder(config.out) if config.out else nullcontext() as new:
        for each in sources:
            rows, said = _looked_at(each, config)
            lines += said
            found[each.part] = rows
            if config.out and new and write:
                written = write(rows, new / each.part if named else new)
                lines.append(f"Written to {config.out / written.relative_to(new)}")
    lines += _shared_said(found)
    if config.sheet:
        config.sheet.parent.mkdir(parents=True, exist_ok=True)
        save_picture(contact_sheet(next(iter(found.values()))), config.sheet)
        lines.append(f"Drawn into {config.sheet}")
    return lines


def _writer(name: str) -> Write:
    known = {n: reader.write for n, reader in READERS.items() if reader.write}
    if name not in known:
        raise DatasetError(f"Nothing is written as “{name}”: choose one of {', '.join(known)}.")
    return known[name]


def _parts_said(source: DataSource, parts: Sequence[str]) -> str:
    number = f"{len(parts)} part{'s' * (len(parts) > 1)}"
    return f"{source.format}, in {number}: {parts_said(parts)}."


def _shared_said(found: dict[str, list[Example]]) -> list[str]:
    """Return what is said of pictures that two parts share: numbers on them would be too good."""
    lines = []
    for one, other in combinations(found, 2):
        shared = shared_pictures(found[one], found[other])
        if shared:
            number = f"{len(shared):,} picture{'s' * (len(shared) > 1)}"
            verb = "is" if len(shared) == 1 else "are"
            lines.append(
                f"{number} of {other} {verb} in {one}, too, byte for byte (the first: {shared[0]})."
                " Copies that were saved anew are not noticed."
            )
    return lines


def _looked_at(source: DataSource, config: DataConfig) -> tuple[list[Example], list[str]]:
    """Return the rows of a part, and what a person should read about it."""
    problems: list[str] = []
    notes: list[str] = []
    rows = open_data(source, tasks=config.tasks, limit=config.limit, problems=problems, notes=notes)
    counts = Counter(row.task for row in rows)
    told = ", ".join(f"{n:,} {task}" for task, n in counts.most_common())
    lines = [f"{source.part or source.format}: {len(rows):,} row{'s' * (len(rows) != 1)}: {told}"]
    lines += [f"  {_row_said(row)}" for row in spread(rows, _SHOWN)]
    lines += notes[:_NOTES]
    if len(notes) > _NOTES:
        lines.append(f"and {len(notes) - _NOTES:,} more notes.")
    if problems:
        lines.append(tell_problems(problems))
    return rows, lines


def _row_said(row: Example) -> str:
    prefix, suffix = as_strings(row, row.size())
    name = row.image.name if isinstance(row.image, Path) else row.where
    shown = suffix if len(suffix) <= _LETTERS else f"{suffix[:_LETTERS]}…"
    return printable(f"{name}: {prefix} → {shown or 'nothing'}")


def command(args: argparse.Namespace) -> int:
    """Do what is asked for, and print what a person should read."""
    print("\n".join(run(config_from_args(args))))
    return 0
