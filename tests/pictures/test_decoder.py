"""How pixels become RGB, and how a picture is turned: at little cost, whatever its metadata say."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from florence_demo.pictures.decoder import (
    PLUGINS,
    TooManyPixels,
    boxes,
    check_pixels,
    from_numbers,
    open_as,
    open_own,
    orientation_of,
    to_rgb,
)
from tests.picture_makers import encoded, exif, exif_of_copies, red, tiff


def test_the_formats_are_those_that_start_no_program() -> None:
    common = {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF"}
    assert set(PLUGINS) == common | {"JPEG2000", "PPM", "TGA", "PSD"}


def test_a_file_is_opened_as_the_format_that_was_asked_for() -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    for kind in PLUGINS:
        with pytest.raises(Exception, match=r"."):
            open_as(eps, kind, 1000)


ORIENTATIONS = {
    "as usual": (exif(3, 1, b"\6\0"), 6),
    "large first": (exif(3, 1, b"\0\6", ">"), 6),
    "without heading": (exif(3, 1, b"\6\0")[6:], 6),
    "wide": (exif(4, 1, b"\6\0\0\0"), 6),
    "wide, large first": (exif(4, 1, b"\0\0\0\6", ">"), 6),
    "a byte": (exif(1, 1, b"\6"), 6),
    "a string": (exif(2, 2, b"6\0"), 1),
    "a fraction": (exif(5, 1, b"\x08\0\0\0"), 1),
    "an unknown type": (exif(99, 1, b"\6\0"), 1),
    "zero": (exif(3, 1, b"\0\0"), 1),
    "nine": (exif(3, 1, b"\x09\0"), 1),
    "most": (exif(3, 1, b"\xff\xff"), 1),
    "no directory": (b"Exif\0\0II*\0\xff\xff\xff\xff", 1),
    "a directory with no end": (b"Exif\0\0II*\0" + struct.pack("<IH", 8, 65535), 1),
    "a directory that is itself": (b"Exif\0\0II*\0" + struct.pack("<I", 0) * 9, 1),
    "no such order": (b"Exif\0\0XX*\0" + bytes(40), 1),
    "headings": (b"Exif\0\0" * 10_000, 1),
    "nothing": (b"", 1),
}


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_the_orientation_is_a_number_that_means_something(name: str) -> None:
    block, expected = ORIENTATIONS[name]
    assert orientation_of(block) == expected
    assert orientation_of(block[:-1]) in (1, expected)


def test_xmp_counts_where_exif_is_silent() -> None:
    xmp = b"<tiff:Orientation>8</tiff:Orientation>"
    assert orientation_of(tiff([]), xmp) == 8
    assert orientation_of(exif(3, 1, b"\3\0"), xmp) == 3
    assert orientation_of(exif(2, 2, b"6\0"), xmp) == 1


def test_metadata_are_not_multiplied() -> None:
    block = exif_of_copies()
    tracemalloc.start()
    orientation_of(block)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_wide_pixels_are_scaled_in_pieces() -> None:
    """Sixteen bits a pixel would otherwise be held four times as floats of 32."""
    image = Image.new("I;16", (4000, 3000), 32768)
    tracemalloc.start()
    rgb = to_rgb(image)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rgb.getextrema() == ((128, 128),) * 3
    assert peak < 2 * 4000 * 3000  # less than the picture itself


@pytest.mark.parametrize("size", [(1, 1), (70_000, 20), (3, 5000), (1500, 1000)], ids=str)
def test_the_pieces_cover_a_picture_once(size: tuple[int, int]) -> None:
    seen = np.zeros(size[::-1], int)
    for left, top, right, bottom in boxes(size):
        assert (right - left) * (bottom - top) <= 1 << 20
        seen[top:bottom, left:right] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I", "F"])
def test_a_seam_between_pieces_is_not_seen(mode: str) -> None:
    ramp = np.linspace(0, 65535, 1100 * 1000).reshape(1000, 1100)
    dtype = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4", "F": "<f4"}[mode]
    found = np.asarray(to_rgb(Image.fromarray(ramp.astype(dtype), mode)), int)[:, :, 0]
    assert np.abs(found - np.rint(ramp / 257)).max() <= 1


def test_numbers_with_alpha_lie_on_white() -> None:
    pixels = np.array([[[1.0, 0, 0, 1], [1, 0, 0, 0]]])
    rgb = from_numbers((2, 1), lambda box: pixels[box[1] : box[3], box[0] : box[2]])
    assert [rgb.getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (255, 255, 255)]


@pytest.mark.parametrize("size", [(200, 51), (65_501, 1), (1, 65_501)], ids=str)
def test_a_picture_has_a_size_at_most(size: tuple[int, int]) -> None:
    with pytest.raises(TooManyPixels) as caught:
        check_pixels(size, 10_000 if size[0] == 200 else 10**9)
    assert caught.value.size == size


def test_the_projects_own_pictures_come_in_the_mode_that_is_wanted(tmp_path: Path) -> None:
    half = Image.new("RGBA", (4, 4), (9, 9, 9, 100))
    half.save(tmp_path / "a.webp", lossless=True)
    assert open_own(tmp_path / "a.webp", "RGBA").getpixel((0, 0)) == (9, 9, 9, 100)
    assert open_own(tmp_path / "a.webp").mode == "RGB"
    (tmp_path / "a.gif").write_bytes(encoded(red(), "GIF"))
    with pytest.raises(OSError, match="cannot identify"):
        open_own(tmp_path / "a.gif")
