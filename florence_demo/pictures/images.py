"""Every way a picture gets in: a file, bytes, a data URL, an open picture, an array.

Knows who may cost how much. What comes out is always 8-bit RGB, turned the way a person sees it.
Does not know how formats are put together (``headers``) or decoded (``decoder``,
``process``), nor tasks, models or drawing, and opens no connection (``web`` does).
"""

from __future__ import annotations

import base64
import binascii
import io
import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from florence_demo.errors import InputError, printable
from florence_demo.files import write_whole
from florence_demo.pictures.decoder import (
    MAX_SIDE,
    PLUGINS,
    Box,
    NoDecoder,
    Size,
    TooManyPixels,
    check_pixels,
    from_numbers,
    open_as,
    upright,
)
from florence_demo.pictures.headers import Still, read_still, sniff
from florence_demo.pictures.process import TooSlow, Unavailable, decode_apart

logger = logging.getLogger(__name__)

Source = str | Path | bytes | BinaryIO | Image.Image | NDArray[Any]


@dataclass(frozen=True)
class ImageLimits:
    """Hold what a stranger's picture may cost.

    Attributes:
        max_bytes: Largest file, in bytes.
        max_pixels: Largest picture, width times height, read from the header before decoding: a
            telephone's 48, 50 and 64 megapixels are let in.
        max_scans: Most times that a JPEG's decoder may go over its pixels; usual ones take 1 to 20.
        max_scanned: Most pixels times scans.
    """

    max_bytes: int = 50_000_000
    max_pixels: int = 65_000_000
    max_scans: int = 200
    max_scanned: int = 1_000_000_000


LIMITS = ImageLimits()

_AT_ONCE = 2
_LARGE_PIXELS = 16_000_000
_MAX_ESCAPES = 1_000_000
_WAIT_SECONDS = 30.0
# Of what is decoded here one picture at a time may be large. What may take long has places of its
# own, so that nobody's JPEG waits for it.
_HERE, _LARGE, _APART = (threading.BoundedSemaphore(n) for n in (_AT_ONCE, 1, _AT_ONCE))

_NOT_A_PICTURE = "This file is not a picture that can be read: choose a JPEG, PNG, WebP or HEIC."
_DAMAGED = "This picture is damaged or cut off: save it again or choose another one."
_TOO_SLOW = "This picture takes too long to open: save it as an ordinary JPEG or PNG."
_TOO_MANY_SCANS = "This JPEG is stored in too many passes: save it again as an ordinary JPEG."
_NO_DECODER = "Pictures of this kind cannot be opened here: save the picture as JPEG or PNG."
_UNAVAILABLE = "This picture cannot be opened at this moment: try again, or save it as JPEG."
_BUSY = "Too many pictures are being opened at this moment: try again in half a minute."


