"""Answer a task about pictures: ``python -m florence_demo predict picture.jpg --task od``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from florence_demo.codec import Decoded
from florence_demo.commands.options import add_model
from florence_demo.engine.request import OnStep
from florence_demo.errors import InputError
from florence_demo.tasks import task_named
from florence_demo.trust import OPERATOR

if TYPE_CHECKING:
    from PIL import Image


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="a path, of a PDF too, or an http(s) address"
    )
    parser.add_argument("--page", type=int, default=1, help="which page of a PDF (default: 1)")
    parser.add_argument("--task", default="caption", help="see `python -m florence_demo tasks`")
    parser.add_argument(
        "--text", default="", help="words, for a task that needs them; names to find: “cat, dog”"
    )
    parser.add_argument(
        "--region",
        type=_region,
        action="append",
        default=[],
        metavar="X1,Y1,X2,Y2",
        help="a box in pixels; given several times, each of the boxes is asked about",
    )
    parser.add_argument(
        "--tiles",
        metavar="auto|RxC",
        help="look closely: also at overlapping tiles of the picture, as many as suit its size and"
        " the model, or rows by columns such as 3x4",
    )
    parser.add_argument(
        "--merge",
        type=float,
        metavar="IOU",
        help="of boxes of one name that overlap this much, such as 0.7, keep the surest",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--save", type=Path, metavar="OUT", help="write the annotated picture")
    parser.add_argument("--beams", type=int, default=3)
    parser.add_argument("--max-new-tokens", type=int, default=1024)
    parser.add_argument(
        "--no-loop-guard",
        dest="loop_guard",
        action="store_false",
        help="let an answer that only repeats itself go on to the limit",
    )
    add_model(parser)


def command(args: argparse.Namespace) -> int:
    """Answer about each picture; the status is 1 where some failed, 2 where the only one did."""
    from florence_demo.engine.closely import Look
    from florence_demo.engine.engine import Engine
    from florence_demo.engine.question import Question, ask
    from florence_demo.engine.request import Options
    from florence_demo.models.loading import load_model
    from florence_demo.output.annotate import annotate
    from florence_demo.output.merging import check_merge, with_merged
    from florence_demo.pictures.images import save_picture

    task = task_named(args.task)
    if args.save and len(args.images) > 1:
        raise InputError("--save takes one picture: ask for them one by one.")
    options = Options(args.max_new_tokens, args.beams, loop_guard=args.loop_guard)
    options.check()
    if args.merge is not None:
        check_merge(args.merge)
    if args.tiles is not None:
        Look(task, args.text, args.tiles, options).check()
        if args.region:
            raise InputError("--region goes without --tiles: leave one of them out.")
    trust = replace(OPERATOR, pickle=args.allow_pickle)
    loaded = load_model(args.model, device=args.device, dtype=args.dtype, trust=trust)
    engine = Engine(loaded)
    failed = 0
    for source in args.images:
        try:
            image = _opened(source, args.page)
            question = Question(image, task, args.text, tuple(args.region), args.tiles or "")
            step = _telling() if args.tiles or question.parts > 1 else None
            found = ask(engine, question, options, on_step=step)
            if args.merge is not None:
                found = with_merged(found, args.merge)
            if args.save:
                save_picture(annotate(image, found.detections), args.save)
        except InputError as exc:
            failed += 1
            if len(args.images) == 1 and not args.json:
                raise
            if args.json:
                print(json.dumps({"image": source, "error": str(exc)}, ensure_ascii=False))
            else:
                print(f"{source}: {exc}", file=sys.stderr)
            continue
        if args.json:
            row = {"image": source, **found.to_json()}
            print(json.dumps(row, ensure_ascii=False), flush=True)
        else:
            print(found.sentence())
            for notice in found.notices:
                print(notice, file=sys.stderr)
    return (2 if len(args.images) == 1 else 1) if failed else 0


def _opened(source: str, page: int) -> Image.Image:
    """Return a picture of the web, of a file, or a page of a PDF."""
    from florence_demo.pictures.images import open_image
    from florence_demo.pictures.pages import open_pages
    from florence_demo.pictures.web import fetch_image, is_url

    if is_url(source):
        return fetch_image(source)
    if source.lower().endswith(".pdf"):
        return next(open_pages(Path(source), str(page))).picture
    return open_image(source)


def _telling() -> OnStep | None:
    """Return what shows in a terminal how far the work is."""
    if not sys.stderr.isatty():
        return None
    shown = ""

    def on_step(partial: Callable[[], Decoded]) -> bool:
        nonlocal shown
        said = partial().text
        if said != shown:
            print(said, file=sys.stderr)
            shown = said
        return True

    return on_step


def _region(value: str) -> tuple[float, float, float, float]:
    try:
        x1, y1, x2, y2 = (float(v) for v in value.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError("give four numbers: x1,y1,x2,y2 in pixels") from None
    return x1, y1, x2, y2
