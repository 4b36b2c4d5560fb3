"""The door for pictures: ``open_image``, and the copy that the page shows of what it opened."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

from florence_demo.pictures.images import LIMITS, display_copy, open_image
from tests.fuzz import make_pictures as make
from tests.fuzz.doors import Door, Drive
from tests.fuzz.guards import Guard
from tests.fuzz.hostile_pictures import corpus
from tests.fuzz.mutations import Draw, among, bent_bytes, just
from tests.fuzz.oracle import Breach
from tests.pictures.test_images import HEIC


@contextmanager
def opened(_folder: Path) -> Iterator[Drive]:
    """Take pictures as the page does."""

    guard = Guard()

    def drive(data: bytes) -> None:
        with guard.watching():
            try:
                image = open_image(data)
            finally:
                guard.check()
        if image.mode != "RGB" or image.width * image.height > LIMITS.max_pixels or image.info:
            raise Breach(f"opened as {image.mode}, {image.size}, with {sorted(image.info)[:5]}")
        shown, _ = display_copy(image)
        if len(shown) > 10_000_000:
            raise Breach(f"the copy for the page has {len(shown):,} bytes")

    for data in (*make.honest().values(), HEIC):
        if data.startswith((b"\xff\xd8", b"\x89PNG", b"RIFF", b"II*\0", b"GIF8")) or data is HEIC:
            drive(data)
    yield drive


@st.composite
def _sized(draw: Draw) -> bytes:
    """An honest picture that says another size."""
    data = draw(among(list(make.honest().values())))
    side = st.one_of(
        st.integers(0, 80), st.sampled_from([8060, 8063, 16_383, 65_535, 2**31 - 1, 2**32 - 1])
    )
    found = make.resized(data, (draw(side), draw(side)))
    return draw(st.sampled_from(found)) if found else data


@st.composite
def _chunks(draw: Draw) -> bytes:
    """A PNG with its parts bent, removed, doubled or in another order, and right checksums."""
    parts = list(
        make.png_parts(draw(among([v for k, v in make.honest().items() if k.startswith("PNG")])))
    )
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(parts) - 1))
        name, body = parts[at]
        names = st.sampled_from(
            [
                b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"tRNS", b"PLTE", b"gAMA", b"cHRM",
                b"sBIT", b"pHYs", b"acTL", b"fcTL", b"fdAT", b"IDAT", b"IHDR", b"IEND", b"CgBI",
            ],
        )  # fmt: skip
        kind = draw(st.integers(0, 3))
        if kind == 0:
            parts[at] = name, draw(bent_bytes(just(body), 2))
        elif kind == 1:
            parts.insert(at, (draw(names), draw(st.binary(max_size=40))))
        elif kind == 2:
            parts[at : at + 1] = [parts[at]] * draw(st.sampled_from([0, 2, 300]))
        else:
            parts[at] = draw(names), body
        if not parts:
            break
    return make.png_of(parts)


@st.composite
def _segments(draw: Draw) -> bytes:
    """A JPEG with its parts bent, removed, doubled or in another order."""
    parts = make.jpeg_parts(
        draw(among([v for k, v in make.honest().items() if k.startswith(("JPEG ", "MPO"))]))
    )
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(1, len(parts) - 1))
        kind = draw(st.integers(0, 2))
        if kind == 0:
            parts[at] = parts[at][:4] + draw(bent_bytes(just(parts[at][4:]), 2))
        elif kind == 1:
            parts.insert(
                at, make.jpeg_segment(draw(st.integers(0xC0, 0xFE)), draw(st.binary(max_size=60)))
            )
        else:
            parts[at : at + 1] = [parts[at]] * draw(st.sampled_from([0, 2, 250]))
        if len(parts) < 2:
            break
    return b"".join(parts)


@st.composite
def _tags(draw: Draw) -> bytes:
    """A TIFF of any tags."""
    known = st.sampled_from(
        [
            254, 256, 257, 258, 259, 262, 266, 270, 273, 274, 277, 278, 279, 282, 284, 317, 320,
            322, 323, 324, 325, 330, 338, 339, 347, 530, 700, 33723, 34377, 34665, 34675, 34853,
        ],
    )  # fmt: skip
    number = st.sampled_from(
        [0, 1, 2, 3, 4, 7, 8, 16, 23, 37, 64, 100, 851, 65_535, 2**31, 2**32 - 1]
    )
    tags: dict[int, tuple[int, int, bytes | int]] = {
        256: (4, 1, 37), 257: (4, 1, 23), 258: (3, 1, 8),
        259: (3, 1, draw(st.sampled_from([1, 5, 7, 8, 32773]))), 262: (3, 1, 1),
        273: (4, 1, b"DATA"), 277: (3, 1, 1), 278: (4, 1, 23), 279: (4, 1, 851),
    }  # fmt: skip
    for _ in range(draw(st.integers(1, 4))):
        tag = draw(known)
        if tag in tags and draw(st.booleans()):
            del tags[tag]
        else:
            tags[tag] = draw(st.integers(0, 18)), draw(number), draw(number)
    return make.tiff(
        tags,
        draw(st.sampled_from([bytes(851), zlib.compress(bytes(851)), b""])),
        draw(st.sampled_from([0, 8])),
    )


def inputs() -> st.SearchStrategy[bytes]:
    """Honest pictures, bent."""
    plain = among([*make.honest().values(), HEIC])
    return st.one_of(
        bent_bytes(plain),
        bent_bytes(plain),
        _sized(),
        bent_bytes(_sized(), 3),
        _chunks(),
        _segments(),
        _tags(),
    )


_QUICK = (
    "EPS",
    "EPS in a frame",
    "PDF",
    "SVG",
    "a film",
    "an icon that lies",
    "JPEG with 20,000 scans",
    "JPEG with 300,000 scans",
    "JPEG with a string as its turn",
    "JPEG with EXIF in a circle",
    "PNG of 170 megapixels",
    "PNG with texts",
    "PNG with a frame outside",
    "TIFF of 2^31",
    "TIFF with a string as its turn",
    "TIFF in a circle",
    "TIFF with 65,535 tags",
    "AVIF that says 2^32",
    "AVIF cut off",
    "HEIC",
    "HEIC cut off",
    "HEIC that says 2^32",
    "GIF of 65,535 with a point",
    "PPM with large numbers",
)
"""One of each kind, small enough for every run of the tests."""

DOOR = Door("pictures", corpus, inputs, opened, _QUICK)
