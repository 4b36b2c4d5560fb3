"""The files through which a training run tells where it is and hears that it should stop.

A run is a process of its own. Whoever watches it, a page or a person, reads ``status.json`` (whole
at any moment) and ``log.jsonl`` (a line a log entry), and writes ``STOP``. Knows no model.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import psutil

State = Literal[
    "starting", "measuring", "caching", "training", "evaluating", "done", "stopped", "failed"
]
LIVE: tuple[State, ...] = ("starting", "measuring", "caching", "training", "evaluating")

STATUS_FILE = "status.json"
LOG_FILE = "log.jsonl"
STOP_FILE = "STOP"
RESULT_FILE = "result.json"
SAMPLES_FOLDER = "samples"
"""Small copies of the pictures that a run is asked about as it learns."""


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
        samples: Answers on validation pictures: question, answer, truth, score, where, step.
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
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    checkpoint: str = ""
    pid: int = 0
    updated: float = 0.0


class RunFiles:
    """Write a run's files; a silent one, of a process that is not the first, writes nothing."""

    def __init__(self, folder: Path, silent: bool = False, resume: bool = False):
        self.folder = folder
        self.silent = silent
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
        self.status = replace(self.status, **changes, seconds=seconds, updated=time.time())
        if not self.silent:
            write_json(self.folder / STATUS_FILE, asdict(self.status))

    def log(self, entry: dict[str, Any]) -> None:
        """Append one line to the log."""
        if not self.silent:
            with (self.folder / LOG_FILE).open("a", encoding="utf-8") as out:
                out.write(json.dumps(_finite(entry)) + "\n")

    def forget_after(self, step: int) -> None:
        """Drop the log's lines after a step: a resumed run writes them again."""
        path = self.folder / LOG_FILE
        if self.silent or not path.is_file():
            return
        kept = [json.dumps(e) + "\n" for e in read_log(self.folder) if e.get("step", 0) <= step]
        _replace(path, "".join(kept))

    def stop_wanted(self) -> bool:
        """Whether somebody asked the run to stop."""
        return (self.folder / STOP_FILE).exists()


def ask_to_stop(folder: Path) -> None:
    """Ask a run to save a checkpoint after its present step and end."""
    (folder / STOP_FILE).touch()


def read_status(folder: Path) -> Status | None:
    """Return where a run is, None where none was started; a dead one is told as failed."""
    try:
        values = json.loads((folder / STATUS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    values["samples"] = tuple(values["samples"])
    status = Status(**values)
    if status.state in LIVE and not _alive(status.pid, status.updated):
        return replace(
            status,
            state="failed",
            message="The run ended without a word: it was killed, or ran out of memory. Resume it"
            " from its last checkpoint, with a smaller batch if memory was short.",
        )
    return status


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the log's entries; the last line of a killed run may be half written."""
    path = folder / LOG_FILE
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries


def write_json(path: Path, values: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one; NaN becomes null."""
    _replace(path, json.dumps(_finite(values), ensure_ascii=False, indent=1))


def process_memory() -> tuple[int, int]:
    """Return the bytes of main memory that this process uses, and the most it ever used."""
    factor = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * factor
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak, peak
    return pages * os.sysconf("SC_PAGESIZE"), peak


def _replace(path: Path, content: str) -> None:
    new = path.with_suffix(f".{os.getpid()}.new")
    new.write_text(content, encoding="utf-8")
    new.replace(path)


def _finite(value: Any) -> Any:
    """Return the value with every NaN and infinity as None, which JSON can hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


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
