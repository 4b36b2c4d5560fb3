"""What one worker of many does: it opens the model once, and writes each share's rows as a part.

Knows what becomes of a share that ends its worker again and again. Does not know who hands out
shares, or whether the worker is a thread, a process or a machine.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from florence_demo.batch.answering import Answering, row_head
from florence_demo.batch.config import BatchConfig
from florence_demo.batch.done import Done
from florence_demo.batch.parts import Parts
from florence_demo.batch.reading import Ready, read_item
from florence_demo.batch.rows import content_of
from florence_demo.batch.run import Model
from florence_demo.batch.sources import Item
from florence_demo.data.batches import Row, key_of
from florence_demo.engine.many import Answerer, reading_ahead, weight_of
from florence_demo.errors import FlorenceDemoError, InputError, plain
from florence_demo.pictures.ahead import read_ahead
from florence_demo.pictures.images import open_at_once

log = logging.getLogger(__name__)

_WHOLE, _ALONE = 2, 2
"""How often a share is tried as a whole, and then each of its pictures alone."""
_GIVEN = 64_000_000
"""Bytes of pictures that travel with a share; it ends there."""
_ENDED = (
    "The worker ended each time it was asked about this picture: its memory may be too small for it"
)


@dataclass(frozen=True)
class Work:
    """Hold what a worker must know, as values that travel.

    Attributes:
        config: The job.
        model: Finds the job's model on the machine where it is called.
        weights: Digest of the model that the job began with.
        folder: Where the job was started; names of files may begin there.
        threads: Threads that open pictures.
        share: Pictures of a share, at most.
    """

    config: BatchConfig
    model: Callable[[BatchConfig], Model]
    weights: str
    folder: str
    threads: int
    share: int

    @property
    def parts(self) -> Parts:
        """Return where the parts are written."""
        assert self.config.out is not None
        return Parts.of(self.config.out, self.config.identity(self.weights))


@dataclass(frozen=True)
class Told:
    """Hold what a worker tells of a share that it did.

    Attributes:
        part: Name of the part with its rows; "" where there was nothing to do.
        first: Key and content of the first of them.
        skipped: Pictures that had their row.
        model: Which model answers, in words; "" where it could not be opened.
        batch_size: Pictures asked about at once.
        problem: Why the share could not be done; "" where it could.
        seconds: How long it took.
        worked: Seconds of them in which the model answered.
        waited: Seconds of them in which it waited for pictures to be opened.
        room: Pictures asked about at once where memory was too little for more.
    """

    part: str = ""
    first: tuple[str, str] = ("", "")
    skipped: int = 0
    model: str = ""
    batch_size: int = 0
    problem: str = ""
    seconds: float = 0.0
    worked: float = 0.0
    waited: float = 0.0
    room: int | None = None


def shares(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield items in shares of a size, or of as many as may travel at once."""
    share: list[Item] = []
    weight = 0
    for item in items:
        share.append(item)
        weight += _weight(item)
        if len(share) == size or weight > _GIVEN:
            yield share
            share, weight = [], 0
    if share:
        yield share


def _weight(item: Item) -> int:
    return len(item.given) if isinstance(item.given, bytes) else weight_of(item.given)


class Worker:
    """Do shares, one after the other."""

    def __init__(self, work: Work, done: Done):
        """Open the model; where that fails, each share tells it."""
        self._work, self._done = work, done
        self._problem = ""
        with suppress(OSError):  # it has no such folder: then all names are whole ones
            os.chdir(work.folder)
        open_at_once(work.threads)
        try:
            self._answering = Answering.of(self._opened(), work.config)
            self._size = work.config.batch_size or self._answering.usual_batch
        except FlorenceDemoError as exc:
            self._problem = f"A worker cannot open the model: {exc}"

    def _opened(self) -> Answerer:
        model = self._work.model(self._work.config)
        if model.weights != self._work.weights:
            raise InputError("its files differ from those here; give all machines the same ones.")
        engine = model.open()
        self._model: str = engine.loaded.describe()
        return engine

    def do(self, items: Sequence[Item]) -> Told:
        """Do a share: its part is written when this returns."""
        if self._problem:
            return Told(problem=self._problem)
        spent, began = self._answering.spent, time.monotonic()
        spent.worked = spent.waited = 0.0
        told = self._done_with(items)
        return replace(
            told,
            seconds=time.monotonic() - began,
            worked=spent.worked,
            waited=spent.waited,
            room=self._answering.room.most,
        )

    def _done_with(self, items: Sequence[Item]) -> Told:
        told = Told(model=self._model, batch_size=self._size)
        parts = self._work.parts
        name = parts.name_of([item.key for item in items])
        try:
            begun = parts.begin(name)
            rows = self._rows(items) if begun <= _WHOLE else self._alone(items, name)
            if rows:
                parts.write(name, rows)
                told = replace(told, part=name, first=(key_of(rows[0]), content_of(rows[0])))
            parts.end(name)
        except InputError as exc:
            return replace(told, problem=str(exc))
        except OSError as exc:
            out = plain(self._work.config.out or "")
            return replace(told, problem=f"A worker cannot write into {out} ({exc.strerror}).")
        return replace(told, skipped=len(items) - len(rows))

    def _rows(self, items: Sequence[Item]) -> list[Row]:
        """Return the rows that a share lacks; what comes next is read while the model works."""
        read = partial(read_item, prepare=self._answering.engine.prepare, known=self._done.has)
        ahead = reading_ahead(self._size, self._work.threads)
        reading = read_ahead(items, read, ahead, lambda ready: weight_of(ready.seen))
        waited = self._answering.spent.waiting_for(reading)
        lacking = (ready for ready in waited if not ready.done)
        rows: list[Row] = []
        while part := list(islice(lacking, self._size)):
            asked = [each for each in part if not self._is_answered(each)]
            told = zip(asked, self._answering.rows(asked), strict=True)
            answered = {id(each): row for each, row in told}
            # A row without answers has those of its like, which the job's file knows.
            rows += [answered.get(id(each)) or row_head(each) for each in part]
        return rows

    def _is_answered(self, ready: Ready) -> bool:
        return ready.seen is not None and self._done.knows_like(ready.item, ready.sha256)

    def _alone(self, items: Sequence[Item], name: str) -> list[Row]:
        """Return a share's rows, each picture asked alone: one that ends its worker is given up."""
        parts, rows = self._work.parts, []
        for number, item in enumerate(items):
            own = f"{name}-{number}"
            if parts.begin(own) > _ALONE:
                log.warning("%r ended its worker %d times", item.source, _ALONE)
                ready = read_item(item, self._answering.engine.prepare, lambda item, content: True)
                if not self._done.has(item, ready.sha256):
                    rows.append(row_head(ready) | {"error": f"{_ENDED}."})
            else:
                rows += self._rows([item])
                parts.end(own)
        return rows
