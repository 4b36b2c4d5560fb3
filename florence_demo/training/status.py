"""The files through which a training run tells where it is and hears that it should stop.

A run is a process of its own. Whoever watches it, a page or a person, reads ``status.json`` (whole
at any moment) and ``log.jsonl`` (a line a log entry), and writes ``STOP``. Knows no model.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import psutil

from florence_demo.bounded_json import JsonLimits, load_json, parse_json
from florence_demo.files import finite, write_json, write_text

State = Literal[
    "starting", "measuring", "caching", "training", "evaluating", "done", "stopped", "failed"
]
LIVE: tuple[State, ...] = ("starting", "measuring", "caching", "training", "evaluating")

STATUS_FILE = "status.json"
LOG_FILE = "log.jsonl"
STOP_FILE = "STOP"
RESULT_FILE = "result.json"
OTHER = "other "
"""Begins the names of numbers that are about tasks which were not learned."""
SAMPLES_FOLDER = "samples"
"""The pictures that a run is asked about as it learns, each whole and small."""

_MOST = 10**15
"""No number that a run tells is larger: bytes of a large disk, or seconds of an age."""
_MOST_TEXT, _MOST_NAMES, _MOST_SAMPLES = 4_000, 1_000, 20
_LOG_BYTES = 2 << 20
_LINE = JsonLimits(max_bytes=4_096, max_values=100, max_depth=2)


@dataclass(frozen=True)
class Status:
    """Hold where a run is.

    Attributes:
        state: What it is doing; the last three are its ends.
        message: A sentence for the person.
        step: Optimizer steps done.
        steps: Optimizer steps in all.
        epoch: Passes over the data done.
        seconds: Wall-clock time since this process started.
        seconds_left: Estimated from the speed so far, None before the first step.
        samples_per_second: Rows learned from in a second, since this process began to learn.
        memory: Bytes of the device in use; of the process where it runs on the CPU.
        memory_peak: The most so far.
        loss: The last training loss.
        eval_loss: The last validation loss.
        samples: Answers on validation pictures, as ``samples.record`` tells them, and the step.
        measured: Questions behind the numbers before and after; 0 where nobody told.
        before: Numbers before training, by metric.
        after: Numbers after it.
        checkpoint: Folder of the last complete checkpoint.
        pid: The process.
        updated: Seconds since 1970 when this was written.
    """

    state: State = "starting"
    message: str = ""
    step: int = 0
    steps: int = 0
    epoch: float = 0.0
    seconds: float = 0.0
    seconds_left: float | None = None
    samples_per_second: float | None = None
    memory: int = 0
    memory_peak: int = 0
    loss: float | None = None
    eval_loss: float | None = None
    samples: tuple[dict[str, Any], ...] = ()
    measured: int = 0
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    checkpoint: str = ""
    pid: int = 0
    updated: float = 0.0


class Listener(Protocol):
    """Who hears what a run tells, beside its files."""

    def told(self, status: Status, changes: dict[str, Any]) -> None:
        """Hear that the status changed."""

    def logged(self, status: Status, entry: dict[str, Any]) -> None:
        """Hear a line of the log."""

    def stepped(self, step: int, steps: int) -> None:
        """Hear that a step is done."""


class RunFiles:
    """Write a run's files; a silent one, of a process that is not the first, writes nothing."""

    def __init__(
        self,
        folder: Path,
        silent: bool = False,
        resume: bool = False,
        listener: Listener | None = None,
    ):
        self.folder = folder
        self.silent = silent
        self.listener = None if silent else listener
        last = read_status(folder) if resume else None
        self.status = Status(
            pid=os.getpid(),
            before=last.before if last else {},
            checkpoint=last.checkpoint if last else "",
        )
        self._started = time.monotonic()
        if not silent:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / STOP_FILE).unlink(missing_ok=True)

    def tell(self, **changes: Any) -> None:
        """Change the status and write it whole, so that a reader never meets half of it."""
        seconds = round(time.monotonic() - self._started, 2)
        if "message" in changes:
            # What went wrong may quote a whole file.
            changes["message"] = changes["message"][:_MOST_TEXT]
        self.status = replace(self.status, **changes, seconds=seconds, updated=time.time())
        if not self.silent:
            write_json(self.folder / STATUS_FILE, asdict(self.status))
        if self.listener:
            self.listener.told(self.status, changes)

    def log(self, entry: dict[str, Any]) -> None:
        """Append one line to the log."""
        if not self.silent:
            with (self.folder / LOG_FILE).open("a", encoding="utf-8") as out:
                out.write(json.dumps(finite(entry)) + "\n")
        if self.listener:
            self.listener.logged(self.status, entry)

    def stepped(self, step: int, steps: int) -> None:
        """Tell whoever listens that a step is done; files are written less often."""
        if self.listener:
            self.listener.stepped(step, steps)

    def forget_after(self, step: int) -> None:
        """Drop the log's lines after a step: a resumed run writes them again."""
        path = self.folder / LOG_FILE
        if self.silent or not path.is_file():
            return
        with path.open("rb") as file:
            told = ((line, _entry(line)) for line in file)
            kept = [line.strip() + b"\n" for line, entry in told if entry and entry["step"] <= step]
        write_text(path, b"".join(kept).decode())

    def stop_wanted(self) -> bool:
        """Whether somebody asked the run to stop."""
        return (self.folder / STOP_FILE).exists()


