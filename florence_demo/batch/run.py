"""A job on this machine: the loop from sources to rows, and how it goes on where it stopped.

Knows the order of things and what ends a job early. Does not know who watches it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from florence_demo.batch.answering import Answering, row_head
from florence_demo.batch.config import BatchConfig
from florence_demo.batch.parts import Parts
from florence_demo.batch.reading import Look, Ready, nobody_looks, read_item
from florence_demo.batch.rows import RowFile, RowStream, within
from florence_demo.batch.sources import Item, all_items, check_sources
from florence_demo.batch.utilisation import Spent
from florence_demo.data.batches import RUN_FILE, Row, errors_of, key_of
from florence_demo.engine.many import Answerer, reading_ahead, weight_of
from florence_demo.engine.memory import Room
from florence_demo.errors import InputError, plain
from florence_demo.files import is_disk_full, write_json
from florence_demo.machine import versions
from florence_demo.pictures.ahead import read_ahead

log = logging.getLogger(__name__)

_TOLD_EVERY = 5.0
"""Seconds between two writings of run.json."""


@dataclass(frozen=True)
class Model:
    """Hold a model that a job may ask.

    Attributes:
        weights: Digest of its files: by this another job's answers are known as this one's.
        open: Puts it into memory.
    """

    weights: str
    open: Callable[[], Answerer]


@dataclass(frozen=True)
class Outcome:
    """Hold how far a job is.

    Attributes:
        answered: Pictures that got their row this time, those that failed among them.
        failed: Of all rows, how many lack an answer.
        skipped: Pictures that had their row already.
        rows: Rows in all.
        seconds: How long it took this time, the model's loading left out.
        stopped: Why it ended early; "" where it did not.
        utilisation: Share of the time in which the model worked, 0 to 1; of several, their mean.
        waiting: Share of the time in which it waited for pictures to be opened.
        room: Pictures asked about at once where memory was too little for more; None where it
            never was.
    """

    answered: int = 0
    failed: int = 0
    skipped: int = 0
    rows: int = 0
    seconds: float = 0.0
    stopped: str = ""
    utilisation: float = 0.0
    waiting: float = 0.0
    room: int | None = None


def _nobody(outcome: Outcome, rows: list[Row]) -> None:
    """Hear how far a job is, and say nothing."""


@dataclass(frozen=True)
class Watch:
    """Say who watches a job.

    Attributes:
        on_part: Hears how far it is, and the rows that came.
        stop: Says whether it is to end after the part in work.
        out: Takes the rows where the job has no folder.
        on_picture: Sees each picture that was opened, before its row comes; in several threads, and
            only where the job is done in this process.
    """

    on_part: Callable[[Outcome, list[Row]], None] = _nobody
    stop: Callable[[], bool] = lambda: False
    out: RowStream | None = None
    on_picture: Look = nobody_looks


def run(config: BatchConfig, model: Model, watch: Watch | None = None) -> Outcome:
    """Answer what is not answered yet, and return how far the job is.

    Args:
        config: The job.
        model: Who answers.
        watch: Who watches it.

    Raises:
        InputError: Nothing could start: a source is none, the folder is in use, holds answers of
            other settings, or cannot be written.
        CheckpointError: The model cannot be opened.
    """
    watch = watch or Watch()
    config.asked()
    items = first_and_others(config)
    if config.out is None:
        assert watch.out is not None, "a job without a folder needs a stream for its rows"
        answering = Answering.of(model.open(), config)
        return _Job(answering, Progress(config, watch.out, watch), config.batch_size).go(items)
    with opened(config, model.weights) as (file, told):
        engine = model.open()
        progress = Progress(config, file, watch, before=float(told.get("seconds", 0.0)))
        size = config.batch_size or told.get("batch_size")
        job = _Job(Answering.of(engine, config), progress, size)
        progress.about = about(config, model.weights, engine.loaded.describe(), job.size)
        return job.go(items)


def first_and_others(config: BatchConfig) -> Iterator[Item]:
    """Return the pictures of a job that has one at least.

    Raises:
        InputError: A source is none, or there are no pictures.
    """
    check_sources(config)
    items = all_items(config)
    first = next(items, None)
    if first is None:
        raise InputError("There are no pictures in what is named: check it.")
    return chain([first], items)


@contextmanager
def opened(config: BatchConfig, weights: str) -> Iterator[tuple[RowFile, dict[str, Any]]]:
    """Hold a job's folder, what is left of an earlier run taken in; give what is told of that run.

    Raises:
        InputError: The folder is in use, holds answers of other settings, or cannot be written.
    """
    assert config.out is not None
    file = RowFile(config.out)
    try:
        told = _agree(config, file, weights)
        file.begin(anew=config.overwrite, retry=config.retry_failed)
        parts = Parts.of(config.out, config.identity(weights))
        if config.overwrite:
            parts.remove_all()
        parts.gather(file, failed=not config.retry_failed)
        yield file, told
    except OSError as exc:
        if is_disk_full(exc):
            raise InputError("The disk is full: make room first.") from exc
        raise
    finally:
        file.end()


def about(config: BatchConfig, weights: str, model: str, batch_size: int | None) -> dict[str, Any]:
    """Return what a job's folder tells about it beside how far it is."""
    return {
        "settings": config.identity(weights),
        "job": config.to_json(),
        "model": model,
        "versions": versions(),
        "batch_size": batch_size,
    }


