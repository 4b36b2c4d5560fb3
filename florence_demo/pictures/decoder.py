"""Turn one picture into upright 8-bit RGB; the only module that opens pictures.

Knows Pillow and what a decoder may cost. Imports nothing of this package, and numpy only for wide
pixels: run as a program of its own (``main``, started by ``process``) it is ready in 40 ms.
"""

from __future__ import annotations

import importlib
import io
import re
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import Image, features

if TYPE_CHECKING:
    from numpy.typing import NDArray

Size = tuple[int, int]
Box = tuple[int, int, int, int]

# Each decodes by itself: none starts a program (EPS runs Ghostscript, WMF the Windows GDI).
PLUGINS = {
    "JPEG": "PIL.JpegImagePlugin",
    "PNG": "PIL.PngImagePlugin",
    "WEBP": "PIL.WebPImagePlugin",
    "GIF": "PIL.GifImagePlugin",
    "BMP": "PIL.BmpImagePlugin",
    "TIFF": "PIL.TiffImagePlugin",
    "HEIF": "pi_heif",
    "AVIF": "PIL.AvifImagePlugin",
    "JPEG2000": "PIL.Jpeg2KImagePlugin",
    "PPM": "PIL.PpmImagePlugin",
    "TGA": "PIL.TgaImagePlugin",
    "PSD": "PIL.PsdImagePlugin",
}
"""The formats that are opened, and which module decodes each."""

_FEATURES = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}
_OWN_FORMATS = ("PNG", "JPEG", "WEBP")

MAX_SIDE = 65_500
"""Longest side in pixels: what is let in must go out as a JPEG again, which can have no more."""

OK, TOO_MANY_PIXELS, NO_DECODER, DAMAGED, NO_ROOM = 0, 3, 4, 5, 6
"""How the program ends."""

_START_SECONDS, _SECONDS_PER_MEGAPIXEL = 2, 0.5
_START_BYTES, _BYTES_PER_PIXEL = 64 << 20, 40


class TooManyPixels(Exception):
    """Say that a picture is larger or longer than allowed; holds its size."""

    def __init__(self, size: Size) -> None:
        super().__init__(size)
        self.size = size


class NoDecoder(Exception):
    """Say that this installation lacks what decodes the format."""


def open_own(file: Path | BinaryIO, mode: str = "RGB") -> Image.Image:
    """Open a picture that belongs to the project, such as a sprite, in the mode that is wanted.

    Nothing is turned or limited: what a stranger gave goes through ``images.open_image``.
    """
    with Image.open(file, formats=_OWN_FORMATS) as image:
        return image.convert(mode)


def open_as(data: bytes, kind: str, max_pixels: int) -> Image.Image:
    """Open a picture as one format and no other; nothing is decoded yet.

    Args:
        data: The file.
        kind: A name of ``PLUGINS``.
        max_pixels: Most pixels that it may have.

    Raises:
        NoDecoder: This installation has none for the format.
        TooManyPixels: It is larger.
        Exception: It is damaged: a plugin raises whatever its parser met first.
    """
    _prepare(kind)
    try:
        image = Image.open(io.BytesIO(data), formats=(kind,))
    except Image.DecompressionBombError as exc:
        raise TooManyPixels((0, 0)) from exc
    check_pixels(image.size, max_pixels)
    return image


def _prepare(kind: str) -> None:
    """Load what decodes a format, or raise NoDecoder."""
    if kind in _FEATURES and not features.check(_FEATURES[kind]):
        raise NoDecoder(kind)
    try:
        plugin: Any = importlib.import_module(PLUGINS[kind])
    except ImportError as exc:
        raise NoDecoder(kind) from exc
    # a thread takes address space, and by default there is one for each core
    if kind == "AVIF":
        plugin.DEFAULT_MAX_THREADS = 2
    if kind == "HEIF":
        parts = {"thumbnails": False, "depth_images": False, "aux_images": False}
        plugin.register_heif_opener(**parts, decode_threads=2)


