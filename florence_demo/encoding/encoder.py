"""From pixels to image features, and from those and a prompt to what the decoder reads.

Knows where passes are replayed and how inputs are filled up for that. Does not know tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional

from florence_demo.encoding.replay import Capture, CudaCapture, Replays
from florence_demo.encoding.text import TextEncoder
from florence_demo.encoding.tower import Tower
from florence_demo.machine import on_zero_gpu

WIDTH = 64
"""Prompts with their pictures are filled up to a multiple of this where passes are replayed."""


class Encoder:
    """Encode pictures and questions with one model.

    Args:
        model: The native model in eval mode.
        capture: How passes become repeatable; a GPU has its own way, and nothing else any.
    """

    def __init__(self, model: Any, *, capture: Capture | None = None) -> None:
        self.tower = Tower(model)
        self.text = TextEncoder(model.model.language_model.encoder)
        self._see: Replays | None = None
        self._read: Replays | None = None
        # A process that lives for one call would capture for nobody.
        captures = model.device.type == "cuda" and not on_zero_gpu()
        if capture is not None or captures:
            # Each with memory of its own: the one may run while the other does.
            self._see = Replays(self.tower, capture or CudaCapture())
            self._read = Replays(self.text, capture or CudaCapture())

    def see(self, pixels: Tensor, before_block: Callable[[], None] | None = None) -> Tensor:
        """Return image features (B, tokens, D) of pixels (B, 3, H, W).

        Args:
            pixels: On the model's device, of its type.
            before_block: Called between blocks, or before and after where they are one go; what it
                raises ends the pass.
        """
        if self._see is None:
            return self.tower(pixels, before_block)
        if before_block is not None:
            before_block()
        features = self._see(pixels)
        if before_block is not None:
            before_block()
        return features

    def read(self, embeds: Tensor, mask: Tensor, *, padded: bool) -> Tensor:
        """Return the text encoder's output (B, S, C).

        Args:
            embeds: Of picture and prompt, (B, S, C).
            mask: (B, S), 1 for what is read and 0 for padding.
            padded: Whether there is any padding.
        """
        if self._read is None:
            return self.text(embeds, mask if padded else None)
        length = embeds.shape[1]
        more = -length % WIDTH
        more = min(more, self.text.most - length)
        filled = self._read(
            functional.pad(embeds, (0, 0, 0, more)), functional.pad(mask, (0, more))
        )
        return filled[:, :length]

    @property
    def bytes(self) -> int:
        """Return what captured passes took of the GPU's memory."""
        return sum(replays.bytes for replays in (self._see, self._read) if replays)
