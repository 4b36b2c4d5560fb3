"""Room for large pictures: so many of their pixels are open at once, and who comes next waits.

Knows pixels and seconds. Does not know who asks. A picture of 65 megapixels takes 260 MB as long
as anybody looks at it; a crowd of them would take all there is.
"""

from __future__ import annotations

import threading
import weakref
from pathlib import Path

from PIL import Image

from florence_demo.errors import InputError
from florence_demo.pictures.images import LIMITS, ImageLimits, open_image, size_told

LARGE = 4_000_000
"""Pixels from which a picture needs room; smaller ones are open as many as there are."""

_BUSY = (
    "Several large pictures are being looked at here, and yours found no room: try again in a"
    " moment, or make it smaller first."
)


class Room:
    """Keep count of the pixels of large pictures that are open.

    Attributes:
        pixels: Most of them at once; one picture is always let in.
        seconds: How long the next one waits.
    """

    def __init__(self, pixels: int = 2 * LIMITS.max_pixels, seconds: float = 60.0):
        self.pixels, self.seconds = pixels, seconds
        self._open = 0
        self._changed = threading.Condition()

    def open(self, source: str | Path | bytes, *, limits: ImageLimits = LIMITS) -> Image.Image:
        """Return a picture; its room is free again when nobody holds it any more.

        Args:
            source: As ``open_image`` takes it.
            limits: What the picture may cost.

        Raises:
            InputError: As for ``open_image``, or no room was free in time.
        """
        size = size_told(source, limits=limits)
        # Of a picture whose size only decoding tells, the most is taken first.
        taken = size[0] * size[1] if size else limits.max_pixels
        if taken < LARGE:
            return open_image(source, limits=limits)
        self._take(taken)
        try:
            image = open_image(source, limits=limits)
        except BaseException:
            self._give(taken)
            raise
        pixels = image.width * image.height if image.width * image.height >= LARGE else 0
        self._give(taken - pixels)
        weakref.finalize(image, self._give, pixels)
        return image

    def _take(self, pixels: int) -> None:
        with self._changed:
            free = self._changed.wait_for(
                lambda: not self._open or self._open + pixels <= self.pixels, self.seconds
            )
            if not free:
                raise InputError(_BUSY)
            self._open += pixels

    def _give(self, pixels: int) -> None:
        with self._changed:
            self._open -= pixels
            self._changed.notify_all()


ROOM = Room()
"""What all pictures of strangers share, uploaded or fetched."""
