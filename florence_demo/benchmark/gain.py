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
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from florence_demo.machine import SPINS, keep_heap, process_memory

if TYPE_CHECKING:
    from florence_demo.engine.engine import Engine

_SEED = 91_000_000
_SIDES = (288, 480)
_LOOKS = (100, 500, 1000)
"""After so many pictures the memory is looked at."""


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


def one_by_one(engine: Engine, files: Sequence[Path], task: str) -> None:
    """Let an engine answer about pictures one after the other."""
    for file in files:
        engine.ask(file, task)


def as_job(engine: Engine, files: Sequence[Path], args: argparse.Namespace) -> dict[str, int]:
    """Let a job answer about pictures, and return the process's megabytes after so many."""
    from florence_demo.batch.config import BatchConfig
    from florence_demo.batch.run import Model, Outcome, Watch, run

    held: dict[str, int] = {}

    def look(outcome: Outcome, rows: list[dict[str, Any]]) -> None:
        for count in _LOOKS:
            if outcome.answered >= count:
                held.setdefault(str(count), process_memory()[0] // 1_000_000)

    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "pictures.txt"
        names.write_text("".join(f"{file.absolute()}\n" for file in files), encoding="utf-8")
        config = BatchConfig(
            (str(names),),
            (args.task,),
            out=Path(folder) / "answers",
            batch_size=args.batch_size,
            workers=args.workers,
        )
        run(config, Model("measured", lambda: engine), Watch(look))
        return held


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that something takes, and those of the processor."""
    began, worked = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - worked


def _opened(name: str) -> Engine:
    from florence_demo.engine.engine import Engine
    from florence_demo.models.loading import load_model

    return Engine(load_model(name, device="cpu"))


def _whole(args: argparse.Namespace) -> dict[str, Any]:
    """Return what one job over all pictures tells, in a process of its own."""
    given = [f"--{name.replace('_', '-')}={value}" for name, value in vars(args).items() if value]
    command = [sys.executable, "-m", "florence_demo.benchmark.gain", *given, "--whole=1"]
    told: dict[str, Any] = json.loads(subprocess.check_output(command, text=True))
    return told


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """Return pictures a second of both ways, and the memory of the whole job."""
    files = draw(args.folder, args.pictures)
    if args.whole:
        engine, began = _opened(args.model), time.perf_counter()
        held = as_job(engine, files, args)
        return {"seconds": round(time.perf_counter() - began, 1), "megabytes_after": held}
    whole = _whole(args)
    engine = _opened(args.model)
    one_by_one(engine, files[:4], args.task)
    rounds: list[list[tuple[float, float]]] = []
    count = 0
    for number in range(args.rounds):
        part = files[number :: args.rounds][: args.part]
        ways = (partial(one_by_one, engine, part, args.task), partial(as_job, engine, part, args))
        took = [(0.0, 0.0), (0.0, 0.0)]
        for way in (0, 1) if number % 2 else (1, 0):
            took[way] = _timed(ways[way])
        rounds.append(took)
        count += len(part)
        print(f"{took[0][0]:.1f} s, as a job {took[1][0]:.1f} s", file=sys.stderr)
    seconds, cpu = (
        [sum(took[way][kind] for took in rounds) / count for way in (0, 1)] for kind in (0, 1)
    )
    ratios = [alone[0] / job[0] for alone, job in rounds]
    return {
        "pictures": args.pictures,
        "whole_job": {**whole, "a_second": round(args.pictures / whole["seconds"], 1)},
        "one_by_one_a_second": round(1 / seconds[0], 1),
        "job_a_second": round(1 / seconds[1], 1),
        "processor_ms_a_picture": [round(1000 * each) for each in cpu],
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "load": [round(value, 1) for value in os.getloadavg()],
    }


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
