"""The parts of a set: what to learn from, what to measure on, whatever a tool calls them.

Knows names of folders and files. Does not know formats.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

TRAIN, VALIDATION, TEST = "train", "validation", "test"
WHOLE = ""
"""The name of a set that has no parts."""

_CALLED = {
    TRAIN: ("train", "training", "trn"),
    VALIDATION: ("validation", "valid", "val", "dev"),
    TEST: ("test", "testing", "tst"),
}
_PART = {called: part for part, names in _CALLED.items() for called in names}
_WORD = re.compile(r"[A-Za-z]+")

Find = Callable[[str], Mapping[str, str] | None]
"""From a location to its parts, each with its own location; None where it is of another format."""


def part_called(name: str) -> str:
    """Return the part that a name means: "val" and "instances_val2017" are "validation"; or ""."""
    words = [word.lower() for word in _WORD.findall(name)]
    return next((_PART[word] for word in words if word in _PART), WHOLE)


def by_part(paths: Iterable[Path]) -> dict[str, Path]:
    """Return folders or files by the part that each one's name means, in the order of use.

    Where two mean one part, the first counts.
    """
    found: dict[str, Path] = {}
    for path in paths:
        part = part_called(path.stem if path.is_file() else path.name)
        if part:
            found.setdefault(part, path)
    return {part: found[part] for part in _CALLED if part in found}


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, hidden ones left out."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def files_in(folder: Path, *suffixes: str) -> list[Path]:
    """Return the files in a folder whose names end so, in any case.

    Hidden ones are left out: a Mac puts "._a.jpg" beside each "a.jpg" that it packs or copies.
    """
    return sorted(
        p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith(".")
    )


def part_folders(folder: Path) -> dict[str, Path]:
    """Return the folders in a folder that mean a part, by the part."""
    return by_part(subfolders(folder))


def in_folders(is_one: Callable[[Path], bool]) -> Find:
    """Return what finds a set in a folder that is one, or in its folders that mean a part."""

    def find(location: str) -> Mapping[str, str] | None:
        folder = Path(location)
        if not folder.is_dir():
            return None
        if is_one(folder):
            return {WHOLE: location}
        parts = part_folders(folder)
        return {part: str(path) for part, path in parts.items() if is_one(path)} or None

    return find


@dataclass(frozen=True)
class Listing:
    """Say how files of rows are known.

    Attributes:
        suffix: How their names end.
        is_one: Whether a file that is there looks like one.
        names: Names by which one is known whatever is in it, so that what is wrong can be told.
        inner: A folder in which such files may lie, beside those of the pictures.
        last: How the names begin of files that count where there are no others.
    """

    suffix: str
    is_one: Callable[[Path], bool]
    names: tuple[str, ...] = ()
    inner: str = ""
    last: tuple[str, ...] = ()

    def knows(self, path: Path) -> bool:
        """Say whether a file is one of these."""
        return path.name in self.names or self.is_one(path)

    def within(self, folder: Path) -> list[Path]:
        """Return those in a folder, the most telling first."""
        for place in (folder, folder / self.inner):
            inside = files_in(place, self.suffix) if place.is_dir() else []
            found = [p for p in inside if self.knows(p)]
            if found:
                return sorted(found, key=self._comes_last)
        return []

    def _comes_last(self, path: Path) -> bool:
        return bool(self.last) and path.name.startswith(self.last)

    def find(self, location: str) -> Mapping[str, str] | None:
        """Return the parts of a set: a file, those in a folder, or in its parts' folders."""
        path = Path(location)
        if not path.is_dir():
            known = _ends(location, self.suffix) and (not path.exists() or self.knows(path))
            return {WHOLE: location} if known else None
        own = self.within(path)
        parts = by_part(own)
        if not own:
            inside = {part: self.within(f) for part, f in part_folders(path).items()}
            parts = {part: files[0] for part, files in inside.items() if files}
        if parts:
            return {part: str(file) for part, file in parts.items()}
        return {WHOLE: str(own[0])} if own else None


def _ends(name: str, suffix: str) -> bool:
    return name.lower().endswith(suffix)


def whole(accepts: Callable[[str], bool]) -> Find:
    """Return what finds a set that has no parts, or none that can be told before it is opened."""
    return lambda location: {WHOLE: location} if accepts(location) else None


def usual(parts: Iterable[str]) -> str:
    """Return the part that is meant where none is named: what one learns from, or the first."""
    named = list(parts)
    return TRAIN if TRAIN in named else named[0]
