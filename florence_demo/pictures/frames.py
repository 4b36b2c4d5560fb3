"""Frames of a video as pictures, one at a time.

Knows which frames are wanted and what they may cost. The file is opened in a process apart
(``worker`` and ``frame_decoder``), which ends with the last frame. Does not know tasks or models.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from florence_demo.errors import InputError, plain
from florence_demo.pictures.process import TooSlow, Unavailable
from florence_demo.pictures.worker import Ceilings, Worker, checked_file, name_of


@dataclass(frozen=True)
class FrameLimits:
    """Hold what a stranger's video may cost.

    Attributes:
        frames: Most frames that are taken.
        pixels: Most pixels of a frame.
        bytes: Largest file.
        seconds: What opening it may take, and each frame that is taken, beside its share for those
            that are passed over.
        work: What all frames together may take.
        memory: Bytes that the process may take beside its libraries.
    """

    frames: int = 10_000
    pixels: int = 40_000_000
    bytes: int = 10_000_000_000
    seconds: float = 30.0
    work: float = 3600.0
    memory: int = 3 << 29


FRAME_LIMITS = FrameLimits()
FILM_LIMITS = FrameLimits(frames=1_000_000, work=24 * 3600.0)
"""For one's own video, of which every frame is taken."""

_UNITS = {"": 0.0, "ms": 0.001, "s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}
_PASSED_SECONDS = 0.25  # of work for each frame that is passed over: a slow one of 8K
_PASSED_RATE = 60  # frames a second, where time is what is passed over


class BrokenOff(InputError):
    """Say that a video was damaged or cut off; the frames before are as they should be."""


@dataclass(frozen=True)
class Every:
    """Say which frames are wanted: every so many, or the first of each piece of time.

    Attributes:
        frames: How many, or 0.
        seconds: How long, or 0.
    """

    frames: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Frame:
    """Hold one frame.

    Attributes:
        number: Its index in the video, counted from 0.
        seconds: When it is shown, from the beginning of the video.
        picture: RGB as a screen shows it: turned, with square pixels.
    """

    number: int
    seconds: float
    picture: Image.Image


def check_every(every: str) -> Every:
    """Return what "25", "1s", "0.5s", "200ms" or "2min" says.

    Raises:
        InputError: It says nothing.
    """
    found = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,6})?)\s*([a-z]*)\s*", every.lower(), re.ASCII)
    if found and found[2] in _UNITS:
        amount = float(found[1])
        if found[2] and amount * _UNITS[found[2]] >= 0.001:
            return Every(seconds=amount * _UNITS[found[2]])
        if not found[2] and amount >= 1 and amount == int(amount):
            return Every(frames=int(amount))
    raise InputError(
        f"“{plain(every, 40)}” names no frames: write 25 for every 25th, or a time such as 1s, 0.5s"
        " or 2min."
    )


def count_frames_estimate(
    path: Path, every: str = "1s", *, limits: FrameLimits = FRAME_LIMITS
) -> int:
    """Return about how many frames ``open_frames`` yields; 0 where the file does not tell.

    Raises:
        InputError: As for ``open_frames``.
    """
    wanted = check_every(every)
    path = checked_file(path, limits.bytes)
    with _told(path), _worker(path, wanted, limits) as worker:
        return _estimate(_open(worker, path, limits), wanted)


def open_frames(
    path: Path, every: str = "1s", *, limits: FrameLimits = FRAME_LIMITS
) -> Iterator[Frame]:
    """Yield frames of a video, each decoded when it is asked for.

    Close the iterator, or come to its end, and the process that decodes is gone.

    Args:
        path: The file.
        every: Every how many frames ("25") or how often ("1s", "0.5s", "2min").
        limits: What the file may cost.

    Raises:
        BrokenOff: It was damaged or is cut off, after the frames that could be read.
        InputError: It is no video, has no frames or too many, or takes too long.
    """
    wanted = check_every(every)
    return _frames(checked_file(path, limits.bytes), wanted, limits)