def open_at_once(count: int) -> None:
    """Let so many pictures be decoded at once in this process, a quarter of them large ones.

    For a program of the operator's own, whose pictures nobody waits behind: strangers get two.
    """
    global _HERE, _LARGE, _APART
    _HERE, _APART = (threading.BoundedSemaphore(max(_AT_ONCE, count)) for _ in range(2))
    _LARGE = threading.BoundedSemaphore(max(1, count // 4))


def open_image(source: Source, *, limits: ImageLimits = LIMITS) -> Image.Image:
    """Open a picture from anywhere but the web, ready for a model.

    Args:
        source: A path, a ``data:`` URL, the bytes or the open file of a picture, a Pillow image,
            or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of bytes, wider integers or
            floats.
        limits: What the picture may cost.

    Returns:
        An RGB picture: orientation applied, transparency on white, first frame of an animation.

    Raises:
        InputError: The source is no picture, is damaged, missing or larger than the limits.
    """
    data = b"" if isinstance(source, Image.Image | np.ndarray) else _read(source, limits)
    with _told(limits):
        if isinstance(source, Image.Image):
            if source.format not in (None, "MPO", *PLUGINS):
                raise InputError(_NOT_A_PICTURE)  # loading an EPS would start a program
            _check_size(source.size, limits)
            with _place(_HERE, *_large(source.size)):
                source.load()
                return upright(source)
        if isinstance(source, np.ndarray):
            return _from_array(source, limits)
        kind, still = _recognise(data)
        if still is None:
            with _place(_APART):
                return decode_apart(data, kind, limits.max_pixels)
        _check_still(still, limits)
        return _from_still(still, limits)


def _from_still(still: Still, limits: ImageLimits) -> Image.Image:
    """Decode a picture of known cost: here, unless its decoder holds four copies of it."""
    if still.kind == "WEBP" and _large(still.size):
        with _place(_APART):
            image = decode_apart(still.data, still.kind, limits.max_pixels, still.pixels)
            return upright(image, still.orientation)
    with _place(_HERE, *_large(still.size)):
        image = open_as(still.data, still.kind, limits.max_pixels)
        image.load()
        return upright(image, still.orientation)


def upright_size(source: str | Path | bytes | BinaryIO, *, limits: ImageLimits = LIMITS) -> Size:
    """Return (width, height) of the picture that ``open_image`` returns.

    Of JPEG, PNG and WebP only the header is read.

    Raises:
        InputError: As for ``open_image``.
    """
    data = _read(source, limits)
    return size_told(data, limits=limits) or open_image(data, limits=limits).size


def size_told(
    source: str | Path | bytes | BinaryIO, *, limits: ImageLimits = LIMITS
) -> Size | None:
    """Return (width, height) of the upright picture by its header; None where only decoding tells.

    Raises:
        InputError: As for ``open_image``.
    """
    data = _read(source, limits)
    with _told(limits):
        _, still = _recognise(data)
        if still is None:
            return None
        _check_still(still, limits)
        return still.upright_size


def display_copy(image: Image.Image, max_side: int = 1600) -> tuple[bytes, str]:
    """Encode a picture for the browser: small, fast to make, true enough to look at.

    Args:
        image: An RGB picture as ``open_image`` returns it.
        max_side: Longest side of the copy in pixels; smaller pictures keep their size.

    Returns:
        The encoded bytes and their mime type.
    """
    copy = image
    scale = max_side / max(image.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in image.size)
        # halving cheaply first takes a third of the time, and looks the same
        copy = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=1.2)
    buffer = io.BytesIO()
    # JPEG takes 5 ms where WebP takes 150; full colour resolution keeps coloured text readable
    copy.convert("RGB").save(buffer, "JPEG", quality=88, subsampling=0)
    return buffer.getvalue(), "image/jpeg"


def as_jpeg(image: Image.Image) -> bytes:
    """Encode a picture at its own size, with losses that nobody sees."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


_FILE = "florence_demo.file"


def with_file(image: Image.Image, file: Path) -> Image.Image:
    """Return a picture that remembers its file, as it came."""
    image.info[_FILE] = file
    return image


def file_of(image: Image.Image) -> Path | None:
    """Return the file that a picture remembers, if it is still there; a path is never a word."""
    file = image.info.get(_FILE)
    return file if isinstance(file, Path) and file.is_file() else None


def is_upright(path: Path, *, limits: ImageLimits = LIMITS) -> bool:
    """Return whether a file holds its picture as a person sees it, without being turned.

    Raises:
        InputError: As for ``open_image``.
    """
    data = _read(path, limits)
    with _told(limits):
        _, still = _recognise(data)
        return still is not None and still.orientation <= 1


def save_picture(picture: Image.Image, target: Path) -> None:
    """Write a picture in the format that its name ends with, wholly or not at all.

    Raises:
        InputError: The folder or the format is not there, or the disk is full.
    """
    buffer = io.BytesIO()
    try:
        Image.init()
        picture.save(buffer, Image.EXTENSION[target.suffix.lower()])
        write_whole(target, buffer.getvalue())
    except (KeyError, OSError, ValueError) as exc:
        raise InputError(
            f"The picture cannot be written to {_shown(target)}: name a folder that exists and an"
            " ending such as .png or .jpg."
        ) from exc


def _read(source: str | Path | bytes | BinaryIO, limits: ImageLimits) -> bytes:
    """Return the bytes of a source, reading at most one more than the limit allows."""
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source[: limits.max_bytes + 1])
    elif isinstance(source, str) and source[:5].lower() == "data:":
        data = _read_data_url(source, limits)
    elif isinstance(source, str | Path):
        data = _read_file(Path(source), limits)
    else:
        data = source.read(limits.max_bytes + 1)
    if len(data) > limits.max_bytes:
        raise InputError(too_many_bytes(limits))
    return data


def _read_file(path: Path, limits: ImageLimits) -> bytes:
    try:
        path = path.expanduser()
        # a pipe or a device would never end
        if not path.is_file():
            what = "is a folder, not a picture" if path.is_dir() else "does not exist"
            raise InputError(f"{_shown(path)} {what}: check the path.")
        with path.open("rb") as file:
            return file.read(limits.max_bytes + 1)
    # RuntimeError: "~" and a name nobody has; ValueError: a zero byte or half a character
    except (OSError, RuntimeError, ValueError) as exc:
        raise InputError(f"{_shown(path)} cannot be read: check the path and its rights.") from exc


def _shown(path: Path) -> str:
    """Return a path as it may stand in a sentence: short, on one line, of whole characters."""
    text = printable(str(path)[-300:], "?")
    return text if len(text) <= 60 else f"…{text[-60:]}"


def _read_data_url(url: str, limits: ImageLimits) -> bytes:
    head, _, body = url.partition(",")
    # base64 needs four characters for three bytes, percent escapes three for one
    if len(body) > 3 * limits.max_bytes + 4:
        raise InputError(too_many_bytes(limits))
    # each escape becomes an object of its own; base64 has few, and what has many is no picture
    if body.count("%") > _MAX_ESCAPES:
        raise InputError(_NOT_A_PICTURE)
    try:
        raw = unquote_to_bytes(body)
        return base64.b64decode(raw) if head.lower().endswith(";base64") else raw
    except (ValueError, binascii.Error) as exc:
        raise InputError(_NOT_A_PICTURE) from exc


def _recognise(data: bytes) -> tuple[str, Still | None]:
    """Return the format of a file, and its still picture where that can be decoded here."""
    if not data:
        raise InputError("This file is empty: choose another picture.")
    kind = sniff(data)
    if not kind:
        raise InputError(_guess_problem(data))
    return kind, read_still(data, kind)


def _check_still(still: Still, limits: ImageLimits) -> None:
    _check_size(still.size, limits)
    scanned = still.scans * still.pixels
    if still.scans > limits.max_scans or (still.scans > 1 and scanned > limits.max_scanned):
        raise InputError(_TOO_MANY_SCANS)


def _check_size(size: Size, limits: ImageLimits) -> None:
    if min(size) < 1:
        raise InputError("This picture has no pixels: choose another one.")
    check_pixels(size, limits.max_pixels)


def _large(size: Size) -> tuple[threading.BoundedSemaphore, ...]:
    return (_LARGE,) if size[0] * size[1] > _LARGE_PIXELS else ()


@contextmanager
def _place(*gates: threading.BoundedSemaphore) -> Iterator[None]:
    """Wait until there is room for one more picture; the wait has an end."""
    with ExitStack() as held:
        for gate in reversed(gates):
            if not gate.acquire(timeout=_WAIT_SECONDS):
                raise InputError(_BUSY)
            held.callback(gate.release)
        yield


@contextmanager
def _told(limits: ImageLimits) -> Iterator[None]:
    """Turn what a decoder raises into a sentence."""
    try:
        yield
    except InputError:
        raise
    except TooManyPixels as exc:
        raise InputError(_too_large(exc.size, limits)) from exc
    except TooSlow as exc:
        raise InputError(_TOO_SLOW) from exc
    except NoDecoder as exc:
        raise InputError(_NO_DECODER) from exc
    except Unavailable as exc:
        raise InputError(_UNAVAILABLE) from exc
    except Exception as exc:  # a decoder raises whatever it met first
        logger.debug("A picture could not be decoded", exc_info=True)
        raise InputError(_DAMAGED) from exc


def _from_array(array: NDArray[Any], limits: ImageLimits) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise InputError(
            f"An array must have shape (H, W), (H, W, 3) or (H, W, 4), not {str(array.shape)[:60]}."
        )
    size = array.shape[1], array.shape[0]
    _check_size(size, limits)
    if array.dtype.kind not in "buif":
        raise InputError(f"An array must hold numbers, not {str(array.dtype)[:60]}.")

    def piece(box: Box) -> NDArray[Any]:
        left, top, right, bottom = box
        return array[top:bottom, left:right]

    with _place(_HERE, *_large(size)):
        return from_numbers(size, piece)


def _guess_problem(data: bytes) -> str:
    """Return the most helpful sentence for bytes that no decoder takes."""
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in head:
        return "This is an SVG drawing, not pixels: export it as PNG and choose that."
    if head.startswith((b"<!doctype html", b"<html")):
        return "This is a web page, not a picture: copy the address of the picture itself."
    if head.startswith((b"%pdf", b"%!ps")):
        return "This is a document, not a picture: save the page as PNG and choose that."
    is_film = head.startswith(b"riff") and data[8:12] == b"AVI "
    if data[4:8] == b"ftyp" or is_film or head.startswith(b"\x1aE\xdf\xa3".lower()):
        return "This looks like a video: choose a single picture, such as a screenshot of it."
    return _NOT_A_PICTURE


def too_many_bytes(limits: ImageLimits) -> str:
    """Return the sentence for a file over the limit."""
    megabytes = limits.max_bytes / 1_000_000
    return f"This file is larger than {megabytes:g} MB: save the picture smaller or as JPEG."


def _too_large(size: Size, limits: ImageLimits) -> str:
    told = f" ({size[0]} x {size[1]})" if all(size) else ""
    if all(size) and size[0] * size[1] <= limits.max_pixels:
        return f"This picture is too long{told}: cut it to at most {MAX_SIDE:,} pixels a side."
    megapixels = limits.max_pixels / 1_000_000
    return f"This picture is too large{told}: shrink it to at most {megapixels:g} megapixels."
