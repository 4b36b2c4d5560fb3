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
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from florence_demo import machine
from florence_demo.benchmark.app import app_rows
from florence_demo.benchmark.rows import Row, against, compare, draw, markdown
from florence_demo.errors import CheckpointError


@dataclass(frozen=True)
class BenchmarkOptions:
    """Hold what is measured.

    Attributes:
        model: "base" or "large" with random weights; "nano", a folder or a hub id as it is.
        device: "auto" takes the GPU rows where there is a GPU; "cpu" leaves them out.
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


def cpu_rows(options: BenchmarkOptions) -> Iterator[Row]:
    """Measure the processor: a step, three tasks, a second task, auto dtype, memory."""
    import torch

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

    names = ("CPU auto dtype, three tasks, against fp32", "CPU auto dtype, ... against bf16")
    if not machine.fast_bf16():
        for row, least in zip(names, (9.0, 3.0), strict=True):
            yield Row(
                row, None, least, "not run here: this processor has neither AVX512-BF16 nor AMX"
            )
        return
    half = usual.model.to(torch.bfloat16)
    small = Decoder(copy.deepcopy(half))
    in_bf16 = compare(lambda: three_usually(half), lambda: three(small), times)
    yield against(names[0], 9.0, (taken[0], in_bf16[1], True), exact=False)
    yield against(names[1], 3.0, in_bf16, exact=False)


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


def gpu_rows(options: BenchmarkOptions) -> Iterator[Row]:
    """Measure a GPU: a caption against fp16 ``generate``; 16 people against one at a time."""
    import torch

    names = ("GPU, large, caption of 20 tokens, against fp16", "GPU, 16 people at once")
    if options.device == "cpu" or not torch.cuda.is_available():
        for name in names:
            yield Row(name, None, 6.0, "not run here: no GPU")
        return
    from florence_demo.benchmark import models as models
    from florence_demo.decoding.decoder import Decoder

    model = models.build("large")
    usual = copy.deepcopy(model).half().cuda()
    ours = Decoder(model.to(torch.bfloat16).cuda())
    pixels, prompt = models.picture(rows=16).cuda(), models.PROMPTS[:1]

    def caption() -> list[list[int]]:
        return models.ask(ours, ours.encode_image(pixels[:1]), prompt, 20)

    def sixteen() -> list[list[int]]:
        return models.ask(ours, ours.encode_image(pixels), prompt * 16, 20)

    def in_turn() -> list[list[int]]:
        return [
            models.ask(ours, ours.encode_image(pixels[i : i + 1]), prompt, 20)[0] for i in range(16)
        ]

    def usually() -> list[list[int]]:
        return [models.ask_usually(usual, pixels[:1], prompt[0], 20)]

    for warm in (usually, caption, sixteen):
        warm()
    yield against(names[0], 6.0, compare(usually, caption, 5), exact=False)
    yield against(names[1], 6.0, compare(in_turn, sixteen, 5), exact=False)


def run(options: BenchmarkOptions, tell: Callable[[Row], None] | None = None) -> list[Row]:
    """Measure everything that this machine can.

    Args:
        options: What to measure.
        tell: Called with each row as soon as it is there.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(options.threads or before)
    rows = []
    try:
        for part in _parts(options, options.threads or before):
            for row in part:
                rows.append(row)
                if tell is not None:
                    tell(row)
            gc.collect()
    finally:
        torch.set_num_threads(before)
    return rows


def _parts(options: BenchmarkOptions, threads: int) -> list[Iterator[Row]]:
    """Return what is measured, each part as it is asked for."""
    if options.training:
        from florence_demo.benchmark.training import training_rows

        return [training_rows(options.model, 1 if options.quick else 2, threads)]
    pages = [app_rows(10 if options.quick else 40)]
    if not options.random:
        return pages if options.model == "nano" else []
    return [*pages, cpu_rows(options), gpu_rows(options)]


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


def roofline() -> str:
    """Return what the processor can reach at most, in one sentence."""
    import torch

    return (
        f"{machine.processor_name()}, {torch.get_num_threads()} threads: fp32 matmul "
        f"{machine.matmul_gflops():.0f} GFLOP/s, memory {machine.memory_gigabytes():.0f} GB/s. "
        "Base reads 89 million decoder weights a step, 178 MB as fp16; its tower computes "
        "380 GFLOP a picture, its text encoder 57 GFLOP a question."
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's flags."""
    parser.add_argument(
        "--model",
        default="base",
        help="base or large (random weights of that size), nano, a folder or a hub id",
    )
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
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
    told, plain = "", dict[str, Any]()
    # By question last, so that the rows are there early; first where a name may be wrong.
    if not options.random:
        told, plain = questions(options)
    rows = run(options, tell)
    if options.random and not options.quick and not options.training:
        told, plain = questions(options)
    if args.plot:
        draw(rows, args.plot)
    if args.json:
        print(json.dumps({"rows": [asdict(row) for row in rows], **plain}))
    else:
        versions = ", ".join(f"{name} {version}" for name, version in machine.versions().items())
        parts = [markdown(rows) if rows else "", told, roofline(), versions]
        print("\n\n".join(part for part in parts if part))
    return 0 if all(row.kept for row in rows) else 1
