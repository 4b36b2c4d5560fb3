"""Every way a picture gets in: a file, bytes, a data URL, an open picture, an array.

Knows file formats and their limits. What comes out is always 8-bit RGB, turned the way a person
sees it. Does not know tasks, models or drawing, and opens no connection (``web`` does).
"""

from __future__ import annotations

import base64
import binascii
import functools
import io
import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from florence_demo.errors import InputError

logger = logging.getLogger(__name__)

Source = str | Path | bytes | BinaryIO | Image.Image | NDArray[Any]


@dataclass(frozen=True)
class ImageLimits:
    """Hold what a stranger's picture may cost.

    Attributes:
        max_bytes: Largest file, in bytes.
        max_pixels: Largest picture, width times height, read from the header before decoding.
    """

    max_bytes: int = 50_000_000
    max_pixels: int = 40_000_000


LIMITS = ImageLimits()

# EPS runs Ghostscript and WMF the Windows GDI on a stranger's program; the icon formats, BLP and
# IPTC wrap another picture and decode it before its size can be asked; the rest have no decoder.
_NOT_OPENED = {"EPS", "WMF", "ICO", "ICNS", "BLP", "IPTC", "BUFR", "GRIB", "HDF5", "MPEG"}

_NOT_A_PICTURE = "This file is not a picture that can be read: choose a JPEG, PNG, WebP or HEIC."
_DAMAGED = "This picture is damaged or cut off: save it again or choose another one."


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
    if isinstance(source, np.ndarray):
        return _from_array(source, limits)
    return _decode(_opened(source, limits))


def upright_size(
    source: str | Path | bytes | BinaryIO, *, limits: ImageLimits = LIMITS
) -> tuple[int, int]:
    """Return (width, height) of the picture that ``open_image`` returns; its header is read.

    Raises:
        InputError: As for ``open_image``.
    """
    image = _opened(source, limits)
    orientation = 1
    with suppress(Exception):
        # The base class's: a PNG's own would decode the picture to look behind its pixels.
        orientation = Image.Image.getexif(image).get(0x0112, 1)
    width, height = image.size
    return (height, width) if orientation in _LYING else (width, height)


def _opened(
    source: str | Path | bytes | BinaryIO | Image.Image, limits: ImageLimits
) -> Image.Image:
    """Return a picture that is not decoded yet and within the limits."""
    if isinstance(source, Image.Image):
        _check_pixels(source.size, limits)
        return source
    data = _read(source, limits)
    if not data:
        raise InputError("This file is empty: choose another picture.")
    if _is_heif(data):
        _register_heif()
    Image.init()
    formats = [name for name in Image.ID if name not in _NOT_OPENED]
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
        _check_pixels(image.size, limits)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise InputError(_too_many_pixels("", limits)) from exc
    except UnidentifiedImageError as exc:
        raise InputError(_guess_problem(data)) from exc
    except InputError:
        raise
    except Exception as exc:  # a plugin raises whatever its parser met first
        logger.debug("A picture could not be opened", exc_info=True)
        raise InputError(_DAMAGED) from exc
    return image


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


def save_picture(picture: Image.Image, target: Path) -> None:
    """Write a picture in the format that its name ends with.

    Raises:
        InputError: The folder or the format is not there.
    """
    try:
        picture.save(target)
    except (OSError, ValueError) as exc:
        raise InputError(
            f"The picture cannot be written to {target}: name a folder that exists and an ending"
            " such as .png or .jpg."
        ) from exc


def _read(source: str | Path | bytes | BinaryIO, limits: ImageLimits) -> bytes:
    """Return the bytes of a source, reading at most one more than the limit allows."""
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
    elif isinstance(source, str) and source[:5].lower() == "data:":
        data = _read_data_url(source, limits)
    elif isinstance(source, str | Path):
        path = Path(source).expanduser()
        try:
            # a pipe or a device would never end
            if not path.is_file():
                what = "is a folder, not a picture" if path.is_dir() else "does not exist"
                raise InputError(f"{path} {what}: check the path.")
            with path.open("rb") as file:
                data = file.read(limits.max_bytes + 1)
        except (OSError, ValueError) as exc:  # ValueError: a zero byte in the path
            raise InputError(f"{path} cannot be read: check the path and its rights.") from exc
    else:
        data = source.read(limits.max_bytes + 1)
    if len(data) > limits.max_bytes:
        raise InputError(too_many_bytes(limits))
    return data