def check_pixels(size: Size, most: int) -> None:
    """Raise TooManyPixels where a picture is larger or longer than allowed."""
    if size[0] * size[1] > most or max(size) > MAX_SIDE:
        raise TooManyPixels(size)


def upright(image: Image.Image, orientation: int | None = None) -> Image.Image:
    """Return a loaded picture in RGB, turned the way a person sees it, without its metadata.

    Args:
        image: Any mode; transparency is laid on white, wide pixels are scaled to bytes.
        orientation: As EXIF counts it, 1 to 8; by default what the picture's metadata say.
    """
    if orientation is None:
        orientation = _orientation(image)
    rgb = to_rgb(image)
    turned = rgb.transpose(_TURNS[orientation]) if orientation in _TURNS else rgb
    # without its metadata, nothing later turns the picture a second time
    clean = turned.copy() if turned is image else turned
    clean.info = {}
    return clean


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF 2.32, tag 0x0112: where the camera's top left is


def _orientation(image: Image.Image) -> int:
    exif, xmp = (image.info.get(key) or b"" for key in ("exif", "xmp"))
    return orientation_of(*(part if isinstance(part, bytes) else b"" for part in (exif, xmp)))


def orientation_of(exif: bytes, xmp: bytes = b"") -> int:
    """Return how a picture must be turned, 1 to 8; 1 where its metadata say nothing usable.

    Pillow's own reader copies what every tag points to, which multiplies a hostile block.

    Args:
        exif: An EXIF block, with or without its "Exif" heading.
        xmp: An XMP packet; it counts where the EXIF block is silent.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    try:
        (at,) = struct.unpack_from(f"{order}I", tiff, 4) if order else (len(tiff),)
        (count,) = struct.unpack_from(f"{order}H", tiff, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
            if tag == 0x0112:
                width = {1: "B", 3: "H", 4: "I"}.get(kind)
                (value,) = struct.unpack_from(f"{order}{width}", tiff, entry + 8) if width else (1,)
                return value if value in _TURNS else 1
    except struct.error:
        pass  # a broken block is no reason to refuse the picture
    found = re.search(rb'tiff:Orientation(?:="|>)([1-8])', xmp)
    return int(found[1]) if found else 1


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a picture in RGB; it is converted piece by piece, so that little is held twice."""
    if image.mode.startswith(("I", "F")):
        # Pillow clips these to 255, which turns a 16-bit picture white
        return from_numbers(image.size, lambda box: _numbers(image, box), wide=True)
    clear = image.has_transparency_data
    if image.mode == "RGB" and not clear:
        return image
    rgb = Image.new("RGB", image.size, "white")
    for box in boxes(image.size):
        piece = image.crop(box).convert("RGBA" if clear else "RGB")
        rgb.paste(piece, box, piece if clear else None)
    return rgb


def _numbers(image: Image.Image, box: Box) -> NDArray[Any]:
    import numpy as np

    return np.asarray(image.crop(box))


def from_numbers(
    size: Size, numbers: Callable[[Box], NDArray[Any]], *, wide: bool = False
) -> Image.Image:
    """Return numbers of any kind as an RGB picture: scaled, not clipped.

    Args:
        size: (width, height) of the picture.
        numbers: Returns what lies in a box: (h, w), (h, w, 3) or (h, w, 4) of any number type.
        wide: Read integers as 16 bit even where all of them are small, as a file's mode says.
    """
    import numpy as np

    def values(box: Box) -> NDArray[np.float32]:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.nan_to_num(numbers(box).astype(np.float32), posinf=0.0, neginf=0.0)

    pieces = list(boxes(size))
    kind = numbers((0, 0, 1, 1)).dtype
    low, factor = 0.0, 1.0
    if kind not in (np.uint8, np.bool_):
        ranges = [(float(part.min()), float(part.max())) for part in map(values, pieces)]
        low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
        low, top = _scale(low, high, kind, wide=wide)
        factor = 255.0 / top
    rgb = Image.new("RGB", size, "white")
    for box in pieces:
        if kind == np.uint8:
            scaled = numbers(box)
        elif kind == np.bool_:
            scaled = numbers(box).astype(np.uint8) * np.uint8(255)
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                part = (values(box) - np.float32(low)) * np.float32(factor)
                scaled = np.rint(part).astype(np.uint8)
        piece = Image.fromarray(np.ascontiguousarray(scaled))
        rgb.paste(piece, box, piece if piece.mode == "RGBA" else None)
    return rgb


