"""From what a person names to the pictures that are meant, one after the other.

Knows folders, globs, lists, tables, zips, sets, documents and films. Nothing is opened before it is
its turn, and of a picture's file only the name is looked at. Does not read pictures (``reading``).
"""

from __future__ import annotations

import csv
import glob
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from PIL import Image

from florence_demo.batch.config import BatchConfig, Which
from florence_demo.data.batches import ROWS_FILE, RUN_FILE
from florence_demo.data.columns import ROLES
from florence_demo.data.listings import utf8_of
from florence_demo.data.places import Place, count_pages_of, entries_of, frames_of
from florence_demo.data.saved_sets import find_saved, open_pictures
from florence_demo.errors import FlorenceDemoError, InputError, plain
from florence_demo.pictures.web import is_url

PICTURES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic",
    ".heif", ".hif", ".avif", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".psd",
)  # fmt: skip
DOCUMENTS = (".pdf",)
FILMS = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".3gp",
)  # fmt: skip
LISTS, TABLES = (".txt", ".lst"), (".csv", ".tsv")
ARCHIVES = (".zip",)
_HIDDEN = (".", "__MACOSX")
_MAX_LIST = 1 << 30
_PACKED = "Documents and videos in a zip are not opened: unpack it, and name the folder."
_COLUMNS = (*ROLES["image"], "url", "image_url", "uri", "link")


@dataclass(frozen=True)
class Item:
    """Hold one picture to be asked about; what is given of it is there already.

    Attributes:
        source: Its name in the rows: relative, with its ending.
        place: Where it is.
        page: Of a document, the page's number; 0 of others.
        frame: Of a film, the frame's number; None of others.
        seconds: When in the film it is.
        sha256: Of the file that a page or a frame is of; "" where the picture's own counts.
        given: The picture or its bytes, where they had to be read to find it.
        error: Why there is no picture, where that is known.
    """

    source: str
    place: Place
    page: int = 0
    frame: int | None = None
    seconds: float = 0.0
    sha256: str = ""
    given: bytes | Image.Image | None = field(default=None, repr=False, compare=False)
    error: str = ""

    @property
    def key(self) -> str:
        """What tells it from every other picture of the job."""
        return "\0".join((self.source, str(self.page), str(self.frame)))


@dataclass(frozen=True)
class Part:
    """Hold what is opened as one: a picture, a document, a film, a zip or a set.

    Attributes:
        name: Its name in the rows.
        path: Of its file or folder; its address.
        kind: "picture", "web", "document", "film", "zip", "set" or "missing".
        part: Of a set, which part.
    """

    name: str
    path: str
    kind: str
    part: str = ""

    @property
    def file(self) -> Path:
        """Return its path."""
        return Path(self.path)


def check_sources(config: BatchConfig) -> None:
    """Look whether each source is one, no further than to the first thing it holds.

    Raises:
        InputError: A source is none, or holds nothing.
    """
    for source, label in zip(config.sources, _labels(config.sources), strict=True):
        if config.out and not is_url(source):
            _check_apart(Path(source), config.out)
        if next(_parts(source, label, config), None) is None:
            raise InputError(_nothing(source, config.which))


def parts_of(config: BatchConfig) -> Iterator[Part]:
    """Yield what the sources hold, by names alone.

    Raises:
        InputError: A source is none.
    """
    for source, label in zip(config.sources, _labels(config.sources), strict=True):
        yield from _parts(source, label, config)


def items_of(part: Part, which: Which) -> Iterator[Item]:
    """Yield the pictures of a part; one that cannot be opened is one item that says why."""
    whole = Item(part.name, Place("file", part.path))
    try:
        yield from _ITEMS[part.kind](part, which)
    except (FlorenceDemoError, OSError) as exc:
        said = str(exc) if isinstance(exc, FlorenceDemoError) else _unreadable(exc)
        yield replace(whole, error=said)


def all_items(config: BatchConfig) -> Iterator[Item]:
    """Yield every picture of a job, in the order of its sources.

    Raises:
        InputError: A source is none, or holds nothing.
    """
    left = config.which.limit
    for part in parts_of(config):
        for item in items_of(part, config.which):
            if left is not None and left <= 0:
                return
            left = None if left is None else left - 1
            yield item


def _unreadable(exc: OSError) -> str:
    return f"The file cannot be read ({exc.strerror or exc}): check the path and its rights."


def _labels(sources: Iterable[str]) -> list[str]:
    """Return what stands before the names of each source: nothing where there is only one."""
    sources = list(sources)
    if len(sources) < 2:
        return ["" for _ in sources]
    labels: list[str] = []
    taken: set[str] = set()
    for source in sources:
        path = Path(source)
        name = path.resolve().name if path.is_dir() else path.name
        label = name
        for number in range(2, len(sources) + 2):
            if label not in taken:
                break
            label = f"{name}-{number}"
        if path.is_dir() or path.suffix.lower() in (*LISTS, *TABLES, *ARCHIVES):
            taken.add(label)
            labels.append(f"{label}/")
        else:
            labels.append("")
    return labels


