"""The command line: ``python -m florence_demo predict | tasks | models | ...``.

Results go to stdout, everything else to stderr. Exit status 0, 1 when some pictures failed, 2 for
bad input with one sentence.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from florence_demo.errors import FlorenceDemoError, InputError
from florence_demo.memory import keep_heap
from florence_demo.tasks import TASKS, task_named


def _region(value: str) -> tuple[float, float, float, float]:
    try:
        x1, y1, x2, y2 = (float(v) for v in value.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError("give four numbers: x1,y1,x2,y2 in pixels") from None
    return x1, y1, x2, y2


def _add_pickle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow-pickle", action="store_true", help="read pickled weights, in their own process"
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="nano", help="name, folder or hub id (default: nano)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--dtype", default="auto", help="auto, fp32, bf16, fp16, int8")
    _add_pickle(parser)


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a path or an http(s) address")
    parser.add_argument("--task", default="caption", help="see `python -m florence_demo tasks`")
    parser.add_argument("--text", default="", help="words, for a task that needs them")
    parser.add_argument("--region", type=_region, help="x1,y1,x2,y2 in pixels")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--save", type=Path, metavar="OUT", help="write the annotated picture")
    parser.add_argument("--beams", type=int, default=3)
    parser.add_argument("--max-new-tokens", type=int, default=1024)
    _add_model(parser)


def _predict(args: argparse.Namespace) -> int:
    from florence_demo.engine import Engine, Options
    from florence_demo.images import open_image, save_picture
    from florence_demo.models import load_model
    from florence_demo.render import annotate
    from florence_demo.web import fetch_image, is_url

    task = task_named(args.task)
    if args.save and len(args.images) > 1:
        raise InputError("--save takes one picture: ask for them one by one.")
    options = Options(max_new_tokens=args.max_new_tokens, num_beams=args.beams)
    options.check()
    load = {"device": args.device, "dtype": args.dtype, "allow_pickle": args.allow_pickle}
    engine = Engine(load_model(args.model, **load))
    failed = 0
    for source in args.images:
        try:
            image = fetch_image(source) if is_url(source) else open_image(source)
            found = engine.predict(image, task, args.text, args.region, options)
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


def _add_tasks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def _list(rows: Iterable[tuple[dict[str, Any], str]], as_json: bool) -> int:
    """Print one line for each row: its values as JSON, or its words."""
    for values, words in rows:
        print(json.dumps(values, ensure_ascii=False) if as_json else words)
    return 0


def _tasks(args: argparse.Namespace) -> int:
    # What a person gives: a cascade writes its own text.
    rows = (
        (
            {"name": t.name, "title": t.title, "token": t.token, "needs": t.asks, "help": t.help},
            f"{t.name:36} {t.asks:8} {t.title}",
        )
        for t in TASKS.values()
    )
    return _list(rows, args.json)


def _models(args: argparse.Namespace) -> int:
    from florence_demo.memory import in_bytes, machine_memory
    from florence_demo.models import MODELS

    fields = ("name", "title", "source", "revision", "note")
    rows = (
        ({f: getattr(spec, f) for f in fields}, f"{spec.name:9} {spec.title:36} {spec.note}")
        for spec in MODELS.values()
    )
    _list(rows, args.json)
    if not args.json:
        print()
        for name, (used, total) in machine_memory().items():
            bar = "#" * round(20 * used / total)
            print(f"{name:12} [{bar:.<20}] {in_bytes(used)} of {in_bytes(total)} in use")
    return 0


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true")


def _inspect(args: argparse.Namespace) -> int:
    from florence_demo.checkpoints import inspect_checkpoint

    info = inspect_checkpoint(args.folder)
    print(json.dumps(info.to_json()) if args.json else "\n".join(info.sentences()))
    return 0


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    _add_pickle(parser)


def _convert(args: argparse.Namespace) -> int:
    from florence_demo.checkpoints import convert_checkpoint
    from florence_demo.models import folder_of

    info = convert_checkpoint(
        args.source, args.target, resolve_base=folder_of, allow_pickle=args.allow_pickle
    )
    print("\n".join(info.sentences()))
    return 0


def _add_from(module: str) -> Callable[[argparse.ArgumentParser], None]:
    """Return what adds the arguments of a command that lives in its own module."""

    def add(parser: argparse.ArgumentParser) -> None:
        importlib.import_module(f"florence_demo.{module}").add_arguments(parser)

    return add


def _run_from(
    module: str, show: Callable[[Any, bool], None], settings: str = ""
) -> Callable[..., int]:
    """Return what runs such a command: its settings, its ``run``, its result shown."""

    def run(args: argparse.Namespace) -> int:
        command = importlib.import_module(f"florence_demo.{module}")
        config = importlib.import_module(f"florence_demo.{settings or module}")
        show(command.run(config.config_from_args(args)), getattr(args, "json", False))
        return 0

    return run


def _show_report(result: Any, as_json: bool) -> None:
    report, files = result
    print(json.dumps(report.to_json(), ensure_ascii=False) if as_json else report.to_markdown())
    for file in files:
        print(file, file=sys.stderr)


def _show_training(result: Any, as_json: bool) -> None:
    print(json.dumps(result.to_json()) if as_json else result.sentence())


def _show_json(result: Any, _as_json: bool) -> None:
    print(json.dumps(result, ensure_ascii=False))


def _show_lines(result: Any, _as_json: bool) -> None:
    print("\n".join(result))


Command = tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]

COMMANDS: dict[str, Command] = {
    "predict": ("answer a task about pictures", _add_predict, _predict),
    "tasks": ("list the tasks", _add_tasks, _tasks),
    "models": ("list the models", _add_tasks, _models),
    "inspect": ("say what a checkpoint folder holds", _add_inspect, _inspect),
    "convert": ("write a native copy of a checkpoint", _add_convert, _convert),
    "evaluate": (
        "measure a model on data with known answers",
        _add_from("evaluate"),
        _run_from("evaluate", _show_report),
    ),
    "data": (
        "check a set, convert it, draw some of it",
        _add_from("data_command"),
        _run_from("data_command", _show_lines),
    ),
    "train": (
        "fine-tune a model",
        _add_from("train_config"),
        _run_from("train", _show_training, settings="train_config"),
    ),
    "finetune-demo": (
        "teach nano to read ticked forms, in minutes",
        _add_from("finetune_demo"),
        _run_from("finetune_demo", _show_json),
    ),
    "train-embedded": (
        "train the embedded model from nothing",
        _add_from("embedded.command"),
        _run_from("embedded.command", lambda result, as_json: None),
    ),
    "benchmark": (
        "measure speed against the usual way",
        _add_from("benchmark"),
        lambda args: int(importlib.import_module("florence_demo.benchmark").command(args)),
    ),
    "heldout": (
        "draw the held-out scenes",
        _add_from("heldout"),
        _run_from("heldout", _show_json),
    ),
}


def build_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """Return the parser.

    Args:
        chosen: The command whose arguments are needed; the others are listed by name only, so
            that nothing heavy is imported for them. None adds all.
    """
    parser = argparse.ArgumentParser("florence_demo", description=__doc__)
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (summary, add_arguments, _) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if chosen in (None, name):
            add_arguments(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = build_parser(next((a for a in argv if a in COMMANDS), "")).parse_args(argv)
    logging.basicConfig(
        level=logging.INFO if args.verbose else logging.WARNING,
        stream=sys.stderr,
        format="%(levelname)s %(name)s: %(message)s",
    )
    try:
        return COMMANDS[args.command][2](args)
    except FlorenceDemoError as exc:
        print(exc, file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0
    except OSError as exc:
        if not exc.filename:
            raise
        print(f"{exc.filename} cannot be used: {exc.strerror}.", file=sys.stderr)
        return 2


if __name__ == "__main__":
    keep_heap()
    sys.exit(main())
