"""Look at a set of rows, and write it in the form that every trainer of the field reads.

Knows the ``data`` command: check, count, convert, show. Does not know formats (``reading``).
"""

from __future__ import annotations

import argparse
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from florence_demo.commands.options import add_columns, with_named_columns
from florence_demo.data.example import Example
from florence_demo.data.jsonl import write_jsonl
from florence_demo.data.reading import formats_help, open_data, tell_problems
from florence_demo.data.source import Spec
from florence_demo.nano.scenes.rows import offer_scenes
from florence_demo.output.annotate import annotate
from florence_demo.pictures.images import save_picture
from florence_demo.tasks import task_named

_CELL, _TEXT, _COLUMNS = 360, 96, 5
_NOTES = 5


@dataclass(frozen=True)
class DataConfig:
    """Hold what to do with a set.

    Attributes:
        data: What ``open_data`` takes.
        tasks: Names of the tasks to keep; all of them where empty.
        limit: Most rows.
        out: Folder for the rows as JSONL with their pictures, None for none.
        sheet: File for a picture of ten rows, None for none.
    """

    data: Spec
    tasks: tuple[str, ...] = ()
    limit: int | None = None
    out: Path | None = None
    sheet: Path | None = None


def contact_sheet(examples: Sequence[Example], most: int = 10) -> Image.Image:
    """Return one picture of rows from all over the set, each with its question and true answer."""
    step = max(1, len(examples) / most)
    shown = [examples[int(i * step)] for i in range(min(most, len(examples)))]
    columns = min(_COLUMNS, max(1, len(shown)))
    rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * _CELL, max(1, rows) * (_CELL + _TEXT)), "white")
    for i, example in enumerate(shown):
        x, y = i % columns * _CELL, i // columns * (_CELL + _TEXT)
        sheet.paste(_cell(example), (x, y))
    return sheet


def _cell(example: Example) -> Image.Image:
    image = example.load()
    truth = example.truth(image.size)
    cell = Image.new("RGB", (_CELL, _CELL + _TEXT), "white")
    drawn = annotate(image, truth)
    drawn.thumbnail((_CELL - 8, _CELL - 8))
    cell.paste(drawn, ((_CELL - drawn.width) // 2, (_CELL - drawn.height) // 2))
    question = f"{example.task}: {example.text}".rstrip(": ")
    lines = [*textwrap.wrap(question, 44)[:2], *textwrap.wrap(truth.text or truth.raw, 44)[:3]]
    pen = ImageDraw.Draw(cell)
    pen.multiline_text((6, _CELL + 2), "\n".join(lines), "black", ImageFont.load_default(15))
    return cell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    offer_scenes()
    parser.add_argument("data", help=f"the set: {formats_help()}")
    add_columns(parser)
    parser.add_argument("--task", action="append", default=[], help="only this task; repeatable")
    parser.add_argument("--limit", type=int, help="most rows")
    parser.add_argument("--out", type=Path, help="write annotations.jsonl and its pictures here")
    parser.add_argument("--sheet", type=Path, help="draw ten rows into this picture")


def config_from_args(args: argparse.Namespace) -> DataConfig:
    """Return the settings of a parsed command line.

    Raises:
        DatasetError: What is said of columns cannot be used.
    """
    tasks = tuple(task_named(name).name for name in args.task)
    data = with_named_columns(args.data, args.columns)
    return DataConfig(data, tasks, args.limit, args.out, args.sheet)


def run(config: DataConfig) -> list[str]:
    """Check a set, convert it, draw it, and return what a person should read, line by line.

    Raises:
        DatasetError: No row is usable.
    """
    problems: list[str] = []
    notes: list[str] = []
    rows = open_data(
        config.data, tasks=config.tasks, limit=config.limit, problems=problems, notes=notes
    )
    counts = Counter(row.task for row in rows)
    lines = [f"{len(rows):,} rows: " + ", ".join(f"{n:,} {t}" for t, n in counts.most_common())]
    lines += notes[:_NOTES]
    if len(notes) > _NOTES:
        lines.append(f"and {len(notes) - _NOTES:,} more notes.")
    if problems:
        lines.append(tell_problems(problems))
    if config.out:
        lines.append(f"Written to {write_jsonl(rows, config.out)}")
    if config.sheet:
        config.sheet.parent.mkdir(parents=True, exist_ok=True)
        save_picture(contact_sheet(rows), config.sheet)
        lines.append(f"Drawn into {config.sheet}")
    return lines


def command(args: argparse.Namespace) -> int:
    """Do what is asked for, and print what a person should read."""
    print("\n".join(run(config_from_args(args))))
    return 0
