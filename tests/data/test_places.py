"""Where one picture is, as a value that travels, and what is said where there is none."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from PIL import Image

from florence_demo.data import places
from florence_demo.data.places import Place, entries_of
from florence_demo.errors import FlorenceDemoError, InputError
from tests import document_makers as make


def _png(red: int = 1) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (red, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


PLACES = [
    Place("file", "/a/b.png"),
    Place("zip", "/a.zip", "b/c.png"),
    Place("web", "https://example.org/a.png"),
    Place("page", "/a.pdf", number=3),
    Place("frame", "/a.mp4", "1s", 0),
    Place("cell", "/set", "/image", 7),
    Place("file", "/bad\udcff.png"),
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.kind)
def test_a_place_travels(place):
    assert pickle.loads(pickle.dumps(place)) == place
    assert Place.from_json(place.to_json()) == place


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        {},
        {"kind": "file"},
        {"kind": "nowhere", "path": "a"},
        {"kind": "file", "path": 3},
        {"kind": "file", "path": "a", "number": "1"},
        {"kind": "file", "path": "a", "more": 1},
    ],
    ids=str,
)
def test_what_is_no_place_is_refused(values):
    if values == {"kind": "file"}:
        assert Place.from_json(values).path == ""
        return
    with pytest.raises(ValueError):
        Place.from_json(values)


def test_files_and_entries_are_read(tmp_path):
    (tmp_path / "a.png").write_bytes(_png())
    assert Place("file", str(tmp_path / "a.png")).read() == _png()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("b/c.png", _png(2))
        archive.writestr("b/d.png", _png(3))
    assert entries_of(tmp_path / "a.zip") == ["b/c.png", "b/d.png"]
    assert Place("zip", str(tmp_path / "a.zip"), "b/d.png").read() == _png(3)


def test_what_is_not_there_is_told(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK no zip")
    (tmp_path / "folder.png").mkdir()
    for place in (
        Place("file", str(tmp_path / "gone.png")),
        Place("file", str(tmp_path / "folder.png")),
        Place("file", "a\0b"),
        Place("zip", str(tmp_path / "a.zip"), "b.png"),
        Place("cell", str(tmp_path), "/image", 0),
    ):
        with pytest.raises(FlorenceDemoError, match=r"\.$"):
            place.read()
    with pytest.raises(FlorenceDemoError):
        entries_of(tmp_path / "a.zip")


def _red(kind: str, number: int) -> int:
    picture = Place(kind, "a", "5" if kind == "frame" else "", number).read()
    return picture.getpixel((0, 0))[0]


@pytest.fixture
def opened(monkeypatch) -> list[int]:
    """A document of twenty pages, whose eleventh is damaged, and a film of ten frames.

    Returns:
        Where each was opened.
    """
    begun: list[int] = []

    def open_pages(path: Path, wanted: str, dpi: int):
        first = int(wanted.rstrip("-"))
        begun.append(first)
        for number in range(first, 21):
            if number == 11:
                raise InputError("Page 11 is damaged.")
            picture = Image.new("RGB", (2, 2), (number, 0, 0))
            yield SimpleNamespace(number=number, picture=picture)

    def open_frames(path: Path, every: str, limits: object):
        begun.append(0)
        for number in range(0, 50, 5):
            picture = Image.new("RGB", (2, 2), (number, 0, 0))
            yield SimpleNamespace(number=number, seconds=number / 10, picture=picture)

    for name, values in {
        "pages": {"open_pages": open_pages},
        "frames": {"open_frames": open_frames, "FILM_LIMITS": None},
    }.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, f"florence_demo.pictures.{name}", module)
    for kept in (places._PAGES, places._FRAMES):
        kept.__post_init__()
    return begun


@pytest.mark.parametrize(
    ("kind", "numbers", "begun"),
    [
        ("page", [1, 2, 3, 4], [1]),
        ("page", [1, 3, 2, 5, 4], [1]),
        ("page", [1, 20], [1, 20]),
        ("page", [9, 12, 13], [9, 12]),
        ("page", [5, 4], [5, 4]),
        ("frame", [0, 10, 45], [0]),
        ("frame", [0, 10, 5, 20], [0]),
        ("frame", [45, 0], [0, 0]),
    ],
    ids=str,
)
def test_pictures_that_follow_each_other_are_opened_once(opened, kind, numbers, begun):
    assert [_red(kind, number) for number in numbers] == numbers
    assert opened == begun


def test_a_damaged_page_is_told_of_itself_alone(opened):
    assert _red("page", 10) == 10
    with pytest.raises(InputError, match="Page 11"):
        _red("page", 11)
    assert _red("page", 12) == 12
    with pytest.raises(InputError, match="no page 21"):
        _red("page", 21)
    with pytest.raises(InputError, match="no frame 3"):
        _red("frame", 3)


_ENDING = """
import atexit, sys
import psutil
atexit.register(lambda: print("at the end", len(psutil.Process().children())))
from florence_demo.data.places import Place
Place("page", sys.argv[1], number=1).read()
print("before", len(psutil.Process().children()))
"""


def test_a_file_left_open_is_closed_before_the_program_is_taken_apart(tmp_path):
    page = make.filled((0, 0, 0), (0, 0, 9, 9))
    (tmp_path / "a.pdf").write_bytes(make.document([page] * 3, (36, 36)))
    command = [sys.executable, "-c", _ENDING, tmp_path / "a.pdf"]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (told.stdout, told.stderr) == ("before 1\nat the end 0\n", "")


@pytest.mark.parametrize(
    ("place", "stem"),
    [
        (Place("file", "/a/b c.tar.png"), "b c.tar"),
        (Place("zip", "/a.zip", "b/c.png"), "c"),
        (Place("zip", "/a.zip", "..\\..\\c.png"), "c"),
        (Place("web", "https://example.org/a%20b.png?x=/y.jpg"), "a b"),
        (Place("web", "https://example.org/"), ""),
        (Place("page", "/scans/letter.v2.pdf", number=3), "letter.v2-page-3"),
        (Place("frame", "/a.mp4", "1s", 48), "a-frame-48"),
        (Place("cell", "/set", "/image", 7), ""),
    ],
    ids=str,
)
def test_a_place_says_what_its_picture_may_be_called(place, stem):
    assert place.stem == stem
