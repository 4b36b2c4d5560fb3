"""Answer a task about many pictures, and write the answers in the formats of others.

Knows the ``batch`` command: its options, its bar, and how it is asked to stop. Does not know how a
job is done (``batch``).
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

from florence_demo.batch.config import BatchConfig, Which
from florence_demo.commands.options import add_model
from florence_demo.data.batches import errors_of
from florence_demo.engine.request import Options
from florence_demo.errors import FlorenceDemoError, InputError, printable

_FORMATS = (
    "write the answers into the job's folder as json, csv, coco, yolo, voc, labelme, txt, metadata,"
    " jsonl, webdataset, parquet, text, markdown, pdf, film, annotated, cutouts, masks"
)
_TOLD = 20
"""Failures told one by one; all of them are in the rows."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options; each default is written once, in ``BatchConfig``."""
    default, which = BatchConfig(()), Which()
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="pictures, folders, globs, a .txt list, a .csv, a .zip, addresses, PDFs, videos, a set"
        " of `save_to_disk` or of the hub; `export DIR` writes a job's answers in other formats",
    )
    parser.add_argument("--task", default=",".join(default.tasks), help="one, or od,caption,ocr")
    parser.add_argument("--text", default=default.text, help="words, for tasks that need them")
    parser.add_argument(
        "--tiles", default=default.tiles, metavar="auto|RxC", help="look closely at large pictures"
    )
    parser.add_argument("--out", metavar="DIR", help="the job's folder; - is stdout")
    parser.add_argument("--to", nargs="+", default=[], metavar="FORMAT", help=_FORMATS)
    parser.add_argument("--recursive", action="store_true", help="folders within folders too")
    parser.add_argument("--column", default=which.column, help="of a table, where pictures are")
    parser.add_argument("--pages", default=which.pages, help="of PDFs: 1-5, or 1-5,9")
    parser.add_argument("--every", default=which.every, help="of videos: 1s, or 25 frames")
    parser.add_argument("--limit", type=int, help="most pictures, pages and frames")
    parser.add_argument("--min-score", type=float, default=default.min_score, metavar="0..1")
    parser.add_argument("--batch-size", default="auto", metavar="N", help="pictures asked together")
    parser.add_argument("--workers", type=int, metavar="N", help="threads that open pictures")
    parser.add_argument("--overwrite", action="store_true", help="begin anew in that folder")
    parser.add_argument("--retry-failed", action="store_true", help="ask again what failed")
    parser.add_argument("--engine", choices=["here", "ray"], default="here", help="who shares work")
    parser.add_argument("--dry-run", action="store_true", help="tell how much it is, and stop")
    parser.add_argument("--beams", type=int, default=default.options.num_beams)
    parser.add_argument("--max-new-tokens", type=int, default=default.options.max_new_tokens)
    add_model(parser)
    ray = parser.add_argument_group("on a cluster", "with --engine ray")
    ray.add_argument("--ray-address", metavar="WHERE", help="auto (default), local, or HOST:PORT")
    ray.add_argument("--gpus-per-worker", type=float, metavar="N", help="a part of one too: 0.5")
    ray.add_argument("--cpus-per-worker", type=float, metavar="N", help="cores")
    ray.add_argument("--concurrency", type=int, metavar="N", help="workers; all there is room for")


def config_from_args(args: argparse.Namespace) -> BatchConfig:
    """Return the settings of a parsed command line.

    Raises:
        InputError: One is not of its kind.
    """
    size = args.batch_size
    if size != "auto" and not size.isdecimal():
        raise InputError("--batch-size must be a whole number, or auto.")
    return BatchConfig(
        sources=tuple(args.sources),
        tasks=tuple(name.strip() for name in args.task.split(",") if name.strip()),
        text=args.text,
        out=None if args.out == "-" else Path(args.out),
        which=Which(args.recursive, args.column, args.pages, args.every, args.limit),
        options=Options(args.max_new_tokens, args.beams),
        min_score=args.min_score,
        model=args.model,
        device=args.device,
        dtype=args.dtype,
        allow_pickle=args.allow_pickle,
        batch_size=None if size == "auto" else int(size),
        workers=args.workers,
        overwrite=args.overwrite,
        retry_failed=args.retry_failed,
        tiles=args.tiles,
    )


def command(args: argparse.Namespace) -> int:
    """Run the job; the status is 1 where some pictures failed or are not done yet."""
    if args.sources[0] == "export" and args.out is None:
        return _export(args)
    if not args.out:
        raise InputError("Where do the answers go? Name a folder with --out DIR, or - for stdout.")
    from florence_demo.batch.exporting import check_formats
    from florence_demo.batch.models import model_of
    from florence_demo.batch.rows import RowStream
    from florence_demo.batch.run import Watch
    from florence_demo.engine.many import reading_ahead
    from florence_demo.pictures.images import open_at_once

    config = config_from_args(args)
    config.asked()
    check_formats(args.to)
    if args.to and config.out is None:
        raise InputError("--to writes into the job's folder: name one with --out DIR.")
    if args.dry_run:
        from florence_demo.batch.plan import plan

        print("\n".join(plan(config, model_of(config).open()).sentences()))
        return 0
    open_at_once(reading_ahead(1, config.workers).threads)
    out = RowStream(sys.stdout.buffer) if config.out is None else None
    with _Bar(config) as bar, _stops() as stopped:
        outcome = _run(args, config, Watch(bar.tell, stopped.is_set, out))
    print(_said(outcome, args.out), file=sys.stderr)
    written = 0
    if config.out is not None and not outcome.stopped:
        formats = _formats(args, outcome)
        written = _write(config.out, formats, 0.0)
    return 1 if outcome.failed or outcome.stopped or written < len(args.to) else 0