def read_run(folder: Path) -> dict[str, Any]:
    """Return what a job's folder tells about it, nothing where it tells nothing."""
    try:
        told = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _agree(config: BatchConfig, file: RowFile, weights: str) -> dict[str, Any]:
    """Return what is told of the job that goes on here, nothing where one begins.

    Raises:
        InputError: The answers there are of other settings.
    """
    if config.overwrite or not file.path.exists() or not file.path.stat().st_size:
        return {}  # one that was ended while it woke up has a file and no rows
    told = read_run(file.folder)
    there, here = told.get("settings"), config.identity(weights)
    if there == here:
        return told
    out = plain(file.folder)
    if not isinstance(there, dict):
        raise InputError(
            f"{out} holds answers of nobody knows what settings: name another --out, or begin"
            " anew with --overwrite."
        )
    other = [name for name in here if there.get(name) != here[name]]
    words = ", ".join(_WORDS.get(name, name) for name in other) or "version"
    raise InputError(
        f"{out} holds answers of other settings ({words}): name another --out, give the settings"
        " as they were, or begin anew with --overwrite."
    )


_WORDS = {"min_score": "min-score", "options": "beams or length", "weights": "model"}


@dataclass
class Progress:
    """Count what a job did, and tell it to who watches and in the job's folder.

    Attributes:
        config: The job.
        rows: Where its rows go.
        watch: Who watches it.
        about: What its folder tells beside how far it is.
        before: Seconds that earlier runs of it took.
        stopped: Why it ended early; "" where it did not.
        room: How many pictures at once there was memory for.
        spent: What its seconds went into.
        worked_on: Seconds of all workers together; None where one works, here.
    """

    config: BatchConfig
    rows: RowFile | RowStream
    watch: Watch
    about: dict[str, Any] = field(default_factory=dict)
    before: float = 0.0
    stopped: str = ""
    room: Room = field(default_factory=Room)
    spent: Spent = field(default_factory=Spent)
    worked_on: float | None = None

    def __post_init__(self) -> None:
        self._answered = self._skipped = self._lost = 0
        self.began = self._told = time.monotonic()

    def add(self, rows: list[Row], skipped: int) -> None:
        """Count rows that were written, and pictures that had theirs."""
        self._skipped += skipped
        self._answered += len(rows)
        self._lost += sum(bool(errors_of(row)) for row in rows)
        self.watch.on_part(self.outcome(), rows)
        if time.monotonic() - self._told > _TOLD_EVERY:
            self.tell("running")

    def end(self) -> Outcome:
        """Tell that the job ended."""
        self.tell("stopped" if self.stopped else "done")
        return self.outcome()

    def outcome(self) -> Outcome:
        """Return how far the job is."""
        kept = isinstance(self.rows, RowFile)
        seconds = time.monotonic() - self.began
        worked_on = seconds if self.worked_on is None else self.worked_on
        return Outcome(
            self._answered,
            self.rows.failures if kept else self._lost,
            self._skipped,
            self.rows.done if kept else self._answered,
            seconds,
            self.stopped,
            self.spent.utilisation(worked_on),
            self.spent.waiting(worked_on),
            self.room.most,
        )

    def tell(self, state: str) -> None:
        """Write how far the job is into its folder; a full disk is told by the rows."""
        self._told = time.monotonic()
        if self.config.out is None:
            return
        now = self.outcome()
        counts = {"rows": now.rows, "failed": now.failed}
        seconds = round(self.before + now.seconds, 1)
        told = {"state": state, **self.about, "counts": counts, "seconds": seconds}
        told |= {"utilisation": round(now.utilisation, 3), "waiting": round(now.waiting, 3)}
        if now.room is not None:
            told["room"] = now.room
        try:
            write_json(self.config.out / RUN_FILE, told)
        except OSError as exc:
            if state == "running" and not is_disk_full(exc):
                raise
            log.warning("%s could not be written (%s)", RUN_FILE, exc.strerror)


