"""The vision tower's pass, written out: from pixels to image features.

Knows the stages of DaViT and what the projector makes of the last one. Does not know how a block
computes (``plain``, ``fused``). The native weights and modules stay where they are; the reference
is transformers' ``get_image_features``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from florence_demo.encoding.plain import PlainBlock, PlainEmbed
from florence_demo.machine import on_zero_gpu

log = logging.getLogger(__name__)

Step = Callable[[Tensor], Tensor]
"""From pixels (B, H, W, C) to pixels."""


class Tower:
    """Compute the image features of pictures.

    Args:
        model: The native model.
        plain: Take torch's operations also where there are kernels, for comparison.
    """

    def __init__(self, model: Any, *, plain: bool = False) -> None:
        tower = model.model.vision_tower.to(memory_format=torch.channels_last)
        self.projector = model.model.multi_modal_projector
        make = _plain if plain else _maker(tower)
        self.steps: list[Step] = []
        for embed, blocks in zip(tower.convs, tower.blocks, strict=True):
            self.steps.append(make(embed))
            for block in blocks:
                self.steps += [make(block.spatial_block), make(block.channel_block)]

    def __call__(self, pixels: Tensor, before_block: Callable[[], None] | None = None) -> Tensor:
        """Return features (B, 1 + tokens, D) of pixels (B, 3, H, W).

        Args:
            pixels: Of the model's type, on its device.
            before_block: Called before each step; what it raises ends the pass.
        """
        x = pixels.to(memory_format=torch.channels_last).permute(0, 2, 3, 1)
        for step in self.steps:
            if before_block is not None:
                before_block()
            x = step(x)
        return self._projected(x)

    def _projected(self, x: Tensor) -> Tensor:
        """Return the features of the last stage's pixels (B, H, W, C)."""
        projector = self.projector
        places = projector.image_position_embed
        columns = places.column_embeddings.weight[: x.shape[2]]
        lines = places.row_embeddings.weight[: x.shape[1]]
        x = x.clone()
        x[..., : columns.shape[1]] += columns
        x[..., columns.shape[1] :] += lines[:, None]
        tokens = x.flatten(1, 2) + projector.visual_temporal_embed.pos_idx_to_embed[0]
        features = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)
        found: Tensor = projector.image_proj_norm(projector.image_projection(features))
        return found


def _plain(part: Any) -> Step:
    return PlainEmbed(part) if hasattr(part, "pre_norm") else PlainBlock(part)


def _maker(tower: Any) -> Callable[[Any], Step]:
    """Return what suits the machine, tried on a spatial block."""
    half = next(block.spatial_block for stage in tower.blocks for block in stage)
    weight, side = half.conv1.weight, int(half.window_attn.window_size)
    if weight.device.type != "cuda" or on_zero_gpu():  # the process that loads has no GPU there
        return _plain
    try:
        from florence_demo.encoding.fused import FusedBlock, FusedEmbed, fits

        if fits(half):
            FusedBlock(half, side)(weight.new_zeros(1, side, side, len(weight)))
            torch.cuda.synchronize(weight.device)
    except Exception as exc:  # no Triton, no compiler, an old GPU: whatever it is, there is a way
        log.warning("the vision tower runs without kernels of its own: %s", exc)
        return _plain

    def fused(part: Any) -> Step:
        if hasattr(part, "pre_norm"):
            return FusedEmbed(part)
        return FusedBlock(part, side) if fits(part) else PlainBlock(part)

    return fused
