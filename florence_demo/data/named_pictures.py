"""The pictures that rows name: where they lie, whatever machine wrote the names.

Knows names of another machine (its drives, its backslashes, its folders), in other capitals and in
the other of the two ways in which Unicode writes "ü". A name is a stranger's word: it leads nowhere
but to where the source's files may lie. Does not know what a row means.
"""

from __future__ import annotations

import functools
import os
import re
import unicodedata
from pathlib import Path, PurePosixPath
from typing import Any

from florence_demo.data.listings import IMAGE_SUFFIXES
from florence_demo.data.source import DataSource
from florence_demo.errors import DatasetError
from florence_demo.files import leads_out

_MAX_NAME, _MAX_PART = 1_000, 255
_MAX_PARTS = 12
_ELSEWHERE = re.compile(r"[\\/]|[A-Za-z]:[\\/]")
"""How names of a whole path begin, on any system."""


class Pictures:
    """Find a source's pictures by the names that its rows give, and look for each once."""

    def __init__(self, source: DataSource, *folders: Path):
        """Take the folders to look in.

        Args:
            source: Says where its files may lie.
            folders: Tried in this order; where no picture is found, the first counts.
        """
        self._source = source
        self._folders = [f for f in folders if source.holds(f)]
        self._found: dict[str, Path | str] = {}

    def path(self, name: Any) -> Path:
        """Return the path that a name stands for, whether or not a picture is there.

        Raises:
            DatasetError: It is no name, or leads out of where the source's files may lie.
        """
        if not isinstance(name, str):
            raise DatasetError("the name of a picture must be text.")
        if name not in self._found:
            self._found[name] = self._look(name)
        found = self._found[name]
        if isinstance(found, str):
            raise DatasetError(found)
        return found

    def first(self, *names: Any) -> Path:
        """Return the path of the first of these names at which a picture is, or of the first name.

        Raises:
            DatasetError: No picture is there, and the first is no name or leads out.
        """
        for name in names:
            try:
                path = self.path(name)
            except DatasetError:
                continue
            if path.is_file():
                return path
        return self.path(names[0])

    def _look(self, name: str) -> Path | str:
        shown = f"“{name[:60]}”" + (" …" if len(name) > 60 else "")
        if not _is_name(name):
            return f"{shown} is no name of a picture: it is empty, too long or holds odd signs."
        out = f"{shown} leads out of the data's own folder: name pictures by their place within it."
        strays = bool(self._source.limits) and leads_out(name)
        try:
            exact = () if strays else (folder / name for folder in self._folders)
            path = next((p for p in exact if p.is_file()), None) or self._alike(name)
            if path is None and not strays:
                path = self._likely / name
            return path if path and self._source.holds(path) else out
        except (OSError, IndexError):
            return out

    @functools.cached_property
    def _likely(self) -> Path:
        """Return where a missing picture should be: beside others, or in the first folder."""
        with_pictures = (folder for folder in self._folders if _holds_pictures(folder))
        return next(with_pictures, self._folders[0])

    def _alike(self, name: str) -> Path | None:
        """Return the picture that another machine's name means, None where there is none.

        Of a whole path the longest end counts that is here. Of a name within the set only those
        folders are left out in which we look already: a picture elsewhere of the same name is
        another one.
        """
        parts = [part for part in re.split(r"[\\/]+", name) if part not in ("", ".")]
        whole = bool(_ELSEWHERE.match(name)) or ".." in parts
        if ".." in parts:
            parts = parts[len(parts) - parts[::-1].index("..") :]
        for at in range(max(0, len(parts) - _MAX_PARTS), len(parts)):
            for folder in self._folders:
                if not at or whole or _folded(parts[at - 1]) == _folded(folder.name):
                    found = spelled(folder / PurePosixPath(*parts[at:]), folder)
                    if found and self._source.holds(found):
                        return found
        return None


def spelled(path: Path, folder: Path) -> Path | None:
    """Return a file within a folder as the disk spells it; None where there is none.

    "IMG.JPG" is "img.jpg", and an "ü" of two signs, as a Mac writes it, is the one of one sign.
    """
    try:
        if path.is_file():
            return path
        at = folder
        for part in path.relative_to(folder).parts:
            there = (at / part).exists()
            own = part if there else _spellings(at, at.stat().st_mtime_ns).get(_folded(part))
            if not own:
                return None
            at = at / own
        return at if at.is_file() else None
    except (OSError, ValueError):  # no name at all: too long, or with a zero byte
        return None


@functools.lru_cache(8)
def _spellings(folder: Path, _changed: int) -> dict[str, str]:
    """Return the names in a folder by what they are alike in; "" where two are alike."""
    found: dict[str, str] = {}
    for path in folder.iterdir():
        key = _folded(path.name)
        found[key] = "" if key in found else path.name
    return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def likely_names(given: Any, stem: str) -> list[Any]:
    """Return by which names a picture may be found whose marks lie in a file of their own.

    Args:
        given: The name that the file gives: often a path of another machine, or without an ending.
        stem: The file's own name without its ending, which is the picture's in all such tools.
    """
    last = [re.split(r"[\\/]", given)[-1]] if isinstance(given, str) else []
    endings = (*IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES))
    beside = [stem + ending for ending in endings]
    return [*([given] if given else []), *filter(None, last), *beside]


def _is_name(name: str) -> bool:
    try:
        parts = [len(part) for part in name.encode().split(b"/")]
    except UnicodeEncodeError:
        return False
    return 0 < len(name) <= _MAX_NAME and "\0" not in name and max(parts) <= _MAX_PART


def _holds_pictures(folder: Path) -> bool:
    try:
        with os.scandir(folder) as files:
            return any(Path(file.name).suffix.lower() in IMAGE_SUFFIXES for file in files)
    except OSError:
        return False
