"""Files of rows: where one lies in a folder, its JSON, and what of it cannot be read.

Knows paths, lines and numbers. Does not know what a row means.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from florence_demo.errors import DatasetError
from florence_demo.tasks import Region

MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError)
"""What reading a file raises whose rows are not of its format."""


def file_of(source: str, names: Sequence[str]) -> Path:
    """Return the file itself, or the first of these names that lies in the folder.

    Raises:
        DatasetError: There is none.
    """
    path = Path(source)
    if path.is_dir():
        path = next((path / n for n in names if (path / n).is_file()), path / names[0])
    if not path.is_file():
        raise DatasetError(f"There is no file {path}: correct the path.")
    return path


def json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield "file:line" and the object of each line, or a DatasetError in its place."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            where = f"{path}:{number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as exc:
                yield where, DatasetError(f"{where}: the line is no JSON ({exc}).")
                continue
            if not isinstance(row, dict):
                row = DatasetError(f"{where}: the line is no object with named values.")
            yield where, row


def json_of(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        DatasetError: It is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as exc:
        raise DatasetError(f"{path} is no JSON: {exc}.") from exc


def region_of(values: Sequence[float]) -> Region:
    """Return four numbers as x1, y1, x2, y2.

    Raises:
        ValueError: They are not four.
    """
    x1, y1, x2, y2 = (float(v) for v in values)
    return x1, y1, x2, y2
