"""A picture as the model sees it, made ready by whoever has time for that.

Knows the pixels that go into the vision tower and the features that come out. Does not know where
the picture came from: of the picture itself only its size is kept, which may be a hundred times
less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(eq=False)
class Seen:
    """Hold one picture for some questions; its features live as long as it does.

    Attributes:
        size: (width, height) of the picture itself.
        digest: Its fingerprint.
        pixels: What the vision tower takes, (1, 3, H, W); None once it has taken them.
        features: What the tower made of them, (T, D); None until then.
    """

    size: tuple[int, int]
    digest: str
    pixels: torch.Tensor | None
    features: torch.Tensor | None = None

    @property
    def bytes(self) -> int:
        """Return how many bytes it holds."""
        held = [tensor for tensor in (self.pixels, self.features) if tensor is not None]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)


def encode_seen(
    pictures: Sequence[Seen], encode: Callable[[torch.Tensor], torch.Tensor], most: int
) -> None:
    """Give each picture its features where it has none, and let go of its pixels.

    Args:
        pictures: Each once.
        encode: The vision tower's pass, (B, 3, H, W) to (B, T, D).
        most: Pictures of one pass.
    """
    import torch

    waiting = [seen for seen in pictures if seen.features is None]
    for part in (waiting[at : at + most] for at in range(0, len(waiting), most)):
        values = [seen.pixels for seen in part if seen.pixels is not None]
        for seen, features in zip(part, encode(torch.cat(values)), strict=True):
            # A copy: a slice would keep the features of the whole part.
            seen.features, seen.pixels = features.clone(), None
