"""Measure how long a short answer waits that is asked for while long ones are written.

Knows threads and the two ways: joining those that run, and waiting until their batch is done, as
callers of one batch do. Does not know tasks; "a caption" is 20 tokens, "a page" 400.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from florence_demo.benchmark import models as models
from florence_demo.benchmark.rows import Row, markdown
from florence_demo.decoding.decoder import Decoder
from florence_demo.decoding.rules import DecodeOptions
from florence_demo.engine.batching import Batcher

CAPTION, PAGE = 20, 400
PAGES, CAPTIONS = 4, 8

Ask = Callable[[Tensor, int, Callable[[int], None]], None]
"""Answers a picture (1, 3, H, W) with so many tokens; tells of each step."""


def crowd_row(decoder: Decoder, name: str, pixels: Tensor, page: int = PAGE) -> Row:
    """Compare the median waits of captions that come beside four pages, one after the other.

    Args:
        decoder: Whose model never ends an answer by itself.
        name: Of the row.
        pixels: A picture, (1, 3, H, W).
        page: Tokens of a page.
    """
    joined, batched = _joining(decoder), _batched(decoder)
    for ask in (joined, batched):
        if pixels.is_cuda:  # whose graphs are made at the first request of each shape
            _waits(ask, pixels, page)
        ask(pixels, CAPTION, lambda _: None)
    usual, ours = (
        statistics.median(_waits(ask, pixels, page)) for ask in (batched, joined)
    )  # fmt: skip
    note = f"{usual * 1000:.0f} ms -> {ours * 1000:.0f} ms, {PAGES} pages of {page} tokens"
    return Row(name, usual / ours, 4.0, note)


def _options(decoder: Decoder, tokens: int) -> DecodeOptions:
    return DecodeOptions.from_generation_config(
        decoder.model.generation_config, max_new_tokens=tokens, loop_guard=False
    )


def _joining(decoder: Decoder) -> Ask:
    def ask(pixels: Tensor, tokens: int, tell: Callable[[int], None]) -> None:
        def on_step(step: int, _leading: list[list[int]]) -> bool:
            tell(step)
            return True

        with decoder.turns:
            features = decoder.encode_image(pixels)
        decoder.decode(features, models.PROMPTS[:1], _options(decoder, tokens), on_step=on_step)

    return ask


def _batched(decoder: Decoder) -> Ask:
    """Let those who wait share a batch that runs to its end, those of one length together."""

    def run(jobs: list[tuple[Tensor, int, Callable[[int], None]]]) -> list[None]:
        def on_step(step: int, _leading: list[list[int]]) -> bool:
            for _, _, tell in jobs:
                tell(step)
            return True

        features = decoder.encode_image(torch.cat([pixels for pixels, _, _ in jobs]))
        prompts = models.PROMPTS[:1] * len(jobs)
        decoder.decode(features, prompts, _options(decoder, jobs[0][1]), on_step=on_step)
        return [None] * len(jobs)

    batcher = Batcher(run, limit=16)
    return lambda pixels, tokens, tell: (batcher.submit([(pixels, tokens, tell)], tokens), None)[1]


def _waits(ask: Ask, pixels: Tensor, page: int) -> list[float]:
    """Return the seconds that captions take which come while pages are written."""
    took: list[float] = []
    captions: list[threading.Thread] = []

    def caption() -> None:
        start = time.perf_counter()
        ask(pixels, CAPTION, lambda _: None)
        took.append(time.perf_counter() - start)

    def come(step: int) -> None:
        if step % (page // (CAPTIONS + 2)) == 0 and len(captions) < CAPTIONS:
            captions.append(threading.Thread(target=caption))
            captions[-1].start()

    pages = [
        threading.Thread(target=ask, args=(pixels, page, come if at == 0 else lambda _: None))
        for at in range(PAGES)
    ]
    for each in pages:
        each.start()
    for each in pages:
        each.join()
    for each in captions:
        each.join()
    return took


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m florence_demo.benchmark.crowd")
    parser.add_argument("--model", choices=("base", "large", "tiny"), default="base")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    args = parser.parse_args(argv)
    model, kind = models.build(args.model), "CPU fp32"
    if torch.cuda.is_available():
        model, kind = model.to(torch.bfloat16).cuda(), "GPU bf16"
    name = f"{kind}, {args.model}, a caption's wait beside long answers"
    row = crowd_row(Decoder(model), name, models.picture())
    print(json.dumps(asdict(row)) if args.json else markdown([row]))
    return 0 if row.kept else 1


if __name__ == "__main__":
    sys.exit(main())