def _scale(low: float, high: float, kind: Any, *, wide: bool) -> tuple[float, float]:
    """Return which numbers become 0 and 255."""
    is_float = kind.kind == "f"
    if low < 0 or high > 65535 or (is_float and high > 255):
        return low, (high - low) or 1.0  # no known range: stretch what is there
    if is_float:
        return 0.0, 1.0 if high <= 1 else 255.0
    return 0.0, 65535.0 if wide or kind == "uint16" or high > 255 else 255.0


def boxes(size: Size) -> Iterator[Box]:
    """Yield the pieces of a picture, row by row, each of a megapixel at most."""
    width, height = size
    across = min(width, 1 << 16)
    down = max(1, (1 << 20) // across)
    for top in range(0, height, down):
        for left in range(0, width, across):
            yield left, top, min(left + across, width), min(top + down, height)


def main(arguments: Sequence[str]) -> int:
    """Decode the picture on the standard input; write "width height", a line end, and its RGB.

    Args:
        arguments: The format, the most pixels, the bytes that will come, and the pixels as far as
            they are known.
    """
    kind, (max_pixels, count, known) = arguments[0], map(int, arguments[1:])
    try:
        _prepare(kind)  # its libraries are mapped before the ceilings are set above what is mapped
        allow = _confine(max_pixels, count)
        allow(known)
        image = open_as(sys.stdin.buffer.read(), kind, max_pixels)
        allow(image.width * image.height)
        image.load()
        allow(max_pixels)  # what follows is our own
        check_pixels(image.size, max_pixels)  # HEIF knows its size only now
        rgb = upright(image)
    except TooManyPixels as exc:
        print(*exc.size, flush=True)
        return TOO_MANY_PIXELS
    except NoDecoder:
        return NO_DECODER
    except Exception:  # a decoder raises whatever it met first
        return DAMAGED
    try:
        _write(rgb, sys.stdout.buffer)
    except OSError:
        return NO_ROOM
    return OK


def _write(rgb: Image.Image, out: BinaryIO) -> None:
    out.write(b"%d %d\n" % rgb.size)
    rows = max(1, (1 << 20) // rgb.width)
    for top in range(0, rgb.height, rows):
        out.write(rgb.crop((0, top, rgb.width, min(top + rows, rgb.height))).tobytes())
    out.flush()


def _confine(max_pixels: int, count: int) -> Callable[[int], None]:
    """Set the ceilings of the process; return what sets those of memory and time for a size.

    A decoder that needs more memory or time than its picture's size explains fails or ends there.
    """
    try:
        import resource
    except ImportError:  # Windows has no resource limits; the time of ``process`` remains
        return lambda pixels: None
    mapped = 256 << 20
    statm = Path("/proc/self/statm")
    if statm.exists():
        mapped = int(statm.read_text().split()[0]) * resource.getpagesize()
    base = mapped + _START_BYTES + 4 * count
    most = base + _BYTES_PER_PIXEL * max_pixels

    def allow(pixels: int) -> None:
        seconds = _START_SECONDS + int(_SECONDS_PER_MEGAPIXEL * pixels / 1e6)
        limit(resource.RLIMIT_CPU, seconds, resource.RLIM_INFINITY)
        limit(resource.RLIMIT_AS, base + _BYTES_PER_PIXEL * pixels, most)

    def limit(what: int, soft: int, hard: int) -> None:
        with suppress(ValueError, OSError):  # the operator's own limits may be narrower
            resource.setrlimit(what, (soft, hard))

    limit(resource.RLIMIT_CORE, 0, 0)
    limit(resource.RLIMIT_FSIZE, 3 * max_pixels + 64, 3 * max_pixels + 64)
    return allow


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
