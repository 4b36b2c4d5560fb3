"""What a GPU does in one pass where torch takes several: three kernels of the vision tower.

Knows pixels, channels and windows as memory. Does not know the model. Each kernel says in its
docstring what it computes in torch's words; the tests hold them to that on a processor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

STRIPS = (3, 4, 2, 1)
"""Pixels of a row that one program of ``look`` goes along: the first that divides a window."""
CHANNELS = 256
"""Channels that one warp of ``look`` has."""
QUERIES, WARPS = 64, 4
"""Tokens that ask at once in a window, and the warps of a window and head."""
TOKENS = 128
"""Tokens that one program of ``channel_scores`` multiplies at once."""
OUTPUTS = 64
"""Rows of the projection that one program of ``mixed`` multiplies at once."""
PROGRAMS = 264
"""Programs that keep a large GPU busy."""


@dataclass(frozen=True)
class Grid:
    """Say how pixels lie in memory.

    Attributes:
        rows: Pictures, B.
        height: Of the picture in pixels of this stage.
        width: Likewise.
        window: Side of a window.
    """

    rows: int
    height: int
    width: int
    window: int

    @property
    def down(self) -> int:
        """Return the windows from top to bottom, the last perhaps filled up."""
        return -(-self.height // self.window)

    @property
    def across(self) -> int:
        """Return the windows from left to right, the last perhaps filled up."""
        return -(-self.width // self.window)

    @property
    def windows(self) -> int:
        """Return the windows of all pictures."""
        return self.rows * self.down * self.across

    def slots(self, windows: bool) -> int:
        """Return the pixels that memory holds, window by window or row by row."""
        if windows:
            return self.windows * self.window * self.window
        return self.rows * self.height * self.width


@dataclass(frozen=True, eq=False)
class Look:
    """Hold the weights of a depthwise convolution of 3 x 3 and the norm after it.

    Attributes:
        taps: (9, C).
        bias: (C,).
        gain: Of the norm, (C,).
        shift: Of the norm, (C,).
        after: Added to what goes on beside the norm: the bias of the product that follows, (C,).
        eps: Of the norm.
    """

    taps: Tensor
    bias: Tensor
    gain: Tensor
    shift: Tensor
    after: Tensor
    eps: float


def look(
    x: Tensor, weights: Look, grid: Grid, *, source: bool, target: bool
) -> tuple[Tensor, Tensor]:
    """Return what goes on and its norm: ``y = x + conv(x)``, then ``(y + after, norm(y))``.

    Args:
        x: Pixels (slots, C), window by window or row by row.
        weights: Of the convolution and the norm.
        grid: How pixels lie.
        source: Whether ``x`` lies window by window.
        target: Whether the results do; pixels that fill up a window are 0 there.
    """
    channels = x.shape[1]
    slots = grid.slots(target)
    residual, normed = x.new_empty(slots, channels), x.new_empty(slots, channels)
    strip = next(size for size in STRIPS if grid.window % size == 0)
    columns = triton.next_power_of_2(channels)
    side = grid.window
    rows = grid.rows * (grid.down * side if target else grid.height)
    strips = triton.cdiv(grid.across * side if target else grid.width, strip)
    _look[(rows * strips,)](
        x, weights.taps, weights.bias, weights.gain, weights.shift, weights.after,
        residual, normed, rows // grid.rows, strips, grid.height, grid.width,
        grid.down, grid.across, side, int(source), int(target),
        channels, weights.eps,
        STRIP=strip, COLUMNS=columns, num_warps=max(1, min(16, columns // CHANNELS)),
    )  # fmt: skip
    return residual, normed


@triton.jit
def _slot(picture, y, x, height, width, down, across, side, windows):
    """Return where a pixel lies, window by window or row by row."""
    tile = (picture * down + y // side) * across + x // side
    inside = (tile * side + y % side) * side + x % side
    return tl.where(windows != 0, inside, (picture * height + y) * width + x).to(tl.int64)


@triton.jit
def _above_at_below(
    x, picture, top, left, height, width, down, across, side, windows, channels, column
):
    """Return a pixel's channels, and those above and below it; zeros outside of the picture."""
    inside = (left >= 0) & (left < width)
    wide = column < channels
    slot = _slot(picture, top - 1, left, height, width, down, across, side, windows)
    there = inside & (top >= 1) & (top <= height)
    above = tl.load(x + slot * channels + column, mask=there & wide, other=0.0)
    slot = _slot(picture, top, left, height, width, down, across, side, windows)
    there = inside & (top < height)
    at = tl.load(x + slot * channels + column, mask=there & wide, other=0.0)
    slot = _slot(picture, top + 1, left, height, width, down, across, side, windows)
    there = inside & (top + 1 < height)
    below = tl.load(x + slot * channels + column, mask=there & wide, other=0.0)
    return above, at, below


