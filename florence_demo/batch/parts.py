"""Files of rows that others than a job's one writer wrote, and how they become the job's rows.

Knows that a part is there whole or not at all, that it may be written twice, and how often work on
it began. Does not know who works on it or where.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from florence_demo.batch.rows import RowFile, content_of, line_of, within
from florence_demo.data.batches import Row, errors_of, key_of, whole_lines
from florence_demo.files import whole_file

PARTS_FOLDER = "parts"
_ENDING, _BEGUN = ".jsonl", ".begun"


@dataclass(frozen=True)
class Parts:
    """Hold the folder of a job's parts: of these settings and no others, in the job's own.

    Attributes:
        folder: Where they are.
    """

    folder: Path

    @classmethod
    def of(cls, job: Path, settings: dict[str, Any]) -> Parts:
        """Return the parts of a job with these settings."""
        told = json.dumps(settings, sort_keys=True).encode()
        return cls(job.absolute() / PARTS_FOLDER / hashlib.sha256(told).hexdigest()[:16])

    @staticmethod
    def name_of(keys: Sequence[str]) -> str:
        """Return the name of the part with these pictures, the same whoever writes it."""
        told = "\0\0".join(keys).encode("utf-8", "surrogatepass")
        return hashlib.sha256(told).hexdigest()[:32]

    def has(self, name: str) -> bool:
        """Say whether a part is there."""
        return self._file(name).is_file()

    def write(self, name: str, rows: Sequence[Row]) -> None:
        """Write a part; it is there whole when this returns, and until then not at all.

        Raises:
            InputError: The disk is full.
            OSError: It cannot be written.
        """
        with whole_file(self._file(name)) as new:
            new.write_bytes(b"".join(map(line_of, rows)))

    def begin(self, name: str) -> int:
        """Note that work on something begins, and return how often it began by now."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / (name + _BEGUN)
        with path.open("ab") as file:
            file.write(b".")
        return path.stat().st_size

    def end(self, name: str) -> None:
        """Note that the work on something is done."""
        (self.folder / (name + _BEGUN)).unlink(missing_ok=True)

    def take(self, name: str, file: RowFile, *, failed: bool = True) -> list[Row]:
        """Move a part's rows into the job's file, and return those that were not there yet.

        Args:
            name: Of the part.
            file: The job's rows.
            failed: Rows that lack an answer too.

        Raises:
            InputError: The disk is full, or the part is no part.
        """
        path = self._file(name)
        lacking: dict[str, Row] = {}
        try:
            with path.open("rb") as lines:
                for _, row in whole_lines(lines, path):
                    whole = row if "answers" in row or "error" in row else _like(row, file)
                    if whole is None or file.has(key_of(whole), content_of(whole)):
                        continue
                    if failed or not errors_of(whole):
                        lacking[key_of(whole)] = whole
        except FileNotFoundError:  # taken already: the same work was done twice
            return []
        file.append(list(lacking.values()))
        path.unlink(missing_ok=True)
        return list(lacking.values())

    def gather(self, file: RowFile, *, failed: bool = True) -> list[Row]:
        """Take all parts that are there, leave none, and return their rows."""
        rows: list[Row] = []
        for path in sorted(self.folder.glob(f"*{_ENDING}")):
            if not path.name.startswith("."):
                rows += self.take(path.name.removesuffix(_ENDING), file, failed=failed)
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # others are in it, of other settings
            self.folder.parent.rmdir()
        return rows

    def remove_all(self) -> None:
        """Remove the parts of these and of all other settings."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)

    def _file(self, name: str) -> Path:
        return self.folder / (name + _ENDING)


def _like(head: Row, file: RowFile) -> Row | None:
    """Return the row of a picture whose like is answered already, under another name."""
    row = file.same(within(content_of(head), head.get("page", 0), head.get("frame")))
    return row and {**head, "answers": row["answers"]}
