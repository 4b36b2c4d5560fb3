"""A program's picture: from a web address, a data URL, base64, a file, or kept here before.

Knows in which forms programs send pictures. How one is opened within bounds is ``pictures``'.
"""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from florence_demo.errors import InputError
from florence_demo.pictures.room import ROOM
from florence_demo.pictures.web import is_url
from florence_demo.serving.asking import Service
from florence_demo.serving.uploads import PREFIX

Picture = str | bytes | Path | Image.Image
"""As text, as a file's bytes, as a file that a door found to be the caller's, or opened."""

# Possessive: what it has taken it never tries to take otherwise, which lasts for ages.
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]{16,}+={0,2}")


def picture_of(given: Picture | None, service: Service, visitor: str) -> Image.Image:
    """Return a program's picture.

    Args:
        given: The picture; a path of this machine is none.
        service: Fetches what lies at an address.
        visitor: Who asks.

    Raises:
        InputError: There is none, or it cannot be used.
    """
    if isinstance(given, Image.Image):
        return given
    if isinstance(given, bytes | Path):
        return ROOM.open(given)
    text = given.strip() if isinstance(given, str) else ""
    if not text:
        raise InputError("There is no picture: give an address, a data URL, base64 or a file.")
    if is_url(text):
        return service.fetched(text, visitor)
    if text.startswith(PREFIX):
        return service.uploads.find(text)
    if text[:5].lower() == "data:":
        return ROOM.open(text)
    # A data URL is read without a copy for each step, so base64 is made one.
    if _BASE64.fullmatch(text):
        return ROOM.open(f"data:;base64,{text}")
    raise InputError(
        "The picture is none of what is taken: a public web address (https://...), a data URL"
        " (data:image/png;base64,...) or the file's bytes in base64."
    )
