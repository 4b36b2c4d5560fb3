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
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from florence_demo import machine
from florence_demo.benchmark_app import app_rows
from florence_demo.benchmark_rows import Row, against, bars, compare, markdown


@dataclass(frozen=True)
class BenchmarkOptions:
    """Hold what is measured.

    Attributes:
        model: "base" or "large" with random weights.
        device: "auto" takes the GPU rows where there is a GPU; "cpu" leaves them out.
        quick: Fewer repetitions: under 8 minutes on two cores.
        threads: Threads of the processor; 0 is torch's choice.
    """

    model: str = "base"
    device: str = "auto"
    quick: bool = False
    threads: int = 0

    @property
    def repeat(self) -> int:
        """Return how often each side is measured."""
        return 2 if self.quick else 5


def cpu_rows(options: BenchmarkOptions) -> Iterator[Row]:
    """Measure the processor: a step, three tasks, a second task, auto dtype, memory."""
    import torch

    from florence_demo import benchmark_models as models
    from florence_demo.decoding import Decoder

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

    from florence_demo import benchmark_models as models

    row = f"CPU fp32, {name}: peak memory, 1.25 x the usual way at most"
    if machine.peak_bytes() is None:
        return Row(row, None, 1.0, "not run here: the system does not tell")
    with tempfile.TemporaryDirectory() as folder:
        # On disk as the published checkpoints are: fp16. The copy shares nothing with ours.
        copy.deepcopy(model).half().save_pretrained(folder)
        peaks = [
            models.peak_of(way, Path(folder), torch.get_num_threads()) or 1
            for way in ("usual", "ours")
        ]
    gc.collect()
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
    from florence_demo import benchmark_models as models
    from florence_demo.decoding import Decoder

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
        parts = (app_rows(10 if options.quick else 40), cpu_rows(options), gpu_rows(options))
        for part in parts:
            for row in part:
                rows.append(row)
                if tell is not None:
                    tell(row)
            gc.collect()
    finally:
        torch.set_num_threads(before)
    return rows


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
    parser.add_argument("--model", choices=("base", "large"), default="base")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch takes")
    parser.add_argument("--quick", action="store_true", help="under 8 minutes on two cores")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--plot", type=Path, help="write the ratios as an SVG picture")


def command(args: argparse.Namespace) -> int:
    """Run the command; the status is 1 where a row misses what it must reach."""

    def tell(row: Row) -> None:
        print(f"{row.name}: {row.note}", file=sys.stderr, flush=True)

    options = BenchmarkOptions(args.model, args.device, args.quick, args.threads)
    rows = run(options, tell)
    if args.plot:
        args.plot.write_text(bars(rows), encoding="utf-8")
    if args.json:
        print(json.dumps({"rows": [asdict(row) for row in rows]}))
    else:
        told = ", ".join(f"{name} {version}" for name, version in machine.versions().items())
        print(f"{markdown(rows)}\n\n{roofline()}\n\n{told}")
    return 0 if all(row.kept for row in rows) else 1