def _read_data_url(url: str, limits: ImageLimits) -> bytes:
    head, _, body = url.partition(",")
    # base64 needs four characters for three bytes, percent escapes three for one
    if len(body) > 3 * limits.max_bytes + 4:
        raise InputError(too_many_bytes(limits))
    try:
        raw = unquote_to_bytes(body)
        return base64.b64decode(raw) if head.lower().endswith(";base64") else raw
    except (ValueError, binascii.Error) as exc:
        raise InputError(_NOT_A_PICTURE) from exc


def _check_pixels(size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise InputError("This picture has no pixels: choose another one.")
    if width * height > limits.max_pixels:
        raise InputError(_too_many_pixels(f" ({width} x {height})", limits))


def _decode(image: Image.Image) -> Image.Image:
    """Decode, turn and convert a picture whose size is already known to be fine."""
    try:
        image.load()
        return _turn(_to_rgb(image), image)
    except Exception as exc:  # a decoder raises whatever it met first
        logger.debug("A picture could not be decoded", exc_info=True)
        raise InputError(_DAMAGED) from exc


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF 2.32, tag 0x0112: where the camera's top left is
_LYING = (5, 6, 7, 8)
"""Orientations of a picture that lies on its side."""


def _turn(rgb: Image.Image, original: Image.Image) -> Image.Image:
    """Return the converted picture as the original's EXIF orientation wants it seen."""
    orientation = 1
    with suppress(Exception):  # a broken EXIF block is no reason to refuse the picture
        orientation = original.getexif().get(0x0112, 1)
    turned = rgb.transpose(_TURNS[orientation]) if orientation in _TURNS else rgb
    # without its metadata, nothing later turns the picture a second time
    clean = turned.copy() if turned is original else turned
    clean.info = {}
    return clean


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        # Pillow clips these to 255, which turns a 16-bit picture white
        return Image.fromarray(_to_bytes(np.asarray(image), wide=True)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_array(array: NDArray[Any], limits: ImageLimits) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise InputError(
            f"An array must have shape (H, W), (H, W, 3) or (H, W, 4), not {array.shape}."
        )
    _check_pixels((array.shape[1], array.shape[0]), limits)
    if array.dtype.kind not in "buif":
        raise InputError(f"An array must hold numbers, not {array.dtype}.")
    return _to_rgb(Image.fromarray(np.ascontiguousarray(_to_bytes(array))))


def _to_bytes(array: NDArray[Any], *, wide: bool = False) -> NDArray[np.uint8]:
    """Scale numbers of any kind to 0..255.

    Args:
        array: The pixels, any shape, any number type.
        wide: Read integers as 16 bit even where all of them are small, as a file's mode says.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    values = np.nan_to_num(array.astype(np.float32), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    is_float = array.dtype.kind == "f"
    if low < 0 or high > 65535 or (is_float and high > 255):
        values, top = values - low, (high - low) or 1.0  # no known range: stretch what is there
    elif is_float:
        top = 1.0 if high <= 1 else 255.0
    else:
        top = 65535.0 if wide or array.dtype == np.uint16 or high > 255 else 255.0
    scaled: NDArray[np.uint8] = np.rint(values * np.float32(255.0 / top)).astype(np.uint8)
    return scaled


def _is_heif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] not in (b"avif", b"avis")


@functools.cache
def _register_heif() -> None:
    try:
        import pi_heif
    except ImportError as exc:
        raise InputError("HEIC pictures need pi-heif: save the picture as JPEG.") from exc
    pi_heif.register_heif_opener(thumbnails=False)


def _guess_problem(data: bytes) -> str:
    """Return the most helpful sentence for bytes that no decoder takes."""
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in head:
        return "This is an SVG drawing, not pixels: export it as PNG and choose that."
    if head.startswith((b"<!doctype html", b"<html")):
        return "This is a web page, not a picture: copy the address of the picture itself."
    if head.startswith((b"%pdf", b"%!ps")):
        return "This is a document, not a picture: save the page as PNG and choose that."
    if data[4:8] == b"ftyp" or head.startswith((b"\x1aE\xdf\xa3".lower(), b"riff")):
        return "This looks like a video: choose a single picture, such as a screenshot of it."
    return _NOT_A_PICTURE


def too_many_bytes(limits: ImageLimits) -> str:
    """Return the sentence for a file over the limit."""
    megabytes = limits.max_bytes / 1_000_000
    return f"This file is larger than {megabytes:g} MB: save the picture smaller or as JPEG."


def _too_many_pixels(size: str, limits: ImageLimits) -> str:
    megapixels = limits.max_pixels / 1_000_000
    return f"This picture is too large{size}: shrink it to at most {megapixels:g} megapixels."
