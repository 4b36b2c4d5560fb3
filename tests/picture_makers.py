"""Pictures as a stranger might make them: small files that ask for much."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

# a 24 x 16 picture of one colour, (200, 30, 40)
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAA"
    "AAAAAAAAAAAAACJpbG9jAAAAAERAAAEAAQAAAAABoAABAAAAAAAAADMAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAA"
    "AAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/GlwcnAAAADcaXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34"
    "+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQApQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqrprm"
    "4CGgwIAAAAyAAAADAIRiAAEABkQBwXPBiQAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAA"
    "AChjbGFwAAAAGAAAAAEAAAAQAAAAAf///9gAAAAC////0AAAAAIAAAAQcGl4aQAAAAADCAgIAAAAGGlwbWEAAAAA"
    "AAAAAQABBYECAwWEAAAAO21kYXQAAAAvKAGvEyFkY0D1JyL//2jyn/oqGf9s9lhZ3K6AwVvy+sD2ZJvA86qRnoCH"
    "aacwFXg="
)

# an AVIF whose container says 10 x 10 and whose AV1 frame is 16,384 x 16,384 of one grey
LYING_AVIF = zlib.decompress(
    base64.b64decode(
        "eNpjYGBQSCupLEgsy0xjAAIQnZuZZpibmZjm62joBBR6nZtaksgAAYoZKTlFUDZDQWZyCQMa4CvILMkFsxiBWC4zJz8Z"
        "xHEB8RkhoozCDAzc9UC2RmZmXhpcrRSQk8oE5SWWGRg65+fkg+3KyiwoKgDS3pkFyflAWiSzuCAVah8XFAsUZFZkggSY"
        "OTg4gBRPYpmhc6M8D0hIODk/pygvOacCaDIvA1sDUEg8syAX5iegw1gYmZpZgK5qz01JLBFi4OKW/17////fRUxSvBxG"
        "b8UkmDc+fBhW/v//j80fGBgiz5/SPD7V6++jmI1vgxdMKYmfwG2ZqeAYn5Xc9c/7K2//dLvjxb4L81wFWZcftw76tHcZ"
        "fw3XBZ7e5btL7jxnFr7Tp21uEd+T+mGm1VOJ5imrTv4Jr1Hkbf3cuDr86IlRo0eNHjV61OhRo0eNHjV61OhRo0eNHpxG"
        "085kALJw3JM="
    )
)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The file of a picture."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def red(mode: str = "RGB", size: tuple[int, int] = (24, 16)) -> Image.Image:
    """A picture of one colour."""
    return Image.new("RGB", size, (200, 30, 40)).convert(mode)


def chunk(name: bytes, body: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    """A PNG with more chunks behind its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def segment(marker: int, body: bytes = b"") -> bytes:
    """A segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    """A JPEG with more segments behind its first two bytes."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def of_scans(count: int) -> bytes:
    """A progressive JPEG of so many scans: the last one again and again."""
    jpeg = encoded(red(), "JPEG", progressive=True)
    usual = jpeg.count(b"\xff\xda")
    table, end = jpeg.rfind(b"\xff\xc4"), len(jpeg) - 2
    return jpeg[:end] + jpeg[table:end] * (count - usual) + jpeg[end:]


def tiff(entries: list[tuple[int, int, int, int]], data: bytes = b"", order: str = "<") -> bytes:
    """A TIFF of one directory of (tag, type, count, value), and what its offsets point to."""
    head = b"II*\0" if order == "<" else b"MM\0*"
    rows = b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries)
    body = struct.pack(f"{order}IH", 8, len(entries)) + rows + bytes(4)
    return head + body + data


def of_strips(count: int) -> bytes:
    """A TIFF of 8 x count pixels, each row a strip of its own."""
    offsets = 8 + 2 + 12 * 9 + 4
    counts, pixels = offsets + 4 * count, offsets + 8 * count
    entries = [(256, 4, 1, 8), (257, 4, 1, count), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(273, 4, count, offsets), (277, 3, 1, 1), (278, 4, 1, 1), (279, 4, count, counts)]
    rows = np.full(count, pixels, "<u4").tobytes() + np.full(count, 8, "<u4").tobytes()
    return tiff(entries, rows + bytes(8))


def exif(kind: int, count: int, value: bytes, order: str = "<") -> bytes:
    """An EXIF block of one tag, the orientation."""
    head = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(f"{order}HHI", 0x0112, kind, count) + value.ljust(4, b"\0")
    return b"Exif\0\0" + head + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)


def exif_of_copies(count: int = 5000, length: int = 60_000) -> bytes:
    """An EXIF block whose tags all point to the same bytes."""
    return (
        b"Exif\0\0" + tiff([(1000 + i, 1, length, 8) for i in range(count)], bytes(length))[:65_000]
    )


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP of such chunks."""
    body = b"WEBP"
    for name, part in chunks:
        body += name + struct.pack("<I", len(part)) + part + b"\0" * (len(part) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body
