"""Decode frames of a video, or copy its sound; ``confined`` runs it as a program.

Knows PyAV and how a frame lies on a screen. Opens containers that hold a video themselves, none
that name other files or addresses (playlists). Imports nothing of this package.
"""

from __future__ import annotations

import heapq
import io
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

Answer = tuple[dict[str, Any], Image.Image | None]

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "ivf",
    "mpegvideo", "h264", "hevc", "m4v", "mxf", "dv",
)  # fmt: skip
"""As FFmpeg names them."""

_THREADS = 2
_CUT_SECONDS = 1.0  # what containers tell of their length is no more exact
_WIDEST = 8  # times: beyond it a pixel's shape is a lie
_TURNS = {
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}  # the first four numbers of a display matrix: where a frame's x and y go on the screen


def prepare(
    path: str, pixels: int, frames: int = 0, seconds: float = 0.0
) -> Callable[[dict[str, Any]], Answer]:
    """Return what answers requests about a file.

    * {"do": "open"}: {"seconds": s, "rate": frames a second, "frames": n}, each 0 where the file
      does not tell, or {"wrong": why}.
    * {"do": "next"}: the next frame that is wanted, with "number" and "seconds", or {"end": why},
      where why is "whole", "cut" or "damaged", with "last", the time of the last frame.
    * {"do": "copy", "film": path, "target": path, "options": the container's} writes another video
      with this one's sound: {"copied": how many streams, "left": how many could not be}.

    Args:
        path: The video.
        pixels: Most pixels of a frame.
        frames: Every which frame is wanted, or 0:
        seconds: then the first of each such piece of time.
    """
    opened: list[_Film] = []

    def answer(request: dict[str, Any]) -> Answer:
        if request["do"] == "open":
            try:
                opened.append(_Film(path, pixels))
            except LookupError as exc:
                return {"wrong": str(exc.args[0])}, None
            return opened[0].told(), None
        if request["do"] == "copy":
            return _with_sound(path, request), None
        return opened[0].next_wanted(frames, seconds)

    return answer


class _Film:
    """Hold an open video."""

    def __init__(self, path: str, pixels: int) -> None:
        self._container = open_container(path)
        films = [s for s in self._container.streams.video if not _is_cover(s)]
        if not films:
            raise LookupError("no video")
        self._stream = films[0]
        context = self._stream.codec_context
        if context.width * context.height > pixels:
            raise LookupError("large")
        context.options = {"max_pixels": str(pixels)}
        context.thread_count, context.thread_type = _THREADS, "AUTO"
        self._pixels = pixels
        shape = float(self._stream.sample_aspect_ratio or 1)
        self._shape = shape if 1 / _WIDEST <= shape <= _WIDEST else 1.0
        self._rate = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        self._frames = self._decoded()
        self._count, self._next = 0, 0.0
        self._last, self._seen, self._damaged = 0.0, 0.0, 0

    def told(self) -> dict[str, Any]:
        return {"seconds": self._length(), "rate": self._rate, "frames": self._stream.frames}

    def _length(self) -> float:
        if self._stream.duration and self._stream.time_base:
            return float(self._stream.duration * self._stream.time_base)
        return (self._container.duration or 0) / av.time_base

    def next_wanted(self, frames: int, seconds: float) -> Answer:
        for frame in self._frames:
            number, self._count = self._count, self._count + 1
            self._last = self._time(frame, number)
            wanted = not number % frames if frames else self._last >= self._next - 1e-6
            if wanted:
                if seconds:
                    self._next = (int((self._last + 1e-6) / seconds) + 1) * seconds
                return {"number": number, "seconds": self._last}, _shown(
                    frame, self._shape, self._pixels
                )
        return {"end": self._why(), "last": self._last, "frames": self._count}, None

    def _why(self) -> str:
        """Return how the video ended."""
        whole = (self._container.duration or 0) / av.time_base
        if self._seen < whole - _CUT_SECONDS:
            return "cut"
        return "damaged" if self._damaged else "whole"

    def _time(self, frame: VideoFrame, number: int) -> float:
        """Return when a frame is shown, in seconds from the beginning."""
        seconds: float | None = frame.time if frame.pts is not None else None
        if seconds is not None:
            return max(0.0, seconds - (self._container.start_time or 0) / av.time_base)
        return number / self._rate if self._rate else self._last

    def _decoded(self) -> Iterator[VideoFrame]:
        """Yield the frames; what cannot be decoded is counted and left out."""
        packets = self._container.demux()
        start = (self._container.start_time or 0) / av.time_base
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError:
                self._damaged += 1
                return
            if packet.pts is not None and packet.time_base:
                until = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                self._seen = max(self._seen, until - start)
            if packet.stream is not self._stream:  # what flushes a decoder has no index
                continue
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                self._damaged += 1
                continue
            yield from (frame for frame in decoded if isinstance(frame, VideoFrame))


