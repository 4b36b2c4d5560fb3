"""What the vision tower made of pictures, kept for further questions about them.

Knows pictures by their pixels, and bytes. Does not know how a picture is encoded.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from PIL import Image

from florence_demo.engine.tally import UNHEARD, Tally

if TYPE_CHECKING:
    import torch

FEATURE_CACHE_BYTES = 256_000_000
"""Image features kept for the next question about a picture: about 290 pictures of base size."""

Encode = Callable[[Sequence[Image.Image]], "torch.Tensor"]
"""From pictures to their features, (B, T, D)."""


class FeatureCache:
    """Keep the features of the pictures asked about last."""

    def __init__(self, limit: int = FEATURE_CACHE_BYTES, tally: Tally = UNHEARD) -> None:
        """Take how much is kept.

        Args:
            limit: Bytes; what one call asks for is kept whatever it takes.
            tally: Told what was kept already.
        """
        self.limit, self._tally = limit, tally
        self._kept: OrderedDict[str, torch.Tensor] = OrderedDict()

    @property
    def bytes(self) -> int:
        """Return the bytes of what is kept."""
        return sum(f.numel() * f.element_size() for f in self._kept.values())

    def features(
        self, pictures: Mapping[str, Image.Image], encode: Encode, most: int
    ) -> dict[str, torch.Tensor]:
        """Return the features of some pictures, (T, D) each; only new ones are encoded.

        Args:
            pictures: By their fingerprints.
            encode: The vision tower's pass; what it raises ends this one.
            most: Pictures of one pass: the tower takes far more memory than what follows it.
        """
        held = {key: self._kept[key] for key in pictures if key in self._kept}
        waiting = [(key, image) for key, image in pictures.items() if key not in held]
        self._tally.looked_up(len(held), len(waiting))
        for part in (waiting[at : at + most] for at in range(0, len(waiting), most)):
            fresh = encode([image for _, image in part])
            held.update({key: each for (key, _), each in zip(part, fresh, strict=True)})
        for key, value in held.items():
            self._kept[key] = value
            self._kept.move_to_end(key)
        while self.bytes > self.limit and len(self._kept) > len(held):
            self._kept.popitem(last=False)
        return held


def fingerprint(image: Image.Image) -> str:
    """Return a digest of a picture's size and pixels, as the model sees them."""
    digest = hashlib.blake2b(str(image.size).encode(), digest_size=16)
    rows = max(1, (1 << 20) // image.width)
    for top in range(0, image.height, rows):  # a copy of a large picture takes a while to make
        part = image.crop((0, top, image.width, min(top + rows, image.height)))
        digest.update(in_rgb(part).tobytes())
    return digest.hexdigest()


def in_rgb(image: Image.Image) -> Image.Image:
    """Return a picture in RGB, itself where it is: converting would make a copy."""
    return image if image.mode == "RGB" else image.convert("RGB")
