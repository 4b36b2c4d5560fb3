"""Large pictures share so much room; small ones need none."""

from __future__ import annotations

import io
import threading

import pytest
from PIL import Image

from florence_demo.errors import InputError
from florence_demo.pictures import web
from florence_demo.pictures.room import LARGE, Room

SIDE = 2100  # 4.4 megapixels


def encoded(side: int, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "GIF"], ids=["told by its header", "told by decoding"])
def test_a_large_picture_waits_until_there_is_room(kind):
    room = Room(pixels=SIDE * SIDE, seconds=60)
    first = room.open(encoded(SIDE, kind))
    opened = threading.Event()

    def second() -> None:
        room.open(encoded(SIDE, kind))
        opened.set()

    thread = threading.Thread(target=second, daemon=True)
    thread.start()
    assert room.open(encoded(9, "PNG")).size == (9, 9)
    assert not opened.is_set()
    del first
    assert opened.wait(60)
    thread.join(60)


def test_who_waits_too_long_is_told():
    room = Room(pixels=LARGE, seconds=0)
    held = room.open(encoded(SIDE, "PNG"))
    assert held.size == (SIDE, SIDE)
    with pytest.raises(InputError, match="found no room: try again"):
        room.open(encoded(SIDE, "PNG"))


def test_a_fetched_picture_shares_the_room_of_those_that_are_uploaded(monkeypatch):
    room = Room(pixels=LARGE, seconds=0)
    monkeypatch.setattr(web, "ROOM", room)
    monkeypatch.setattr(web._Fetch, "get", lambda *_: encoded(SIDE, "PNG"))
    held = room.open(encoded(SIDE, "PNG"))
    assert held.size == (SIDE, SIDE)
    with pytest.raises(InputError, match="found no room"):
        web.fetch_image("https://example.org/a.png")
    del held
    assert web.fetch_image("https://example.org/a.png").size == (SIDE, SIDE)


def test_what_cannot_be_opened_takes_no_room():
    room = Room(pixels=LARGE, seconds=0)
    broken = encoded(SIDE, "PNG")[:-2000]
    with pytest.raises(InputError):
        room.open(broken)
    with pytest.raises(InputError):
        room.open(encoded(SIDE, "GIF")[:1000])
    assert room.open(encoded(SIDE, "PNG")).size == (SIDE, SIDE)
    assert room._open == 0
