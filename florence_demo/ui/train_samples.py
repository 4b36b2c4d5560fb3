"""What the page shows of data before a run learns from it: three rows drawn, its parts in words.

Knows a chosen set. Does not know models or settings. What is a stranger's is read within the
bounds of its source, and only a few of its pictures are opened; names and answers are escaped.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from threading import Lock

from florence_demo.data.chosen import Data
from florence_demo.data.example import Example
from florence_demo.data.parts import VALIDATION
from florence_demo.data.reading import open_data, part_to_measure, parts_of
from florence_demo.data.rows import ONE_PICTURE, distinct_pictures
from florence_demo.data.showing import drawn_row, parts_said, varied
from florence_demo.data.source import DataSource
from florence_demo.errors import FlorenceDemoError
from florence_demo.pictures.images import display_copy
from florence_demo.tasks import TASKS
from florence_demo.ui.languages import ours

ROWS_READ = 5_000
"""Rows up to which data is counted; more would keep a person waiting."""
_FIRST = 200
"""Rows that are read of data whose rows are counted already."""
_SAMPLES, _SIDE, _LETTERS, _NOTES = 3, 280, 160, 3
_KEPT = 32
"""Sets that are remembered; an entry holds three small pictures."""


@dataclass(frozen=True)
class Looked:
    """Hold what was seen in a set.

    Attributes:
        rows: How many rows there are, up to ``ROWS_READ``.
        shown: What a person sees of it, as HTML.
    """

    rows: int
    shown: str


class Looking:
    """Look at sets and remember what was seen; several visitors may ask at a time."""

    def __init__(self) -> None:
        self._seen: dict[DataSource, Looked] = {}
        self._lock = Lock()

    def look(self, data: Data) -> Looked:
        """Return what is in a set that is here, not on the hub.

        Raises:
            DatasetError: It cannot be read, or no row is usable.
        """
        with self._lock:
            found = self._seen.get(data.source)
        if found is None:
            found = _looked(data)
            with self._lock:
                while len(self._seen) >= _KEPT:
                    del self._seen[next(iter(self._seen))]
                self._seen[data.source] = found
        return found


def _looked(data: Data) -> Looked:
    problems: list[str] = []
    notes: list[str] = []
    most = ROWS_READ if data.rows is None else _FIRST
    rows = open_data(data.source, limit=most, problems=problems, notes=notes)
    told = [_parts(data, rows), _left_out(data, problems, notes)]
    said = "".join(f'<p class="fd-note">{" ".join(map(ours, each))}</p>' for each in told if each)
    cards = "".join(map(_card, varied(rows, _SAMPLES)))
    shown = (
        f"{ours('Some of what it will learn', 'h4')}"
        f'<div class="fd-samples fd-ahead">{cards}</div>{said}'
    )
    return Looked(len(rows) if data.rows is None else data.rows, shown)


def _parts(data: Data, rows: Sequence[Example]) -> list[str]:
    """Return what is learned from and what is measured on, in sentences."""
    parts = parts_of(data.source)
    told = [f"{each}." for each in parts_said(parts).split("; ") if each]
    if data.held:
        told.append("It is measured on others of the same kind, which it does not learn from.")
    elif not part_to_measure(data.source, VALIDATION):
        # Of more rows it is not worth looking at each picture.
        alone = len(rows) < _FIRST and len(distinct_pictures(rows)[0]) < 2
        held_back = "A twentieth of the pictures is held back to measure on."
        told.append(ONE_PICTURE if alone else held_back)
    return told


def _left_out(data: Data, problems: list[str], notes: list[str]) -> list[str]:
    told = [data.safe(note) for note in notes[:_NOTES]]
    if problems:
        noun = "row is" if len(problems) == 1 else "rows are"
        told.insert(0, f"{len(problems):,} {noun} left out, such as {data.safe(problems[0])}")
    if len(notes) > _NOTES:
        told.append(f"And {len(notes) - _NOTES:,} more notes.")
    return told


def _card(row: Example) -> str:
    # A word such as <FORM> is the model's business.
    text = _short(re.sub(r"^\s*<\w+>", "", row.text).strip())
    task = TASKS.get(row.task)
    question = escape(text) if text or not task else ours(task.title)
    try:
        drawn, truth = drawn_row(row, _SIDE)
    except FlorenceDemoError:
        return ""  # it was there when the rows were read
    encoded, kind = display_copy(drawn, _SIDE)
    source = f"data:{kind};base64,{base64.b64encode(encoded).decode()}"
    said = _short(truth.sentence())
    answer = escape(said) if said == _short(truth.text) else ours(said)
    return (
        f'<article class="fd-sample"><img src="{source}" alt="">'
        f"<div><p>{question}</p><p><b>{answer}</b></p></div></article>"
    )


def _short(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[:_LETTERS]}…"


def shown(looking: Looking, data: Data) -> str:
    """Return some rows of a set as HTML, or in a sentence why there are none to see."""
    if data.remote:
        return _said("Its rows are fetched when the run starts, and shown while it learns.")
    try:
        return looking.look(data).shown
    except FlorenceDemoError as exc:
        return _said(data.safe(str(exc)))


def _said(text: str) -> str:
    return ours(text, "p", "fd-note")
