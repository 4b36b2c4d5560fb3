"""Pictures as files: honest ones of every format, and the parts that hostile ones are made of."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from PIL import Image

SIZE = (37, 23)
"""Size of the honest pictures: found again in a header, whatever the header's form."""

LARGE = (8060, 8060)
"""As large as a picture may be: 64.96 megapixels."""

_PNG = b"\x89PNG\r\n\x1a\n"


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    ramp = Image.linear_gradient("L").resize(size)
    return Image.merge("RGB", (ramp, ramp.rotate(180), ramp)).convert(mode)


@functools.cache
def honest() -> dict[str, bytes]:
    """Small pictures of each format and mode that Pillow writes, all of them ``SIZE``."""
    found: dict[str, bytes] = {}
    Image.init()
    for kind in sorted(Image.SAVE):
        if kind in ("PDF", "MPO"):
            continue
        for mode in ("RGB", "RGBA", "L", "P", "1", "LA", "CMYK", "I;16", "F"):
            try:
                found[f"{kind} {mode}"] = encoded(picture(mode), kind)
            except Exception:
                continue  # no such mode in this format
    more: dict[str, dict[str, Any]] = {
        "JPEG progressive": {"progressive": True},
        "JPEG with EXIF": {"exif": exif(6)},
        "JPEG with a profile": {"icc_profile": b"x" * 200},
        "WEBP lossless": {"lossless": True},
        "JPEG2000 tiles": {"tile_size": (16, 16)},
    }
    for name, options in more.items():
        found[name] = encoded(picture(), name.split()[0], **options)
    for kind in ("GIF", "PNG", "WEBP", "AVIF", "MPO", "TIFF"):
        # Saving leaves settings in a picture, so these are made anew.
        others = [picture("L").convert("RGB"), picture(), picture("L")]
        found[f"{kind} moving"] = encoded(picture(), kind, save_all=True, append_images=others)
    for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        try:
            found[f"TIFF {name}"] = encoded(picture(), "TIFF", compression=name)
        except Exception:
            continue  # not built in here
    return found


def exif(orientation: Any, kind: int = 3, count: int = 1) -> bytes:
    """An EXIF block with one tag: the orientation, of any type."""
    if isinstance(orientation, bytes):
        kind, count = 2, len(orientation)
        value = struct.pack("<I", 26) if count > 4 else orientation.ljust(4, b"\0")
        rest = orientation if count > 4 else b""
    else:
        value, rest = struct.pack("<HH", orientation, 0), b""
    entry = struct.pack("<HHI", 0x0112, kind, count) + value
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + b"\0\0\0\0" + rest


# -- PNG --------------------------------------------------------------------------------------


def png_chunk(name: bytes, body: bytes = b"", *, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return struct.pack(">I", size) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    width: int, height: int, depth: int = 8, colour: int = 2, *chunks: bytes,
    data: bytes | None = None, interlace: int = 0,
) -> bytes:  # fmt: skip
    """A PNG of any size; without ``data`` every pixel is black and the file stays small."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    if data is None:
        row = 1 + (width * depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] + 7) // 8
        data = zeros(row * height)
    body = png_chunk(b"IHDR", head) + b"".join(chunks) + png_chunk(b"IDAT", data)
    return _PNG + body + png_chunk(b"IEND")


def zeros(count: int, block: int = 1 << 20) -> bytes:
    """So many zeros as zlib packs them, made without holding them."""
    packer = zlib.compressobj(9)
    chunk, parts = bytes(block), []
    for _ in range(count // block):
        parts.append(packer.compress(chunk))
    parts += [packer.compress(bytes(count % block)), packer.flush()]
    return b"".join(parts)


def png_parts(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and body of each chunk."""
    at = len(_PNG)
    while at + 8 <= len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        yield name, data[at + 8 : at + 8 + size]
        at += size + 12


def png_of(parts: Sequence[tuple[bytes, bytes]]) -> bytes:
    return _PNG + b"".join(png_chunk(name, body) for name, body in parts)


# -- JPEG -------------------------------------------------------------------------------------


def jpeg_parts(data: bytes) -> list[bytes]:
    """The file cut before each marker, what follows a scan's header with it."""
    cuts, at = [0], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        cuts.append(at)
        marker, size = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])[0]
        at += 2 + size
        if marker == 0xDA:
            while at + 1 < len(data) and not (
                data[at] == 0xFF and data[at + 1] not in (0, *range(0xD0, 0xD8))
            ):
                at += 1
        if data[at : at + 2] == b"\xff\xd9":
            cuts.append(at)
            break
    return [data[a:b] for a, b in zip(cuts, [*cuts[1:], len(data)], strict=True)]


