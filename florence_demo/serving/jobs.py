"""Many pictures as a job of the page: it goes on by itself, and who has its name finds it again.

Knows folders of jobs, threads and what a card shows. How pictures are answered, and how a job goes
on where it stopped, is ``batch``'s business.
"""

from __future__ import annotations

import contextvars
import logging
import os
import secrets
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from florence_demo.batch.config import BatchConfig
from florence_demo.batch.exporting import export
from florence_demo.batch.plan import count
from florence_demo.batch.run import Model, Outcome, Watch, run
from florence_demo.batch.sources import ARCHIVES, DOCUMENTS, FILMS, PICTURES
from florence_demo.data.batches import Row
from florence_demo.errors import FlorenceDemoError, InputError, plain
from florence_demo.files import copy_at_most, disk_full_told, opened_zip
from florence_demo.models.catalogue import ModelSpec
from florence_demo.serving.asking import ROOM_FOR_DOWNLOADS, Service
from florence_demo.serving.cards import SmallPictures, make_card
from florence_demo.serving.logs import our_fault

log = logging.getLogger(__name__)

AT_ONCE = 2
"""Jobs that run at a time; more wait."""

TOGETHER = 4
"""Pictures of a job asked about together: whoever asks about one picture waits for them."""

WAITING, RUNNING, PAUSED, DONE, FAILED = "waiting", "running", "paused", "done", "failed"

KEPT_FOR = 3600.0
"""Seconds after its last look when a job that ended goes."""


@dataclass(frozen=True)
class JobLimits:
    """Hold how large a job may be.

    Attributes:
        pictures: Pictures, pages and frames.
        file_bytes: Bytes of all files, unpacked.
    """

    pictures: int
    file_bytes: int

    def sentence(self) -> str:
        """Say it before anything is uploaded."""
        size = (
            f"{self.file_bytes / 1e9:.0f} GB"
            if self.file_bytes >= 1e9
            else (f"{self.file_bytes / 1e6:.0f} MB")
        )
        return f"At most {self.pictures:,} pictures, pages and frames, and {size}."


def limits_of(service: Service) -> JobLimits:
    """Return how large a visitor's job may be on this page."""
    if service.config.public:
        return JobLimits(service.config.max_batch or 200, 200_000_000)
    return JobLimits(service.config.max_batch or 5_000, 8_000_000_000)


@dataclass(eq=False)
class Job:
    """Hold one job.

    Attributes:
        name: What only its owner knows.
        visitor: Who it is of.
        config: What is asked.
        spec: The model.
        state: "waiting", "running", "paused", "done" or "failed".
        outcome: How far it is.
        problem: Why it failed.
        total: How many pictures there are; None where nobody knows yet.
        cards: What is shown of each answered picture, in the order of the answers.
        rows: Of each card, the row it is of.
    """

    name: str
    visitor: str
    config: BatchConfig
    spec: ModelSpec
    state: str = WAITING
    outcome: Outcome = field(default_factory=Outcome)
    problem: str = ""
    total: int | None = None
    cards: list[dict[str, Any]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list, repr=False)
    asked_to_stop: threading.Event = field(default_factory=threading.Event)
    passed_over: tuple[str, ...] = ()
    packing: threading.Lock = field(default_factory=threading.Lock)
    seen: float = field(default_factory=time.monotonic)

    @property
    def folder(self) -> Path:
        """Where its files are."""
        assert self.config.out is not None
        return self.config.out.parent

    @property
    def live(self) -> bool:
        """Whether it goes on by itself."""
        return self.state in (WAITING, RUNNING)


