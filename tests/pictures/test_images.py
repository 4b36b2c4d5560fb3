"""What comes in as a picture, and what is refused with a sentence."""

from __future__ import annotations

import base64
import errno
import io
import struct
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from florence_demo.errors import InputError
from florence_demo.files import disk_full_told
from florence_demo.pictures import images
from florence_demo.pictures.decoder import MAX_SIDE
from florence_demo.pictures.images import (
    ImageLimits,
    as_jpeg,
    display_copy,
    open_image,
    save_picture,
    upright_size,
)
from tests.picture_makers import (
    HEIC,
    LYING_AVIF,
    chunk,
    encoded,
    exif_of_copies,
    of_scans,
    of_strips,
    red,
    segment,
    with_chunks,
    with_segments,
)


def close_to(image: Image.Image, colour: tuple[int, ...], tolerance: int = 8) -> bool:
    assert image.mode == "RGB"
    return bool(np.abs(np.asarray(image, int) - np.array(colour)).max() <= tolerance)


def half_clear() -> Image.Image:
    image = Image.new("RGBA", (8, 8), (0, 0, 255, 255))
    image.paste((0, 0, 0, 0), (0, 0, 8, 8))
    return image


def palette_with_transparency() -> bytes:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([10, 20, 30, 200, 30, 40])
    return encoded(image, "PNG", transparency=0)


def grey16(value: int = 32768, kind: str = "PNG") -> bytes:
    return encoded(Image.fromarray(np.full((8, 8), value, np.uint16)), kind)


def two_frames(kind: str) -> bytes:
    other = Image.new("RGB", (24, 16), (0, 255, 0))
    return encoded(red(), kind, save_all=True, append_images=[other], duration=50)


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be of any size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND")
    return b"\x89PNG\r\n\x1a\n" + body


def icon_that_lies() -> bytes:
    """An icon whose directory says 16 x 16 and whose picture says 9,000 x 9,000."""
    inner = png_header(9000, 9000)
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + inner


def photoshop() -> bytes:
    """A file of Photoshop, without layers: its picture stands plane by plane at the end."""
    head = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 16, 24, 8, 3)
    return head + bytes(12) + bytes(2) + b"".join(bytes([value]) * 24 * 16 for value in RED)


RED, WHITE = (200, 30, 40), (255, 255, 255)
OPENS: dict[str, tuple[Callable[[], bytes], tuple[int, ...]]] = {
    "jpeg": (lambda: encoded(red(), "JPEG"), RED),
    "png": (lambda: encoded(red(), "PNG"), RED),
    "webp": (lambda: encoded(red(), "WEBP"), RED),
    "bmp": (lambda: encoded(red(), "BMP"), RED),
    "tiff": (lambda: encoded(red(), "TIFF"), RED),
    "tga": (lambda: encoded(red(), "TGA"), RED),
    "ppm": (lambda: encoded(red(), "PPM"), RED),
    "heic": (lambda: HEIC, RED),
    "palette": (lambda: encoded(red().quantize(4), "PNG"), RED),
    "gif": (lambda: encoded(red(), "GIF"), RED),
    "animated gif": (lambda: two_frames("GIF"), RED),
    "animated webp": (lambda: two_frames("WEBP"), RED),
    "animated png": (lambda: two_frames("PNG"), RED),
    "cmyk": (lambda: encoded(red("CMYK"), "JPEG"), RED),
    "clear": (lambda: encoded(half_clear(), "PNG"), WHITE),
    "clear palette": (palette_with_transparency, WHITE),
    "grey with alpha": (lambda: encoded(Image.new("LA", (8, 8), (0, 0)), "PNG"), WHITE),
    "grey": (lambda: encoded(Image.new("L", (8, 8), 90), "PNG"), (90, 90, 90)),
    "bilevel": (lambda: encoded(Image.new("1", (8, 8), 1), "PNG"), WHITE),
    "16 bit png": (grey16, (128, 128, 128)),
    "16 bit tiff": (lambda: grey16(kind="TIFF"), (128, 128, 128)),
    "dark 16 bit": (lambda: grey16(512), (2, 2, 2)),
    "float tiff": (lambda: encoded(Image.new("F", (8, 8), 0.5), "TIFF"), (128, 128, 128)),
    "interlaced gif": (lambda: encoded(red().quantize(4), "GIF", interlace=1), RED),
    "two pictures": (lambda: encoded(red(), "MPO", save_all=True, append_images=[red("L")]), RED),
    "photoshop": (photoshop, RED),
    "jpeg 2000": (lambda: encoded(red(), "JPEG2000"), RED),
    "compressed tiff": (lambda: encoded(red(), "TIFF", compression="tiff_lzw"), RED),
    "float map": (lambda: encoded(Image.new("F", (8, 8), 0.5), "PPM"), (128, 128, 128)),
    "one pixel": (lambda: encoded(red(size=(1, 1)), "PNG"), RED),
}


