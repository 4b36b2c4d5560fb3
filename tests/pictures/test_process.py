"""A decoder in a process of its own: what it gives back, and what ends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from florence_demo.pictures import decoder
from florence_demo.pictures import process as image_process
from florence_demo.pictures.decoder import NoDecoder, TooManyPixels
from florence_demo.pictures.process import TooSlow, Unavailable, decode_apart
from tests.picture_makers import LYING_AVIF, encoded, of_strips, red, riff

GIF = encoded(red(), "GIF")


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "TGA", "PPM", "JPEG2000"])
def test_a_picture_comes_back(kind: str) -> None:
    assert decode_apart(encoded(red(), kind), kind, 1000).tobytes() == red().tobytes()


def test_the_first_frame_of_an_animation_lies_where_it_belongs() -> None:
    place = (4).to_bytes(3, "little") * 2 + (7).to_bytes(3, "little") * 2 + bytes(4)
    frame = place + encoded(red(size=(8, 8)), "WEBP", lossless=True)[12:]
    canvas = b"\x12\0\0\0" + (23).to_bytes(3, "little") + (15).to_bytes(3, "little")
    data = riff((b"VP8X", canvas), (b"ANIM", bytes(6)), (b"ANMF", frame))
    image = decode_apart(data, "WEBP", 1000)
    assert image.size == (24, 16)
    assert [image.getpixel(at) for at in ((0, 0), (8, 8))] == [(255, 255, 255), (200, 30, 40)]


@pytest.mark.parametrize("known", [0, 24 * 16])
def test_a_picture_of_too_many_pixels_is_not_decoded(known: int) -> None:
    with pytest.raises(TooManyPixels) as caught:
        decode_apart(GIF, "GIF", 24 * 16 - 1, known)
    assert caught.value.size == (24, 16)


def test_a_decoder_that_needs_more_than_the_size_explains_ends() -> None:
    """The container says 10 x 10; the frame inside would take 400 MB and the interpreter."""
    with pytest.raises(ValueError, match="damaged"):
        decode_apart(LYING_AVIF, "AVIF", 65_000_000)


def test_millions_of_strips_are_given_up() -> None:
    with pytest.raises((TooSlow, ValueError)):
        decode_apart(of_strips(2_000_000), "TIFF", 65_000_000)


@pytest.mark.parametrize("data", [b"", b"GIF89a", GIF[:-20], b"hello"], ids=repr)
def test_a_damaged_file_is_told_from_a_failure(data: bytes) -> None:
    with pytest.raises(ValueError, match="damaged"):
        decode_apart(data, "GIF", 1000)


def test_a_format_without_a_decoder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "PLUGINS", {"GIF": "no_such_module"})
    with pytest.raises(NoDecoder):
        decoder.open_as(GIF, "GIF", 1000)


SCRIPTS = {
    "never ends": ("import time; time.sleep(60)", TooSlow),
    "takes all its time": ("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", TooSlow),
    "crashes": ("import os; os.abort()", ValueError),
    "fails": ("raise RuntimeError", ValueError),
    "writes nothing": ("pass", ValueError),
    "writes nonsense": ("print('hello there')", ValueError),
    "writes too little": ("print('2 2'); print('abc')", ValueError),
    "writes too much": ("print('1 1'); print('abcdef')", ValueError),
    "claims a large picture": ("print('9999 9999')", TooManyPixels),
    "has no room": ("raise SystemExit(6)", Unavailable),
    "has no decoder": ("raise SystemExit(4)", NoDecoder),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_whatever_the_process_does_is_understood(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, expected = SCRIPTS[name]
    (tmp_path / "decoder.py").write_text(script, encoding="utf-8")
    monkeypatch.setattr(decoder, "__file__", str(tmp_path / "decoder.py"))
    if name == "never ends":
        monkeypatch.setattr(image_process, "SECONDS", 0.2)
    with pytest.raises(expected):
        decode_apart(GIF, "GIF", 1_000_000)


def test_the_process_knows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import os\nassert 'HF_TOKEN' not in os.environ\nprint('1 1\\nabc', end='')\n"
    (tmp_path / "decoder.py").write_text(script, encoding="utf-8")
    monkeypatch.setattr(decoder, "__file__", str(tmp_path / "decoder.py"))
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert decode_apart(GIF, "GIF", 1000).getpixel((0, 0)) == tuple(b"abc")


@pytest.mark.parametrize("where", ["process", "file"])
def test_a_machine_without_room_says_so(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    name = {"process": "subprocess.run", "file": "tempfile.TemporaryFile"}[where]
    monkeypatch.setattr(f"florence_demo.pictures.process.{name}", none)
    with pytest.raises(Unavailable):
        decode_apart(GIF, "GIF", 1000)
