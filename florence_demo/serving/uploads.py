"""Pictures that programs leave here for a while, under names that nobody guesses.

Knows files and names. The files go with everything else temporary, an hour after their last use.
"""

from __future__ import annotations

import errno
import re
import secrets
import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from florence_demo.errors import InputError
from florence_demo.pictures.images import save_picture
from florence_demo.pictures.room import ROOM
from florence_demo.serving.scratch import Scratch

MOST = 10_000
"""Names that are known at a time; the ones used longest ago are forgotten first."""
OF_ONE = 2 << 30
"""Bytes of one visitor's files; its oldest go first."""
PREFIX = "upload:"

_NAME = re.compile(rf"{PREFIX}[0-9a-f]{{32}}")


@dataclass(frozen=True)
class _Kept:
    """Hold a file, its bytes and whose it is."""

    file: Path
    size: int
    visitor: str


class Uploads:
    """Keep pictures.

    Args:
        scratch: Where they lie.
    """

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._files: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, image: Image.Image, room: int, visitor: str = "") -> str:
        """Write a picture, and return the name that stands for it.

        Args:
            image: The picture.
            room: Bytes that may still be taken of the disk.
            visitor: Whose it is: nobody keeps so many that others find no room.

        Raises:
            OSError: There is no room.
        """
        if room < 3 * image.width * image.height:
            raise OSError(errno.ENOSPC, "no room for a picture")
        file = self._scratch.new_folder() / "picture.png"
        save_picture(image, file)
        name = f"{PREFIX}{secrets.token_hex(16)}"
        with self._lock:
            self._files[name] = _Kept(file, file.stat().st_size, visitor)
            gone = list(self._too_many(visitor))
        for each in gone:
            shutil.rmtree(each.file.parent, ignore_errors=True)
        return name

    def _too_many(self, visitor: str) -> Iterator[_Kept]:
        """Forget what there is no place for, those used longest ago first."""
        while len(self._files) > MOST:
            yield self._files.popitem(last=False)[1]
        own = [(name, kept) for name, kept in self._files.items() if kept.visitor == visitor]
        taken = sum(kept.size for _, kept in own)
        for name, kept in own:
            if taken <= OF_ONE:
                return
            taken -= kept.size
            yield self._files.pop(name)

    def find(self, name: str) -> Image.Image:
        """Return the picture that a name stands for.

        Raises:
            InputError: There is none, or none any more.
        """
        with self._lock:
            kept = self._files.get(name) if _NAME.fullmatch(name) else None
            if kept is not None:
                self._files.move_to_end(name)
        if kept is None or not kept.file.is_file():
            raise InputError("This picture is no longer here: send it again.")
        self._scratch.touch(kept.file)
        return ROOM.open(kept.file)
