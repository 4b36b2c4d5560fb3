"""Measure speed against the usual way: ``generate(num_beams=3)`` for each task, as peers ask it.

Knows the rows of the table, how each is taken and what it must reach at least. Both ways run in one
process, alternating, on the same weights; a ratio holds where seconds do not. Needs neither gradio
nor datasets; a row that this machine cannot run has no ratio and says why.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from florence_demo import machine
from florence_demo.benchmark.app import app_rows
from florence_demo.benchmark.gain import gain_rows
from florence_demo.benchmark.gpu import gpu_rows
from florence_demo.benchmark.parts import Parts, measure_parts
from florence_demo.benchmark.rows import Row, against, at_most, compare, draw, markdown
from florence_demo.errors import CheckpointError
from florence_demo.models.devices import choose_device

if TYPE_CHECKING:
    from florence_demo.decoding.decoder import Decoder


@dataclass(frozen=True)
class BenchmarkOptions:
    """Hold what is measured.

    Attributes:
        model: "base" or "large" with random weights; "nano", a folder or a hub id as it is.
        device: "auto" takes the GPU rows where there is a GPU; "cpu" leaves them out; "cuda" takes
            nothing else.
        quick: Fewer repetitions, and no table by question of random weights: under 8 minutes
            on two cores.
        threads: Threads of the processor; 0 is torch's choice.
        training: Measure fine-tuning instead of answering.
    """

    model: str = "base"
    device: str = "auto"
    quick: bool = False
    threads: int = 0
    training: bool = False

    @property
    def repeat(self) -> int:
        """Return how often each side is measured."""
        return 2 if self.quick else 5

    @property
    def random(self) -> bool:
        """Return whether the model is one of random weights, built here."""
        return self.model in ("base", "large", "tiny")

    @property
    def pictures(self) -> int:
        """Return how many pictures each question is asked about."""
        return 3 if self.quick else 10 if self.random else 20


@dataclass(frozen=True)
class Measured:
    """Hold what was found.

    Attributes:
        rows: Ratios.
        parts: What a caption consists of, once a model and machine.
    """

    rows: list[Row]
    parts: list[Parts]


def cpu_rows(options: BenchmarkOptions) -> Iterator[Row | Parts]:
    """Measure the processor: a step, three tasks, a second task, auto dtype, memory, the parts."""
    from florence_demo.benchmark import models as models
    from florence_demo.decoding.decoder import Decoder

    model = models.build(options.model)
    yield _memory_row(model, options.model)
    usual, ours = Decoder(copy.deepcopy(model), reference=True), Decoder(model)
    times, name = options.repeat, options.model

    steps = [
        (
            models.step_seconds(usual, 64),
            models.step_seconds(ours, 64),
        )
        for _ in range(times)
    ]
    taken = (
        statistics.median(a[0] for a, _ in steps),
        statistics.median(b[0] for _, b in steps),
        all(a[1] == b[1] for a, b in steps),
    )
    yield against(f"CPU fp32, {name}, 3 beams, 64 tokens: a step", 4.0, taken, exact=True)

    pixels, prompts = models.picture(), models.PROMPTS

    def three_usually(asked: Any = usual.model) -> list[list[int]]:
        return [models.ask_usually(asked, pixels, prompt, 64) for prompt in prompts]

    def three(asked: Decoder = ours) -> list[list[int]]:
        features = asked.encode_image(pixels)
        return models.ask(asked, features.expand(len(prompts), -1, -1), prompts, 64)

    times = 1 if options.quick else times
    taken = compare(three_usually, three, times)
    yield against("CPU fp32, three tasks on one picture", 3.5, taken, exact=True)

    features = ours.encode_image(pixels)
    second = compare(
        lambda: [models.ask_usually(usual.model, pixels, prompts[0], 20)],
        lambda: models.ask(ours, features, prompts[:1], 20),
        times,
    )
    yield against("CPU fp32, a second task on a picture seen before", 5.0, second, exact=True)

    yield measure_parts(ours, f"{name.capitalize()}, fp32", times)
    yield from _auto_rows(usual.model, name, three_usually, three, (taken[0], times))


def _auto_rows(
    model: Any,
    name: str,
    usually: Callable[[Any], object],
    own: Callable[[Decoder], object],
    before: tuple[float, int],
) -> Iterator[Row | Parts]:
    """Measure the number format that a processor likes; the model is changed to it.

    Args:
        model: For the usual way.
        name: Its size.
        usually: Ask it three questions.
        own: Ask our decoder the same.
        before: Seconds that the usual way takes in fp32, and how often to measure.
    """
    import torch

    from florence_demo.decoding.decoder import Decoder

    seconds, times = before
    names = (
        "CPU auto dtype, three tasks, against fp32",
        "CPU auto dtype, ... against bf16",
        "CPU auto dtype, a step of three rows, against 1.5 x reading its weights once",
    )
    if not machine.fast_bf16():
        for row, least in zip(names, (9.0, 3.0, 1.0), strict=True):
            yield Row(
                row, None, least, "not run here: this processor has neither AVX512-BF16 nor AMX"
            )
        return
    half = model.to(torch.bfloat16)
    small = Decoder(copy.deepcopy(half))
    in_bf16 = compare(lambda: usually(half), lambda: own(small), times)
    yield against(names[0], 9.0, (seconds, in_bf16[1], True), exact=False)
    yield against(names[1], 3.0, in_bf16, exact=False)
    parts = measure_parts(small, f"{name.capitalize()}, bf16", times)
    step = parts.named("steady step")
    yield at_most(names[2], 1.5 * step.floor, step.seconds)
    yield parts


def _memory_row(model: Any, name: str) -> Row:
    """Compare the peak memory of two fresh processes that answer one caption."""
    import torch

    from florence_demo.benchmark import models as models

    row = f"CPU fp32, {name}: peak memory, 1.25 x the usual way at most"
    if machine.peak_bytes() is None:
        return Row(row, None, 1.0, "not run here: the system does not tell")
    with models.on_disk(model) as folder:
        threads = torch.get_num_threads()
        peaks = [models.start_of(way, folder, threads).peak or 1 for way in ("usual", "ours")]
    note = f"{peaks[0] / 1e6:,.0f} MB -> {peaks[1] / 1e6:,.0f} MB"
    return Row(row, 1.25 * peaks[0] / peaks[1], 1.0, note)


def run(options: BenchmarkOptions, tell: Callable[[Row], None] | None = None) -> Measured:
    """Measure everything that this machine can.

    Args:
        options: What to measure.
        tell: Called with each row as soon as it is there.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(options.threads or before)
    found = Measured([], [])
    try:
        for part in _parts(options, options.threads or before):
            for each in part:
                if isinstance(each, Parts):
                    found.parts.append(each)
                    continue
                found.rows.append(each)
                if tell is not None:
                    tell(each)
            gc.collect()
    finally:
        torch.set_num_threads(before)
    return found


