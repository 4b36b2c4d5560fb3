"""Decode a picture in a process of its own, which ends when it takes too long or too much.

For formats whose cost no header tells: an AVIF or a TIFF can say 10 x 10 and decode for minutes.
The process is ``decoder`` run as a program, with ceilings on memory, time and output, without
this process's environment; that bounds accidents and crashes, it is no sandbox. It costs 40 to 60
ms. Does not know what can be decoded without it.
"""

from __future__ import annotations

import logging
import mmap
import os
import signal
import subprocess
import sys
import tempfile
from typing import BinaryIO

from PIL import Image

from florence_demo.pictures import decoder
from florence_demo.pictures.decoder import DAMAGED, OK, NoDecoder, Size, TooManyPixels, check_pixels

logger = logging.getLogger(__name__)

SECONDS = 10.0

_KEPT = ("HOME", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "SYSTEMROOT", "TMPDIR")


class TooSlow(Exception):
    """Say that a picture's decoder was ended before it was done."""


class Unavailable(Exception):
    """Say that no process could be started, or that it had no room for its result."""


def apart_environment() -> dict[str, str]:
    """Return the environment of a process that opens strangers' files: no secrets, few threads."""
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # address space is what is limited: one heap, and no threads that reserve more of it
    few = {"MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return environment | few


def decode_apart(data: bytes, kind: str, max_pixels: int, known: int = 0) -> Image.Image:
    """Return the picture in RGB, upright.

    Args:
        data: The file.
        kind: Its format, one of ``decoder.PLUGINS``.
        max_pixels: Most pixels that it may have.
        known: Its pixels, where the header told: some decoders need memory for them at once.

    Raises:
        TooManyPixels: It is larger.
        NoDecoder: This installation has none for the format.
        TooSlow: It took longer than its size explains, or more than ``SECONDS``.
        Unavailable: The process could not be started or had no room for its result.
        ValueError: It is damaged, or took more memory than its size explains.
    """
    numbers = [str(number) for number in (max_pixels, len(data), known)]
    command = [sys.executable, "-P", decoder.__file__, kind, *numbers]
    with _result_file() as out:
        try:
            done = subprocess.run(
                command,
                input=data,
                stdout=out,
                stderr=subprocess.DEVNULL,
                env=apart_environment(),
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired as exc:
            raise TooSlow from exc
        except OSError as exc:
            raise Unavailable from exc
        size = _size_told(out)
        _check(done.returncode, size)
        check_pixels(size, max_pixels)
        return _read(out, size)


def _result_file() -> BinaryIO:
    try:
        return tempfile.TemporaryFile()
    except OSError as exc:
        raise Unavailable from exc


def _size_told(out: BinaryIO) -> Size:
    out.seek(0)
    told = out.readline(64).split()
    if len(told) != 2 or not all(part.isdigit() for part in told):
        return 0, 0
    return int(told[0]), int(told[1])


def _check(code: int, size: Size) -> None:
    """Raise what the end of the process means."""
    if code == OK:
        return
    if code == decoder.TOO_MANY_PIXELS:
        raise TooManyPixels(size)
    if code == decoder.NO_DECODER:
        raise NoDecoder
    if code == decoder.NO_ROOM:
        raise Unavailable
    if code == -getattr(signal, "SIGXCPU", 0):  # Windows has none
        raise TooSlow
    if code != DAMAGED:
        logger.warning("A picture's decoder ended with %d", code)
    raise ValueError("damaged")


def _read(out: BinaryIO, size: Size) -> Image.Image:
    start = out.tell()
    length = os.fstat(out.fileno()).st_size
    if length - start != 3 * size[0] * size[1] or not length - start:
        raise ValueError("the process wrote another amount than it told")
    with (
        mmap.mmap(out.fileno(), length, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as whole,
        whole[start:] as pixels,
    ):
        return Image.frombytes("RGB", size, pixels)
