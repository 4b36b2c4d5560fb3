"""Videos as cameras and strangers make them."""

from __future__ import annotations

import io
import struct
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

RATE = 10

TURNS = {
    0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
}  # fmt: skip
"""Display matrices: how many degrees clockwise a screen turns the frames."""


def picture(number: int, size: tuple[int, int] = (64, 32)) -> Image.Image:
    """A frame that tells its number by its grey, with a red box at the top left."""
    image = Image.new("RGB", size, (40 + 3 * number % 200,) * 3)
    image.paste((255, 0, 0), (0, 0, 16, 16))
    return image


def film(
    frames: int = 20,
    kind: str = "mp4",
    *,
    size: tuple[int, int] = (64, 32),
    aspect: Fraction | None = None,
    sound: bool = False,
    front: bool = False,
    tone_seconds: float = 0.0,
    title: str = "",
) -> bytes:
    """A video of ``RATE`` frames a second.

    Args:
        frames: How many.
        kind: The container.
        size: Of a frame, as it is stored.
        aspect: How wide a pixel is.
        sound: With a tone.
        front: Its index at the front, as for the web.
        tone_seconds: Length of the tone; by default the video's.
        title: What the container says of itself.
    """
    options = {"movflags": "faststart"} if front else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film"
        with av.open(str(path), "w", format=kind, options=options) as container:
            if title:
                container.metadata["title"] = title
            stream = container.add_stream("libx264", rate=RATE)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.codec_context.gop_size = 5
            if aspect:
                stream.codec_context.sample_aspect_ratio = aspect
            heard = container.add_stream("aac", rate=16_000, layout="mono") if sound else None
            packets = []
            for number in range(frames):
                packets += stream.encode(av.VideoFrame.from_image(picture(number, size)))
            packets += stream.encode()
            if heard is not None:
                packets += _tone(heard, tone_seconds or frames / RATE)
            for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
                container.mux(packet)
        return path.read_bytes()


def _tone(stream: av.AudioStream, seconds: float) -> list[av.Packet]:
    times = np.arange(int(16_000 * seconds)) / 16_000
    wave = (8000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)
    packets = []
    for start in range(0, len(wave), 1024):
        frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], "s16", "mono")
        frame.sample_rate, frame.pts = 16_000, start
        packets += stream.encode(frame)
    return packets + stream.encode()


def turned(data: bytes, turn: int | str) -> bytes:
    """An MP4 whose frames a screen turns."""
    at = data.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in TURNS[turn])
    return data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[at + 36 :]


def titled(title: bytes) -> bytes:
    """An MP4 with a title in any alphabet."""
    data = film(3, title="x" * len(title))
    return data.replace(b"x" * len(title), title)


def sound_only() -> bytes:
    """A file with a tone and no picture."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        container.mux(_tone(container.add_stream("aac", rate=16_000, layout="mono"), 1.0))
    return buffer.getvalue()


PLAYLIST = b"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n%s\n#EXT-X-ENDLIST\n"
"""A list of other files, as players take it."""
