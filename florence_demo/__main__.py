"""The command line: ``python -m florence_demo serve | predict | tasks | ...``.

Results go to stdout, everything else to stderr. Exit status 0, 1 when some pictures failed, 2 for
bad input with one sentence. Knows which module is which command, and dispatches; each of them has
``add_arguments(parser)`` and ``command(args)``, which returns the exit status.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from florence_demo.errors import FlorenceDemoError
from florence_demo.files import DISK_FULL, is_disk_full
from florence_demo.machine import SPINS, keep_heap

COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("start the page and the API", "commands.serve"),
    "predict": ("answer a task about pictures", "commands.predict"),
    "batch": ("answer tasks about many pictures, as a job", "commands.batch"),
    "tasks": ("list the tasks", "commands.tasks"),
    "models": ("list the models", "commands.models"),
    "inspect": ("say what a checkpoint folder holds", "commands.inspect"),
    "convert": ("write a native copy of a checkpoint", "commands.convert"),
    "evaluate": ("measure a model on data with known answers", "commands.evaluate"),
    "data": ("check a set, convert it, draw some of it", "commands.data"),
    "train": ("fine-tune a model", "commands.train"),
    "push": ("put a trained model on the Hugging Face hub", "commands.push"),
    "batch-demo": ("a job killed in the middle, gone on with, measured", "commands.batch_demo"),
    "finetune-demo": ("teach nano to read ticked forms, in minutes", "commands.finetune_demo"),
    "forgetting-demo": (
        "what nano forgets by learning forms alone, and what a share of scenes keeps",
        "commands.forgetting_demo",
    ),
    "train-embedded": ("train the embedded model from nothing", "nano.command"),
    "benchmark": ("measure speed against the usual way", "benchmark.command"),
    "heldout": ("draw the held-out scenes", "nano.heldout"),
}
"""Each command's summary and its module, which is imported when it is chosen."""


def build_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """Return the parser.

    Args:
        chosen: The command whose arguments are needed; the others are listed by name only, so
            that nothing heavy is imported for them. None adds all.
    """
    parser = argparse.ArgumentParser("florence_demo", description=__doc__)
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (summary, _) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if chosen in (None, name):
            _module(name).add_arguments(command)
    return parser


def _module(name: str) -> Any:
    return importlib.import_module(f"florence_demo.{COMMANDS[name][1]}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        argv: The command line; without it this process's own, which is then made ready for it.
    """
    if argv is None:
        _make_ready()
    argv = list(sys.argv[1:] if argv is None else argv)
    args = build_parser(next((a for a in argv if a in COMMANDS), "")).parse_args(argv)
    logging.basicConfig(
        level=logging.INFO if args.verbose else logging.WARNING,
        stream=sys.stderr,
        format="%(levelname)s %(name)s: %(message)s",
    )
    try:
        return int(_module(args.command).command(args))
    except FlorenceDemoError as exc:
        print(exc, file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        print("Ended at once.", file=sys.stderr)
        return 130  # as a shell tells of what SIGINT ended
    except Exception as exc:
        if is_disk_full(exc):
            print(DISK_FULL, file=sys.stderr)
            return 2
        if not isinstance(exc, OSError) or not exc.filename:
            raise
        print(f"{exc.filename} cannot be used: {exc.strerror}.", file=sys.stderr)
        return 2


def _make_ready() -> None:
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read when torch is imported
    keep_heap()


if __name__ == "__main__":
    sys.exit(main())
