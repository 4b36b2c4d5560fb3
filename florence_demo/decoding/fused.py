"""One step of the decoder in few kernels, for a GPU and numbers of 16 bits.

Knows which kernel does which part of ``forward.DecoderStep``, whose weights and memory it shares:
the reference for it is that step itself. Does not know how a kernel works (``kernels``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import GELUActivation

from florence_demo.decoding import kernels
from florence_demo.decoding.forward import Cache, DecoderStep
from florence_demo.decoding.linears import PlainLinear

CHUNK = 256
"""Numbers of a row that a kernel takes at once; a decoder's width is a multiple of it."""

MOST_ROWS = 64
"""Rows up to which a step reads its weights once; beyond, torch's own products are as good."""


@dataclass(frozen=True)
class Way:
    """Hold how a product is cut: outputs of a program, warps, and whether by tensor cores."""

    outs: int
    warps: int
    dot: bool


class FusedStep(DecoderStep):
    """Compute what a ``DecoderStep`` does, in fewer kernels where the model's shape allows it."""

    def __init__(self, model: Any, *, release: bool = False) -> None:
        super().__init__(model, release=release)
        weight = self.embed.weight
        gelu = all(isinstance(layer.activation, GELUActivation) for layer in self.layers)
        half = weight.dtype in (torch.float16, torch.bfloat16)
        head = weight.shape[1] // self.heads
        self.fits = half and gelu and weight.shape[1] % CHUNK == 0 and head in (16, 32, 64, 128)

    def __call__(self, tokens: Tensor, position: Tensor, cache: Cache) -> Tensor:
        """Return the scores of each next token, (B, K, V) float32; see ``DecoderStep``."""
        batch, beams = tokens.shape
        if not self.fits or batch * beams > MOST_ROWS or cache.picture_mask is None:
            return super().__call__(tokens, position, cache)
        cache.add(position)
        rows, norm = self._embed(tokens, position), self.embed_norm
        for at, layer in enumerate(self.layers):
            qkv, kept = _normed(rows, norm, layer.self_qkv)
            seen = self._attend_own(qkv, position, cache, at)
            rows = _added(seen, layer.self_out, kept)
            query, kept = _normed(rows, layer.self_norm, layer.cross_query)
            seen = self._attend_picture(query, cache, at)
            rows = _added(seen, layer.cross_out, kept)
            wide, kept = _normed(rows, layer.cross_norm, layer.up, gelu=True)
            rows = _added(wide, layer.down, kept)
            norm = layer.norm
        scores, _ = _normed(rows, norm, self.head, exact=True)
        return scores.view(batch, beams, -1)

    def _embed(self, tokens: Tensor, position: Tensor) -> Tensor:
        words, places = self.embed.weight, self.places
        width = words.shape[1]
        rows = words.new_empty(tokens.numel(), width, dtype=torch.float32)
        kernels.embed[(len(rows),)](
            tokens, position, words, places, rows, tokens.shape[1], width, _above(width)
        )
        return rows

    def _attend_own(self, qkv: Tensor, position: Tensor, cache: Cache, at: int) -> Tensor:
        heads, width = self.heads, cache.keys.shape[4]
        out = qkv.new_empty(len(qkv), heads * width)
        kernels.attend_own[(len(qkv) * heads,)](
            qkv, cache.keys[at], cache.values[at], cache.ancestors, position, out, cache.steps,
            self.scale, cache.keys.shape[3], heads, width, 64,
        )  # fmt: skip
        return out

    def _attend_picture(self, query: Tensor, cache: Cache, at: int) -> Tensor:
        heads, width, beams = self.heads, cache.keys.shape[4], cache.keys.shape[3]
        keys, values = cache.picture_keys[at], cache.picture_values[at]
        out = torch.empty_like(query)
        kernels.attend_picture[(len(keys),)](
            query, keys, values, cache.picture_mask, out, keys.shape[2], self.scale, beams,
            heads, width, max(16, _above(beams)), 128,
        )  # fmt: skip
        return out


def _normed(
    rows: Tensor, norm: nn.LayerNorm, product: Any, *, gelu: bool = False, exact: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the product of normalised rows, and those rows.

    Args:
        rows: (R, C) float32.
        norm: What they are normalised by.
        product: The linear.
        gelu: Whether the product is activated.
        exact: Whether it is given in float32.
    """
    kept = torch.empty_like(rows)
    kind = torch.float32 if exact else product.weight.dtype
    out = rows.new_empty(len(rows), len(product.weight), dtype=kind)
    _launch(rows, product, out, norm=norm, kept=kept, gelu=gelu)
    return out, kept


def _added(rows: Tensor, product: Any, residual: Tensor) -> Tensor:
    """Return the product of rows (R, in) and what is added to it, (R, out) float32."""
    out = torch.empty_like(residual)
    _launch(rows, product, out, residual=residual)
    return out


def _launch(
    rows: Tensor,
    product: Any,
    out: Tensor,
    *,
    norm: nn.LayerNorm | None = None,
    kept: Tensor | None = None,
    residual: Tensor | None = None,
    gelu: bool = False,
    way: Way | None = None,
) -> None:
    assert isinstance(product, PlainLinear)
    weight, count = product.weight, len(rows)
    way = way or way_of(count, len(weight))
    held = max(16, _above(count)) if way.dot else _above(count)
    none = rows  # a pointer that is not followed
    kernels.linear[(-(-len(weight) // way.outs),)](
        rows, weight, none if product.bias is None else product.bias,
        none if norm is None else norm.weight, none if norm is None else norm.bias,
        none if kept is None else kept, none if residual is None else residual,
        out, count, len(weight), 0.0 if norm is None else norm.eps,
        product.bias is not None, norm is not None, gelu, residual is not None, weight.shape[1],
        held, way.outs, CHUNK, way.dot, num_warps=way.warps,
    )  # fmt: skip


def way_of(rows: int, outs: int) -> Way:
    """Return how a product is cut."""
    if rows <= kernels.FEW:
        return Way(8, 4, dot=False)
    return Way(16 if outs < 8192 else 64, 4, dot=True)


def _above(number: int) -> int:
    """Return the power of two that is not below a number."""
    return 1 << (number - 1).bit_length()
