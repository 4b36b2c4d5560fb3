"""One process that drives one door after another and writes down what became of each input.

What it is about to hand in lies in a file before it does, so that an input that hangs or kills the
process is not lost. Whoever started it watches the time (``control``).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Flaky

from tests.fuzz import memory
from tests.fuzz.doors import SUFFIXES, Door, Drive, door
from tests.fuzz.oracle import Verdict, judge

MOST_MEMORY = 600_000_000
"""Bytes that an input may take above the idle process."""
BATCH = 50
"""Inputs that Hypothesis draws in one go; each batch has a seed of its own."""
CORPUS_SHARE = 0.6
"""Part of the time that the inputs of the corpus may take."""
SHRINKING = 8.0
"""Seconds in which a failure is made smaller."""
RESTART = 3
"""Exit status of a process that grew too much to go on."""


@dataclass(frozen=True)
class Plan:
    """Say how much is tried.

    Attributes:
        seed: Decides every input.
        seconds: How long; None for a fixed number.
        quick: Whether only the quick inputs of the corpus are handed in.
        drawn: Inputs that Hypothesis draws, where there is no limit of time.
    """

    seed: int = 0
    seconds: float | None = None
    quick: bool = False
    drawn: int = 0


class _Held:
    """Hold an input, without its bytes in what Hypothesis would print of it."""

    def __init__(self, data: bytes):
        self.data = data

    def __repr__(self) -> str:
        return f"{len(self.data):,} bytes"


class _Found(Exception):
    """Tell Hypothesis of a failure that is worth making smaller."""


@dataclass
class Diary:
    """Hold the file of what became of each input, and what it says of an earlier process."""

    path: Path
    names: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    batch: int = 0

    def __post_init__(self) -> None:
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        for line in map(json.loads, lines):
            if line["event"] == "begin":
                self.names.add(line["name"])
                self.batch = max(self.batch, line.get("batch", -1) + 1)
            elif line["event"] == "lost":
                self.lost.add(line["digest"])

    def write(self, event: str, **values: Any) -> None:
        """Add a line; it is in the file when this returns."""
        with self.path.open("a", encoding="utf-8") as out:
            out.write(json.dumps({"event": event, **values}) + "\n")


class Trial:
    """Hand inputs in, one by one."""

    def __init__(self, what: Door, drive: Drive, out: Path):
        self.door, self.drive, self.out = what, drive, out
        self.diary = Diary(out / f"{what.name}.jsonl")
        self.current = out / f"{what.name}.current"
        self.known: dict[str, Verdict] = {}
        self.idle, self.starter = 0, os.getppid()

    def ready(self) -> None:
        """Remember what the idle process takes."""
        memory.give_back()
        self.idle = memory.resident()
        self.diary.write("ready", idle=self.idle)

    def __call__(self, name: str, data: bytes, batch: int = -1) -> Verdict:
        """Return what becomes of an input; one that was there before is not handed in again."""
        digest = hashlib.blake2b(data, digest_size=12).hexdigest()
        if digest in self.known or digest in self.diary.lost:
            return self.known.get(digest, Verdict("accepted"))
        if os.getppid() != self.starter:
            sys.exit("Nobody watches any more.")
        self.current.write_bytes(data)
        self.diary.write("begin", name=name, digest=digest, size=len(data), batch=batch)
        memory.forget_peak()
        started = time.perf_counter()
        verdict = judge(self.drive, data)
        seconds = time.perf_counter() - started
        taken = max(0, memory.peak() - self.idle)
        if taken > MOST_MEMORY and verdict.outcome != "failed":
            verdict = Verdict("failed", f"{taken / 1e6:,.0f} MB above idle", "too much memory")
        self.known[digest] = verdict
        if verdict.outcome == "failed":
            self._keep(verdict, data)
        self.diary.write("end", seconds=seconds, memory=taken, **asdict(verdict))
        if taken > MOST_MEMORY // 2:
            memory.give_back()
            if memory.resident() - self.idle > MOST_MEMORY // 2:
                self.diary.write("grown", bytes=memory.resident() - self.idle)
                sys.exit(RESTART)
        return verdict

    def _keep(self, verdict: Verdict, data: bytes) -> None:
        """Keep the smallest input of each failure."""
        path = reproduction(self.out, self.door.name, verdict.sign)
        if not path.exists() or path.stat().st_size > len(data):
            path.write_bytes(data)


def reproduction(out: Path, name: str, sign: str) -> Path:
    """Return where the input of a door's failure is kept."""
    digest = hashlib.blake2b(sign.encode(errors="replace"), digest_size=4).hexdigest()
    return out / f"{name}-{digest}{SUFFIXES.get(name, '')}"


def run(what: Door, plan: Plan, out: Path) -> None:
    """Drive one door for as long as the plan says."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, what.open(Path(folder)) as drive:
        trial, corpus = Trial(what, drive, out), what.corpus()
        trial.ready()

        def over(share: float = 1.0) -> bool:
            limit = plan.seconds
            return limit is not None and time.monotonic() - started > limit * share

        _corpus(trial, corpus, plan, lambda: over(CORPUS_SHARE))
        _drawn(trial, what, plan, over)
        if what.last is not None:
            trial("at the end", what.last(), 0)
    trial.diary.write("done")


def _corpus(
    trial: Trial, made: dict[str, Callable[[], bytes]], plan: Plan, over: Callable[[], bool]
) -> None:
    names = list(trial.door.quick) if plan.quick else sorted(made)
    random.Random(plan.seed).shuffle(names)
    trial.diary.write("corpus", count=len(names))
    for name in names:
        if over():
            return
        if name not in trial.diary.names:
            trial(name, made[name]())


def _drawn(trial: Trial, what: Door, plan: Plan, over: Callable[[], bool]) -> None:
    strategy, small = what.inputs().map(_Held), _Smaller()
    batch, left = trial.diary.batch, plan.drawn
    shrink = plan.seconds is not None
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]

    def drive(held: _Held) -> None:
        if not over():
            verdict = trial(f"drawn {batch}", held.data, batch)
            if shrink:
                small.look(verdict)

    while not over() and (shrink or left > 0):
        chosen = settings(
            max_examples=BATCH if shrink else min(BATCH, left), phases=phases, database=None,
            deadline=None, suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
        )  # fmt: skip
        # Flaky: what took longer than is given for it was let be. All of it is in the diary.
        with contextlib.suppress(_Found, Flaky):
            seed(plan.seed * 1_000_003 + batch)(chosen(given(strategy)(drive)))()
        small.settle()
        memory.give_back()
        batch, left = batch + 1, left - BATCH


class _Smaller:
    """Let Hypothesis make a failure smaller, each kind of failure once and for a while."""

    def __init__(self) -> None:
        self.settled: set[str] = set()
        self.sign, self.since = "", 0.0

    def look(self, verdict: Verdict) -> None:
        """Raise where a verdict is the failure that is being made smaller."""
        if verdict.outcome != "failed" or verdict.sign in self.settled:
            return
        if not self.sign:
            self.sign, self.since = verdict.sign, time.monotonic()
        if verdict.sign == self.sign and time.monotonic() - self.since < SHRINKING:
            raise _Found(verdict.sign)

    def settle(self) -> None:
        """Be done with the failure."""
        self.settled.add(self.sign)
        self.sign = ""


def main() -> None:
    """Drive the doors that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--door", action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--drawn", type=int, default=0)
    args = parser.parse_args()
    plan = Plan(args.seed, args.seconds, args.quick, args.drawn)
    for name in args.door:
        run(door(name), plan, args.out)


if __name__ == "__main__":
    main()