def _frames(path: Path, wanted: Every, limits: FrameLimits) -> Iterator[Frame]:
    name, last = name_of(path), Frame(-1, 0.0, Image.new("RGB", (1, 1)))
    with _told(path), _worker(path, wanted, limits) as worker:
        told = _open(worker, path, limits)
        # What a container says of its rate may be wrong by much.
        counted = told["frames"] or wanted.seconds
        if counted and _estimate(told, wanted) > limits.frames:
            raise InputError(_too_many(path, limits))
        for count in range(limits.frames + 1):
            try:
                head, picture = worker.ask(_patience(wanted, limits), do="next")
            except (TooSlow, ValueError) as exc:
                if not count:
                    raise
                raise BrokenOff(
                    f"{name} cannot be read further than {last.seconds:.1f} s: what came before was"
                    " kept."
                ) from exc
            if picture is None:
                _check_end(head, path)
                return
            if count == limits.frames:
                raise BrokenOff(_too_many(path, limits))
            last = Frame(int(head["number"]), float(head["seconds"]), picture)
            yield last
            if worker.waited > limits.work:
                raise BrokenOff(
                    f"{name} takes too long: it was read up to {last.seconds:.1f} s. Take fewer"
                    " frames with --every 10s."
                )


def _patience(wanted: Every, limits: FrameLimits) -> float:
    """Return the seconds that the next frame may take."""
    passed = wanted.frames or wanted.seconds * _PASSED_RATE
    return max(limits.seconds, min(limits.seconds + _PASSED_SECONDS * passed, limits.work))


def _open(worker: Worker, path: Path, limits: FrameLimits) -> dict[str, Any]:
    """Open the file, and return what it tells of itself."""
    name = name_of(path)
    head, _ = worker.ask(limits.seconds, do="open")
    if head.get("wrong") == "no video":
        raise InputError(f"{name} holds no video, only sound or text: choose another file.")
    if head.get("wrong") == "large":
        megapixels = limits.pixels / 1_000_000
        raise InputError(f"{name} has frames of more than {megapixels:g} megapixels: shrink it.")
    if "wrong" in head:
        raise InputError(_broken(path))
    return head


def _estimate(told: dict[str, Any], wanted: Every) -> int:
    if wanted.frames:
        amount: float = (told["frames"] or told["seconds"] * told["rate"]) / wanted.frames
    else:
        amount = told["seconds"] / wanted.seconds
    return math.ceil(min(amount, 1e12))


def _check_end(head: dict[str, Any], path: Path) -> None:
    """Tell how the video ended, where it is not whole."""
    name = name_of(path)
    if head.get("wrong") or not head["frames"]:
        whole = head.get("end") == "whole"
        raise InputError(f"{name} has no frames: choose another file." if whole else _broken(path))
    if head["end"] == "cut":
        raise BrokenOff(
            f"{name} breaks off after {head['last']:.1f} s (frame {head['frames'] - 1}): what came"
            " before was kept."
        )
    if head["end"] == "damaged":
        raise BrokenOff(f"Parts of {name} are damaged and were left out: the others were kept.")


def _worker(path: Path, wanted: Every, limits: FrameLimits) -> Worker:
    ceilings = Ceilings(limits.pixels, limits.memory)
    asked = {"frames": wanted.frames, "seconds": wanted.seconds}
    return Worker("frame_decoder", ceilings, path=str(path), pixels=limits.pixels, **asked)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn the end of the process into a sentence."""
    try:
        yield
    except TooSlow as exc:
        raise InputError(f"{name_of(path)} takes too long to open: save it anew as MP4.") from exc
    except Unavailable as exc:
        raise InputError("No video can be opened at this moment: try again.") from exc
    except ValueError as exc:
        raise InputError(_broken(path)) from exc


def _too_many(path: Path, limits: FrameLimits) -> str:
    return (
        f"{name_of(path)} has more than {limits.frames:,} of these frames: take fewer, such as"
        " with --every 10s."
    )


def _broken(path: Path) -> str:
    return f"{name_of(path)} is no video that can be read, or is damaged: save it anew as MP4."
