"""Measure what a job over many pictures gains over asking one by one, and whether its memory stays.

    python -m florence_demo.benchmark.gain --pictures 1000 --rounds 5

Draws scenes as the held-out ones are, without their sprites, and prints one JSON object. First the
whole job in a process of its own, whose memory is looked at on the way; then rounds, in each of
which both ways answer the same pictures, in turn. Knows pictures and seconds. Does not know how
either way works.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from florence_demo.benchmark.rows import Row, seconds_of
from florence_demo.errors import FlorenceDemoError
from florence_demo.machine import SPINS, keep_heap, process_memory

if TYPE_CHECKING:
    from florence_demo.batch.run import Outcome
    from florence_demo.engine.engine import Engine

_SEED = 91_000_000
_SIDES = (288, 480)
_LOOKS = (100, 500, 1000)
"""After so many pictures the memory is looked at."""


_WARM = 8
"""Pictures that both ways answer before they are measured."""

OnPart = Callable[["Outcome", "list[dict[str, Any]]"], None]


def draw(folder: Path, count: int) -> list[Path]:
    """Return so many scenes in a folder; those that are not there yet are drawn."""
    from florence_demo.nano.scenes.compose import make_scene
    from florence_demo.nano.scenes.sprites import Library

    folder.mkdir(parents=True, exist_ok=True)
    library = Library.drawn()
    files = [folder / f"{number:05}.webp" for number in range(count)]
    for number, file in enumerate(files):
        if not file.exists():
            side = random.Random(_SEED + number).randint(*_SIDES)
            scene = make_scene(_SEED + number, side, library=library)
            scene.image.save(file, quality=86)
    return files


@dataclass(frozen=True)
class Way:
    """Say what is asked about each picture, and how a job does it.

    Attributes:
        task: Name of the task.
        batch_size: Pictures asked about at once; None is what suits the machine.
        workers: Threads that open pictures; None is what suits the machine.
    """

    task: str
    batch_size: int | None = None
    workers: int | None = None


def one_by_one(engine: Engine, files: Sequence[Path], task: str) -> list[str]:
    """Return what an engine answers about pictures one after the other."""
    return [engine.ask(file, task).raw for file in files]


def as_job(engine: Engine, files: Sequence[Path], way: Way, on_part: OnPart) -> Outcome:
    """Let a job answer about pictures, and return what it says at its end."""
    from florence_demo.batch.config import BatchConfig
    from florence_demo.batch.run import Model, Watch, run

    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "pictures.txt"
        names.write_text("".join(f"{file.absolute()}\n" for file in files), encoding="utf-8")
        config = BatchConfig(
            (str(names),),
            (way.task,),
            out=Path(folder) / "answers",
            batch_size=way.batch_size,
            workers=way.workers,
        )
        return run(config, Model("measured", lambda: engine), Watch(on_part))


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that something takes, and those of the processor."""
    began, worked = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - worked


def _opened(name: str) -> Engine:
    from florence_demo.engine.engine import Engine
    from florence_demo.models.loading import load_model

    return Engine(load_model(name, device="cpu"))


def _nobody(outcome: Outcome, rows: list[dict[str, Any]]) -> None:
    """Hear how far a job is, and say nothing."""


