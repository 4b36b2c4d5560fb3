"""What a person takes home of one answer: which formats it has, and the file that is chosen.

Knows the formats of ``output``, which hold an answer, and those of ``data``, which hold a set for
trainers: of these, one with the picture as it came. Does not know the page.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from florence_demo.data.example import Example
from florence_demo.data.formats import READERS
from florence_demo.errors import InputError, printable
from florence_demo.output.export import EXPORTERS, Exporter, Files, Has, Parcel
from florence_demo.pictures.images import save_picture
from florence_demo.prediction import Detections, Prediction

EVERYTHING = "everything"
"""The download of all formats at once."""

_ALL = "All of these (zip)"

_MAX_LETTERS, _MAX_BYTES, _SUFFIX = 80, 180, 9
# What browsers, cameras and clipboards call a picture that has no name.
_NO_NAMES = {"", "blob", "clipboard", "file", "image", "sample", "webcam"}
_FORBIDDEN = dict.fromkeys(map(ord, '<>:"/\\|?*'), " ")
_STORED = (".png", ".jpg", ".jpeg", ".webp", ".pdf")


def stem_of(file: Path | str | None) -> str:
    """Return what downloads about a picture are called, without an ending: as its file, cleaned.

    A stranger's name is no path and no command to a terminal, and every system takes it.
    """
    own = str(file or "").replace("\\", "/").rpartition("/")[2]
    # Bytes that are no text came as half characters, which nothing prints.
    name = printable(Path(own).stem).translate(_FORBIDDEN)
    short = " ".join(name.split())[:_MAX_LETTERS].encode()[:_MAX_BYTES].decode("utf-8", "ignore")
    short = short.strip(". ")
    return "picture" if short.casefold() in _NO_NAMES else short


def _solid(found: Detections) -> Detections:
    """Return the things that a trainer can learn: each with an area, and a name in one line."""
    corners = enumerate(found.xyxy.tolist())
    kept = found.select([i for i, (x1, y1, x2, y2) in corners if x1 < x2 and y1 < y2])
    names = (" ".join(printable(label).split()) or "object" for label in kept.labels)
    return replace(kept, labels=tuple(names))


def _has_solid(found: Prediction) -> bool:
    return len(_solid(found.detections)) > 0


def _set(name: str) -> Files:
    """Return what writes a set of one picture in a format of ``data``."""

    def files(parcel: Parcel) -> Iterator[tuple[str, bytes]]:
        write = READERS[name].write
        assert write is not None
        with tempfile.TemporaryDirectory() as around:
            # In a set a picture has its file's name.
            suffix = parcel.file.suffix[:_SUFFIX] if parcel.file else ".png"
            own = Path(around, "picture", f"{parcel.name}{suffix}")
            own.parent.mkdir()
            if parcel.file:
                shutil.copyfile(parcel.file, own)
            else:
                save_picture(parcel.picture, own)
            folder = Path(around, "set")
            write([Example(own, "od", detections=_solid(parcel.found.detections))], folder)
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                yield str(path.relative_to(folder).as_posix()), path.read_bytes()

    return files


def _formats() -> Iterator[tuple[str, Exporter]]:
    yield from EXPORTERS.items()
    has: Has = _has_solid
    for name, title in (
        ("coco", "COCO"),
        ("yolo", "YOLO"),
        ("voc", "Pascal VOC"),
        ("labelme", "LabelMe"),
    ):
        yield name, Exporter(f"{title}, with the picture", f".{name}.zip", has, _set(name))


FORMATS: dict[str, Exporter] = dict(_formats())
"""Every format, in the order the interface shows them."""


def offered(found: Prediction) -> list[tuple[str, str]]:
    """Return the titles and names of the formats that have something of an answer."""
    having = [(each.title, name) for name, each in FORMATS.items() if each.has(found)]
    return [*having, (_ALL, EVERYTHING)] if len(having) > 1 else having


def every_format() -> list[tuple[str, str]]:
    """Return the titles and names of all formats, of which an answer has some."""
    return [*((each.title, name) for name, each in FORMATS.items()), (_ALL, EVERYTHING)]


def take_home(parcel: Parcel, kind: str, folder: Path) -> Path:
    """Write an answer in a format into a folder and return the file.

    Raises:
        InputError: There is no such format, or nothing of this answer in it.
        OSError: The disk is full.
    """
    if kind not in dict.fromkeys(name for _, name in offered(parcel.found)):
        raise InputError("This answer has nothing of that format: choose another one.")
    if kind == EVERYTHING:
        return _packed(_everything(parcel), folder / f"{parcel.name}.zip")
    exporter = FORMATS[kind]
    target = folder / f"{parcel.name}{exporter.ending}"
    if exporter.packed:
        return _packed(exporter.files(parcel), target)
    for _, data in exporter.files(parcel):
        target.write_bytes(data)
    return target


def _everything(parcel: Parcel) -> Iterator[tuple[str, bytes]]:
    for kind, exporter in FORMATS.items():
        if exporter.has(parcel.found):
            inside = f"{kind}/" if exporter.packed else ""
            yield from ((f"{inside}{name}", data) for name, data in exporter.files(parcel))


def _packed(files: Iterable[tuple[str, bytes]], target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in files:
            # A fixed date: the same answer gives the same file.
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            dense = name.lower().endswith(_STORED)
            archive.writestr(entry, data, zipfile.ZIP_STORED if dense else zipfile.ZIP_DEFLATED)
    return target