@triton.jit
def _weights(start, column, channels):
    return tl.load(start + column, mask=column < channels, other=0.0).to(tl.float32)


_INTEGERS = [
    "lines", "strips", "height", "width", "down", "across", "side", "source", "target",
]  # fmt: skip
"""Compiled once for all sizes of pictures."""


@triton.jit(do_not_specialize=_INTEGERS)
def _look(
    x, taps, bias, gain, shift, after, residual, normed,
    lines, strips, height, width, down, across, side, source, target,
    channels, eps,
    STRIP: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    number = tl.program_id(0)
    left = number % strips * STRIP
    top = number // strips % lines
    picture = number // (strips * lines)
    column = tl.arange(0, COLUMNS)
    wide = column < channels
    a0, a1, a2 = _above_at_below(
        x, picture, top, left - 1, height, width, down, across, side, source, channels, column
    )
    b0, b1, b2 = _above_at_below(
        x, picture, top, left, height, width, down, across, side, source, channels, column
    )
    t0 = _weights(taps, column, channels)
    t1 = _weights(taps + channels, column, channels)
    t2 = _weights(taps + 2 * channels, column, channels)
    t3 = _weights(taps + 3 * channels, column, channels)
    t4 = _weights(taps + 4 * channels, column, channels) + 1.0  # the pixel itself
    t5 = _weights(taps + 5 * channels, column, channels)
    t6 = _weights(taps + 6 * channels, column, channels)
    t7 = _weights(taps + 7 * channels, column, channels)
    t8 = _weights(taps + 8 * channels, column, channels)
    start = _weights(bias, column, channels)
    more = _weights(after, column, channels)
    scale = _weights(gain, column, channels)
    offset = _weights(shift, column, channels)
    for _ in tl.static_range(STRIP):
        right = left + 1
        c0, c1, c2 = _above_at_below(
            x, picture, top, right, height, width, down, across, side, source, channels, column
        )
        total = start + a0.to(tl.float32) * t0 + b0.to(tl.float32) * t1 + c0.to(tl.float32) * t2
        total += a1.to(tl.float32) * t3 + b1.to(tl.float32) * t4 + c1.to(tl.float32) * t5
        total += a2.to(tl.float32) * t6 + b2.to(tl.float32) * t7 + c2.to(tl.float32) * t8
        mean = tl.sum(total, axis=0) / channels
        apart = tl.where(wide, total - mean, 0.0)
        spread = tl.rsqrt(tl.sum(apart * apart, axis=0) / channels + eps)
        there = (top < height) & (left < width)
        result = tl.where(there, apart * spread * scale + offset, 0.0)
        kept = wide & (there | (target != 0))
        slot = _slot(picture, top, left, height, width, down, across, side, target)
        place = slot * channels + column
        tl.store(residual + place, (total + more).to(residual.dtype.element_ty), mask=kept)
        tl.store(normed + place, result.to(normed.dtype.element_ty), mask=kept)
        a0, a1, a2 = b0, b1, b2
        b0, b1, b2 = c0, c1, c2
        left = right


def normed_rows(x: Tensor, norm: nn.LayerNorm, bias: Tensor | None = None) -> Tensor:
    """Return ``norm(x + bias)`` of rows (N, C)."""
    rows, channels = x.shape
    result = torch.empty_like(x)
    columns = triton.next_power_of_2(channels)
    each = max(1, 2048 // columns)
    _normed_rows[(triton.cdiv(rows, each),)](
        x, norm.weight if bias is None else bias, norm.weight, norm.bias, result,
        rows, channels, norm.eps,
        ROWS=each, COLUMNS=columns, BIAS=bias is not None, num_warps=4,
    )  # fmt: skip
    return result


@triton.jit(do_not_specialize=["rows"])
def _normed_rows(
    x, bias, gain, shift, result,
    rows, channels, eps,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, BIAS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    wide = (column < channels)[None, :]
    there = (row < rows)[:, None] & wide
    place = row.to(tl.int64)[:, None] * channels + column[None, :]
    values = tl.load(x + place, mask=there, other=0.0).to(tl.float32)
    if BIAS:
        values += _weights(bias, column, channels)[None, :]
    mean = tl.sum(values, axis=1) / channels
    apart = tl.where(wide, values - mean[:, None], 0.0)
    spread = tl.rsqrt(tl.sum(apart * apart, axis=1) / channels + eps)
    values = apart * spread[:, None] * _weights(gain, column, channels)[None, :]
    values += _weights(shift, column, channels)[None, :]
    tl.store(result + place, values.to(result.dtype.element_ty), mask=there)


def windows_seen(qkv: Tensor, heads: int, scale: float) -> Tensor:
    """Return the attention of each window, (W, T, C).

    ``scaled_dot_product_attention(query, key, value, scale=scale)`` a window and head.

    Args:
        qkv: Queries, keys and values side by side (W, T, 3 * C), C = heads * D; T at least 16.
        heads: Of the attention.
        scale: Of the scores.
    """
    windows, tokens, three = qkv.shape
    channels = three // 3
    result = qkv.new_empty(windows, tokens, channels)
    whole = 1 << (tokens.bit_length() - 1)
    rest = triton.next_power_of_2(max(16, tokens - whole)) if tokens > whole else 0
    queries = min(QUERIES, triton.next_power_of_2(tokens))
    _windows_seen[(windows * heads,)](
        qkv, result, heads, scale * 1.4426950408889634,
        TOKENS=tokens, WHOLE=whole, REST=rest, QUERIES=queries, DEPTH=channels // heads,
        num_warps=WARPS,
    )  # fmt: skip
    return result


@triton.jit(do_not_specialize=["heads"])
def _windows_seen(
    qkv, result, heads, scale,
    TOKENS: tl.constexpr, WHOLE: tl.constexpr, REST: tl.constexpr,
    QUERIES: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    window = (tl.program_id(0) // heads).to(tl.int64)
    head = tl.program_id(0) % heads
    channels = heads * DEPTH
    inner = tl.arange(0, DEPTH)
    start = qkv + window * TOKENS * 3 * channels + head * DEPTH
    token = tl.arange(0, WHOLE)
    place = start + token[:, None] * (3 * channels) + inner[None, :]
    keys = tl.load(place + channels)
    values = tl.load(place + 2 * channels)
    if REST > 0:
        token = WHOLE + tl.arange(0, REST)
        place = start + token[:, None] * (3 * channels) + inner[None, :]
        there = (token < TOKENS)[:, None]
        more_keys = tl.load(place + channels, mask=there, other=0.0)
        more_values = tl.load(place + 2 * channels, mask=there, other=0.0)
    for first in tl.static_range(0, TOKENS, QUERIES):
        token = first + tl.arange(0, QUERIES)
        there = (token < TOKENS)[:, None]
        query = tl.load(
            start + token[:, None] * (3 * channels) + inner[None, :], mask=there, other=0.0
        )
        scores = tl.dot(query, tl.trans(keys), input_precision="ieee") * scale
        most = tl.max(scores, axis=1)
        if REST > 0:
            more = tl.dot(query, tl.trans(more_keys), input_precision="ieee") * scale
            more = tl.where((WHOLE + tl.arange(0, REST) < TOKENS)[None, :], more, float("-inf"))
            most = tl.maximum(most, tl.max(more, axis=1))
        scores = tl.exp2(scores - most[:, None])
        total = tl.sum(scores, axis=1)
        seen = tl.dot(scores.to(values.dtype), values, input_precision="ieee")
        if REST > 0:
            more = tl.exp2(more - most[:, None])
            total += tl.sum(more, axis=1)
            seen = tl.dot(more.to(values.dtype), more_values, seen, input_precision="ieee")
        place = (window * TOKENS + token)[:, None] * channels + head * DEPTH + inner[None, :]
        seen = seen / total[:, None]
        tl.store(result + place, seen.to(result.dtype.element_ty), mask=there)


def channel_scores(qkv: Tensor, groups: int) -> Tensor:
    """Return the products of queries and keys over all tokens, in parts that are to be summed.

    ``einsum("bngi,bngj->bgij", query, key)`` as (B, groups, parts, D, D) float32.

    Args:
        qkv: Queries, keys and values side by side (B, N, 3 * C), C = groups * D.
        groups: Of channels.
    """
    rows, tokens, three = qkv.shape
    channels = three // 3
    depth = channels // groups
    tiles = triton.cdiv(tokens, TOKENS)
    each = triton.cdiv(tiles, max(1, min(tiles, PROGRAMS // (rows * groups))))
    parts = triton.cdiv(tiles, each)
    scores = torch.empty(rows, groups, parts, depth, depth, dtype=torch.float32, device=qkv.device)
    _channel_scores[(rows * groups, parts)](
        qkv, scores, tokens, channels, parts, each,
        TILE=TOKENS, DEPTH=depth, num_warps=4,
    )  # fmt: skip
    return scores


@triton.jit(do_not_specialize=["tokens", "parts", "each"])
def _channel_scores(
    qkv, scores, tokens, channels, parts, each,
    TILE: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    pair = tl.program_id(0)
    part = tl.program_id(1)
    groups = channels // DEPTH
    inner = tl.arange(0, DEPTH)
    start = qkv + (pair // groups).to(tl.int64) * tokens * 3 * channels + pair % groups * DEPTH
    total = tl.zeros((DEPTH, DEPTH), dtype=tl.float32)
    for tile in range(each):
        token = (part * each + tile) * TILE + tl.arange(0, TILE)
        there = (token < tokens)[:, None]
        place = start + token[:, None] * (3 * channels) + inner[None, :]
        query = tl.load(place, mask=there, other=0.0)
        key = tl.load(place + channels, mask=there, other=0.0)
        total = tl.dot(tl.trans(query), key, total, input_precision="ieee")
    square = inner[:, None] * DEPTH + inner[None, :]
    tl.store(scores + (pair * parts + part) * DEPTH * DEPTH + square, total)


def mixed(scores: Tensor, weight: Tensor, scale: float) -> Tensor:
    """Return the projection with a picture's channel attention inside, (B, C, C).

    ``einsum("ogi,bgij->bogj", weight, (scores.sum(2) * scale).softmax(-1))``.

    Args:
        scores: (B, groups, parts, D, D).
        weight: Of the projection, (C, C).
        scale: Of the scores.
    """
    rows, groups, parts, depth, _ = scores.shape
    channels = len(weight)
    result = weight.new_empty(rows, channels, channels)
    _mixed[(rows * groups, triton.cdiv(channels, OUTPUTS))](
        scores, weight, result, channels, parts, scale,
        OUT=OUTPUTS, DEPTH=depth, num_warps=4,
    )  # fmt: skip
    return result


@triton.jit(do_not_specialize=["parts"])
def _mixed(
    scores, weight, result, channels, parts, scale,
    OUT: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    pair = tl.program_id(0)
    groups = channels // DEPTH
    inner = tl.arange(0, DEPTH)
    square = inner[:, None] * DEPTH + inner[None, :]
    total = tl.zeros((DEPTH, DEPTH), dtype=tl.float32)
    for part in range(parts):
        total += tl.load(scores + (pair * parts + part) * DEPTH * DEPTH + square)
    total = total * scale
    total = tl.exp(total - tl.max(total, axis=1)[:, None])
    total = total / tl.sum(total, axis=1)[:, None]
    output = tl.program_id(1) * OUT + tl.arange(0, OUT)
    there = (output < channels)[:, None]
    place = output[:, None] * channels + pair % groups * DEPTH + inner[None, :]
    rows = tl.load(weight + place, mask=there, other=0.0)
    product = tl.dot(rows, total.to(rows.dtype), input_precision="ieee")
    place += (pair // groups) * channels * channels
    tl.store(result + place, product.to(result.dtype.element_ty), mask=there)