def _whole_here(engine: Engine, files: Sequence[Path], way: Way) -> dict[str, Any]:
    """Return how long a job took, and the process's megabytes after so many pictures."""
    held: dict[str, int] = {}

    def look(outcome: Outcome, rows: list[dict[str, Any]]) -> None:
        for count in _LOOKS:
            if outcome.answered >= count:
                held.setdefault(str(count), process_memory()[0] // 1_000_000)

    began = time.perf_counter()
    as_job(engine, files, way, look)
    return {"seconds": round(time.perf_counter() - began, 1), "megabytes_after": held}


def _whole(args: argparse.Namespace) -> dict[str, Any]:
    """Return what one job over all pictures tells, in a process of its own."""
    given = [f"--{name.replace('_', '-')}={value}" for name, value in vars(args).items() if value]
    command = [sys.executable, "-m", "florence_demo.benchmark.gain", *given, "--whole=1"]
    told: dict[str, Any] = json.loads(subprocess.check_output(command, text=True))
    return told


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """Return pictures a second of both ways, and the memory of the whole job."""
    files = draw(args.folder, args.pictures)
    way = Way(args.task, args.batch_size, args.workers)
    if args.whole:
        return _whole_here(_opened(args.model), files, way)
    whole = _whole(args)
    engine = _opened(args.model)
    one_by_one(engine, files[:4], args.task)
    rounds: list[list[tuple[float, float]]] = []
    outcomes: list[Outcome] = []
    count = 0
    for number in range(args.rounds):
        part = files[number :: args.rounds][: args.part]

        def job(part: Sequence[Path] = part) -> None:
            outcomes.append(as_job(engine, part, way, _nobody))

        ways = (partial(one_by_one, engine, part, args.task), job)
        took = [(0.0, 0.0), (0.0, 0.0)]
        for each in (0, 1) if number % 2 else (1, 0):
            took[each] = _timed(ways[each])
        rounds.append(took)
        count += len(part)
        print(f"{took[0][0]:.1f} s, as a job {took[1][0]:.1f} s", file=sys.stderr)
    seconds, cpu = (
        [sum(took[each][kind] for took in rounds) / count for each in (0, 1)] for kind in (0, 1)
    )
    ratios = [alone[0] / job[0] for alone, job in rounds]
    return {
        "pictures": args.pictures,
        "whole_job": {**whole, "a_second": round(args.pictures / whole["seconds"], 1)},
        "one_by_one_a_second": round(1 / seconds[0], 1),
        "job_a_second": round(1 / seconds[1], 1),
        "utilisation": round(statistics.mean(each.utilisation for each in outcomes), 3),
        "waiting": round(statistics.mean(each.waiting for each in outcomes), 3),
        "processor_ms_a_picture": [round(1000 * each) for each in cpu],
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "load": [round(value, 1) for value in os.getloadavg()],
    }


@dataclass(frozen=True)
class _Round:
    """Hold the seconds of both ways, what the job said, and how many answers were the same."""

    alone: float
    many: float
    outcome: Outcome
    same: int


def _round(engine: Engine, part: Sequence[Path], *, job_first: bool) -> _Round:
    """Let both ways write captions of the same pictures."""
    told: list[str] = []

    def hear(outcome: Outcome, rows: list[dict[str, Any]]) -> None:
        told.extend(row["answers"]["caption"]["raw"] for row in rows)

    ways: dict[str, Callable[[], Any]] = {
        "alone": lambda: one_by_one(engine, part, "caption"),
        "job": lambda: as_job(engine, part, Way("caption"), hear),
    }
    order = sorted(ways, reverse=job_first)
    taken = {name: seconds_of(ways[name]) for name in order}
    (alone, answers), (many, outcome) = taken["alone"], taken["job"]
    same = sum(ours == theirs for ours, theirs in zip(told, answers, strict=True))
    return _Round(alone, many, outcome, same)


def gain_rows(rounds: int, count: int = 100) -> Iterator[Row]:
    """Measure the embedded model's captions of many pictures, in turn with one by one.

    Args:
        rounds: How often, each time about other pictures.
        count: Pictures of a round.
    """
    name = f"{count} pictures, one caption each, against the same engine one by one"
    try:
        engine = _opened("nano")
    except FlorenceDemoError as exc:
        yield Row(name, None, 1.5, f"not run here: {exc}")
        return
    keep_heap()
    with tempfile.TemporaryDirectory() as folder:
        files = draw(Path(folder), rounds * count + _WARM)
        _round(engine, files[rounds * count :], job_first=False)
        taken = [
            _round(engine, files[at * count :][:count], job_first=bool(at % 2))
            for at in range(rounds)
        ]
    alone, many = (statistics.median(getattr(r, way) for r in taken) for way in ("alone", "many"))
    used = statistics.mean(each.outcome.utilisation for each in taken)
    note = (
        f"{alone:.1f} s -> {many:.1f} s, {count / many:.1f} pictures/s, utilisation {used:.0%},"
        f" {sum(each.same for each in taken)} of {rounds * count} answers the same"
    )
    yield Row(name, statistics.median(each.alone / each.many for each in taken), 1.5, note)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m florence_demo.benchmark.gain")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--task", default="od")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=Path("build/many"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--part", type=int, default=128, help="pictures of a round, at most")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--whole", type=int, default=0, help=argparse.SUPPRESS)
    print(json.dumps(measured(parser.parse_args(argv))))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # as the command line does, before torch
    keep_heap()
    sys.exit(main())
