"""Say what a checkpoint's folder holds, without loading it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from florence_demo.checkpoints.inspection import inspect_checkpoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true")


def command(args: argparse.Namespace) -> int:
    """Print what the folder holds."""
    info = inspect_checkpoint(args.folder)
    print(json.dumps(info.to_json()) if args.json else "\n".join(info.sentences()))
    return 0
