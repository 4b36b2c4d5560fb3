"""What a job would be: how many pictures, how long, how much disk, before anything is written.

Knows names, and a first part of the job as a sample. Writes nothing.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from florence_demo.batch.answering import Answering
from florence_demo.batch.config import BatchConfig
from florence_demo.batch.rows import line_of
from florence_demo.batch.sources import all_items, check_sources, packed_in, page_numbers, parts_of
from florence_demo.data.places import count_pages_of
from florence_demo.data.saved_sets import open_pictures
from florence_demo.engine.many import Answerer
from florence_demo.errors import FlorenceDemoError
from florence_demo.machine import in_bytes

_SAMPLE = 8


@dataclass(frozen=True)
class Plan:
    """Hold what a job would be.

    Attributes:
        pictures: How many, pages among them; those of videos are not counted.
        films: How many videos there are, whose frames only opening them tells.
        kinds: What is opened, and how many of each.
        each: Seconds a picture, by a sample.
        bytes: Of a row, by a sample.
        free: Bytes of disk left where the answers go; None where they go to no disk.
    """

    pictures: int
    films: int
    kinds: dict[str, int]
    each: float
    bytes: float
    free: int | None = None

    def sentences(self) -> list[str]:
        """Return what a person should read."""
        held = ", ".join(f"{count:,} × {kind}" for kind, count in self.kinds.items())
        lines = [f"{self.pictures:,} pictures and pages to ask about: {held}."]
        if self.films:
            lines.append(f"{self.films:,} videos on top; how many frames only opening them tells.")
        took = f"{self.each * self.pictures / 60:,.0f} minutes"
        rows = self.bytes * self.pictures
        disk = "" if self.free is None else f"; {in_bytes(self.free)} of disk are free there"
        lines.append(
            f"About {took} ({self.each:.2f} s each, by a sample) and {in_bytes(rows)} of"
            f" answers{disk}. Nothing was written."
        )
        if self.free is not None and rows > self.free:
            lines.append("That is more than there is room for: make room, or name another --out.")
        return lines


def _free(out: Path | None) -> int | None:
    """Return the bytes left where a folder is or will be."""
    if out is None:
        return None
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.is_dir())
    return shutil.disk_usage(there).free


def count(config: BatchConfig) -> int | None:
    """Return how many items a job has, told by names; None where videos hold nobody knows many."""
    try:
        total, kinds = _counted(config)
    except (FlorenceDemoError, OSError):
        return None
    return None if kinds["film"] else total


def _counted(config: BatchConfig) -> tuple[int, Counter[str]]:
    kinds: Counter[str] = Counter()
    total = 0
    for part in parts_of(config):
        kinds[part.kind] += 1
        try:
            if part.kind == "document":
                pages = count_pages_of(part.file)
                total += len(page_numbers(config.which.pages, pages))
            elif part.kind == "zip":
                total += sum(1 for _ in packed_in(part))
            elif part.kind == "set":
                total += len(open_pictures(part.path, part.part, config.which.column))
            elif part.kind != "film":
                total += 1
        except (FlorenceDemoError, OSError):
            total += 1  # its failure is a row
        if config.which.limit is not None and total >= config.which.limit:
            total = config.which.limit
            break
    return total, kinds


def plan(config: BatchConfig, engine: Answerer) -> Plan:
    """Return what a job would be; some of its pictures are asked about to see how long it takes.

    Raises:
        InputError: A source is none, or a setting cannot be used.
    """
    answering = Answering.of(engine, config)
    check_sources(config)
    size = min(_SAMPLE, config.batch_size or answering.usual_batch)
    items = list(islice(all_items(config), size))
    answering.rows([answering.read(item) for item in items[:1]])  # the first one is slower
    began = time.perf_counter()
    rows = answering.rows([answering.read(item) for item in items])
    each = (time.perf_counter() - began) / max(1, len(items))
    written = sum(len(line_of(row)) for row in rows) / max(1, len(items))
    total, kinds = _counted(config)
    return Plan(total, kinds["film"], dict(kinds), each, written, _free(config.out))