@dataclass
class _Job:
    """Hold a job that runs on this machine: who answers, and how many pictures at once."""

    answering: Answering
    progress: Progress
    wanted: int | None

    def __post_init__(self) -> None:
        self.rows = self.progress.rows
        self.size = self.wanted or self.answering.usual_batch
        self.progress.room, self.progress.spent = self.answering.room, self.answering.spent

    def go(self, items: Iterator[Item]) -> Outcome:
        """Answer part by part until all is done or somebody asks to stop."""
        progress = self.progress
        progress.tell("running")
        ahead = reading_ahead(self.size, progress.config.workers)
        read = partial(
            read_item,
            prepare=self.answering.engine.prepare,
            known=self._known,
            look=progress.watch.on_picture,
        )
        reading = read_ahead(items, read, ahead, lambda ready: weight_of(ready.seen))
        ready = self.answering.spent.waiting_for(reading)
        try:
            # A part is so many items, whether they are answered or not: one that goes on makes the
            # same batches as one that was never broken, and so the same numbers to the last digit.
            while part := list(islice(ready, self.size)):
                if progress.watch.stop():
                    progress.stopped = "It was stopped."
                    break
                self._answer(part)
        except InputError as exc:
            progress.stopped = str(exc)
        finally:
            reading.close()
        return progress.end()

    def _known(self, item: Item, content: str) -> bool:
        return self.rows.has(item.key, content)

    def _answer(self, part: list[Ready]) -> None:
        """Write the rows that a part lacks."""
        taken = {i: row for i, row in enumerate(map(self._taken_over, part)) if row}
        lacking = [i for i, each in enumerate(part) if not each.done and i not in taken]
        answered: dict[int, Row] = {}
        if lacking:
            asked = [i for i in range(len(part)) if i not in taken]
            if any(part[i].seen is not None for i in lacking):
                whole = [self._again(part[i]) for i in asked]
            else:
                whole = [part[i] for i in asked]
            answered = dict(zip(asked, self.answering.rows(whole), strict=True))
        rows = [{**taken, **answered}[i] for i, each in enumerate(part) if not each.done]
        # Of two items with one name and one content, such as a source that is named twice, one.
        rows = list({key_of(row): row for row in rows}.values())
        self.rows.append(rows)
        self.progress.add(rows, len(part) - len(rows))

    def _again(self, ready: Ready) -> Ready:
        """Return an item that is in a batch beside those that lack a row, although it has its."""
        return self.answering.read(ready.item) if ready.done else ready

    def _taken_over(self, ready: Ready) -> Row | None:
        """Return the row of a picture whose like is answered already, under another name."""
        if ready.done or ready.seen is None:
            return None
        item = ready.item
        row = self.rows.same(within(ready.sha256, item.page, item.frame))
        return row and {**row_head(ready), "answers": row["answers"]}
