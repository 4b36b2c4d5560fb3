"""Start a process for the doors, watch its time and memory, and read what it wrote down."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from tests.fuzz.worker import MOST_MEMORY, RESTART, Plan, reproduction

WATCHDOG = 30.0
"""Seconds after which an input is a hang; no ordinary time is asserted."""
_WAKING = 120.0
_TOO_MUCH = 4 * MOST_MEMORY
"""Bytes above the idle process at which it is ended: others need the machine too."""
_TICK = 0.1
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False", "OMP_NUM_THREADS": "1"}
_STARTS = 60
_PROJECT = Path(__file__).resolve().parent.parent.parent


@dataclass
class Failure:
    """Hold what some inputs that failed for one reason have in common.

    Attributes:
        said: What is wrong with the first of them.
        name: Its name.
        file: The smallest of them.
        count: How many they are.
    """

    said: str
    name: str
    file: Path
    count: int = 1


@dataclass
class Findings:
    """Hold what was found at one door, as its diary tells it.

    Attributes:
        name: The door's.
        out: The folder of the diary.
        inputs: How many were handed in.
        accepted: How many worked.
        refused: How many were refused in a sentence.
        sentences: The sentences that differ, without names and numbers.
        failures: What failed, by its sign.
        memory: Most bytes above the idle process.
        slowest: Seconds of the slowest input, and its name.
        corpus: How many inputs the corpus has, and how many of them were handed in.
        idle: Bytes of the idle process.
        begun: The input that is being handed in now.
        done: Whether the door was driven to the end of the plan.
    """

    name: str
    out: Path
    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    sentences: set[str] = field(default_factory=set)
    failures: dict[str, Failure] = field(default_factory=dict)
    memory: int = 0
    slowest: tuple[float, str] = (0.0, "")
    corpus: tuple[int, int] = (0, 0)
    idle: int = 0
    begun: dict[str, Any] | None = None
    done: bool = False
    _read: int = 0

    @property
    def diary(self) -> Path:
        """Where the process writes down what it does."""
        return self.out / f"{self.name}.jsonl"

    def follow(self) -> None:
        """Read what was written down since the last time."""
        if not self.diary.exists():
            return
        with self.diary.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        match line["event"]:
            case "ready":
                self.idle = line["idle"]
            case "corpus":
                self.corpus = (line["count"], self.corpus[1])
            case "begin":
                self.begun = line
                self.corpus = (self.corpus[0], self.corpus[1] + (line["batch"] < 0))
            case "end" | "lost":
                self._judged(line)
            case "done":
                self.done = True

    def _judged(self, line: dict[str, Any]) -> None:
        name = (self.begun or line)["name"]
        self.begun = None
        self.inputs += 1
        self.accepted += line["outcome"] == "accepted"
        self.refused += line["outcome"] == "refused"
        self.slowest = max(self.slowest, (line["seconds"], name))
        self.memory = max(self.memory, line["memory"])
        if line["outcome"] == "refused":
            self.sentences.add(line["sign"])
        elif line["outcome"] == "failed" and line["sign"] in self.failures:
            self.failures[line["sign"]].count += 1
        elif line["outcome"] == "failed":
            file = reproduction(self.out, self.name, line["sign"])
            self.failures[line["sign"]] = Failure(line["said"], name, file)

    def lose(self, said: str, sign: str, seconds: float, memory: int) -> None:
        """Write down that the input at hand hung or ended its process."""
        assert self.begun is not None
        shutil.copyfile(self.out / f"{self.name}.current", reproduction(self.out, self.name, sign))
        line = {
            "event": "lost", "digest": self.begun["digest"], "name": self.begun["name"],
            "outcome": "failed", "said": said, "sign": sign, "seconds": seconds, "memory": memory,
        }  # fmt: skip
        with self.diary.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")


def drive(
    names: Sequence[str], plan: Plan, out: Path, watchdog: float = WATCHDOG
) -> dict[str, Findings]:
    """Drive some doors in one process, which is begun anew where an input ends it.

    Args:
        names: The doors, one after the other.
        plan: How much is tried at each.
        out: Folder of the diaries and the reproductions; what it has of these doors goes first.
        watchdog: Seconds after which an input counts as a hang.

    Raises:
        RuntimeError: The process did not begin.
    """
    out.mkdir(parents=True, exist_ok=True)
    for file in (file for name in names for file in out.glob(f"{name}[.-]*")):
        file.unlink()
    found = {name: Findings(name, out.resolve()) for name in names}
    until = time.monotonic() + (plan.seconds or 0) * len(names)
    for _ in range(_STARTS):
        left = [findings for findings in found.values() if not findings.done]
        seconds = max(0.0, until - time.monotonic()) / max(1, len(left))
        if not left or (plan.seconds is not None and seconds < 1):
            break
        given = plan if plan.seconds is None else replace(plan, seconds=seconds)
        _one_process(left, given, watchdog)
    return found


def _one_process(found: Sequence[Findings], plan: Plan, watchdog: float) -> None:
    out = found[0].out
    home = out / "tmp"
    home.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.worker", f"--out={out}", f"--seed={plan.seed}"]
    command += [f"--door={findings.name}" for findings in found] + [f"--drawn={plan.drawn}"]
    command += [] if plan.seconds is None else [f"--seconds={plan.seconds:.1f}"]
    command += ["--quick"] if plan.quick else []
    with (out / "output.txt").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=_PROJECT,
            env={**os.environ, "TMPDIR": str(home), **_ENVIRONMENT},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _watch(process, found, watchdog)
    finally:
        _end(process.pid)
        process.wait()
        shutil.rmtree(home, ignore_errors=True)


def _watch(process: subprocess.Popen[bytes], found: Sequence[Findings], watchdog: float) -> None:
    """Wait for the end of a process, and write down on which input it hung or died."""
    now, since = "", time.monotonic()
    while True:
        ended = process.poll()
        for findings in found:
            findings.follow()
        at_hand = next((f for f in found if f.begun), None)
        begun = f"{at_hand.name} {at_hand.inputs}" if at_hand else ""
        if begun != now:
            now, since = begun, time.monotonic()
        waited = time.monotonic() - since
        taken = _taken(process.pid) - at_hand.idle if at_hand and ended is None else 0
        problem = _problem(ended, taken)
        if ended is None and waited > watchdog:
            problem = f"no end after {watchdog:g} s", "a hang"
        if at_hand and problem:
            at_hand.lose(*problem, waited, taken)
            at_hand.follow()
            return
        if ended is not None:
            if ended not in (0, RESTART):
                raise RuntimeError(f"The fuzzer's own process ended with {ended}: see output.txt.")
            return
        if not at_hand and waited > _WAKING:
            raise RuntimeError("The fuzzer's own process does nothing: see output.txt.")
        time.sleep(_TICK)


def _problem(ended: int | None, taken: int) -> tuple[str, str] | None:
    """Return what is wrong with the input at hand, in words and as a sign."""
    if ended is not None:
        return f"the process ended with {ended}", "a dead process"
    if taken > _TOO_MUCH:
        return f"more than {taken / 1e6:,.0f} MB above idle", "far too much memory"
    return None


def _taken(pid: int) -> int:
    """Return the bytes of a process, and of those that it started what is theirs alone."""
    try:
        process = psutil.Process(pid)
        own = int(process.memory_info().rss)
        for child in process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                own += int(child.memory_full_info().uss)
        return own
    except psutil.Error:
        return 0


def _end(pid: int) -> None:
    """End a process and those that it started."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (*process.children(recursive=True), process):
            with contextlib.suppress(psutil.Error):
                each.kill()