def _run(args: argparse.Namespace, config: BatchConfig, watch: Any) -> Any:
    """Run the job on this machine or on a cluster."""
    from florence_demo.batch.models import model_of

    flags = (args.ray_address, args.gpus_per_worker, args.cpus_per_worker, args.concurrency)
    if args.engine == "here":
        from florence_demo.batch.run import run

        if any(flag is not None for flag in flags):
            raise InputError("Flags of a cluster mean something with --engine ray: add it.")
        return run(config, model_of(config), watch)
    from florence_demo.batch.on_ray import Cluster, run_on_ray

    address, gpus, cpus, workers = flags
    return run_on_ray(config, Cluster(address or "auto", gpus, cpus, workers), model_of, watch)


def _formats(args: argparse.Namespace, outcome: Any) -> list[str]:
    """Return as what the answers are written: of a job of a cluster's size also as a table."""
    table = args.engine == "ray" and outcome.rows > outcome.failed
    return list(dict.fromkeys([*args.to, *(["parquet"] if table else [])]))


def _export(args: argparse.Namespace) -> int:
    """Write the answers of a job that is done, or of one as far as it is."""
    if len(args.sources) != 2 or not args.to:
        raise InputError("Say which job, and as what: batch export DIR --to coco yolo.")
    written = _write(Path(args.sources[1]), args.to, args.min_score)
    return 0 if written == len(args.to) else 1 if written else 2


def _write(job: Path, names: list[str], min_score: float) -> int:
    """Write answers as each of some formats, and return how many could be: no one ends others."""
    from florence_demo.batch.exporting import check_formats, export

    check_formats(names)
    written = 0
    for name in names:
        try:
            folder, problems = export(job, name, min_score)
        except FlorenceDemoError as exc:
            print(printable(f"{name}: {exc}"), file=sys.stderr)
            continue
        written += 1
        for problem in problems[:_TOLD]:
            print(problem, file=sys.stderr)
        print(printable(str(folder)))
    return written


def _said(outcome: Any, out: str) -> str:
    speed = outcome.answered / outcome.seconds if outcome.seconds else 0.0
    said = f"{outcome.answered:,} answered in {outcome.seconds:,.0f} s ({speed:.1f} a second"
    if outcome.utilisation:
        said += f"; utilisation {outcome.utilisation:.0%}, waiting for pictures"
        said += f" {outcome.waiting:.0%}"
    said += ")"
    if outcome.room is not None:
        said += f", at most {outcome.room} at once since memory was too little for more"
    if outcome.skipped:
        said += f", {outcome.skipped:,} were there already"
    if outcome.failed:
        said += f"; {outcome.failed:,} failed: --retry-failed asks them again"
    if outcome.stopped:
        said += f". {outcome.stopped.rstrip('.')}"
        if "again" not in outcome.stopped:
            said += ". Give the same command again to go on"
    return f"{said}." + ("" if out == "-" else f" The answers are in {printable(out)}.")


@contextmanager
def _stops() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C and SIGTERM set; a second one ends the program at once."""
    asked = threading.Event()

    def hear(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        print("\nStopping after the part in work; once more ends it at once.", file=sys.stderr)

    before = {each: signal.signal(each, hear) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class _Bar:
    """Show how far a job is: a bar on a terminal, and in any case its first failures."""

    def __init__(self, config: BatchConfig):
        self._config, self._failures = config, 0
        self._bar: Any = tqdm(unit=" pictures", disable=None, smoothing=0.05, dynamic_ncols=True)

    def __enter__(self) -> _Bar:
        if not self._bar.disable:
            threading.Thread(target=self._count, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.close()

    def _count(self) -> None:
        from florence_demo.batch.plan import count

        total = count(self._config)
        if total is not None:
            self._bar.total = total
            self._bar.refresh()

    def tell(self, outcome: Any, rows: list[dict[str, Any]]) -> None:
        """Show a part."""
        self._bar.update(outcome.answered + outcome.skipped - self._bar.n)
        used = f"{outcome.utilisation:.0%}"
        self._bar.set_postfix(failed=outcome.failed, utilisation=used, refresh=False)
        for row in rows:
            for error in errors_of(row):
                self._failures += 1
                if self._failures <= _TOLD:
                    self._bar.write(printable(f"{row['source']}: {error}"), file=sys.stderr)
                elif self._failures == _TOLD + 1:
                    self._bar.write("More failures are in the rows.", file=sys.stderr)
