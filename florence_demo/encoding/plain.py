"""The blocks of the vision tower in torch's own operations, for any device.

Knows DaViT's two kinds of blocks: attention inside windows, and attention between channels. Pixels
stay (B, H, W, C) throughout: what a convolution calls channels_last and a linear calls rows. Does
not know how a picture becomes pixels of a stage, nor what comes after the last one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class PlainEmbed:
    """Compute the pixels of the next stage.

    Args:
        embed: The native convolution with its norm.
    """

    def __init__(self, embed: Any) -> None:
        self.embed = embed

    def __call__(self, x: Tensor) -> Tensor:
        """Return pixels (B, h, w, C), of which there are fewer."""
        embed = self.embed
        if embed.pre_norm:
            x = embed.norm(x)
        x = embed.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous()
        normed: Tensor = x if embed.pre_norm else embed.norm(x)
        return normed


class PlainBlock:
    """Compute a spatial or a channel block.

    Args:
        block: The native block; its weights are used where they are.
    """

    def __init__(self, block: Any) -> None:
        self.block = block
        self.looks = [_Look(block.conv1, block.norm1), _Look(block.conv2, block.norm2)]
        self.spatial = hasattr(block, "window_attn")

    def __call__(self, x: Tensor) -> Tensor:
        """Return the pixels (B, H, W, C) after the block."""
        residual, normed = self.looks[0](x)
        if self.spatial:
            attend_windows(self.block.window_attn, normed, residual)
        else:
            attend_channels(self.block.channel_attn, normed.flatten(1, 2), residual.flatten(1, 2))
        residual, normed = self.looks[1](residual)
        ffn = self.block.ffn
        return residual.add_(ffn.fc2(ffn.activation_fn(ffn.fc1(normed))))


class _Look:
    """Add a pixel's surroundings to it by a depthwise convolution, and normalise.

    In fp32 the pixel itself is one more in the middle of the convolution; a type with fewer digits
    would lose those of a small weight beside that one.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.LayerNorm) -> None:
        self.conv, self.norm = conv, norm
        self.inside = conv.weight.dtype in (torch.float32, torch.float64)
        self.weight = conv.weight.detach()
        if self.inside:
            self.weight = self.weight.clone()
            self.weight[:, 0, 1, 1] += 1

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what goes on, which is the caller's to change, and its norm."""
        image = x.permute(0, 3, 1, 2)
        seen = functional.conv2d(image, self.weight, self.conv.bias, padding=1, groups=x.shape[3])
        if not self.inside:
            seen.add_(image)
        residual = seen.permute(0, 2, 3, 1).contiguous()
        return residual, self.norm(residual)


def attend_windows(attention: Any, x: Tensor, residual: Tensor) -> None:
    """Add what each window's pixels see of one another.

    Args:
        attention: The native attention.
        x: Normalised pixels (B, H, W, C).
        residual: Changed in place, (B, H, W, C).
    """
    side, heads = attention.window_size, attention.num_heads
    rows, height, width, channels = x.shape
    x = functional.pad(x, (0, 0, 0, -width % side, 0, -height % side))
    down, across = x.shape[1] // side, x.shape[2] // side
    apart = x.view(rows, down, side, across, side, channels).transpose(2, 3)
    windows = apart.reshape(-1, side * side, channels)
    qkv = attention.qkv(windows).view(len(windows), side * side, 3, heads, channels // heads)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    seen = functional.scaled_dot_product_attention(query, key, value, scale=attention.scale)
    seen = attention.proj(seen.transpose(1, 2).reshape(windows.shape)).view(apart.shape)
    seen = seen.transpose(2, 3)  # (B, down, side, across, side, C)
    if residual.shape == x.shape:
        residual.view(seen.shape).add_(seen)
    else:
        residual.add_(seen.reshape(x.shape)[:, :height, :width])


def attend_channels(attention: Any, x: Tensor, residual: Tensor) -> None:
    """Add what each group's channels see of one another.

    The attention of a picture is a small matrix a group, the same for all its pixels.

    Args:
        attention: The native attention.
        x: Normalised pixels (B, N, C).
        residual: Changed in place, (B, N, C).
    """
    rows, tokens, channels = x.shape
    groups = attention.groups
    query, key, value = attention.qkv(x).view(rows, tokens, 3, groups, -1).permute(2, 0, 3, 1, 4)
    scores = (query.mT @ key).float() * tokens**-0.5  # (B, groups, D, D)
    chances = scores.softmax(-1).to(x.dtype)
    seen = (value @ chances.mT).transpose(1, 2).reshape(rows, tokens, channels)
    residual.add_(attention.proj(seen))
