"""Pictures become a video again, with the sound of the one they came from.

Encodes what is already decoded, in this process. The other video, a stranger's, is opened in a
process apart (``frame_decoder``), which copies its sound. Does not know what is drawn on them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from florence_demo.errors import InputError
from florence_demo.files import whole_file
from florence_demo.pictures.frames import FILM_LIMITS, BrokenOff, FrameLimits
from florence_demo.pictures.process import TooSlow, Unavailable
from florence_demo.pictures.worker import Ceilings, Worker, checked_file, name_of

ENDINGS = (".mp4", ".mkv", ".mov")

_ENCODERS = ("libx264", "libopenh264", "h264_videotoolbox", "h264_mf", "mpeg4")
_OPTIONS = {"libx264": {"crf": "20", "preset": "veryfast"}}
_BITS = 4  # a pixel and second, for encoders that go by them
_CLOCK = 60_000  # ticks a second: whole ones for usual rates, and no more than MPEG-4 takes


def save_film(
    pictures: Iterable[tuple[float, Image.Image]],
    target: Path,
    sound_of: Path | None = None,
    *,
    limits: FrameLimits = FILM_LIMITS,
) -> tuple[str, ...]:
    """Write pictures as a video in H.264, wholly or not at all.

    Args:
        pictures: When each is shown, in seconds, rising; and the picture. All get the size of the
            first, an odd side one pixel more, as H.264 wants.
        target: Ends with one of ``ENDINGS``.
        sound_of: A video whose sound is copied as it is.
        limits: What that video may cost.

    Returns:
        Sentences a person should read: another encoder had to be taken, sound was left out.

    Raises:
        BrokenOff: The pictures ended so; the video was written with those before.
        InputError: There are no pictures, or the video cannot be written.
    """
    if target.suffix.lower() not in ENDINGS:
        raise InputError(f"{name_of(target)} must end with {', '.join(ENDINGS)}: rename it.")
    source = checked_file(sound_of, limits.bytes) if sound_of else None
    broken: list[BrokenOff] = []
    try:
        with (
            whole_file(target) as new,
            tempfile.TemporaryDirectory(prefix=".film-", dir=target.parent) as folder,
        ):
            silent = Path(folder) / "silent.mp4" if source else new
            told = _encode(pictures, silent, broken)
            if source:
                told += _copy_sound(source, silent, new, limits)
    except OSError as exc:
        raise InputError(
            f"The video cannot be written to {name_of(target)}: name a folder that exists."
        ) from exc
    if broken:
        raise broken[0]
    return told


def _encode(
    pictures: Iterable[tuple[float, Image.Image]], target: Path, broken: list[BrokenOff]
) -> tuple[str, ...]:
    """Write the video without sound; how the pictures ended is put into ``broken``."""
    import av

    with av.open(str(target), "w", options=_web(target)) as container:
        stream: Any = None
        last, encoder = -1, ""
        try:
            for seconds, picture in pictures:
                if stream is None:
                    encoder = next(name for name in _ENCODERS if name in av.codecs_available)
                    stream = container.add_stream(encoder, rate=30, options=_OPTIONS.get(encoder))
                    stream.width, stream.height = (side + side % 2 for side in picture.size)
                    stream.pix_fmt = "yuv420p"
                    if encoder not in _OPTIONS:
                        stream.bit_rate = _BITS * stream.width * stream.height
                    stream.codec_context.time_base = Fraction(1, _CLOCK)
                frame = av.VideoFrame.from_image(_fitted(picture, (stream.width, stream.height)))
                last = max(last + 1, round(seconds * _CLOCK))
                frame.pts, frame.time_base = last, Fraction(1, _CLOCK)
                container.mux(stream.encode(frame))
        except BrokenOff as exc:
            broken.append(exc)
        if stream is None:
            raise broken[0] if broken else InputError("There are no frames to write: choose some.")
        container.mux(stream.encode())
    other = "264" not in encoder
    return (f"No H.264 is encoded here: the video is in {encoder.upper()}.",) if other else ()


def _fitted(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return a picture in the video's size; one pixel more is filled with what is beside it."""
    width, height = size
    if picture.size == size:
        return picture
    if width - picture.width in (0, 1) and height - picture.height in (0, 1):
        larger = Image.new("RGB", size)
        for at in ((1, 1), (1, 0), (0, 1), (0, 0)):
            larger.paste(picture, at)
        return larger
    return picture.resize(size)


def _copy_sound(source: Path, silent: Path, target: Path, limits: FrameLimits) -> tuple[str, ...]:
    """Write the video anew with the sound of a stranger's."""
    most = silent.stat().st_size + source.stat().st_size + (64 << 20)
    ceilings = Ceilings(limits.pixels, limits.memory, written=most)
    failed = f"The sound of {name_of(source)} could not be copied"
    try:
        with Worker("frame_decoder", ceilings, path=str(source), pixels=0) as worker:
            asked = {"do": "copy", "film": str(silent), "target": str(target)}
            head, _ = worker.ask(limits.work, **asked, options=_web(target))
    except (TooSlow, Unavailable, ValueError):
        head = {"wrong": "ended"}
    if "wrong" in head:
        _copy_silent(silent, target)
        return (f"{failed}: the video is silent.",)
    left = f"{failed} whole: {target.suffix} does not hold it. Save the video as .mkv."
    return (left,) if head["left"] else ()


def _web(target: Path) -> dict[str, str]:
    """Return what puts a file's index to its front, so that it plays before it is loaded."""
    return {} if target.suffix.lower() == ".mkv" else {"movflags": "faststart"}


def _copy_silent(silent: Path, target: Path) -> None:
    """Write the video anew, into the target's container."""
    import av

    with av.open(str(silent)) as seen, av.open(str(target), "w") as out:
        shown = out.add_stream_from_template(seen.streams.video[0])
        for packet in seen.demux(video=0):
            if packet.dts is not None:
                packet.stream = shown
                out.mux(packet)
