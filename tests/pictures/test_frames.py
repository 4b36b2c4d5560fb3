"""Frames of a video: which, when, how they lie; and what becomes of hostile and broken ones."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import psutil
import pytest

from florence_demo.errors import InputError
from florence_demo.pictures.frames import (
    FRAME_LIMITS,
    BrokenOff,
    Every,
    Frame,
    check_every,
    count_frames_estimate,
    open_frames,
)
from tests import film_makers as make

plain = functools.cache(make.film)
whole = functools.cache(lambda: make.film(50, front=True, sound=True))


def saved(folder: Path, data: bytes) -> Path:
    path = folder / "a.mp4"
    path.write_bytes(data)
    return path


EVERY = {
    "25": Every(25), "1": Every(1), "1s": Every(seconds=1), "0.5s": Every(seconds=0.5),
    "200ms": Every(seconds=0.2), "2min": Every(seconds=120), "1h": Every(seconds=3600),
    " 2 s ": Every(seconds=2), "3SEC": Every(seconds=3), "2.0": Every(2),
}  # fmt: skip


@pytest.mark.parametrize("every", EVERY)
def test_what_is_wanted_is_read(every: str) -> None:
    found = check_every(every)
    assert found.frames == EVERY[every].frames
    assert found.seconds == pytest.approx(EVERY[every].seconds)


@pytest.mark.parametrize(
    "every",
    ["", "0", "0s", "-1", "1.5", "2 weeks", "s", "1e3", "nan", "9" * 5000, "<b>", "0.0001s", "٣s"],
)
def test_what_says_nothing_is_told(every: str) -> None:
    with pytest.raises(InputError, match="names no frames: write 25") as caught:
        check_every(every)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("every", "numbers"),
    [
        ("1", range(20)),
        ("7", [0, 7, 14]),
        ("100", [0]),
        ("1s", [0, 10]),
        ("0.5s", [0, 5, 10, 15]),
        ("0.25s", [0, 3, 5, 8, 10, 13, 15, 18]),
        ("50ms", range(20)),
        ("1min", [0]),
    ],
)
def test_frames_are_chosen(tmp_path: Path, every: str, numbers: list[int]) -> None:
    path = saved(tmp_path, plain())
    frames = list(open_frames(path, every))
    assert [frame.number for frame in frames] == list(numbers)
    for frame in frames:
        assert frame.seconds == pytest.approx(frame.number / make.RATE)
        shade = make.picture(frame.number).getpixel((40, 3))[0]
        assert frame.picture.getpixel((40, 3))[0] == pytest.approx(shade, abs=4)
    assert abs(count_frames_estimate(path, every) - len(frames)) <= (every == "50ms") * 20


@pytest.mark.parametrize("kind", ["mp4", "matroska", "mpegts", "mov"])
def test_containers(tmp_path: Path, kind: str) -> None:
    frames = list(open_frames(saved(tmp_path, make.film(20, kind)), "1s"))
    assert [(frame.number, round(frame.seconds, 2)) for frame in frames] == [(0, 0.0), (10, 1.0)]


def test_a_title_in_another_alphabet_is_no_damage(tmp_path: Path) -> None:
    data = make.titled("Grüße aus Köln".encode("latin-1"))
    assert b"\xfc" in data
    assert len(list(open_frames(saved(tmp_path, data), "1"))) == 3


@pytest.mark.parametrize(
    ("turn", "size", "red"),
    [
        (0, (64, 32), (3, 3)),
        (90, (32, 64), (28, 3)),
        (180, (64, 32), (60, 28)),
        (270, (32, 64), (3, 60)),
        ("mirrored", (64, 32), (60, 3)),
    ],
)
def test_a_turned_video_is_upright(
    tmp_path: Path, turn: int | str, size: tuple[int, int], red: tuple[int, int]
) -> None:
    frame = next(open_frames(saved(tmp_path, make.turned(plain(), turn))))
    assert (frame.picture.mode, frame.picture.size) == ("RGB", size)
    found = frame.picture.getpixel(red)
    assert found[0] > 200 > 60 > max(found[1:])


@pytest.mark.parametrize(
    ("aspect", "pixels", "size"),
    [
        (Fraction(2), 10_000, (128, 32)),
        (Fraction(1, 2), 10_000, (32, 32)),
        (Fraction(2), 3000, (64, 16)),
        (Fraction(100), 10_000, (64, 32)),
    ],
    ids=str,
)
def test_pixels_become_square(
    tmp_path: Path, aspect: Fraction, pixels: int, size: tuple[int, int]
) -> None:
    path = saved(tmp_path, make.film(2, aspect=aspect))
    frame = next(open_frames(path, limits=replace(FRAME_LIMITS, pixels=pixels)))
    assert frame.picture.size == size


def all_of(path: Path, every: str = "1", **limits: object) -> tuple[list[Frame], str]:
    """The frames that come, and the sentence that ends them."""
    frames: list[Frame] = []
    try:
        for frame in open_frames(path, every, limits=replace(FRAME_LIMITS, **limits)):
            frames.append(frame)
    except BrokenOff as exc:
        return frames, str(exc)
    return frames, ""


@pytest.mark.parametrize("kind", ["mp4", "matroska"])
def test_what_came_before_the_cut_is_kept_and_told(tmp_path: Path, kind: str) -> None:
    data = whole() if kind == "mp4" else make.film(50, kind, sound=True)
    frames, told = all_of(saved(tmp_path, data[: len(data) * 2 // 3]))
    assert 10 < len(frames) < 45
    assert [frame.number for frame in frames] == list(range(len(frames)))
    assert f"(frame {len(frames) - 1}): what came before was kept" in told


def test_sound_that_is_longer_than_the_video_is_no_cut(tmp_path: Path) -> None:
    data = make.film(5, "matroska", sound=True, tone_seconds=4.0)
    assert [len(all_of(saved(tmp_path, data))[0]), all_of(tmp_path / "a.mp4")[1]] == [5, ""]


def test_a_whole_video_tells_nothing(tmp_path: Path) -> None:
    frames, told = all_of(saved(tmp_path, whole()))
    assert (len(frames), told) == (50, "")


def test_damage_in_the_middle_is_told(tmp_path: Path) -> None:
    data = bytearray(plain(30))
    first, last = data.index(b"mdat"), data.index(b"moov")
    for place in range((first + last) // 2, last - 200):
        data[place] ^= 0x5A
    frames, told = all_of(saved(tmp_path, bytes(data)))
    assert 0 < len(frames) < 30
    assert "are damaged and were left out" in told


def _playlist(folder: Path) -> bytes:
    (folder / "other.mp4").write_bytes(plain())
    return make.PLAYLIST % str(folder / "other.mp4").encode()


REFUSED: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "nothing": (lambda _: b"", "is empty"),
    "text": (lambda _: b"hello", "is no video"),
    "cut before its index": (lambda _: plain()[:1500], "is no video"),
    "sound": (lambda _: make.sound_only(), "holds no video"),
    "a list of other files": (_playlist, "is no video"),
    "a list of addresses": (lambda _: make.PLAYLIST % b"http://127.0.0.1:9/a.ts", "is no video"),
    "a list of joined files": (lambda _: b"ffconcat version 1.0\nfile other.mp4\n", "is no video"),
    "a description of pictures": (lambda _: b"<?xml version='1.0'?><MPD></MPD>", "is no video"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_video_is_a_sentence(tmp_path: Path, name: str) -> None:
    data, told = REFUSED[name]
    with pytest.raises(InputError, match=told) as caught:
        next(open_frames(saved(tmp_path, data(tmp_path))))
    assert not isinstance(caught.value, BrokenOff)
    with pytest.raises(InputError, match=told):
        count_frames_estimate(tmp_path / "a.mp4")


def test_limits(tmp_path: Path) -> None:
    path = saved(tmp_path, plain())
    with pytest.raises(InputError, match=r"more than 10 of these frames: .* --every 10s"):
        next(open_frames(path, "1", limits=replace(FRAME_LIMITS, frames=10)))
    with pytest.raises(InputError, match=r"more than 0\.001 megapixels"):
        next(open_frames(path, limits=replace(FRAME_LIMITS, pixels=1000)))
    with pytest.raises(InputError, match=r"larger than 0\.001 MB"):
        open_frames(path, limits=replace(FRAME_LIMITS, bytes=1000))
    with pytest.raises(InputError, match="takes too long to open"):
        next(open_frames(path, limits=replace(FRAME_LIMITS, seconds=0.001)))
    frames, told = all_of(path, work=0.0005, seconds=20.0)
    assert len(frames) <= 1
    assert "too long" in told or "further" in told


def test_more_frames_than_were_told_end(tmp_path: Path) -> None:
    """A container without a length tells nothing of how many there are."""
    frames, told = all_of(saved(tmp_path, make.film(20, "h264")), frames=5)
    assert len(frames) == 5
    assert "more than 5 of these frames" in told


def test_the_process_ends_with_the_frames(tmp_path: Path) -> None:
    def programs() -> set[int]:
        return {child.pid for child in psutil.Process().children()}

    before = programs()
    frames = open_frames(saved(tmp_path, plain()))
    next(frames)
    assert len(programs() - before) == 1
    frames.close()
    assert programs() == before


def test_the_library_stays_out_of_the_app() -> None:
    code = "import sys, florence_demo.pictures.frames; print('av' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
