"""Write a native copy of a checkpoint, which plain transformers opens."""

from __future__ import annotations

import argparse
from pathlib import Path

from florence_demo.checkpoints.converting import convert_checkpoint
from florence_demo.commands.options import add_pickle
from florence_demo.models.finding import folder_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    add_pickle(parser)


def command(args: argparse.Namespace) -> int:
    """Write the copy and print what it is."""
    info = convert_checkpoint(
        args.source, args.target, resolve_base=folder_of, allow_pickle=args.allow_pickle
    )
    print("\n".join(info.sentences()))
    return 0
