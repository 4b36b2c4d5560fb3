"""Where one picture is, as a value: a file, an entry of a zip, an address, a page, a frame, a cell.

Knows how to get at it, in this process or another. Does not know who asks for it, or which others
there are. What a page or a frame is, is known in ``pictures`` alone; this is where it is asked.
"""

from __future__ import annotations

import functools
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from PIL import Image

from florence_demo.errors import InputError
from florence_demo.files import opened_zip
from florence_demo.pictures.images import LIMITS, too_many_bytes
from florence_demo.pictures.web import fetch_image

Kind = Literal["file", "zip", "web", "page", "frame", "cell"]
MAX_ENTRIES = 2_000_000
"""Files of a zip."""
DPI = 144
"""Dots an inch of a page that is looked at."""


@dataclass(frozen=True)
class Place:
    """Hold where one picture is.

    Attributes:
        kind: What it is there.
        path: Of the file that it is or is in; the address; the folder of a set, or its hub id.
        member: Of a zip, the entry's name; of a set, its part and its column after a slash; of a
            video, every how much one of its frames is taken.
        number: Of a page or a frame, as those who open them count; of a row, from 0.
    """

    kind: Kind
    path: str
    member: str = ""
    number: int = 0

    def read(self) -> bytes | Image.Image:
        """Return the picture's bytes, or the picture itself where it is made of something else.

        Raises:
            FlorenceDemoError: It is not there, or cannot be read.
            OSError: The same.
        """
        return _READ[self.kind](self)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; what says nothing is left out."""
        return {name: value for name, value in asdict(self).items() if value not in ("", 0)}

    @classmethod
    def from_json(cls, values: Any) -> Place:
        """Return the place that ``to_json`` wrote.

        Raises:
            ValueError: The values are not those of a place.
        """
        if not isinstance(values, dict) or not set(values) <= {f.name for f in fields(cls)}:
            raise ValueError("a place has kind, path, member and number")
        place = cls(**{"kind": "", "path": "", **values})
        texts = isinstance(place.path, str) and isinstance(place.member, str)
        if place.kind not in get_args(Kind) or not texts or type(place.number) is not int:
            raise ValueError("a place is a kind, two texts and a number")
        return place


def _file(place: Place) -> bytes:
    path = Path(place.path)
    try:
        if not path.is_file():  # a pipe or a device would never end
            what = "is a folder, not a picture" if path.is_dir() else "is not there"
            raise InputError(f"The file {what}: check the path.")
        with path.open("rb") as file:
            data = file.read(LIMITS.max_bytes + 1)
    except (OSError, ValueError) as exc:
        raise InputError("The file cannot be read: check its rights.") from exc
    return _bounded(data)


def _bounded(data: bytes) -> bytes:
    if len(data) > LIMITS.max_bytes:
        raise InputError(too_many_bytes(LIMITS))
    return data


def _entry(place: Place) -> bytes:
    stat = Path(place.path).stat()
    try:
        with _zip(place.path, stat.st_mtime_ns, stat.st_size).open(place.member) as file:
            return _bounded(file.read(LIMITS.max_bytes + 1))
    except FileNotFoundError:
        raise
    except Exception as exc:  # a damaged archive makes the reader raise whatever it met
        raise InputError("This entry of the zip is damaged: pack it again.") from exc


@functools.lru_cache(2)
def _zip(path: str, _changed: int, _bytes: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def entries_of(path: Path) -> list[str]:
    """Return the names of the files in a zip, as it lists them.

    Raises:
        InputError: It is none, is damaged, or holds what is not taken.
    """
    with opened_zip(path, MAX_ENTRIES, InputError) as (_, entries):
        return [entry.filename for entry in entries]


def pages_of(path: Path, wanted: str = "") -> Iterator[tuple[int, Image.Image]]:
    """Yield the wanted pages of a PDF, each with its number.

    Raises:
        InputError: It is none, or cannot be read.
    """
    from florence_demo.pictures.pages import open_pages

    for page in open_pages(path, wanted, DPI):
        yield page.number, page.picture


def count_pages_of(path: Path) -> int:
    """Return how many pages a PDF has.

    Raises:
        InputError: It is none, or cannot be read.
    """
    from florence_demo.pictures.pages import count_pages

    count: int = count_pages(path)
    return count


def frames_of(path: Path, every: str) -> Iterator[tuple[int, float, Image.Image]]:
    """Yield frames of a video, each with its number and its second.

    Raises:
        InputError: It is none, or cannot be read.
    """
    from florence_demo.pictures.frames import open_frames

    for frame in open_frames(path, every):
        yield frame.number, frame.seconds, frame.picture


def _page(place: Place) -> Image.Image:
    for _, picture in pages_of(Path(place.path), str(place.number)):
        return picture
    raise InputError(f"The document has no page {place.number}.")


class _Film:
    """Keep the video that was looked at last open: its frames come one after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._which: tuple[str, str] | None = None
        self._frames: Iterator[tuple[int, float, Image.Image]] = iter(())
        self._last = 0

    def frame(self, place: Place) -> Image.Image:
        """Return a frame; one that comes later than the last is found without beginning anew.

        Raises:
            InputError: There is none, or the video cannot be read.
        """
        with self._lock:
            which = (place.path, place.member)
            if self._which != which or place.number <= self._last:
                self._which, self._frames = which, frames_of(Path(place.path), place.member)
            for number, _, picture in self._frames:
                self._last = number
                if number == place.number:
                    return picture
            self._which = None
        raise InputError(f"The video has no frame {place.number}.")


_FILM = _Film()


def _cell(place: Place) -> bytes | Image.Image:
    from florence_demo.data.saved_sets import open_pictures

    part, _, column = place.member.partition("/")
    data = open_pictures(place.path, part, column)[place.number]()
    return data if isinstance(data, bytes) else data.read_bytes()


_READ: dict[str, Callable[[Place], bytes | Image.Image]] = {
    "file": _file,
    "zip": _entry,
    "web": lambda place: fetch_image(place.path),
    "page": _page,
    "frame": _FILM.frame,
    "cell": _cell,
}
