"""Measure what tiles make of pictures of 2,000 px: 60 lines, 60 short entries, 40 things.

    python -m florence_demo.benchmark.tiles --model nano --sprites build/sprites

Prints a table of wrong characters, of things found and of seconds: without tiles, with them, and
with the answers of a model that makes no mistake. Knows pictures, truths and rates. Does not know
how tiles are cut or merged.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from florence_demo.benchmark.perfect import merged
from florence_demo.engine.closely import Look, look_closely
from florence_demo.engine.engine import Engine
from florence_demo.engine.request import Options
from florence_demo.evaluation.metrics import character_errors, f1, things_right
from florence_demo.models.loading import load_model
from florence_demo.nano.scenes.large import Large, large_list, large_page, large_scene
from florence_demo.nano.scenes.sprites import Library
from florence_demo.prediction import Prediction
from florence_demo.tasks import TASKS

PERFECT = "auto, perfect looks"
"""The row that shows what merging by itself loses."""


@dataclass(frozen=True)
class Rates:
    """Hold what one way of looking made of some pictures.

    Attributes:
        pictures: "pages", "lists" or "scenes".
        tiles: "none", "auto", or rows by columns.
        wrong: Wrong, missing and added characters over those there are; None of scenes.
        f1: Twice the things found rightly, over those found and those there are.
        recall: Share of the things there are that were found.
        seconds: Of one picture.
    """

    pictures: str
    tiles: str
    wrong: float | None
    f1: float
    recall: float
    seconds: float


Ask = Callable[[Large, str, str], Prediction]
"""From a picture, the name of a task and the tiles to the answer."""


def rates(ask: Ask, kind: str, tiles: str, pictures: Sequence[Large]) -> Rates:
    """Return what one way of looking makes of some pictures.

    Args:
        ask: Whom to ask.
        kind: "pages" and "lists", whose lines are read, or "scenes", whose things are found.
        tiles: "none", "auto", or rows by columns.
        pictures: With their truths.
    """
    named = kind == "scenes"
    task = "od" if named else "ocr_with_region"
    started = time.perf_counter()
    found = [(ask(each, task, tiles), each) for each in pictures]
    seconds = (time.perf_counter() - started) / len(pictures)
    # The place of a line counts whatever was read there: what was read is counted by characters.
    scores = [f1(f.detections, t.things, use_labels=named) for f, t in found]
    right = sum(things_right(f.detections, t.things, named).sum() for f, t in found)
    wrong = [character_errors(f.text, [t.text]) for f, t in found]
    return Rates(
        kind,
        tiles,
        None if named else _share(wrong),
        _share(scores),
        float(right / sum(len(t.things) for _, t in found)),
        seconds,
    )


def _share(judged: Sequence[tuple[float, float]]) -> float:
    return sum(a for a, _ in judged) / max(1.0, sum(b for _, b in judged))


def table(rows: Sequence[Rates]) -> str:
    """Return rates as a Markdown table."""
    lines = ["| | tiles | wrong characters | F1 | found | a picture |", "|---|---|---|---|---|---|"]
    for row in rows:
        wrong = "" if row.wrong is None else f"{row.wrong:.3f}"
        lines.append(
            f"| {row.pictures} | {row.tiles} | {wrong} | {row.f1:.3f} | {row.recall:.3f} |"
            f" {row.seconds:.1f} s |"
        )
    return "\n".join(lines)


def _asking(engine: Engine, options: Options) -> Ask:
    def ask(picture: Large, task: str, tiles: str) -> Prediction:
        if tiles == "none":
            return engine.predict(picture.image, TASKS[task], options=options)
        return look_closely(engine, picture.image, Look(TASKS[task], tiles=tiles, options=options))

    return ask


def _perfect(side: int) -> Ask:
    return lambda picture, task, _tiles: merged(picture, task, side)


def measured(ask: Ask, perfect: Ask, library: Library, args: argparse.Namespace) -> Iterator[Rates]:
    """Yield what each way of looking makes of each kind of picture."""
    for kind, draw, count in (
        ("pages", large_page, args.pages),
        ("lists", large_list, args.lists),
        ("scenes", large_scene, args.scenes),
    ):
        pictures = [draw(seed, library) for seed in range(count)]
        for tiles in ("none", *args.tiles):
            if pictures:
                yield rates(ask, kind, tiles, pictures)
        if pictures:
            yield replace(rates(perfect, kind, "auto", pictures), tiles=PERFECT)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m florence_demo.benchmark.tiles")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--sprites", type=Path, help="a folder of sprites and fonts (drawn ones)")
    parser.add_argument("--tiles", nargs="+", default=["auto"], help="auto, or such as 4x4")
    parser.add_argument("--pages", type=int, default=2)
    parser.add_argument("--lists", type=int, default=4)
    parser.add_argument("--scenes", type=int, default=4)
    parser.add_argument("--beams", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    args = parser.parse_args(argv)
    library = Library.load(args.sprites) if args.sprites else Library.drawn()
    engine = Engine(load_model(args.model, device="cpu"))
    rows = []
    ask = _asking(engine, Options(num_beams=args.beams))
    for row in measured(ask, _perfect(engine.side), library, args):
        print(row, file=sys.stderr, flush=True)
        rows.append(row)
    print(json.dumps([asdict(row) for row in rows]) if args.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
