"""A person's own set: it grows on disk, one true answer after another, each picture once.

Knows a folder of lines of prefix and suffix with their pictures, as ``jsonl`` reads it. Does not
know who corrected what.
"""

from __future__ import annotations

import json
import threading
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from florence_demo.data.example import Example, as_line, check_example
from florence_demo.data.jsonl import FILE
from florence_demo.errors import DatasetError
from florence_demo.files import disk_full_told, write_text, write_whole
from florence_demo.pictures.images import as_jpeg

NAME = "my-data"
"""What the set is called where sets are listed."""

_IMAGES = "images"


@dataclass(frozen=True)
class OwnLimits:
    """Hold how far a set may grow.

    Attributes:
        rows: Number of answers.
        picture_bytes: Bytes of all pictures.
    """

    rows: int = 50_000
    picture_bytes: int = 20 << 30


@dataclass(frozen=True)
class Counted:
    """Hold what a set has.

    Attributes:
        rows: Number of answers.
        pictures: Number of pictures that they are about.
    """

    rows: int
    pictures: int

    def words(self) -> tuple[str, str]:
        """Return both in words: "2 answers", "1 picture"."""
        answers = f"{self.rows:,} answer{'' if self.rows == 1 else 's'}"
        return answers, f"{self.pictures:,} picture{'' if self.pictures == 1 else 's'}"


# Of this process: two people may press the same button at once.
_WRITING = threading.Lock()


class OwnSet:
    """Add to a set, count it, and hand it out."""

    def __init__(self, folder: Path, limits: OwnLimits) -> None:
        """Take where it lies; the folder is made with the first answer."""
        self.folder = folder
        self.limits = limits

    def add(self, example: Example, digest: str) -> Counted:
        """Add a row, in the place of an earlier one of the same question about the same picture.

        Args:
            example: The row; its picture is an image.
            digest: What tells this picture from others: letters and digits.

        Raises:
            DatasetError: The row cannot be learned from, or the set is full.
            InputError: The disk is full; nothing was changed.
        """
        check_example(example)
        if not digest.isalnum():
            raise ValueError(f"a digest is letters and digits, got {digest!r}")
        line = {"image": f"{_IMAGES}/{digest[:32]}.jpg", **as_line(example)}
        with _WRITING:
            kept = [row for row in self._lines() if _question(row) != _question(line)]
            if len(kept) >= self.limits.rows:
                raise DatasetError(
                    f"Your data holds {self.limits.rows:,} answers, and more do not fit: download"
                    " it and begin a new one."
                )
            with disk_full_told():
                new = self._store(example.load(), self.folder / line["image"])
                try:
                    self._write([*kept, line])
                except OSError:
                    with suppress(OSError):
                        if new:
                            (self.folder / line["image"]).unlink()
                    raise
        return _counted([*kept, line])

    def counted(self) -> Counted:
        """Return how much there is."""
        return _counted(self._lines())

    def pack(self, target: Path) -> Path:
        """Write the set into a zip, which can be uploaded as data again.

        Raises:
            DatasetError: It is empty.
            InputError: The disk is full.
        """
        with _WRITING, disk_full_told():
            rows = self._lines()
            if not rows:
                raise DatasetError("Your data is empty: put an answer right and add it first.")
            with zipfile.ZipFile(target, "w") as archive:
                archive.write(self.folder / FILE, FILE, zipfile.ZIP_DEFLATED)
                for name in dict.fromkeys(row["image"] for row in rows if "image" in row):
                    with suppress(OSError):  # whoever removed it knows
                        archive.write(self.folder / name, name)
        return target

    def _lines(self) -> list[dict[str, Any]]:
        try:
            text = (self.folder / FILE).read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines() if line.strip()]

    def _write(self, rows: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_text(self.folder / FILE, text)

    def _store(self, image: Image.Image, file: Path) -> bool:
        """Write a picture unless it is there, and say whether it was written."""
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_file():
            return False
        data = as_jpeg(image)
        taken = sum(path.stat().st_size for path in file.parent.iterdir())
        if taken + len(data) > self.limits.picture_bytes:
            raise DatasetError(
                "The pictures of your data take all the room that they may have: download it and"
                " begin a new one."
            )
        write_whole(file, data)
        return True


def _question(row: dict[str, Any]) -> tuple[Any, Any]:
    return row.get("image"), row.get("prefix")


def _counted(rows: list[dict[str, Any]]) -> Counted:
    return Counted(len(rows), len({row.get("image") for row in rows}))
