"""Run by ``test_kernels`` where Triton interprets: each check fails by an assertion."""

from __future__ import annotations

import sys

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

from florence_demo.encoding.fused import FusedBlock, FusedEmbed, look_of
from florence_demo.encoding.kernels import (
    Grid,
    channel_scores,
    look,
    mixed,
    normed_rows,
    windows_seen,
)
from florence_demo.encoding.plain import PlainBlock, PlainEmbed
from tests.encoding.test_tower import off_by, random_model

NEAR = {torch.float32: 1e-6, torch.float16: 1e-3}  # it multiplies no bf16


def by_window(x: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Pixels (B, H, W, C) as memory has them window by window, filled up with zeros."""
    side = grid.window
    more = (0, 0, 0, grid.across * side - grid.width, 0, grid.down * side - grid.height)
    filled = functional.pad(x, more)
    return rearrange(filled, "b (d y) (a x) c -> (b d a y x) c", y=side, x=side)


def looks() -> None:
    for grid, channels in [(Grid(2, 3, 5, 4), 48), (Grid(1, 4, 8, 4), 64), (Grid(1, 3, 4, 6), 16)]:
        for dtype, near in NEAR.items():
            torch.manual_seed(0)
            conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
            norm, after = nn.LayerNorm(channels), nn.Linear(channels, channels)
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
            x = torch.randn(grid.rows, grid.height, grid.width, channels).to(dtype)
            parts = [part.to(dtype) for part in (conv, norm, after)]
            weights = look_of(*parts)
            for part in parts:
                part.float()
            image = x.float().permute(0, 3, 1, 2)
            y = (image + conv(image)).permute(0, 2, 3, 1)
            expected = y + after.bias, norm(y)
            for source in (False, True):
                for target in (False, True):
                    given = by_window(x, grid) if source else x.flatten(0, 2)
                    found = look(given, weights, grid, source=source, target=target)
                    for each, true in zip(found, expected, strict=True):
                        there = torch.ones_like(true)
                        if target:
                            true, there = by_window(true, grid), by_window(there, grid)
                        else:
                            true, there = true.flatten(0, 2), there.flatten(0, 2)
                        assert off_by(each * there, true) < near, (grid, dtype, source, target)
                    filled = found[1][by_window(torch.ones_like(y), grid) == 0] if target else y[:0]
                    assert not filled.any(), "what fills up a window must not be seen"


def channels() -> None:
    for rows, tokens, groups, depth in [(1, 300, 3, 32), (2, 100, 2, 16)]:
        for dtype, near in NEAR.items():
            torch.manual_seed(0)
            width = groups * depth
            qkv = torch.randn(rows, tokens, 3 * width).to(dtype)
            query, key, _ = qkv.float().view(rows, tokens, 3, groups, depth).unbind(2)
            scores = channel_scores(qkv, groups)
            true = torch.einsum("bngi,bngj->bgij", query, key)
            assert off_by(scores.sum(2), true) < 1e-6
            weight = torch.randn(width, width).to(dtype)
            chances = (true * tokens**-0.5).softmax(-1)
            apart = weight.float().view(width, groups, depth)
            expected = torch.einsum("ogi,bgij->bogj", apart, chances).flatten(2)
            assert off_by(mixed(scores, weight, tokens**-0.5), expected) < near


def windows() -> None:
    for count, tokens, heads, depth in [(3, 16, 2, 32), (1, 144, 1, 32), (2, 49, 2, 16)]:
        for dtype, near in NEAR.items():
            torch.manual_seed(0)
            qkv = torch.randn(count, tokens, 3 * heads * depth).to(dtype)
            apart = qkv.float().view(count, tokens, 3, heads, depth).permute(2, 0, 3, 1, 4)
            true = functional.scaled_dot_product_attention(*apart, scale=0.3)
            found = windows_seen(qkv, heads, 0.3)
            assert off_by(found, true.transpose(1, 2).flatten(2)) < near


def norms() -> None:
    torch.manual_seed(0)
    norm, bias, x = nn.LayerNorm(48), torch.randn(48), torch.randn(70, 48)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    assert off_by(normed_rows(x, norm), norm(x)) < 1e-6
    assert off_by(normed_rows(x, norm, bias), norm(x + bias)) < 1e-6


def blocks() -> None:
    tower = random_model("base").model.vision_tower
    pixels = torch.randn(1, 20, 12, 3)
    assert off_by(FusedEmbed(tower.convs[0])(pixels), PlainEmbed(tower.convs[0])(pixels)) < 1e-6
    stage = tower.blocks[0][0]
    for size in [(5, 14)]:
        x = torch.randn(1, *size, 128)
        for half in (stage.spatial_block, stage.channel_block):
            assert off_by(FusedBlock(half, 12)(x.clone()), PlainBlock(half)(x.clone())) < 1e-6


if __name__ == "__main__":
    with torch.inference_mode():
        for check in (looks, channels, windows, norms, blocks):
            if check.__name__ == sys.argv[1]:
                check()
