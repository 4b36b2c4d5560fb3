"""What a picture's file says of itself, read without decoding: its format, size and cost.

Knows how JPEG, PNG and WebP are put together. Of these it keeps what a decoder needs and nothing
else: metadata, thumbnails, further frames and whatever else a stranger appended never reach one.
Does not decode.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from florence_demo.pictures.decoder import Size, orientation_of


@dataclass(frozen=True)
class Still:
    """Hold one still picture, whose decoding costs what its size says.

    Attributes:
        kind: Its format.
        data: The file without all that its decoder does not need.
        size: (width, height) as stored, before it is turned.
        orientation: How it must be turned, as EXIF counts it.
        scans: How many times its decoder goes over all pixels.
    """

    kind: str
    data: bytes
    size: Size
    orientation: int
    scans: int = 1

    @property
    def pixels(self) -> int:
        """Return how many pixels it has."""
        return self.size[0] * self.size[1]

    @property
    def upright_size(self) -> Size:
        """Return (width, height) as a person sees it."""
        return (self.size[1], self.size[0]) if self.orientation >= 5 else self.size


_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"8BPS\0\1", "PSD"),
)
_AVIF = {b"avif", b"avis"}
_HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_MAX_PARTS = 100_000


def sniff(data: bytes) -> str:
    """Return the format of a file by its first bytes, one of ``decoder.PLUGINS``, or ""."""
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        end = min(int.from_bytes(data[:4], "big"), 256)
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}
        return "AVIF" if brands & _AVIF else "HEIF" if brands & _HEIF else ""
    if re.match(rb"P[1-6f][\s#]", data):
        return "PPM"
    return "TGA" if _is_tga(data) else ""


def _is_tga(data: bytes) -> bool:
    # the format has no signature: every byte of the header that has few meanings must have one
    if len(data) <= 18 or data[1] > 1 or data[2] not in (1, 2, 3, 9, 10, 11):
        return False
    return data[16] in (1, 8, 16, 24, 32) and data[17] & 0xC0 == 0 and 0 not in _le(data, 12, "HH")


def read_still(data: bytes, kind: str) -> Still | None:
    """Return the still picture of a file, or None where only a decoder can tell what it costs.

    Args:
        data: The file.
        kind: What ``sniff`` said.

    Raises:
        ValueError: The file is damaged.
    """
    reader = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp}.get(kind)
    try:
        return reader(data) if reader else None
    except (struct.error, IndexError) as exc:
        raise ValueError("cut off") from exc


# A marker. In the data of a scan FF is followed by 00 or by a restart (D0 to D7).
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
_SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
# tables, frame, scans, and the two application segments that say what the colours are
_JPEG_KEPT = {0xC4, 0xCC, 0xDB, 0xDD, 0xDA, 0xE0, 0xEE, *_SOF}
_SOS, _EOI, _APP1 = 0xDA, 0xD9, 0xE1


def _jpeg(data: bytes) -> Still:
    parts, at, scans = [b"\xff\xd8"], 2, 0
    size: Size | None = None
    exif = xmp = b""
    for _ in range(_MAX_PARTS):
        start = _next_marker(data, at)
        if start < 0:
            break  # cut off, which the decoder says better
        marker, body = data[start + 1], start + 4
        if marker == _EOI:
            parts.append(b"\xff\xd9")
            break
        end = start + 2 + _be(data, start + 2, "H")[0]
        if not body <= end <= len(data):
            raise ValueError("a segment has no end")
        if marker in _SOF:
            if size is not None:
                raise ValueError("two frames")
            height, width = _be(data, body + 1, "HH")
            size = width, height
        elif marker == _APP1 and data.startswith(b"Exif\0\0", body):
            exif = exif or data[body:end]
        elif marker == _APP1 and data.startswith(b"http://ns.adobe.com/xap/1.0/\0", body):
            xmp = xmp or data[body:end]
        elif marker == _SOS:
            scans += 1
            after = _next_marker(data, end)
            end = after if after >= 0 else len(data)
        if marker in _JPEG_KEPT:
            parts.append(data[start:end])
        at = end
    else:
        raise ValueError("too many segments")
    if size is None or not scans:
        raise ValueError("no picture in it")
    return Still("JPEG", b"".join(parts), size, orientation_of(exif, xmp), scans)


def _next_marker(data: bytes, at: int) -> int:
    """Return where the next marker begins, or -1."""
    # a search holds the interpreter: none goes far
    for start in range(at, len(data), 1 << 22):
        found = _MARKER.search(data, start, start + (1 << 22) + 1)
        if found:
            return found.start()
    return -1


def _png(data: bytes) -> Still:
    parts, at = [data[:8]], 8
    size: Size | None = None
    exif = xmp = b""
    for _ in range(_MAX_PARTS):
        if at + 8 > len(data):
            break  # cut off, which the decoder says better
        length, name = struct.unpack_from(">I4s", data, at)
        body, end = at + 8, at + 12 + length
        if name == b"IHDR" and size is None:
            width, height = _be(data, body, "II")
            size = width, height
            parts.append(data[at:end])
        elif name in (b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            parts.append(data[at:end])
        elif name == b"eXIf":
            exif = exif or data[body : body + length]
        elif name == b"iTXt" and data.startswith(b"XML:com.adobe.xmp\0\0", body):
            xmp = xmp or data[body : body + length]
        elif name == b"zTXt" and data.startswith(_RAW_EXIF, body):
            exif = exif or _raw_exif(data[body + len(_RAW_EXIF) : body + length])
        if name == b"IEND":
            break
        at = end
    else:
        raise ValueError("too many chunks")
    if size is None:
        raise ValueError("no header")
    return Still("PNG", b"".join(parts), size, orientation_of(exif, xmp))


_RAW_EXIF = b"Raw profile type exif\0\0"


def _raw_exif(packed: bytes) -> bytes:
    """Return the EXIF block that ImageMagick 6 wrote in hexadecimal, after three lines of its own.

    Its beginning is enough: the orientation stands there.
    """
    try:
        text = zlib.decompressobj().decompress(packed, 1 << 17)
        digits = b"".join(text.split(b"\n", 3)[-1].split())
        return bytes.fromhex(digits[: len(digits) & ~1].decode("ascii"))
    except (zlib.error, ValueError):
        return b""


def _webp(data: bytes) -> Still | None:
    chunks = _riff(data, 12)
    metadata = chunks
    canvas = chunks.get(b"VP8X")
    if canvas and canvas[0] & 2:  # an animation, whose first frame nearly always fills the canvas
        frame = chunks.get(b"ANMF", b"")
        if frame[:12] != bytes(6) + canvas[4:10]:
            return None
        chunks = _riff(frame, 16)
    if b"VP8L" in chunks:
        (bits,) = _le(chunks[b"VP8L"], 1, "I")
        size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        parts = [(b"VP8L", chunks[b"VP8L"])]
    else:
        width, height = _le(chunks.get(b"VP8 ", b""), 6, "HH")
        size = width & 0x3FFF, height & 0x3FFF
        parts = [(b"VP8 ", chunks[b"VP8 "])]
        if b"ALPH" in chunks:
            sides = b"".join((side - 1).to_bytes(3, "little") for side in size if side)
            parts = [(b"VP8X", b"\x10\0\0\0" + sides), (b"ALPH", chunks[b"ALPH"]), *parts]
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(part)) + part + b"\0" * (len(part) % 2) for name, part in parts
    )
    exif, xmp = (metadata.get(name, b"") for name in (b"EXIF", b"XMP "))
    file = b"RIFF" + struct.pack("<I", len(body)) + body
    return Still("WEBP", file, size, orientation_of(exif, xmp))


def _riff(data: bytes, at: int) -> dict[bytes, bytes]:
    """Return the first chunk of each name; few files have more than six."""
    chunks: dict[bytes, bytes] = {}
    for _ in range(100):
        if at + 8 > len(data):
            break
        name, length = struct.unpack_from("<4sI", data, at)
        if name not in chunks:
            chunks[name] = data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    return chunks


def _be(data: bytes, at: int, layout: str) -> tuple[int, ...]:
    return struct.unpack_from(f">{layout}", data, at)


def _le(data: bytes, at: int, layout: str) -> tuple[int, ...]:
    return struct.unpack_from(f"<{layout}", data, at)
