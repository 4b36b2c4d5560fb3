"""Pictures that programs leave here for a while, under names that nobody guesses.

Knows files and names. The files go with everything else temporary, an hour after their last use.
"""

from __future__ import annotations

import errno
import re
import secrets
import threading
from collections import OrderedDict
from pathlib import Path

from PIL import Image

from florence_demo.errors import InputError
from florence_demo.pictures.images import save_picture
from florence_demo.pictures.room import ROOM
from florence_demo.serving.scratch import Scratch

MOST = 10_000
"""Names that are known at a time; the ones used longest ago are forgotten first."""
PREFIX = "upload:"

_NAME = re.compile(rf"{PREFIX}[0-9a-f]{{32}}")


class Uploads:
    """Keep pictures.

    Args:
        scratch: Where they lie.
    """

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._files: OrderedDict[str, Path] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, image: Image.Image, room: int) -> str:
        """Write a picture, and return the name that stands for it.

        Args:
            image: The picture.
            room: Bytes that may still be taken of the disk.

        Raises:
            OSError: There is no room.
        """
        if room < 3 * image.width * image.height:
            raise OSError(errno.ENOSPC, "no room for a picture")
        file = self._scratch.new_folder() / "picture.png"
        save_picture(image, file)
        name = f"{PREFIX}{secrets.token_hex(16)}"
        with self._lock:
            self._files[name] = file
            while len(self._files) > MOST:
                self._files.popitem(last=False)
        return name

    def find(self, name: str) -> Image.Image:
        """Return the picture that a name stands for.

        Raises:
            InputError: There is none, or none any more.
        """
        with self._lock:
            file = self._files.get(name) if _NAME.fullmatch(name) else None
            if file is not None:
                self._files.move_to_end(name)
        if file is None or not file.is_file():
            raise InputError("This picture is no longer here: send it again.")
        self._scratch.touch(file)
        return ROOM.open(file)
