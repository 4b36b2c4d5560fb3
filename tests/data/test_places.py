"""Where one picture is, as a value that travels, and what is said where there is none."""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from PIL import Image

from florence_demo.data import places
from florence_demo.data.places import Place, entries_of
from florence_demo.errors import FlorenceDemoError


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


def test_frames_that_follow_each_other_open_a_video_once(monkeypatch):
    opened: list[Path] = []

    def open_frames(path: Path, every: str):
        opened.append(path)
        for number in range(0, 50, 5):
            picture = Image.new("RGB", (2, 2), (number, 0, 0))
            yield SimpleNamespace(number=number, seconds=number / 10, picture=picture)

    module = ModuleType("frames")
    module.open_frames = open_frames
    monkeypatch.setitem(sys.modules, "florence_demo.pictures.frames", module)
    monkeypatch.setattr(places, "_FILM", places._Film())
    reds = [
        places._FILM.frame(Place("frame", "a.mp4", "5", number)).getpixel((0, 0))[0]
        for number in (0, 10, 45, 5)
    ]
    assert reds == [0, 10, 45, 5]
    assert len(opened) == 2, "once more only to go back"
    with pytest.raises(FlorenceDemoError, match="no frame 3"):
        places._FILM.frame(Place("frame", "a.mp4", "5", 3))
