"""The door for videos: their frames as pictures."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

from hypothesis import strategies as st

from florence_demo.pictures.frames import FRAME_LIMITS, BrokenOff, Frame, open_frames
from tests import film_makers as make
from tests.fuzz.doors import Door, Drive
from tests.fuzz.guards import Guard
from tests.fuzz.mutations import among, bent_bytes
from tests.fuzz.oracle import SECRET, Breach

_LIMITS = replace(FRAME_LIMITS, seconds=4.0, work=10.0, pixels=4_000_000, memory=1 << 29)


@functools.cache
def honest() -> dict[str, bytes]:
    """Small videos in several containers."""
    kinds = ("mp4", "matroska", "mpegts", "avi", "flv", "h264")
    found = {kind: make.film(6, kind) for kind in kinds}
    return {**found, "web": make.film(6, front=True, sound=True)}


@contextmanager
def opened(folder: Path) -> Iterator[Drive]:
    """Take frames of a video, as the command line does."""
    guard, path = Guard(), folder / "a.mp4"

    def drive(data: bytes) -> None:
        path.write_bytes(data)
        frames: list[Frame] = []
        with guard.watching():
            try:
                for frame in islice(open_frames(path, "2", limits=_LIMITS), 20):
                    frames.append(frame)
            except BrokenOff:
                pass
            finally:
                guard.check()
        for frame in frames:
            if frame.picture.mode != "RGB" or frame.picture.width * frame.picture.height > 4e6:
                raise Breach(f"a frame as {frame.picture.mode}, {frame.picture.size}")
        if any(a.number >= b.number for a, b in pairwise(frames)):
            raise Breach("frames out of order")

    drive(make.film(3))
    yield drive


def _with_box(name: bytes, at: int, value: bytes) -> Callable[[], bytes]:
    """An MP4 with some bytes of a box changed."""

    def made() -> bytes:
        data = honest()["mp4"]
        place = data.index(name) + 4 + at
        return data[:place] + value + data[place + len(value) :]

    return made


def corpus() -> dict[str, Callable[[], bytes]]:
    """Hostile videos, each of a kind of its own."""
    most = struct.pack(">I", 2**32 - 1)
    found: dict[str, Callable[[], bytes]] = {
        "nothing": lambda: b"",
        "text": lambda: b"hello",
        "sound": make.sound_only,
        "a list of other files": lambda: make.PLAYLIST % SECRET.encode(),
        "a list of addresses": lambda: make.PLAYLIST % b"http://127.0.0.1:9/a.ts",
        "files one after the other": lambda: f"ffconcat version 1.0\nfile '{SECRET}'\n".encode(),
        "a description": lambda: b"<?xml version='1.0'?><MPD><BaseURL>file:///</BaseURL></MPD>",
        "a script": lambda: b"v=0\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
        "frames of 65,535": _with_box(b"avc1", 24, b"\xff" * 4),
        "a screen of 65,535": _with_box(b"tkhd", 76, b"\xff" * 8),
        "no time": _with_box(b"mdhd", 12, bytes(4)),
        "all times": _with_box(b"mdhd", 12, most * 2),
        "four thousand million frames": _with_box(b"stsz", 8, most),
        "four thousand million times": _with_box(b"stts", 4, most),
        "pieces elsewhere": _with_box(b"stco", 8, most),
        "a box in itself": _with_box(b"moov", -8, struct.pack(">I", 1)),
    }
    for name, data in honest().items():
        for share in (1, 2, 3):
            found[f"{name} cut at {share} of 4"] = lambda data=data, share=share: data[
                : len(data) * share // 4
            ]
    return found


def inputs() -> st.SearchStrategy[bytes]:
    """Honest videos, bent."""
    plain = among(list(honest().values()))
    return st.one_of(bent_bytes(plain), bent_bytes(plain, 3))


_QUICK = (
    "text", "sound", "a list of other files", "a list of addresses", "files one after the other",
    "frames of 65,535", "all times", "four thousand million frames", "web cut at 3 of 4",
)  # fmt: skip

DOOR = Door("frames", corpus, inputs, opened, _QUICK)