class Jobs:
    """Start jobs, find them again, pause them and let them go."""

    def __init__(self, service: Service) -> None:
        """Take the page's service; nothing is done before the first job."""
        self.service = service
        self.limits = limits_of(service)
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._places = threading.Semaphore(AT_ONCE)

    def start(
        self,
        files: Sequence[Path],
        config: Callable[[Path, Path], BatchConfig],
        spec: ModelSpec,
        visitor: str,
    ) -> Job:
        """Begin a job with uploaded files, and return it.

        Args:
            files: Pictures, zips of them, documents, films.
            config: From the folder with the files and that for the answers to what is asked.
            spec: The model.
            visitor: Who asks; the same one has one job at a time.

        Raises:
            InputError: There are no files, too many bytes, a job of the same visitor goes on, or
                what is asked cannot be.
        """
        self._forget_old()
        if not files:
            raise InputError("Put some pictures in first: files, a zip, a PDF or a short video.")
        with self._lock:
            self._check_alone(visitor)
        folder = self.service.scratch.new_folder()
        try:
            given = config(folder / "in", folder / "out")
            given.asked()
            passed_over = take_files(files, folder / "in", self._limits_now())
            job = Job(secrets.token_urlsafe(18), visitor, given, spec, passed_over=passed_over)
            with self._lock:
                # Another one may have come while the files were taken.
                self._check_alone(visitor)
                self._jobs[job.name] = job
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._go(job)
        return job

    def _check_alone(self, visitor: str) -> None:
        if any(job.live and job.visitor == visitor for job in self._jobs.values()):
            raise InputError("A job of yours is going on: wait for its end, or cancel it first.")

    def find(self, name: object) -> Job | None:
        """Return a job by its name, None where it is gone."""
        job = self._jobs.get(name) if isinstance(name, str) else None
        if job is not None:
            job.seen = time.monotonic()
            self.service.scratch.touch(job.folder)
        return job

    def get(self, name: object) -> Job:
        """Return a job by its name.

        Raises:
            InputError: It is gone.
        """
        job = self.find(name)
        if job is None:
            raise InputError("This job is no longer here: put the pictures in again and start.")
        return job

    def pause(self, job: Job) -> None:
        """Let a job end after the pictures in work; ``resume`` goes on."""
        job.asked_to_stop.set()
        if job.state == WAITING:
            job.state = PAUSED

    def resume(self, job: Job) -> None:
        """Go on with a job that was paused or failed."""
        if not job.live:
            job.asked_to_stop.clear()
            job.state, job.problem = WAITING, ""
            self._go(job)

    def cancel(self, job: Job) -> None:
        """End a job and delete its files."""
        job.asked_to_stop.set()
        with self._lock:
            self._jobs.pop(job.name, None)
        if not job.live:
            shutil.rmtree(job.folder, ignore_errors=True)

    def _limits_now(self) -> JobLimits:
        room = self.service.room()
        return replace(self.limits, file_bytes=min(self.limits.file_bytes, room))

    def ahead_of(self, job: Job) -> int:
        """Return how many jobs wait that came before this one."""
        names = list(self._jobs)
        before = names[: names.index(job.name)] if job.name in names else []
        return sum(self._jobs[name].state == WAITING for name in before if name in self._jobs)

    def packed(self, job: Job, name: str) -> Path:
        """Return a job's answers in a format, as one file that the page may hand out.

        Args:
            job: The job, at its end or not.
            name: Of the format, as in ``FORMATS``.

        Raises:
            FlorenceDemoError: There is no such format, nothing to write in it, or no room.
        """
        if not job.cards:
            raise InputError("There are no answers yet: wait for the first ones.")
        if self.service.room() < ROOM_FOR_DOWNLOADS:
            raise InputError("There is no room on this server for a download: try again later.")
        with job.packing, disk_full_told():
            folder, _ = export(job.folder / "out", name)
            target = self.service.scratch.new_served_folder()
            files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            if len(files) == 1:
                return Path(shutil.copy(files[0], target / files[0].name))
            packed = target / f"florence-{name}.zip"
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                for path in files:
                    archive.write(path, path.relative_to(folder))
            shutil.rmtree(folder, ignore_errors=True)
        return packed

    def _go(self, job: Job) -> None:
        context = contextvars.copy_context()
        work = partial(context.run, self._work, job)
        threading.Thread(target=work, name="batch job", daemon=True).start()

    def _work(self, job: Job) -> None:
        with self._places:
            if job.asked_to_stop.is_set():
                self._let_go(job)
                return
            job.state, small = RUNNING, SmallPictures(self.service)
            try:
                model = Model(job.spec.name, lambda: self.service.answers.answerer(job.spec))
                watch = Watch(
                    lambda outcome, rows: self._hear(job, small, outcome, rows),
                    lambda: job.asked_to_stop.is_set() or self.service.health.ending,
                    on_picture=small.look,
                )
                job.total = count(job.config)
                job.outcome = run(job.config, model, watch)
                job.problem = "" if job.asked_to_stop.is_set() else job.outcome.stopped
                job.state = FAILED if job.problem else PAUSED if job.outcome.stopped else DONE
            except FlorenceDemoError as exc:
                job.state, job.problem = FAILED, str(exc)
            except Exception:
                log.exception("a batch job failed")
                job.state = FAILED
                job.problem = our_fault("Try again.")
        self._let_go(job)

    def _let_go(self, job: Job) -> None:
        """Delete the files of a job that was cancelled meanwhile."""
        if job.live:
            job.state = PAUSED
        if job.name not in self._jobs:
            shutil.rmtree(job.folder, ignore_errors=True)

    def _hear(self, job: Job, small: SmallPictures, outcome: Outcome, rows: list[Row]) -> None:
        cards = [make_card(row, small.take(row)) for row in rows]
        job.rows += rows
        job.cards += cards
        job.outcome = outcome
        self.service.scratch.touch(job.folder)

    def _forget_old(self) -> None:
        oldest = time.monotonic() - KEPT_FOR
        with self._lock:
            gone = [j for j in self._jobs.values() if not j.live and j.seen < oldest]
            for job in gone:
                del self._jobs[job.name]
        for job in gone:
            shutil.rmtree(job.folder, ignore_errors=True)


