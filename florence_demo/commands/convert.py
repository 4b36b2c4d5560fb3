"""Write a native copy of a checkpoint, which plain transformers opens."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from florence_demo.checkpoints.converting import convert_checkpoint
from florence_demo.commands.options import add_pickle
from florence_demo.models.catalogue import spec_at
from florence_demo.models.finding import find
from florence_demo.trust import OPERATOR


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    add_pickle(parser)


def command(args: argparse.Namespace) -> int:
    """Write the copy and print what it is."""
    trust = replace(OPERATOR, pickle=args.allow_pickle)
    found = find(spec_at(args.source), trust)
    info = convert_checkpoint(
        found.info, args.target, base=found.base, tokenizers=found.tokenizers, trust=trust
    )
    print("\n".join(info.sentences()))
    return 0
