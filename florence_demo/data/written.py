"""The pictures of a set that is written: each once, under a name that no other has.

Knows files. Does not know formats.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from florence_demo.data.annotated import Annotated
from florence_demo.data.example import Example
from florence_demo.errors import printable
from florence_demo.pictures.images import is_upright, save_picture

_MAX_STEM = 200
_NOT_IN_NAMES = dict.fromkeys(map(ord, '\\/:*?"<>|'), "_")
# What every reader of the field opens; other files become PNG.
_COPIED = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def write_pictures(
    pictures: Sequence[Annotated], folder: Path
) -> Iterator[tuple[Annotated, str, tuple[int, int]]]:
    """Write each picture into a folder and yield it with its name there and (width, height).

    A file keeps its name where it can; a picture that is stored turned is written upright, as its
    boxes count.

    Raises:
        DatasetError: A picture is missing or none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for number, picture in enumerate(pictures):
        row = Example(picture.image, "od", where=picture.where)
        # A path has a stem, and so has a page or a frame; nothing names what is in memory.
        stem = _stem(str(getattr(picture.image, "stem", ""))) or f"{number:06}"
        # Labels lie beside pictures under the same stem, on disks that know no case.
        while stem.casefold() in taken:
            stem = f"{stem}-{number}"
        taken.add(stem.casefold())
        yield picture, _write(row, folder, stem), row.size()


def _stem(own: str) -> str:
    """Return a picture's own name, as a list of names can hold it and endings find room."""
    name = printable(os.fsencode(own).decode("utf-8", "replace"), "_").translate(_NOT_IN_NAMES)
    return name.encode()[:_MAX_STEM].decode("utf-8", "ignore")


def write_rows(rows: Sequence[Example], folder: Path) -> Iterator[tuple[str, list[Example]]]:
    """Write each picture of some rows once, and yield its name with the rows about it.

    Names are numbers: a dot or a folder in a name means something in some formats.

    Raises:
        DatasetError: A picture is missing or none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about: dict[object, list[Example]] = {}
    for row in rows:
        about.setdefault(row.shown, []).append(row)
    for number, same in enumerate(about.values()):
        yield _write(same[0], folder, f"{number:06}"), same


def _write(row: Example, folder: Path, stem: str) -> str:
    file = row.image
    if isinstance(file, Path) and file.suffix.lower() in _COPIED and is_upright(file):
        name = stem + file.suffix.lower()
        shutil.copyfile(file, folder / name)
    else:
        name = f"{stem}.png"
        save_picture(row.load(), folder / name)
    return name
