"""What a job is, as a value: which pictures, what is asked, how, and where the answers go.

Knows what of it decides about an answer, which is what a job that goes on must share with what is
there. Does not know how anything of it is done.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from florence_demo.engine.closely import Look
from florence_demo.engine.many import Asked
from florence_demo.engine.request import USUAL, Options
from florence_demo.errors import InputError

MAX_BATCH, MAX_WORKERS = 1024, 64


@dataclass(frozen=True)
class Which:
    """Say which pictures of the sources are meant.

    Attributes:
        recursive: Those in folders within folders too.
        column: Of a table, where the pictures are; found where it is not said.
        pages: Of documents, such as "1-5"; all where it is not said.
        every: Every how much a frame of a video is taken: "1s", or "25" frames.
        limit: Most pictures, pages and frames.
    """

    recursive: bool = False
    column: str = ""
    pages: str = ""
    every: str = "1s"
    limit: int | None = None


@dataclass(frozen=True)
class BatchConfig:
    """Hold a job.

    Attributes:
        sources: Files, folders, globs, lists, zips, addresses, sets.
        tasks: Names of the tasks asked about each picture.
        text: Words, for those tasks that need them.
        out: The job's folder; None where the rows go elsewhere.
        which: Which pictures of the sources.
        options: How answers are searched.
        min_score: Things less sure than this are left out of the rows.
        model: Its name, folder or id of the hub.
        device: "auto", "cpu", "cuda".
        dtype: "auto", "fp32", "bf16", "fp16", "int8".
        allow_pickle: Whether pickled weights are read.
        batch_size: Pictures asked about at once; None is what suits the machine.
        workers: Threads that open pictures; None is what suits the machine.
        overwrite: Begin anew where answers are there.
        retry_failed: Ask again what failed.
        tiles: "auto" or rows by columns, where large pictures are looked at closely; "" where not.
    """

    sources: tuple[str, ...]
    tasks: tuple[str, ...] = ("caption",)
    text: str = ""
    out: Path | None = None
    which: Which = Which()
    options: Options = USUAL
    min_score: float = 0.0
    model: str = "nano"
    device: str = "auto"
    dtype: str = "auto"
    allow_pickle: bool = False
    batch_size: int | None = None
    workers: int | None = None
    overwrite: bool = False
    retry_failed: bool = False
    tiles: str = ""

    def asked(self) -> Asked:
        """Return what is asked about each picture, all settings checked.

        Raises:
            InputError: One is not of its kind, or a task lacks what it needs.
        """
        for name, value, most in (
            ("--batch-size", self.batch_size, MAX_BATCH),
            ("--workers", self.workers, MAX_WORKERS),
            ("--limit", self.which.limit, None),
        ):
            if value is not None and (value < 1 or (most and value > most)):
                bound = f"between 1 and {most}" if most else "above 0"
                raise InputError(f"{name} must be a whole number {bound}.")
        if not 0 <= self.min_score <= 1:
            raise InputError("--min-score must be a number between 0 and 1.")
        asked = Asked.of(self.tasks, self.text, self.options)
        for task in asked.tasks if self.tiles else ():
            Look(task, self.text, self.tiles, self.options).check()
        return asked

    def identity(self, weights: str) -> dict[str, Any]:
        """Return what decides about an answer beside its picture.

        Args:
            weights: Digest of the model's files.
        """
        return {
            "tasks": list(self.tasks),
            "text": self.text,
            "tiles": self.tiles,
            "options": asdict(self.options),
            "min_score": self.min_score,
            "every": self.which.every,
            "dtype": self.dtype,
            "weights": weights,
        }

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for people and for the files written from the rows."""
        return {**asdict(self), "out": str(self.out) if self.out else None}