def open_container(path: str) -> InputContainer:
    """Open a video that is in the file itself.

    It is handed over as an open file, and no protocol is allowed: nothing in it opens another.
    """
    options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "none"}
    # A title in an unknown alphabet is no reason to refuse a video; from version 19 on, that goes
    # without saying.
    lenient = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}
    opener: Any = av.open
    opened: InputContainer = opener(io.FileIO(path), "r", options=options, **lenient)
    return opened


def _with_sound(path: str, request: dict[str, Any]) -> dict[str, Any]:
    """Write a video with the sound of another; nothing is decoded, and times are kept."""
    with (
        open_container(path) as source,
        av.open(request["film"]) as seen,
        av.open(request["target"], "w", options=request["options"]) as out,
    ):
        shown = out.add_stream_from_template(seen.streams.video[0])
        streams: dict[int, Any] = {}
        for stream in source.streams.audio:
            with suppress(av.FFmpegError, ValueError):  # no such sound in this container
                streams[stream.index] = out.add_stream_from_template(stream)
        left = len(source.streams.audio) - len(streams)
        heard = _packets(source, streams, Fraction(source.start_time or 0, av.time_base))
        for packet in heapq.merge(_packets(seen, {0: shown}), heard, key=_when):
            out.mux(packet)
    return {"copied": len(streams), "left": left}


def _when(packet: Any) -> Fraction:
    return Fraction(packet.dts * packet.time_base)


def _packets(
    container: InputContainer, streams: dict[int, Any], start: Fraction = Fraction(0)
) -> Iterator[Any]:
    """Yield the packets of some streams, each for the stream that it becomes one of."""
    packets = container.demux() if streams else iter(())
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):  # cut off: what came before is kept
            return
        if packet.stream_index not in streams or packet.is_corrupt:
            continue
        if packet.dts is None or packet.time_base is None:
            continue
        shift = round(start / packet.time_base)
        packet.dts -= shift
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.stream = streams[packet.stream_index]
        yield packet


def _is_cover(stream: VideoStream) -> bool:
    """Say whether a stream is the picture on the cover of a piece of music."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _shown(frame: VideoFrame, shape: float, pixels: int) -> Image.Image:
    """Return a frame as a screen shows it: square pixels, upright.

    Args:
        frame: As it was decoded.
        shape: How wide a pixel of it is, its height being 1.
        pixels: Most pixels of the result.
    """
    width, height = frame.width, frame.height
    if shape > 1 and width * shape * height > pixels:
        height = max(1, round(height / shape))
    else:
        width = max(1, round(width * shape))
    picture: Image.Image = frame.reformat(width, height, "rgb24").to_image()
    turn = _turn(frame)
    return picture if turn is None else picture.transpose(turn)


def _turn(frame: VideoFrame) -> Image.Transpose | None:
    """Return how a frame must be turned, by its display matrix (ISO/IEC 14496-12, 8.3.2)."""
    side: Any = frame.side_data
    with suppress(KeyError, struct.error, TypeError):
        matrix = struct.unpack_from("=5i", bytes(side["DISPLAYMATRIX"]))
        a, b, _, c, d = (round(value / (1 << 16)) for value in matrix)
        return _TURNS.get((a, b, c, d))
    return None