def _check_apart(source: Path, out: Path) -> None:
    try:
        same = source.is_dir() and source.resolve() == out.resolve()
    except (OSError, RuntimeError):
        return
    if same:
        raise InputError(
            "The answers would lie among the pictures themselves: name another folder as --out,"
            f" such as {plain(out / 'answers')}."
        )


def _parts(source: str, label: str, config: BatchConfig) -> Iterator[Part]:
    path = Path(source)
    if not source:
        raise InputError("A source has no name: name a picture, a folder or a list.")
    try:
        folder, file = path.is_dir(), path.is_file()
    except (OSError, ValueError) as exc:
        raise InputError(f"“{plain(source)}” is no path: check it.") from exc
    if is_url(source):
        yield Part(source.strip(), source.strip(), "web")
    elif folder and find_saved(source):
        yield _set_part(source, label.rstrip("/") or path.resolve().name, config)
    elif folder:
        yield from _walk(path, label, config)
    elif file:
        yield from _file_parts(path, label, config)
    elif glob.has_magic(source):
        for name in sorted(glob.glob(source, recursive=True)):  # noqa: PTH207 (absolute ones too)
            if Path(name).is_file():
                yield _part(_given(name), name)
    elif _is_set(source):
        yield _set_part(source, source.replace("#", "/"), config)
    else:
        raise InputError(f"There is no “{plain(source)}”: check the path.")


def _is_set(source: str) -> bool:
    """Say whether what is no path names a set: "owner/name", or a set's part after a "#"."""
    location, _, part = source.partition("#")
    if part and Path(location).is_dir():
        return bool(find_saved(location))
    return bool(re.fullmatch(r"[\w.-]+/[\w-]+", location)) and not Path(source).is_symlink()


def _set_part(source: str, name: str, config: BatchConfig) -> Part:
    """Return a set; what is wrong with it is told at once."""
    location, _, part = (source, "", "") if Path(source).is_dir() else source.partition("#")
    open_pictures(location, part, config.which.column)
    return Part(name, location, "set", part)


def _file_parts(path: Path, label: str, config: BatchConfig) -> Iterator[Part]:
    ending = path.suffix.lower()
    if ending in LISTS:
        yield from _listed(_lines(path), path.parent, label)
    elif ending in TABLES:
        yield from _listed(_cells(path, config.which.column), path.parent, label)
    elif ending in ARCHIVES:
        yield Part(label, str(path.absolute()), "zip")
    else:
        yield _part(_given(str(path)), str(path))


def _given(name: str) -> str:
    """Return a path as a person named it, as a name that leads nowhere else."""
    parts = [p for p in PurePosixPath(Path(name).as_posix()).parts if p not in ("/", ".")]
    return "/".join("_up" if part == ".." else part for part in parts)


def _part(name: str, path: str) -> Part:
    ending = Path(path).suffix.lower()
    kind = "document" if ending in DOCUMENTS else "film" if ending in FILMS else "picture"
    return Part(name, str(Path(path).absolute()), kind)


def _walk(root: Path, label: str, config: BatchConfig) -> Iterator[Part]:
    """Yield the files of a folder that are pictures by their names; links lead round no circle."""
    out = config.out.resolve() if config.out else None
    seen: set[tuple[int, int]] = set()

    def walk(folder: Path, inner: str) -> Iterator[Part]:
        stat = folder.stat()
        if (stat.st_dev, stat.st_ino) in seen or folder.resolve() == out:
            return
        seen.add((stat.st_dev, stat.st_ino))
        with os.scandir(folder) as entries:
            found = sorted(
                (e for e in entries if not e.name.startswith(_HIDDEN)), key=lambda e: e.name
            )
        if inner and {ROWS_FILE, RUN_FILE} <= {e.name for e in found}:
            return  # another job's: its pictures are copies
        folders = [e.name for e in found if _is_folder(e)]
        for entry in found:
            known = Path(entry.name).suffix.lower() in (*PICTURES, *DOCUMENTS, *FILMS)
            if known and entry.name not in folders:  # a broken link too: it is told
                yield _part(f"{label}{inner}{entry.name}", entry.path)
        for name in folders if config.which.recursive else ():
            try:
                yield from walk(folder / name, f"{inner}{name}/")
            except OSError as exc:
                yield Part(f"{label}{inner}{name}", str(exc.filename or folder / name), "missing")

    yield from walk(root, "")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _lines(path: Path) -> Iterator[str]:
    data = utf8_of(_read(path))
    for line in data.splitlines():
        name = os.fsdecode(line).strip()
        if name:
            yield name