@pytest.mark.parametrize("name", OPENS)
def test_a_picture_becomes_plain_rgb(name: str) -> None:
    make, colour = OPENS[name]
    assert close_to(open_image(make()), colour)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")
def test_avif_opens() -> None:
    assert close_to(open_image(encoded(red(), "AVIF")), RED)


def test_every_kind_of_source_gives_the_same_picture(tmp_path: Path) -> None:
    data = encoded(red(), "PNG")
    path = tmp_path / "a picture"  # the name says nothing: the bytes count
    path.write_bytes(data)
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    sources = [path, str(path), data, io.BytesIO(data), url, red(), np.asarray(red())]
    for source in sources:
        assert open_image(source).tobytes() == red().tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_the_camera_is_applied_once(kind: str, orientation: int) -> None:
    image = Image.new("RGB", (24, 16), "white")
    image.paste((0, 0, 0), (0, 0, 8, 8))  # a corner to find again
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = open_image(encoded(image, kind, exif=exif))
    corner = {1: (2, 2), 2: (-3, 2), 3: (-3, -3), 4: (2, -3)}
    corner |= {5: (2, 2), 6: (-3, 2), 7: (-3, -3), 8: (2, -3)}
    x, y = corner[orientation]
    assert turned.size == ((24, 16) if orientation < 5 else (16, 24))
    assert np.asarray(turned)[y, x].max() < 60
    assert open_image(turned).tobytes() == turned.tobytes()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_metadata_is_no_reason_to_refuse() -> None:
    data = encoded(red(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    assert close_to(open_image(data), RED)


def test_the_callers_picture_is_left_alone() -> None:
    image = red("RGBA")
    before = image.tobytes()
    open_image(image)
    assert image.mode == "RGBA"
    assert image.tobytes() == before


RAMP = np.linspace(0, 1, 256).reshape(16, 16)
ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "bytes": (RAMP * 255).astype(np.uint8),
    "one channel": (RAMP * 255).astype(np.uint8)[:, :, None],
    "wider integers": (RAMP * 255).astype(np.int64),
    "16 bit": (RAMP * 65535).astype(np.uint16),
    "0..1": RAMP,
    "0..255": RAMP * 255,
    "no known range": RAMP * 7000 - 350,
    "rgb": np.dstack([RAMP] * 3),
    "rgba": np.dstack([RAMP] * 3 + [np.ones_like(RAMP)]),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_scaled_not_clipped(name: str) -> None:
    image = open_image(ARRAYS[name])
    grey = np.asarray(image, int)[:, :, 0]
    assert np.abs(grey - np.rint(RAMP * 255)).max() <= 1


def test_not_a_number_becomes_black() -> None:
    assert close_to(open_image(np.full((4, 4), np.nan)), (0, 0, 0))


GOOD = encoded(Image.effect_noise((256, 256), 90), "PNG")
JPEG = encoded(red(), "JPEG")
REFUSED: dict[str, tuple[Any, str]] = {
    "empty": (b"", "empty"),
    "text": (b"hello, this is no picture at all", "not a picture"),
    "svg": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    "web page": (b"\n<!DOCTYPE html><html></html>", "web page"),
    "pdf": (b"%PDF-1.7\n", "document"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "document"),
    "video": (b"\0\0\0\x18ftypmp42" + bytes(64), "video"),
    "avi": (b"RIFF\0\0\0\0AVI LIST" + bytes(64), "video"),
    "sound": (b"RIFF\0\0\0\0WAVEfmt " + bytes(64), "not a picture"),
    "matroska": (b"\x1a\x45\xdf\xa3" + bytes(64), "video"),
    "truncated png": (GOOD[: len(GOOD) // 2], "damaged or cut off"),
    "truncated jpeg": (encoded(red(), "JPEG")[:-200], "damaged|not a picture"),
    "truncated heic": (HEIC[:-30], "damaged or cut off"),
    "heic of its header": (HEIC[:40], "damaged or cut off"),
    "avif of its header": (LYING_AVIF[:60], "damaged or cut off"),
    "header only": (GOOD[:20], "damaged|not a picture"),
    "flipped bits": (GOOD[:200] + b"\xff" * (len(GOOD) - 200), "damaged or cut off"),
    "large": (png_header(8000, 8126), r"\(8000 x 8126\).*65 megapixels"),
    "bomb": (png_header(30000, 30000), "65 megapixels"),
    "icon that lies": (icon_that_lies(), "not a picture"),
    "eps with a preview": (b"\xc5\xd0\xd3\xc6" + bytes(60), "not a picture"),
    "avif that lies": (LYING_AVIF, "damaged or cut off"),
    "millions of strips": (of_strips(2_000_000), "too long to open|damaged"),
    "hundreds of scans": (of_scans(201), "too many passes"),
    "segments without end": (with_segments(JPEG, segment(0xE5) * 100_001), "damaged"),
    "chunks without end": (with_chunks(GOOD, chunk(b"teXt") * 100_001), "damaged"),
    "too long": (png_header(1, 65_501), r"too long \(1 x 65501\)"),
    "too many bytes": (io.BytesIO(bytes(50_000_001)), "50 MB"),
    "missing": ("no/such/picture.png", "does not exist"),
    "folder": (Path(), "folder"),
    "device": ("/dev/zero", "check the path"),
    "zero byte in path": ("a\0b", "check the path"),
    "long name": ("a" * 5000 + ".png", "check the path"),
    "long path": ("b/" * 50_000, "check the path"),
    "half of a character": ("\ud800.png", "check the path"),
    "lines in a name": ("a\nb\rc.png", "check the path"),
    "nobody's home": ("~nobody-of-this-name/a.png", "check the path"),
    "broken data url": ("data:image/png;base64,A", "not a picture"),
    "empty data url": ("data:", "empty"),
    "array of a strange shape": (np.zeros((4, 4, 2)), "shape"),
    "array of nothing": (np.zeros((0, 4)), "no pixels"),
    "array of words": (np.array([["a", "b"]]), "numbers"),
    "array too large": (np.broadcast_to(np.uint8(0), (10_000, 10_000)), "65 megapixels"),
    "picture too large": (Image.new("1", (8000, 8126)), "65 megapixels"),
}


PHONES = {"48 megapixels": (8064, 6048), "50": (8192, 6144), "64": (9280, 6944)}


@pytest.mark.parametrize("name", PHONES)
def test_a_phones_largest_picture_is_let_in(name: str) -> None:
    """Only the header is read: decoding takes half a second and 300 MB."""
    assert upright_size(png_header(*PHONES[name])) == PHONES[name]


@pytest.mark.parametrize("size", [(MAX_SIDE, 1), (1, MAX_SIDE)], ids=str)
def test_the_longest_picture_goes_out_again_as_a_jpeg(size: tuple[int, int]) -> None:
    assert open_image(as_jpeg(open_image(encoded(Image.new("RGB", size), "PNG")))).size == size


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_usable_picture_gets_one_sentence(name: str) -> None:
    source, sentence = REFUSED[name]
    with pytest.raises(InputError, match=sentence) as caught:
        open_image(source)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert len(message) < 120
    assert all(c.isprintable() for c in message)


def test_scans_up_to_the_limit_are_decoded() -> None:
    assert close_to(open_image(of_scans(200)), RED)


def test_many_scans_of_many_pixels_are_refused_before_decoding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = of_scans(30)
    monkeypatch.setattr(images, "open_as", lambda *given: pytest.fail("decoded"))
    with pytest.raises(InputError, match="too many passes"):
        open_image(data, limits=ImageLimits(max_scanned=30 * 24 * 16 - 1))


def test_metadata_are_not_multiplied() -> None:
    """Each of 5,000 tags points to the same 60 kB, which Pillow's reader copies for each."""
    data = with_segments(JPEG, segment(0xE1, exif_of_copies()))
    open_image(JPEG)
    tracemalloc.start()
    open_image(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"


def test_an_open_picture_that_would_start_a_program_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = Image.open(io.BytesIO(EPS))
    monkeypatch.setattr(type(image), "load", lambda self: pytest.fail("started"))
    with pytest.raises(InputError, match="not a picture"):
        open_image(image)


def test_two_pictures_are_decoded_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    entered, leave, inside = threading.Semaphore(0), threading.Event(), []
    most = [0]

    def slow(*given: Any) -> Image.Image:
        inside.append(1)
        most[0] = max(most[0], len(inside))
        entered.release()
        leave.wait(30)
        inside.pop()
        return red()

    monkeypatch.setattr(images, "open_as", slow)
    threads = [threading.Thread(target=open_image, args=(GOOD,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert entered.acquire(timeout=30)
    assert entered.acquire(timeout=30)
    assert not entered.acquire(timeout=0.1)
    leave.set()
    for thread in threads:
        thread.join()
    assert most == [2]


PLACES = {
    "here": ("_HERE", GOOD),
    "large": ("_LARGE", png_header(5000, 4000)),
    "apart": ("_APART", encoded(red(), "GIF")),
}


@pytest.mark.parametrize("name", PLACES)
def test_who_waits_long_for_a_place_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, data = PLACES[name]
    monkeypatch.setattr(images, "_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(images, gate, threading.BoundedSemaphore(1))
    with getattr(images, gate), pytest.raises(InputError, match="try again"):
        open_image(data)
    assert getattr(images, gate).acquire(blocking=False)


def test_places_are_given_back_after_a_failure() -> None:
    for _ in range(5):
        for data in (GOOD[:-300], encoded(red(), "GIF")[:-20], png_header(5000, 4000)):
            with pytest.raises(InputError, match="damaged"):
                open_image(data)
    assert open_image(GOOD).size == (256, 256)


def test_a_data_url_of_escapes_is_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them would become an object of its own."""
    monkeypatch.setattr(images, "unquote_to_bytes", lambda body: pytest.fail("taken apart"))
    with pytest.raises(InputError, match="not a picture"):
        open_image("data:image/png," + "%41" * 1_000_001)


@pytest.mark.parametrize("name", OPENS)
def test_the_size_is_known_without_the_picture(name: str) -> None:
    data = OPENS[name][0]()
    assert upright_size(data) == open_image(data).size


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_size_of_usual_formats_takes_no_decoder(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(red(), kind, exif=exif)
    monkeypatch.setattr(Image, "open", lambda *given, **how: pytest.fail("decoded"))
    assert upright_size(data) == (16, 24)
    with pytest.raises(InputError, match="megapixels"):
        upright_size(data, limits=ImageLimits(max_pixels=24 * 16 - 1))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "A.PNG", "a.webp", "a.tiff"])
def test_a_picture_is_saved_as_its_name_ends(name: str, tmp_path: Path) -> None:
    save_picture(red(), tmp_path / name)
    assert open_image(tmp_path / name).size == (24, 16)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["no/folder.png", "a", "a.mp3", "a\0.png", "b" * 300 + ".png"])
def test_a_picture_that_cannot_be_saved_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written") as caught:
        save_picture(red(), tmp_path / name)
    assert len(str(caught.value)) < 200
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_and_leaves_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def full(self: Path, mode: str) -> Full:
        self.touch()
        return Full()

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(InputError, match="disk is full"):
        save_picture(red(), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_other_failures_of_a_disk_stay_what_they_are() -> None:
    with pytest.raises(OSError, match="broken"), disk_full_told():
        raise OSError(errno.EIO, "broken")
    with pytest.raises(InputError, match="disk is full"), disk_full_told():
        raise OSError(errno.EDQUOT, "quota")


def test_the_limit_counts_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(red(), "PNG")
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(InputError, match="megapixels"):
        open_image(data, limits=ImageLimits(max_pixels=24 * 16 - 1))


@pytest.mark.parametrize("kind", ["path", "bytes", "data url"])
def test_bytes_are_limited_however_they_come(kind: str, tmp_path: Path) -> None:
    data = encoded(red(), "BMP")
    (tmp_path / "a.bmp").write_bytes(data)
    url = "data:image/bmp;base64," + base64.b64encode(data).decode()
    source = {"path": tmp_path / "a.bmp", "bytes": data, "data url": url}[kind]
    assert open_image(source, limits=ImageLimits(max_bytes=len(data))).size == (24, 16)
    with pytest.raises(InputError, match="larger than"):
        open_image(source, limits=ImageLimits(max_bytes=len(data) - 1))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((3200, 1200), (1600, 600)), ((400, 300), (400, 300)), ((3000, 1), (1600, 1))],
)
def test_the_display_copy_is_small_and_looks_the_same(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    image = red(size=size)
    data, mime = display_copy(image)
    copy = open_image(data)
    assert mime == "image/jpeg"
    assert copy.size == expected
    assert image.size == size
    assert close_to(copy, RED)