def jpeg_segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def jpeg_of_size(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header says another size; the decoder fills up what is not there."""
    parts = jpeg_parts(data)
    for i, part in enumerate(parts):
        if part[:1] == b"\xff" and part[1] in (0xC0, 0xC1, 0xC2):
            parts[i] = part[:5] + struct.pack(">HH", height, width) + part[9:]
    return b"".join(parts)


def jpeg_with_scans(scans: int, size: tuple[int, int] = SIZE) -> bytes:
    """A progressive JPEG that says its last scan again and again."""
    parts = jpeg_parts(encoded(picture("L"), "JPEG", progressive=True))
    last = next(part for part in reversed(parts) if part[:2] == b"\xff\xda")
    return jpeg_of_size(b"".join(parts[:-1]) + last * scans + parts[-1], *size)


def jpeg_with_exif(block: bytes) -> bytes:
    parts = jpeg_parts(encoded(picture(), "JPEG"))
    return b"".join([parts[0], jpeg_segment(0xE1, block[:65_000]), *parts[1:]])


# -- TIFF -------------------------------------------------------------------------------------

_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 11: 4, 12: 8, 13: 4, 16: 8}


def tiff(tags: dict[int, tuple[int, int, bytes | int]], data: bytes = b"", then: int = 0) -> bytes:
    """A little-endian TIFF of one directory.

    Args:
        tags: Number to (type, count, value); bytes are put behind the directory where they do not
            fit into it. The value "AT" stands for where ``data`` lies.
        data: What follows the directory.
        then: Where the next directory is said to lie.
    """
    start = 8 + 2 + 12 * len(tags) + 4
    entries, behind = b"", b""
    for tag, (kind, count, value) in sorted(tags.items()):
        packed = value.to_bytes(4, "little") if isinstance(value, int) else value
        if packed == b"AT":
            packed = (start + len(behind)).to_bytes(4, "little")
        if len(packed) > 4:
            packed, behind = (start + len(behind)).to_bytes(4, "little"), behind + packed
        entries += struct.pack("<HHI", tag, kind, count) + packed.ljust(4, b"\0")
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags))
    # The data's place is known only when everything before it is.
    place = (start + len(behind)).to_bytes(4, "little")
    return (head + entries + struct.pack("<I", then) + behind).replace(b"DATA", place) + data


def tiff_of_strips(width: int, height: int, strips: int, compression: int = 1) -> bytes:
    """A grey TIFF of so many strips, all of them the same bytes."""
    row = zlib.compress(bytes(width)) if compression == 8 else bytes(width)
    many = strips > 1
    return tiff(
        {
            256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, compression),
            262: (3, 1, 1), 277: (3, 1, 1), 278: (4, 1, max(1, height // strips)),
            273: (4, strips, b"DATA" * strips if many else b"DATA"),
            279: (4, strips, struct.pack("<I", len(row)) * strips),
        },
        row,
    )  # fmt: skip


def tiff_of_tiles(width: int, height: int, side: int = 16) -> bytes:
    """A grey TIFF of so many tiles as fit, all of them the same bytes."""
    tile = zlib.compress(bytes(side * side))
    count = -(-width // side) * -(-height // side)
    return tiff(
        {
            256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, 8), 262: (3, 1, 1),
            277: (3, 1, 1), 322: (4, 1, side), 323: (4, 1, side), 324: (4, count, b"DATA" * count),
            325: (4, count, struct.pack("<I", len(tile)) * count),
        },
        tile,
    )  # fmt: skip


# -- AVIF, HEIC -------------------------------------------------------------------------------


def said_size(data: bytes, width: int, height: int) -> bytes:
    """An AVIF or HEIC whose container says another size than its stream ("ispe", ISO 23008-12)."""
    at = data.find(b"ispe")
    while at >= 0:
        data = data[: at + 8] + struct.pack(">II", width, height) + data[at + 16 :]
        at = data.find(b"ispe", at + 4)
    return data


def box(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body) + 8) + name + body


def resized(data: bytes, new: tuple[int, int]) -> list[bytes]:
    """An honest file with another size in its header: one for each form that it is found in."""
    found = []
    for form in ("<HH", ">HH", "<II", ">II", ">QQ", "<ff", ">ff"):
        whole = form[1] in "HIQ"
        for old, other in ((SIZE, new), (SIZE[::-1], new[::-1])):
            limit = 1 << 8 * struct.calcsize(form[:2])
            was = struct.pack(form, *old)
            if was in data:
                said = [n % limit for n in other] if whole else other
                found.append(data.replace(was, struct.pack(form, *said), 2))
    for form in ("<HHIHxx", "<HHII"):
        # A TIFF says each side in an entry of its own.
        sides = [
            struct.pack(form, tag, 3 if "xx" in form else 4, 1, n)
            for tag, n in zip((256, 257), SIZE, strict=True)
        ]
        if all(side in data for side in sides):
            for tag, side, n in zip((256, 257), sides, new, strict=True):
                data = data.replace(side, struct.pack("<HHII", tag, 4, 1, n % (1 << 32)))
            found.append(data)
    for words in (b"%d %d", b"%d*%d"):
        if words % SIZE in data:
            found.append(data.replace(words % SIZE, words % new))
    if data.startswith(b"\x89PNG"):
        head, *rest = png_parts(data)
        size = struct.pack(">II", *(n % (1 << 32) for n in new))
        found = [png_of([(b"IHDR", size + head[1][8:]), *rest])]
    return found


def webp_in_a_frame(data: bytes) -> bytes:
    """A small WebP in an extended file whose canvas is large."""
    canvas = b"".join((side - 1).to_bytes(3, "little") for side in LARGE)
    return (
        b"RIFF"
        + struct.pack("<I", len(data) + 10)
        + b"WEBPVP8X\x0a\0\0\0"
        + bytes(4)
        + canvas
        + data[12:]
    )


def iptc() -> bytes:
    """IPTC's records around a PNG."""
    records = (
        (3, 20, b"\0"),
        (3, 30, b"\0\x25"),
        (3, 40, b"\0\x17"),
        (3, 60, b"\1\0"),
        (3, 120, b"\1"),
    )
    head = b"".join(struct.pack(">BBBH", 0x1C, *tag, len(v)) + v for *tag, v in records)
    return head + struct.pack(">BBBH", 0x1C, 8, 10, 4) + _PNG[:4]