def _parts(options: BenchmarkOptions, threads: int) -> Sequence[Iterator[Row | Parts]]:
    """Return what is measured, each part as it is asked for."""
    if options.training:
        from florence_demo.benchmark.training import training_rows

        return [training_rows(options.model, 1 if options.quick else 2, threads)]
    if options.device == "cuda":
        return [gpu_rows(options.device)]
    pages = app_rows(10 if options.quick else 40)
    many = gain_rows(2 if options.quick else 5)
    if not options.random:
        return [pages, many] if options.model == "nano" else []
    return [pages, many, cpu_rows(options), gpu_rows(options.device)]


def questions(options: BenchmarkOptions) -> tuple[str, dict[str, Any]]:
    """Measure each question on the model: what the table says, and the same as plain values.

    Raises:
        CheckpointError: There is no such model.
    """
    import torch

    from florence_demo.benchmark import tasks as tasks

    make = tasks.random_subject if options.random else tasks.real_subject
    subject = make(options.model, options.pictures)
    before = torch.get_num_threads()
    torch.set_num_threads(options.threads or before)
    try:
        timings = tasks.measure(subject)
        starts = tasks.starts(subject, torch.get_num_threads())
    finally:
        torch.set_num_threads(before)
    told = f"{tasks.table(subject.name, timings)}\n\n{tasks.starts_told(starts)}"
    plain = {way: asdict(start) for way, start in starts.items()}
    return told, {"tasks": [timing.to_json() for timing in timings], "start": plain}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's flags."""
    parser.add_argument(
        "--model",
        default="base",
        help="base or large (random weights of that size), nano, a folder or a hub id",
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="cuda: the rows of a GPU alone, under 3 minutes",
    )
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch takes")
    parser.add_argument("--quick", action="store_true", help="under 8 minutes on two cores")
    parser.add_argument("--training", action="store_true", help="measure fine-tuning instead")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--plot", type=Path, help="draw the ratios: a .svg or a .png file")


def command(args: argparse.Namespace) -> int:
    """Run the command; the status is 1 where a row misses what it must reach."""

    def tell(row: Row) -> None:
        print(f"{row.name}: {row.note}", file=sys.stderr, flush=True)

    options = BenchmarkOptions(args.model, args.device, args.quick, args.threads, args.training)
    if options.training and not options.random:
        raise CheckpointError("Training is measured at a size: choose --model base or large.")
    if options.device == "cuda":
        choose_device("cuda")  # there is one, or one sentence says so
    told, plain = "", dict[str, Any]()
    # By question last, so that the rows are there early; first where a name may be wrong.
    if not options.random:
        told, plain = questions(options)
    found = run(options, tell)
    rows = found.rows
    alone = options.quick or options.training or options.device == "cuda"
    if options.random and not alone:
        told, plain = questions(options)
    if args.plot:
        draw(rows, args.plot)
    if args.json:
        parts = [part.to_json() for part in found.parts]
        print(json.dumps({"rows": [asdict(row) for row in rows], "parts": parts, **plain}))
    else:
        versions = ", ".join(f"{name} {version}" for name, version in machine.versions().items())
        tables = [part.markdown() for part in found.parts]
        pieces = [markdown(rows) if rows else "", *tables, told, versions]
        print("\n\n".join(piece for piece in pieces if piece))
    return 0 if all(row.kept for row in rows) else 1
