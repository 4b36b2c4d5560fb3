"""List the tasks."""

from __future__ import annotations

import argparse

from florence_demo.commands.options import add_json, list_rows
from florence_demo.tasks import TASKS

add_arguments = add_json


def command(args: argparse.Namespace) -> int:
    """Print each task: its name, what it needs, its title."""
    # What a person gives: a cascade writes its own text.
    rows = (
        (
            {"name": t.name, "title": t.title, "token": t.token, "needs": t.asks, "help": t.help},
            f"{t.name:36} {t.asks:8} {t.title}",
        )
        for t in TASKS.values()
    )
    list_rows(rows, args.json)
    return 0
