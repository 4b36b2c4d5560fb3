"""Where one picture is, as a value: a file, an entry of a zip, an address, a page, a frame, a cell.

Knows how to get at it, in this process or another. Does not know who asks for it, or which others
there are. What a page or a frame is, is known in ``pictures`` alone; this is where it is asked.
"""

from __future__ import annotations

import atexit
import functools
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PureWindowsPath
from typing import Any, Literal, get_args
from urllib.parse import unquote, urlsplit

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

    @property
    def stem(self) -> str:
        """What a file of this picture may be called, without its ending; "" of a set's rows."""
        if self.kind in ("page", "frame"):
            return f"{Path(self.path).stem}-{self.kind}-{self.number}"
        if self.kind == "file":
            return Path(self.path).stem
        named = {"zip": self.member, "web": unquote(urlsplit(self.path).path)}
        # Whoever packed it: both strokes part folders.
        return PureWindowsPath(named.get(self.kind, "")).stem

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
    from florence_demo.pictures.frames import FILM_LIMITS, open_frames

    for frame in open_frames(path, every, limits=FILM_LIMITS):
        yield frame.number, frame.seconds, frame.picture


@dataclass
class _InOrder:
    """Keep open what was looked at last: its pictures come one after the other, at little cost.

    Attributes:
        begin: Opens what a place is in, no later than at it.
        near: How far a picture may lie ahead of the last before it is gone to directly; those
            passed over are kept, as several threads ask a little out of order.
    """

    begin: Callable[[Place], Iterator[tuple[int, Image.Image]]]
    near: int

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._which: tuple[str, str] | None = None
        self._coming: Iterator[tuple[int, Image.Image]] = iter(())
        self._last = 0
        self._passed: dict[int, Image.Image] = {}
        # What is open as the program ends would be closed when half of it is gone already.
        atexit.register(self.close)

    def close(self) -> None:
        """Let go of the file that is open."""
        with self._lock:
            self._which, self._coming = None, iter(())
            self._passed.clear()

    def read(self, place: Place) -> Image.Image:
        """Return a picture.

        Raises:
            InputError: There is none, or it cannot be read.
        """
        with self._lock:
            if self._which == (place.path, place.member):
                if place.number in self._passed:
                    return self._passed.pop(place.number)
                if self._last < place.number <= self._last + self.near:
                    try:
                        return self._go_to(place)
                    except InputError:
                        pass  # perhaps of one before it: gone to directly, it tells its own
            self._passed.clear()
            self._which, self._coming = (place.path, place.member), self.begin(place)
            return self._go_to(place)

    def _go_to(self, place: Place) -> Image.Image:
        """Return a picture that is still to come, and keep the last few that come before it."""
        which, self._which = self._which, None  # after an error nothing comes any more
        for number, picture in self._coming:
            self._last = number
            if number == place.number:
                self._which = which
                return picture
            self._passed[number] = picture
            if len(self._passed) > min(self.near, _KEPT):
                self._passed.pop(next(iter(self._passed)))
        self._passed.clear()
        what = "page" if place.kind == "page" else "frame"
        raise InputError(f"There is no {what} {place.number} in it.")


_KEPT = 8
_PAGES = _InOrder(lambda place: pages_of(Path(place.path), f"{place.number}-"), _KEPT)
_FRAMES = _InOrder(
    lambda place: ((n, picture) for n, _, picture in frames_of(Path(place.path), place.member)),
    1 << 60,
)


def _cell(place: Place) -> bytes | Image.Image:
    from florence_demo.data.saved_sets import open_pictures

    part, _, column = place.member.partition("/")
    data = open_pictures(place.path, part, column)[place.number]()
    return data if isinstance(data, bytes) else data.read_bytes()


_READ: dict[str, Callable[[Place], bytes | Image.Image]] = {
    "file": _file,
    "zip": _entry,
    "web": lambda place: fetch_image(place.path),
    "page": _PAGES.read,
    "frame": _FRAMES.read,
    "cell": _cell,
}
