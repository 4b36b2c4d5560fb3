"""Options that several commands have."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from typing import Any

from florence_demo.data.columns import ROLES, pairs_of
from florence_demo.data.reading import as_source, with_columns
from florence_demo.data.source import Spec

MODEL_HELP = "name, folder, or owner/name of the hub, with @revision or without (default: nano)"


def add_pickle(parser: argparse.ArgumentParser) -> None:
    """Add the flag that lets pickled weights be read."""
    parser.add_argument(
        "--allow-pickle", action="store_true", help="read pickled weights, in their own process"
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add what names a model, and how it is loaded."""
    parser.add_argument("--model", default="nano", help=MODEL_HELP)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--dtype", default="auto", help="auto, fp32, bf16, fp16, int8")
    add_pickle(parser)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the flag for programs."""
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Add what says what the columns of a table mean."""
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="ROLE=COLUMN",
        help="what the columns of a table mean, where their names do not tell: image=img"
        f" question=q answer=a task=docvqa; roles are {', '.join(ROLES)}; box_format=xyxy where"
        " objects have corners, xywh where they have sides (default: as they fit the pictures)",
    )


def with_named_columns(data: Spec, columns: Sequence[str]) -> Spec:
    """Return what names data, with what was said of its columns.

    Raises:
        DatasetError: The data is none, has no columns, or something said is no pair.
    """
    return with_columns(as_source(data), pairs_of(columns)) if columns and data else data


def list_rows(rows: Iterable[tuple[dict[str, Any], str]], as_json: bool) -> None:
    """Print one line for each row: its values as JSON, or its words."""
    for values, words in rows:
        print(json.dumps(values, ensure_ascii=False) if as_json else words)