def take_files(files: Sequence[Path], folder: Path, limits: JobLimits) -> tuple[str, ...]:
    """Copy uploaded files into a job's folder under their own names; zips are unpacked.

    Returns:
        The names of the files that are no pictures, documents or films, and hold none.

    Raises:
        InputError: They are too large, none of them is a picture, a document or a film, or a zip is
            damaged or leads out of its folder.
    """
    folder.mkdir(parents=True)
    left, taken = limits.file_bytes, 0  # what is linked takes no room, but counts
    passed_over = []
    too_large = InputError(f"The files are too large together. {limits.sentence()}")
    for file in files:
        before = taken
        if file.suffix.lower() in ARCHIVES:
            inner = _free(folder / file.stem)
            with opened_zip(file, 10 * limits.pictures + 100, InputError) as (archive, entries):
                paths = [(entry, PurePosixPath(entry.filename)) for entry in entries]
                paths = [(entry, path) for entry, path in paths if _wanted(path)]
                # A folder that was packed as a whole has its name already.
                whole = all(path.parts[:-1][:1] == (file.stem,) for _, path in paths)
                for entry, path in paths:
                    target = inner.joinpath(*path.parts[1 if whole else 0 :])
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(entry) as source:
                        left -= copy_at_most(source, target, left, too_large)
                    taken += 1
        elif _wanted(PurePosixPath(file.name)):
            left -= file.stat().st_size
            if left < 0:
                raise too_large
            _put(file, _free(folder / file.name))
            taken += 1
        if taken == before:
            passed_over.append(plain(file.name))
    if not taken:
        names = ", ".join(plain(file.name) for file in files[:3])
        raise InputError(
            f"There is no picture, PDF or video in {names}: put pictures in, or a zip of them."
        )
    return tuple(passed_over)


def _put(file: Path, target: Path) -> None:
    """Give a file another name, without a second copy where the disk can do that."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


def _wanted(path: PurePosixPath) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return not hidden and path.suffix.lower() in (*PICTURES, *DOCUMENTS, *FILMS)


def _free(path: Path) -> Path:
    """Return the path, or one beside it that is not taken."""
    free, number = path, 2
    while free.exists():
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return free
