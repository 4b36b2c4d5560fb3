"""Hostile pictures, each of a kind of its own."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

from PIL import Image

from tests.fuzz import make_pictures as make
from tests.pictures.test_images import HEIC, icon_that_lies


def corpus() -> dict[str, Callable[[], bytes]]:
    """Hostile pictures, each of a kind of its own."""
    found: dict[str, Callable[[], bytes]] = {
        **_not_pictures(), **_pngs(), **_jpegs(), **_tiffs(), **_others(), **_rare(),
    }  # fmt: skip
    for name, data in make.honest().items():
        if name.endswith(("RGB", "moving", "tiles", " 1")):
            for size in ((65_535, 65_535), make.LARGE, (1, 65_000_000), (0, 23), (2**32 - 1, 1)):
                for i, other in enumerate(make.resized(data, size)):
                    found[f"{name} of {size} {i}"] = lambda other=other: other
    return found


def _not_pictures() -> dict[str, Callable[[], bytes]]:
    ends = b"\nshowpage (x) print quit\n%%EOF"
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 37 23\n%%EndComments\n" + ends
    bound = struct.pack("<IIIIIIIH", 0xC6D3D0C5, 32, len(eps), 0, 0, 0, 0, 0xFFFF).ljust(32, b"\0")
    texts = {
        "nothing": b"", "one byte": b"\xff", "zeros": bytes(5000), "text": b"hello", "EPS": eps,
        "EPS in a frame": bound + eps, "PS": b"%!" + ends, "PDF": b"%PDF-1.7\n1 0 obj\n<<>>",
        "SVG": b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
        "SVG that fetches": b"<svg><image href='file:///etc/passwd'/></svg>",
        "HTML": b"<!doctype html><script>1</script>", "a zip": b"PK\x03\x04" + bytes(40),
        "a pickle": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        "WMF": b"\xd7\xcd\xc6\x9a" + bytes(60),
        "EMF": b"\x01\0\0\0" + bytes(36) + b" EMF" + bytes(60),
        "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(60), "GRIB": b"GRIB" + bytes(3) + b"\1" + bytes(60),
        "BUFR": b"BUFR" + bytes(60), "MPEG": b"\0\0\1\xb3\x10\x10\x10\0" + bytes(60),
        "a film": b"\0\0\0\x18ftypmp42" + bytes(40), "IPTC": make.iptc(),
        "a page of Windows": b"ITSF" + bytes(90),
        "OLE": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
        "an icon that lies": icon_that_lies(), "UTF-16": "\ufeff<svg".encode("utf-16"),
        "only a beginning": b"\x89PNG\r\n\x1a\n",
        "only a box": make.box(b"ftyp", b"avif\0\0\0\0avif"),
        "a box without end": make.box(b"ftyp", b"avif\0\0\0\0avif") + struct.pack(
            ">I", 0,
        ) + b"meta",
    }  # fmt: skip
    return {name: lambda data=data: data for name, data in texts.items()}


def _pngs() -> dict[str, Callable[[], bytes]]:
    wide, chunk = make.LARGE, make.png_chunk

    def text(size: int, times: int = 1, kind: bytes = b"zTXt") -> bytes:
        return chunk(kind, b"a\0\0" + make.zeros(size)) * times

    turned = make.exif(b"6 turns")[6:]
    return {
        "PNG of 64 megapixels": lambda: make.png(*wide),
        "PNG of 64 megapixels in 16 bits": lambda: make.png(*wide, 16, 2),
        "PNG of 64 megapixels in 16 bits of grey": lambda: make.png(*wide, 16, 0),
        "PNG of 64 megapixels in 16 bits, clear": lambda: make.png(*wide, 16, 6),
        "PNG of 64 megapixels, grey and clear": lambda: make.png(*wide, 16, 4),
        "PNG of 64 megapixels, two colours": lambda: make.png(*wide, 1, 0),
        "PNG of 64 megapixels, one colour clear": lambda: make.png(
            *wide, 8, 2, chunk(b"tRNS", bytes(6)),
        ),
        "PNG of 64 megapixels, a palette, turned": lambda: make.png(
            *wide, 8, 3, chunk(b"PLTE", bytes(768)), chunk(b"tRNS", bytes(256)),
            chunk(b"eXIf", make.exif(6)[6:]),
        ),
        "PNG of one column": lambda: make.png(1, 39_999_999, 8, 0),
        "PNG of one row": lambda: make.png(39_999_999, 1, 16, 6),
        "PNG of 170 megapixels": lambda: make.png(17_000, 10_000, 1, 0),
        "PNG interlaced": lambda: make.png(*wide, 8, 2, data=make.zeros(10**8), interlace=1),
        "PNG with more data": lambda: make.png(10, 10, 8, 2, data=make.zeros(3 * 10**8)),
        "PNG with a text of 500 MB": lambda: make.png(37, 23, 8, 2, text(5 * 10**8)),
        "PNG with texts": lambda: make.png(37, 23, 8, 2, text(10**6, 500)),
        "PNG with iTXt": lambda: make.png(
            37, 23, 8, 2, chunk(b"iTXt", b"a\0\1\0\0\0" + make.zeros(10**6)) * 300,
        ),
        "PNG with a profile of 500 MB": lambda: make.png(
            37, 23, 8, 2, chunk(b"iCCP", b"a\0\0" + make.zeros(5 * 10**8)),
        ),
        "PNG with 200,000 chunks": lambda: make.png(37, 23, 8, 2, chunk(b"aAAa") * 200_000),
        "PNG with 30,000 frames": lambda: make.png(
            37, 23, 8, 2, chunk(b"acTL", struct.pack(">II", 2**31, 0)),
            chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 37, 23, 0, 0, 1, 1, 0, 0)) * 30_000,
        ),
        "PNG with a frame outside": lambda: make.png(
            37, 23, 8, 2, chunk(b"acTL", struct.pack(">II", 2, 0)),
            chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 2**31, 9, 2**31, 0, 1, 1, 0, 0)),
        ),
        "PNG with a string as its turn": lambda: make.png(37, 23, 8, 2, chunk(b"eXIf", turned)),
        "PNG with a turn of 600 MB": lambda: make.png(
            37, 23, 8, 2, chunk(b"eXIf", make.exif(1)[6:16] + b"\xff" * 8),
        ),
        "PNG without data": lambda: make.png(37, 23, data=b""),
        "PNG with a lie of a length": lambda: make.png(
            37, 23, 8, 2, chunk(b"tEXt", b"a", length=2**31 - 1),
        ),
        "PNG twice": lambda: make.png(
            37, 23, 8, 2, chunk(b"IHDR", struct.pack(">IIBBBBB", *wide, 8, 2, 0, 0, 0)),
        ),
        "PNG with half a stream": lambda: make.png(37, 23, data=zlib.compress(bytes(9))),
        "PNG with XMP": lambda: make.png(
            37, 23, 8, 2,
            chunk(
                b"iTXt",
                b"XML:com.adobe.xmp\0\0\0\0\0" + b'tiff:Orientation="' + b"9" * 5000 + b'"',
            ),
        ),
    }  # fmt: skip


def _jpegs() -> dict[str, Callable[[], bytes]]:
    plain, moving = make.encoded(make.picture(), "JPEG"), make.honest()["MPO moving"]
    comments = make.jpeg_segment(0xFE, bytes(65_533))
    cmyk = make.encoded(make.picture("CMYK"), "JPEG")
    first, *rest = make.jpeg_parts(plain)

    def piece(i: int) -> bytes:
        return make.jpeg_segment(0xE2, b"ICC_PROFILE\0" + bytes((i, 255)) + b"x" * 60_000)

    return {
        "JPEG with 150 scans": lambda: make.jpeg_with_scans(150, make.LARGE),
        "JPEG with 1,000 scans": lambda: make.jpeg_with_scans(1_000),
        "JPEG with 20,000 scans": lambda: make.jpeg_with_scans(20_000, make.LARGE),
        "JPEG with 300,000 scans": lambda: make.jpeg_with_scans(300_000, (8, 8)),
        "JPEG of 64 megapixels": lambda: make.jpeg_of_size(plain, *make.LARGE),
        "JPEG of 64 megapixels in four inks": lambda: make.jpeg_of_size(cmyk, *make.LARGE),
        "JPEG of 65,535": lambda: make.jpeg_of_size(plain, 65_535, 65_535),
        "JPEG without a height": lambda: make.jpeg_of_size(plain, 37, 0),
        "JPEG with 40 MB of comments": lambda: b"".join([first, comments * 640, *rest]),
        "JPEG with 100,000 comments": lambda: b"".join(
            [first, make.jpeg_segment(0xFE, b"") * 100_000, *rest]
        ),
        "JPEG with a restart each block": lambda: b"".join(
            [
                first, make.jpeg_segment(0xDD, b"\0\1"),
                *make.jpeg_parts(make.jpeg_of_size(plain, *make.LARGE))[1:],
            ]
        ),
        "JPEG with a string as its turn": lambda: make.jpeg_with_exif(make.exif(b"6")),
        "JPEG with a long text as its turn": lambda: make.jpeg_with_exif(make.exif(b"6" * 60_000)),
        "JPEG with a turn of no number": lambda: make.jpeg_with_exif(make.exif(65_535)),
        "JPEG with EXIF in a circle": lambda: make.jpeg_with_exif(
            b"Exif\0\0" + make.tiff(
                {0x8769: (4, 1, 8), 0x8825: (4, 1, 8), 0xA005: (4, 1, 8)}, then=8,
            )
        ),
        "JPEG with EXIF of 2^32 values": lambda: make.jpeg_with_exif(
            b"Exif\0\0" + make.tiff({0x0112: (3, 2**32 - 1, 8)})
        ),
        "JPEG with 255 pieces of a profile": lambda: b"".join(
            [first, *map(piece, range(255)), *rest]
        ),
        "JPEG with two headers": lambda: plain[:-2] + make.jpeg_of_size(plain, *make.LARGE)[2:],
        "JPEG, then another 30,000 times": lambda: plain * 30_000,
        "MPO with pictures everywhere": lambda: moving.replace(
            b"\xb0\1\7\0\4\0\0\0", b"\xb0\1\7\0\xff\xff\xff\x7f",
        ),
        "JPEG with arithmetic codes": lambda: plain.replace(b"\xff\xc0", b"\xff\xc9", 1),
        "JPEG with sampling of four": lambda: plain.replace(b"\1\x22\0", b"\1\x44\0", 1),
    }  # fmt: skip


def _tiffs() -> dict[str, Callable[[], bytes]]:
    plain = {
        256: (4, 1, 37), 257: (4, 1, 23), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1),
        273: (4, 1, b"DATA"), 277: (3, 1, 1), 278: (4, 1, 23), 279: (4, 1, 851),
    }  # fmt: skip

    def changed(**tags: tuple[int, int, bytes | int]) -> Callable[[], bytes]:
        numbered = {int(tag[1:]): value for tag, value in tags.items()}
        return lambda: make.tiff({**plain, **numbered}, bytes(851))

    chain = b"".join(struct.pack("<HI", 0, 8 + 6 * i + 6) for i in range(100_000))
    codecs = {
        f"TIFF with codec {c}": changed(t259=(3, 1, c))
        for c in (
            2,
            3,
            4,
            5,
            6,
            7,
            8,
            9,
            32773,
            32946,
            34661,
            34676,
            34887,
            34925,
            50000,
            50001,
            65535,
        )
    }
    return {
        **codecs, "TIFF of 2,000,000 strips": lambda: make.tiff_of_strips(1, 2_000_000, 2_000_000),
        "TIFF of 2,000,000 packed strips": lambda: make.tiff_of_strips(20, 2_000_000, 2_000_000, 8),
        "TIFF of 150,000 tiles": lambda: make.tiff_of_tiles(*make.LARGE),
        "TIFF of 64 megapixels": lambda: make.tiff_of_strips(*make.LARGE, 1, 8),
        "TIFF with 65,535 samples": changed(
            t277=(3, 1, 65_535), t258=(3, 65_535, b"\x08\0" * 65_535),
        ),
        "TIFF of 64 bits": changed(t258=(3, 1, 64), t339=(3, 1, 3)),
        "TIFF of 2^31": changed(t256=(4, 1, 2**31), t257=(4, 1, 2**31)),
        "TIFF in planes": changed(t284=(3, 1, 2), t277=(3, 1, 4), t338=(3, 1, 2)),
        "TIFF with a description of 4 GB": changed(t270=(2, 2**32 - 1, 8)),
        "TIFF with a description of 40 MB": changed(t270=(2, 40_000_000, b"x" * 40_000_000)),
        "TIFF with a string as its turn": changed(t274=(2, 4, b"six\0")),
        "TIFF with a fraction as its turn": changed(t274=(5, 1, bytes(8))),
        "TIFF with no rows in a strip": changed(t278=(4, 1, 0)),
        "TIFF with a profile of nothing": changed(t34675=(7, 0, 0)),
        "TIFF with a JPEG of another size": lambda: make.tiff(
            {**plain, 259: (3, 1, 7), 279: (4, 1, 10_000)},
            make.jpeg_of_size(make.encoded(make.picture("L"), "JPEG"), *make.LARGE),
        ),
        "TIFF in a circle": lambda: make.tiff(plain, bytes(851), then=8),
        "TIFF with 100,000 pages": lambda: b"II*\0\x08\0\0\0" + chain,
        "TIFF with folders in a circle": changed(t330=(4, 1, 8), t34665=(4, 1, 8)),
        "TIFF with no tags": lambda: make.tiff({}),
        "TIFF of 64-bit places": lambda: b"II\x2b\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**62),
        "TIFF with 65,535 tags": lambda: b"II*\0\x08\0\0\0\xff\xff" + struct.pack(
            "<HHII", 256, 4, 1, 9,
        ) * 65_535,
    }  # fmt: skip


def _others() -> dict[str, Callable[[], bytes]]:
    honest = make.honest()
    gif, webp, j2k = honest["GIF RGB"], honest["WEBP RGB"], honest["JPEG2000 RGB"]
    frame = gif[gif.index(b",\0\0\0\0") : -1]
    siz = j2k.index(b"\xff\x51") + 4

    def avif(size: tuple[int, int], said: tuple[int, int]) -> Callable[[], bytes]:
        return lambda: make.said_size(make.encoded(Image.new("L", size), "AVIF", speed=10), *said)

    def j2k_with(at: int, packed: bytes) -> Callable[[], bytes]:
        return lambda: j2k[: siz + at] + packed + j2k[siz + at + len(packed) :]

    return {
        "AVIF of 130 megapixels that says 10 x 10": avif((16_000, 8_192), (10, 10)),
        "AVIF of 36 megapixels that says 10 x 10": avif((6_000, 6_000), (10, 10)),
        "AVIF that says more than it has": avif((37, 23), make.LARGE),
        "AVIF that says 2^32": avif((37, 23), (2**32 - 1, 2**32 - 1)),
        "AVIF called HEIC": lambda: honest["AVIF RGB"].replace(b"ftypavif", b"ftypheic"),
        "AVIF called a film": lambda: honest["AVIF RGB"].replace(b"ftypavif", b"ftypavis"),
        "AVIF cut off": lambda: honest["AVIF RGB"][:-20], "HEIC": lambda: HEIC,
        "HEIC that says more": lambda: make.said_size(HEIC, *make.LARGE),
        "HEIC that says 2^32": lambda: make.said_size(HEIC, 2**32 - 1, 2**32 - 1),
        "HEIC that says nothing": lambda: make.said_size(HEIC, 0, 0),
        "HEIC called AVIF": lambda: HEIC.replace(b"ftypheic", b"ftypavif"),
        "HEIC cut off": lambda: HEIC[:-20],
        "HEIC with a cut of nothing": lambda: HEIC.replace(b"clap\0\0\0\x18", b"clap\0\0\0\0"),
        "JPEG 2000 with 65,535 tiles": j2k_with(18, struct.pack(">II", 1, 1)),
        "JPEG 2000 of 2^32": j2k_with(2, struct.pack(">II", 2**32 - 1, 2**32 - 1)),
        "JPEG 2000 of 64 megapixels in small tiles": j2k_with(
            2, struct.pack(">IIIIIIII", *make.LARGE, 0, 0, 25, 25, 0, 0),
        ),
        "JPEG 2000 with 16,384 parts": j2k_with(34, struct.pack(">H", 16_384)),
        "GIF of 65,535 with a point": lambda: gif[:6] + b"\xff" * 4 + gif[10:],
        "GIF with 50,000 frames": lambda: gif[:-1] + frame * 50_000 + b";",
        "GIF of 64 megapixels": lambda: make.resized(gif, make.LARGE)[0],
        "GIF with 30 MB of words": lambda: (
            gif[:13] + b"!\xfe" + (b"\xff" + b"x" * 255) * 118_000 + b"\0" + gif[13:]
        ),
        "WEBP with a lie of a length": lambda: webp[:4] + b"\xff" * 4 + webp[8:],
        "WEBP in a large frame": lambda: make.webp_in_a_frame(webp),
    }  # fmt: skip


def _rare() -> dict[str, Callable[[], bytes]]:
    """Formats that hardly anybody sends, and that Pillow reads all the same."""
    honest, (width, height) = make.honest(), make.LARGE
    cards = (
        "SIMPLE  = T",
        "BITPIX  = -64",
        "NAXIS   = 2",
        f"NAXIS1  = {width}",
        f"NAXIS2  = {height}",
    )
    return {
        "PPM with large numbers": lambda: b"P3\n37 23\n" + b"9" * 5000 + b"\n" + b"1 " * 2553,
        "PPM of 64 megapixels in words": lambda: b"P3 8060 8060 255\n" + b"0 " * 1000,
        "PPM of words without end": lambda: b"P3 37 23 255\n" + b"1" * 10_000_000,
        "PPM of comments": lambda: b"P3\n" + b"#\n" * 1_000_000 + b"37 23 255 1",
        "PFM with an odd scale": lambda: b"Pf\n37 23\nnan\n" + bytes(3404),
        "PFM of numbers that are none": lambda: b"Pf\n37 23\n-1.0\n" + b"\0\0\xc0\x7f" * 851,
        "PFM with an endless scale": lambda: b"Pf\n37 23\n1e999\n" + bytes(3404),
        "XBM of 64 megapixels": lambda: (
            b"#define a_width 8060\n#define a_height 8060\nstatic char a[]={\n0x00"
        ),
        "XPM with 100,000 colours": lambda: (
            b'/* XPM */\n"37 23 100000 3",\n' + b'"aaa c #000000",\n' * 100_000
        ),
        "DDS of 64 megapixels": lambda: (
            struct.pack("<4sIIIIIII", b"DDS ", 124, 0x1007, height, width, 0, 0, 0).ljust(76, b"\0")
            + struct.pack("<II4s", 32, 4, b"DXT5")
            + bytes(4000)
        ),
        "QOI of 64 megapixels": lambda: (
            b"qoif"
            + struct.pack(">IIBB", width, height, 4, 0)
            + b"\xfd" * 640_200
            + bytes(7)
            + b"\1"
        ),
        "FITS of 64 megapixels": lambda: b"".join(
            card.encode().ljust(80) for card in (*cards, "END")
        ).ljust(2880),
        "PSD with layers": lambda: (
            struct.pack(">4sH6xHIIHH8xI", b"8BPS", 1, 3, height, width, 8, 3, 2**31) + bytes(100)
        ),
        "FLI of many frames": lambda: (
            struct.pack("<IHHHHHHI", 2**31, 0xAF12, 65_535, 320, 200, 8, 3, 1).ljust(
                128,
                b"\0",
            )
            * 9
        ),
        "BMP upside down": lambda: make.resized(honest["BMP RGB"], (37, -(2**31)))[0],
        "SGI packed": lambda: (
            struct.pack(">HBBHHHH", 474, 1, 1, 3, width, height, 3).ljust(512, b"\0") + bytes(5000)
        ),
        "TGA packed": lambda: (
            struct.pack(
                "<BBB5xHHHHBB",
                0,
                0,
                10,
                0,
                0,
                width,
                height,
                32,
                8,
            )
            + b"\xff\0\0\0\0" * 310_100
        ),
        "MSP": lambda: (
            struct.pack("<4sHH", b"LinS", width, height).ljust(32, b"\0") + bytes(40_000)
        ),
        "PCX": lambda: make.resized(honest["PCX RGB"], make.LARGE)[0],
        "IM with odd words": lambda: (
            b"Image type: RGB image\r\nImage size (x*y): 1e9*nan\r\n"
            b"File size (no of images): 9e99\r\n" + bytes(400) + b"\x1a"
        ),
        "SPIDER of no number": lambda: struct.pack(">f", float("nan")) * 300,
    }
