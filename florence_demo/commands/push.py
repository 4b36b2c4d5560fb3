"""Put a trained model on the Hugging Face hub, with its card."""

from __future__ import annotations

import argparse
from pathlib import Path

from florence_demo.machine import in_bytes
from florence_demo.models.pushing import CARD, check_branch, check_name, files_to_push, push


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run or a model")
    parser.add_argument("name", metavar="OWNER/NAME", help="what it is to be called on the hub")
    parser.add_argument("--private", action="store_true", help="for you alone, where it is new")
    parser.add_argument(
        "--revision", metavar="BRANCH", help="the branch to put it on, made where there is none"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would go, and ask nothing of the hub"
    )


def command(args: argparse.Namespace) -> int:
    """Push, and print the page; or print what would be pushed, and the card."""
    check_name(args.name)
    if args.revision is not None:
        check_branch(args.revision)
    files = files_to_push(args.run)
    if not args.dry_run:
        print(push(files, args.name, args.private, args.revision))
        return 0
    sizes = {name: path.stat().st_size for name, path in files.items()}
    where = f"{args.name}@{args.revision}" if args.revision else args.name
    whose = " (private)" if args.private else ""
    print(f"Would push {len(files)} files, {in_bytes(sum(sizes.values()))}, to {where}{whose}:")
    for name, size in sizes.items():
        print(f"  {name}  {in_bytes(size)}")
    if CARD in files:
        print(f"\n{files[CARD].read_text(encoding='utf-8')}")
    else:
        print(f"There is no {CARD}: write one, so that people know what the model is.")
    return 0
