"""List the models, and the memory of this machine."""

from __future__ import annotations

import argparse

from florence_demo.commands.options import add_json, list_rows
from florence_demo.machine import in_bytes, machine_memory
from florence_demo.models.catalogue import MODELS

add_arguments = add_json


def command(args: argparse.Namespace) -> int:
    """Print each model of the catalogue, then what is in use of each memory."""
    fields = ("name", "title", "source", "revision", "note")
    rows = (
        ({f: getattr(spec, f) for f in fields}, f"{spec.name:9} {spec.title:20} {spec.note}")
        for spec in MODELS.values()
    )
    list_rows(rows, args.json)
    if not args.json:
        print()
        for name, (used, total) in machine_memory().items():
            bar = "#" * round(20 * used / total)
            print(f"{name:12} [{bar:.<20}] {in_bytes(used)} of {in_bytes(total)} in use")
    return 0
