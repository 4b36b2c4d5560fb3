"""What a file says of itself, and what of it reaches a decoder."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import pytest
from PIL import Image

from florence_demo.pictures.headers import Still, read_still, sniff
from tests.picture_makers import (
    LYING_AVIF,
    chunk,
    encoded,
    exif,
    exif_of_copies,
    of_scans,
    red,
    riff,
    segment,
    with_chunks,
    with_segments,
)

JPEG, PNG, WEBP = (encoded(red(), kind) for kind in ("JPEG", "PNG", "WEBP"))

SNIFFED = {
    "jpeg": (JPEG, "JPEG"),
    "png": (PNG, "PNG"),
    "webp": (WEBP, "WEBP"),
    "gif": (encoded(red(), "GIF"), "GIF"),
    "bmp": (encoded(red(), "BMP"), "BMP"),
    "tiff": (encoded(red(), "TIFF"), "TIFF"),
    "tiff, large first": (b"MM\0*" + bytes(20), "TIFF"),
    "jpeg 2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20), "JPEG2000"),
    "codestream": (b"\xff\x4f\xff\x51" + bytes(20), "JPEG2000"),
    "ppm": (encoded(red(), "PPM"), "PPM"),
    "pfm": (b"Pf 3 3 -1.0\n" + bytes(36), "PPM"),
    "tga": (encoded(red(), "TGA"), "TGA"),
    "photoshop": (b"8BPS\0\1" + bytes(30), "PSD"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIF"),
    "avif": (LYING_AVIF, "AVIF"),
    "avif of another first brand": (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
    "heif of another first brand": (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", "HEIF"),
    "video": (b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", ""),
    "film of an iphone": (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", ""),
    # what starts a program, or decodes another picture before its size can be asked
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n", ""),
    "eps with a preview": (b"\xc5\xd0\xd3\xc6" + bytes(60), ""),
    "wmf": (b"\xd7\xcd\xc6\x9a\0\0" + bytes(60), ""),
    "emf": (b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(60), ""),
    "ico": (b"\0\0\1\0\1\0" + bytes(60), ""),
    "cursor": (b"\0\0\2\0\1\0" + bytes(60), ""),
    "icns": (b"icns\0\0\0\x20" + bytes(60), ""),
    "blp": (b"BLP2" + bytes(200), ""),
    "iptc": (b"\x1c\2\0\0\0" + bytes(60), ""),
    "mpeg": (b"\0\0\1\xb3" + bytes(60), ""),
    "dicom, hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(60), ""),
    "fits": (b"SIMPLE  =                    T" + bytes(60), ""),
    "text": (b"hello, this is no picture at all", ""),
    "zeros": (bytes(1000), ""),
    "nothing": (b"", ""),
}


@pytest.mark.parametrize("name", SNIFFED)
def test_a_format_is_known_by_its_first_bytes(name: str) -> None:
    data, kind = SNIFFED[name]
    assert sniff(data) == kind


def still(data: bytes) -> Still:
    found = read_still(data, sniff(data))
    assert found is not None
    return found


def decoded(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB").tobytes()


PLAIN = {
    "jpeg": JPEG,
    "progressive": encoded(red(), "JPEG", progressive=True),
    "cmyk": encoded(red("CMYK"), "JPEG"),
    "restarts": encoded(red(), "JPEG", restart_marker_rows=1),
    "png": PNG,
    "palette": encoded(red().quantize(4), "PNG"),
    "webp": WEBP,
    "lossless webp": encoded(red(), "WEBP", lossless=True),
    "clear webp": encoded(red("RGBA"), "WEBP"),
}


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_kept_is_the_same_picture(name: str) -> None:
    found = still(PLAIN[name])
    assert (found.size, found.upright_size, found.orientation) == ((24, 16), (24, 16), 1)
    assert decoded(found.data) == decoded(PLAIN[name])
    assert len(found.data) <= len(PLAIN[name])


EXTRA = exif_of_copies()
LADEN = {
    "exif": lambda: with_segments(JPEG, segment(0xE1, EXTRA)),
    "text": lambda: with_segments(JPEG, segment(0xFE, bytes(60_000))),
    "thumbnail": lambda: with_segments(JPEG, segment(0xE1, b"Exif\0\0" + of_scans(300))),
    "second picture": lambda: encoded(
        red(), "MPO", save_all=True, append_images=[red(), red()], quality=75
    ),
    "film behind it": lambda: JPEG + b"\0\0\0\x18ftypmp42" + b"\xff\xda" * 1000,
    "fill bytes": lambda: with_segments(JPEG, b"\xff" * 100),
    "junk": lambda: with_segments(JPEG, segment(0xFE) + b"junk" * 100),
    "png text": lambda: with_chunks(PNG, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6)))),
    "png profile": lambda: with_chunks(PNG, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**6)))),
    "png exif": lambda: with_chunks(PNG, chunk(b"eXIf", EXTRA[6:])),
    "animated png": lambda: encoded(red(), "PNG", save_all=True, append_images=[red("L")] * 9),
    "webp exif": lambda: encoded(red(), "WEBP", exif=EXTRA),
    "animated webp": lambda: encoded(
        red(), "WEBP", save_all=True, append_images=[Image.new("RGB", (24, 16), "blue")] * 9
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LADEN)
def test_what_a_decoder_does_not_need_never_reaches_it(name: str) -> None:
    data = LADEN[name]()
    found = still(data)
    plain = {"JPEG": JPEG, "PNG": PNG, "WEBP": WEBP}[found.kind]
    assert (found.size, found.scans) == ((24, 16), 1)
    assert len(found.data) < len(plain) + 60
    assert decoded(found.data) == decoded(data)


def test_the_header_that_was_checked_is_the_one_that_is_decoded() -> None:
    large = chunk(b"IHDR", struct.pack(">II", 9000, 9000) + PNG[24:29])
    found = still(with_chunks(PNG, large))
    assert (found.size, found.data) == ((24, 16), PNG)


@pytest.mark.parametrize("count", [10, 200, 201])
def test_scans_are_counted(count: int) -> None:
    assert still(of_scans(count)).scans == count


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "TGA", "PPM", "AVIF", "HEIF"])
def test_of_other_formats_only_a_decoder_knows(kind: str) -> None:
    assert read_still(b"anything", kind) is None


def test_a_first_frame_that_fills_only_a_part_is_for_a_decoder() -> None:
    frame = bytes(3) + bytes(3) + (7).to_bytes(3, "little") * 2 + bytes(4)
    body = frame + encoded(red(size=(8, 8)), "WEBP")[12:]
    canvas = b"\2\0\0\0" + (23).to_bytes(3, "little") + (15).to_bytes(3, "little")
    data = riff((b"VP8X", canvas), (b"ANIM", bytes(6)), (b"ANMF", body))
    assert read_still(data, "WEBP") is None


BROKEN: dict[str, Callable[[], bytes]] = {
    "segments without end": lambda: with_segments(JPEG, segment(0xE5) * 100_001),
    "chunks without end": lambda: with_chunks(PNG, chunk(b"teXt") * 100_001),
    "two frames": lambda: JPEG[: JPEG.find(b"\xff\xda")] + JPEG[2:],
    "segment longer than the file": lambda: with_segments(JPEG, b"\xff\xe1\xff\xff"),
    "segment shorter than its length": lambda: with_segments(JPEG, b"\xff\xe1\0\1"),
    "jpeg without a picture": lambda: JPEG[: JPEG.find(b"\xff\xda")],
    "jpeg of its signature": lambda: b"\xff\xd8\xff",
    "png of its signature": lambda: PNG[:8],
    "png without a header": lambda: PNG[:8] + PNG[33:],
    "webp of its signature": lambda: WEBP[:12],
    "webp without a picture": lambda: riff((b"EXIF", b"II")),
    "webp of an empty header": lambda: riff((b"VP8X", b"")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_file_is_no_still_picture(name: str) -> None:
    data = BROKEN[name]()
    with pytest.raises(ValueError, match=r"."):
        read_still(data, sniff(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_any_beginning_of_a_file_is_read_or_refused(kind: str) -> None:
    data = {"JPEG": JPEG, "PNG": PNG, "WEBP": encoded(red("RGBA"), "WEBP", exif=EXTRA)}[kind]
    for length in range(len(data)) if kind != "WEBP" else range(400):
        try:
            found = read_still(data[:length], kind)
        except ValueError:
            continue
        assert found is None or min(found.size) > 0


SIXTH = exif(3, 1, struct.pack("<H", 6))
XMP = b'<x:xmpmeta tiff:Orientation="6"/>'
RAW = b"\nexif\n      46\n" + SIXTH.hex().encode() + b"\n"
TURNED = {
    "jpeg exif": with_segments(JPEG, segment(0xE1, SIXTH)),
    "jpeg xmp": with_segments(JPEG, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)),
    "png exif": with_chunks(PNG, chunk(b"eXIf", SIXTH[6:])),
    "png xmp": with_chunks(PNG, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
    "png of imagemagick": with_chunks(
        PNG, chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(RAW))
    ),
    "webp exif": encoded(red(), "WEBP", exif=SIXTH),
    "webp xmp": encoded(red(), "WEBP", xmp=XMP),
}


@pytest.mark.parametrize("name", TURNED)
def test_the_orientation_is_found_where_each_format_keeps_it(name: str) -> None:
    found = still(TURNED[name])
    assert (found.orientation, found.size, found.upright_size) == (6, (24, 16), (16, 24))


def test_a_compressed_profile_is_unpacked_no_further_than_its_beginning() -> None:
    bomb = b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 9\n" + b"00" * 50_000_000)
    assert still(with_chunks(PNG, chunk(b"zTXt", bomb))).orientation == 1