def _cells(path: Path, column: str) -> Iterator[str]:
    text = utf8_of(_read(path)).decode("utf-8", "surrogateescape")
    rows = csv.DictReader(
        text.splitlines(keepends=True), delimiter="\t" if path.suffix.lower() == ".tsv" else ","
    )
    names = {name.strip().lower(): name for name in rows.fieldnames or () if name}
    wanted = [column.strip().lower()] if column else _COLUMNS
    chosen = next((names[name] for name in wanted if name in names), None)
    if chosen is None:
        said = f" “{plain(column)}”" if column else " of pictures"
        has = plain(", ".join(names.values()), 200) or "no names"
        raise InputError(f"{plain(path.name)} has no column{said}: name one with --column; {has}.")
    for row in rows:
        if row[chosen] and row[chosen].strip():
            yield row[chosen].strip()


def _read(path: Path) -> bytes:
    if path.stat().st_size > _MAX_LIST:
        raise InputError(f"{plain(path.name)} is larger than a list of pictures is: cut it.")
    return path.read_bytes()


def _listed(names: Iterable[str], folder: Path, label: str) -> Iterator[Part]:
    for name in names:
        if is_url(name):
            yield Part(name, name, "web")
        else:
            # Whether it is there is found out when it is its turn.
            yield _part(label + _given(name), str(folder / name))


def _nothing(source: str, which: Which) -> str:
    shown = plain(source)
    path = Path(source)
    if path.is_dir():
        inner = [p for p in path.iterdir() if p.is_dir() and not p.name.startswith(_HIDDEN)]
        if inner and not which.recursive:
            return f"{shown} holds no pictures, only folders: add --recursive."
        return f"{shown} holds no pictures: name another folder."
    return f"“{shown}” names no pictures: check it."


def _picture(part: Part, which: Which) -> Iterator[Item]:
    yield Item(part.name, Place("web" if part.kind == "web" else "file", part.path))


def _missing(part: Part, which: Which) -> Iterator[Item]:
    place = Place("file", part.path)
    yield Item(part.name, place, error="The folder cannot be read: check its rights.")


def _document(part: Part, which: Which) -> Iterator[Item]:
    digest = file_digest(part.file)
    for number in page_numbers(which.pages, count_pages_of(part.file)):
        place = Place("page", part.path, number=number)
        yield Item(part.name, place, page=number, sha256=digest)


def page_numbers(wanted: str, count: int) -> list[int]:
    """Return the numbers of pages that "1-3,7,9-" means in a document of so many.

    Raises:
        InputError: It means nothing, or no page that is there.
    """
    numbers: dict[int, None] = {}
    for piece in filter(None, re.split(r"[,\s]+", wanted or f"1-{count}")):
        match = re.fullmatch(r"(\d{0,9})(-?)(\d{0,9})", piece)
        if not match or piece == "-":
            raise InputError(f"“{plain(wanted)}” names no pages: write 3, 1-5 or 1-5,9.")
        first = int(match[1] or 1)
        last = int(match[3] or count) if match[2] else first
        numbers.update(dict.fromkeys(range(max(1, first), min(last, count) + 1)))
    if not numbers:
        raise InputError(f"The document has {count} pages, and none of “{plain(wanted)}”.")
    return list(numbers)


def _film(part: Part, which: Which) -> Iterator[Item]:
    digest = file_digest(part.file)
    for number, seconds, picture in frames_of(part.file, which.every):
        place = Place("frame", part.path, which.every, number)
        yield Item(part.name, place, 0, number, seconds, digest, picture)


def packed_in(part: Part) -> Iterator[str]:
    """Yield the names of a zip's entries that a job tells of.

    Raises:
        InputError: It is no zip that can be opened.
    """
    for name in entries_of(part.file):
        path = PurePosixPath(name)
        hidden = any(p.startswith(_HIDDEN) for p in path.parts)
        if not hidden and path.suffix.lower() in (*PICTURES, *DOCUMENTS, *FILMS):
            yield name


def _archive(part: Part, which: Which) -> Iterator[Item]:
    for name in packed_in(part):
        picture = PurePosixPath(name).suffix.lower() in PICTURES
        error = "" if picture else _PACKED
        yield Item(part.name + name, Place("zip", part.path, name), error=error)


def _set(part: Part, which: Which) -> Iterator[Item]:
    pictures = open_pictures(part.path, part.part, which.column)
    width = len(str(len(pictures)))
    for row in range(len(pictures)):
        place = Place("cell", part.path, f"{part.part}/{which.column}", row)
        yield Item(f"{part.name}/{row:0{width}}", place)


_ITEMS = {
    "picture": _picture,
    "web": _picture,
    "document": _document,
    "film": _film,
    "zip": _archive,
    "set": _set,
    "missing": _missing,
}


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file of any length, in hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
