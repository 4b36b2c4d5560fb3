"""The blocks of the vision tower on an NVIDIA GPU: every pass over the pixels does all it can.

Knows what can be joined: convolution, residual and norm are one kernel, which also cuts the windows
by where it writes; products add to the residual in place, their bias put there before; a picture's
channel attention goes into the projection after it, which then is its own for each picture.
``plain`` is the same in torch's operations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from florence_demo.encoding.kernels import (
    Grid,
    Look,
    channel_scores,
    look,
    mixed,
    normed_rows,
    windows_seen,
)


def fits(block: Any) -> bool:
    """Say whether a block is of the shape that the kernels are made for, on a GPU of theirs."""
    weight = block.conv1.weight
    if hasattr(block, "window_attn"):
        heads, tokens = block.window_attn.num_heads, block.window_attn.window_size**2
    else:
        heads, tokens = block.channel_attn.groups, 16
    return bool(
        weight.device.type == "cuda"
        and torch.version.cuda is not None
        and weight.dtype in (torch.float32, torch.bfloat16, torch.float16)
        and len(weight) // heads in (16, 32, 64)
        and 16 <= tokens <= 256
    )


class FusedEmbed:
    """Compute the pixels of the next stage, as ``PlainEmbed`` does.

    Args:
        embed: The native convolution with its norm.
    """

    def __init__(self, embed: Any) -> None:
        self.conv, self.norm, self.first = embed.conv, embed.norm, embed.pre_norm

    def __call__(self, x: Tensor) -> Tensor:
        """Return pixels (B, h, w, C), of which there are fewer."""
        conv = self.conv
        if self.first:
            x = normed_rows(x.flatten(0, 2), self.norm).view(x.shape)
        # What comes before a norm is added to by that one.
        bias = conv.bias if self.first else None
        x = functional.conv2d(x.permute(0, 3, 1, 2), conv.weight, bias, conv.stride, conv.padding)
        x = x.permute(0, 2, 3, 1).contiguous()
        if self.first:
            return x
        return normed_rows(x.flatten(0, 2), self.norm, conv.bias).view(x.shape)


class FusedBlock:
    """Compute a spatial or a channel block, as ``PlainBlock`` does.

    Args:
        block: The native block; its large weights are used where they are.
        window: Side of a window, for channel blocks too.
    """

    def __init__(self, block: Any, window: int) -> None:
        self.spatial = hasattr(block, "window_attn")
        self.attention = block.window_attn if self.spatial else block.channel_attn
        self.fc1, self.fc2 = block.ffn.fc1, block.ffn.fc2
        self.activation = block.ffn.activation_fn
        self.window = window
        # The product's own GELU is that by tanh, off by 0.0005 at most: less than 16 bits tell.
        exact = self.fc1.weight.dtype == torch.float32
        self.smooth = not exact and block.ffn.config.activation_function == "gelu"
        self.looks = [
            look_of(block.conv1, block.norm1, self.attention.proj),
            look_of(block.conv2, block.norm2, self.fc2),
        ]

    def __call__(self, x: Tensor) -> Tensor:
        """Return the pixels (B, H, W, C) after the block."""
        rows, height, width, channels = x.shape
        grid = Grid(rows, height, width, self.window)
        residual, normed = look(
            x.view(-1, channels), self.looks[0], grid, source=False, target=self.spatial
        )
        if self.spatial:
            self._attend_windows(normed, residual, grid)
        else:
            self._attend_channels(normed, residual, rows)
        residual, normed = look(residual, self.looks[1], grid, source=self.spatial, target=False)
        return residual.addmm_(self._inner(normed), self.fc2.weight.t()).view(x.shape)

    def _inner(self, normed: Tensor) -> Tensor:
        """Return the activated first product of the MLP."""
        if self.smooth:
            bias, weight = self.fc1.bias, self.fc1.weight.t()
            inner: Tensor = torch._addmm_activation(bias, normed, weight, use_gelu=True)
            return inner
        activated: Tensor = self.activation(
            functional.linear(normed, self.fc1.weight, self.fc1.bias)
        )
        return activated

    def _attend_windows(self, normed: Tensor, residual: Tensor, grid: Grid) -> None:
        channels, side = normed.shape[1], self.window
        qkv = functional.linear(normed, self.attention.qkv.weight, self.attention.qkv.bias)
        qkv = qkv.view(grid.windows, side * side, 3 * channels)
        seen = windows_seen(qkv, self.attention.num_heads, self.attention.scale)
        residual.addmm_(seen.view(-1, channels), self.attention.proj.weight.t())

    def _attend_channels(self, normed: Tensor, residual: Tensor, rows: int) -> None:
        channels = normed.shape[1]
        qkv = functional.linear(normed, self.attention.qkv.weight, self.attention.qkv.bias)
        qkv = qkv.view(rows, -1, 3 * channels)
        scale = float(qkv.shape[1] ** -0.5)
        scores = channel_scores(qkv, self.attention.groups)
        weight = mixed(scores, self.attention.proj.weight, scale)
        residual.view(rows, -1, channels).baddbmm_(qkv[..., 2 * channels :], weight.mT)


def look_of(conv: nn.Conv2d, norm: nn.LayerNorm, following: nn.Linear) -> Look:
    """Return the weights of a convolution, its norm and the product that is added after it."""
    channels = conv.out_channels
    taps = conv.weight.detach().reshape(channels, 9).t().contiguous()

    def given(value: Tensor | None) -> Tensor:
        return taps.new_zeros(channels) if value is None else value.detach()

    return Look(
        taps,
        given(conv.bias),
        norm.weight.detach(),
        norm.bias.detach(),
        given(following.bias),
        norm.eps,
    )