def ask_to_stop(folder: Path) -> None:
    """Ask a run to save a checkpoint after its present step and end."""
    (folder / STOP_FILE).touch()


def read_status(folder: Path) -> Status | None:
    """Return where a run is, None where none was started; a dead one is told as failed.

    What is there may be another program's: a file that is no status of a run counts as none.
    """
    try:
        status = _status(load_json(folder / STATUS_FILE))
    except (OSError, ValueError):
        return None
    if status.state in LIVE and not _alive(status.pid, status.updated):
        return replace(
            status,
            state="failed",
            message="The run ended without a word: it was killed, or ran out of memory. Resume it"
            " from its last checkpoint, with a smaller batch if memory was short.",
        )
    return status


def _status(values: Any) -> Status:
    """Return a status of values that can all be shown.

    Raises:
        ValueError: One is of another kind or size.
    """
    known = {f.name: f.default for f in fields(Status)}
    if not isinstance(values, dict) or not set(values) <= set(known):
        raise ValueError("these are not the values of a status")
    found = {name: _shown(name, value, known[name]) for name, value in values.items()}
    return Status(**found)


def _shown(name: str, value: Any, default: Any) -> Any:
    """Return a value of a status; what is no number is None where that may be missing."""
    if name in ("before", "after") and isinstance(value, dict):
        return {k: v if is_number(v) else None for k, v in list(value.items())[:_MOST_NAMES]}
    if name == "samples" and isinstance(value, list) and all(isinstance(v, dict) for v in value):
        return tuple(value[:_MOST_SAMPLES])
    if default is None:
        return value if is_number(value) else None
    if name == "state":
        good = value in get_args(State)
    elif isinstance(default, str):
        good = isinstance(value, str)
    else:
        is_kind = isinstance(default, int | float) and isinstance(value, (int, type(default)))
        good = is_kind and is_number(value) and value >= 0
    if not good:
        raise ValueError(f"{name} is no value of a status")
    return value


def is_number(value: Any) -> bool:
    """Whether a value is a number that a page can show; NaN is none."""
    return isinstance(value, int | float) and abs(value) <= _MOST


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the log's newest entries; the last line of a killed run may be half written."""
    try:
        with (folder / LOG_FILE).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_BYTES))
            lines = file.read(_LOG_BYTES).split(b"\n")
    except OSError:
        return []
    return [entry for entry in map(_entry, lines) if entry is not None]


def _entry(line: bytes) -> dict[str, Any] | None:
    """Return the numbers of a log's line, None where it is none."""
    try:
        values = parse_json(line, _LINE)
    except ValueError:
        return None
    if not isinstance(values, dict) or not is_number(values.get("step")):
        return None
    return {k: v for k, v in values.items() if v is None or is_number(v)}


def _alive(pid: int, told: float) -> bool:
    """Whether the process runs that told something at this time, seconds since 1970.

    One that ended and waits for its parent to notice does not run. Nor does one whose number went
    to another, younger process, as it may after the machine was started again.
    """
    try:
        process = psutil.Process(pid)
        # The system knows its start to a second.
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() < told + 2
    except (psutil.NoSuchProcess, OverflowError, ValueError):
        return False
    except psutil.AccessDenied:
        return True
