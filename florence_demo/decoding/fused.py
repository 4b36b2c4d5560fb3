"""One step of the decoder in few kernels, for a GPU and numbers of 16 bits.

Knows which kernel does which part of ``forward.DecoderStep``, whose weights and memory it shares:
the reference for it is that step itself. Does not know how a kernel works (``kernels``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import GELUActivation

from florence_demo.decoding import kernels
from florence_demo.decoding.forward import Cache, DecoderStep
from florence_demo.decoding.linears import PlainLinear

WIDEST = 1024
"""Numbers of a row that a kernel takes at once."""

FEW = 4
"""Rows up to which a product has a kernel of its own; more are torch's products between norms."""

PROGRAMS = 264
"""Programs at most that share the attention to pictures: two for each of a GPU's processors."""

SLOTS = 64
"""Keys that a program attends to at once."""

ALIGNED = 64
"""The head's outputs are filled up to a multiple of this: at odd counts a product is slow."""

Sum = tuple[Tensor, Tensor | None]
"""Rows (R, C) that still have to be added, or one alone."""


class FusedStep(DecoderStep):
    """Compute what a ``DecoderStep`` does, in fewer kernels where the model's shape allows it."""

    def __init__(self, model: Any, *, release: bool = False) -> None:
        super().__init__(model, plain=True, release=release)
        weight = self.embed.weight
        self._arrived = torch.zeros(PROGRAMS, dtype=torch.int32, device=weight.device)
        gelu = all(isinstance(layer.activation, GELUActivation) for layer in self.layers)
        half = weight.dtype in (torch.float16, torch.bfloat16)
        width, head = weight.shape[1], weight.shape[1] // self.heads
        self.fits = half and gelu and width % 128 == 0 and width <= WIDEST
        self.fits &= head in (16, 32, 64, 128)
        if self.fits:
            more = -self.vocabulary % ALIGNED
            self._wide_head = functional.pad(model.lm_head.weight.detach(), (0, 0, 0, more))
            self.head = self._scores

    def __call__(self, tokens: Tensor, position: Tensor, cache: Cache) -> Tensor:
        """Return the scores of each next token, (B, K, V); see ``DecoderStep``."""
        if not self.fits or cache.picture_mask is None:
            return super().__call__(tokens, position, cache)
        few = tokens.numel() <= FEW
        rows: Sum = (self._embed(tokens, position, cache), None)
        norm = self.embed_norm
        for at, layer in enumerate(self.layers):
            qkv, kept = _normed(rows, norm, layer.self_qkv, few=few)
            seen = self._attend_own(qkv, position, cache, at)
            rows = _added(seen, layer.self_out, kept, few=few)
            query, kept = _normed(rows, layer.self_norm, layer.cross_query, few=few)
            seen = self._attend_picture(query, cache, at)
            rows = _added(seen, layer.cross_out, kept, few=few)
            wide, kept = _normed(rows, layer.cross_norm, layer.up, few=few, gelu=True)
            rows = _added(wide, layer.down, kept, few=few)
            norm = layer.norm
        scores: Tensor = self.head(_norm(rows, norm)[0])
        return scores.view(*tokens.shape, -1)

    def _scores(self, rows: Tensor) -> Tensor:
        """Return the head's product."""
        return functional.linear(rows, self._wide_head)[:, : self.vocabulary]

    def _embed(self, tokens: Tensor, position: Tensor, cache: Cache) -> Tensor:
        words = self.embed.weight
        width = words.shape[1]
        rows: Tensor = words.new_empty(tokens.numel(), width, dtype=torch.float32)
        kernels.embed[(len(rows),)](
            tokens, position, words, self.places, cache.ancestors, rows, cache.steps,
            tokens.shape[1], width, _above(width),
        )  # fmt: skip
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
        held, pairs = max(16, _above(beams)), len(keys)
        splits = max(1, min(-(-keys.shape[2] // SLOTS), PROGRAMS // pairs))
        parts = query.new_empty(pairs, splits, held, width + 4, dtype=torch.float32)
        out = torch.empty_like(query)
        kernels.attend_picture[(pairs * splits,)](
            query, keys, values, cache.picture_mask, parts, self._arrived, out, keys.shape[2],
            self.scale, beams, heads, width, held, SLOTS, splits,
        )  # fmt: skip
        return out


def _norm(rows: Sum, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """Return normalised rows in the model's type, and exactly."""
    left, right = rows
    kept = torch.empty_like(left, dtype=torch.float32)
    half = torch.empty_like(left, dtype=norm.weight.dtype)
    kernels.norm[(len(left),)](
        left, left if right is None else right, norm.weight, norm.bias, kept, half, norm.eps,
        right is not None, left.shape[1], _above(left.shape[1]),
    )  # fmt: skip
    return half, kept


def _normed(
    rows: Sum, norm: nn.LayerNorm, product: Any, *, few: bool, gelu: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the product of normalised rows (R, out), activated or not, and those rows."""
    if not few:
        half, kept = _norm(rows, norm)
        wide: Tensor = product(half)
        return functional.gelu(wide) if gelu else wide, kept
    kept = torch.empty_like(rows[0])
    out = product.weight.new_empty(len(kept), len(product.weight))
    _launch(rows[0], product, out, norm=norm, kept=kept, gelu=gelu)
    return out, kept


def _added(rows: Tensor, product: Any, residual: Tensor, *, few: bool) -> Sum:
    """Return the product of rows (R, in) and what is added to it, (R, out)."""
    if not few:
        wide: Tensor = product(rows)
        return wide, residual
    out = torch.empty_like(residual)
    _launch(rows, product, out, residual=residual)
    return out, None


def _launch(
    rows: Tensor,
    product: PlainLinear,
    out: Tensor,
    *,
    norm: nn.LayerNorm | None = None,
    kept: Tensor | None = None,
    residual: Tensor | None = None,
    gelu: bool = False,
    way: tuple[int, int, int] | None = None,
) -> None:
    weight, width = product.weight, rows.shape[1]
    outs, warps, chunk = way or _way(len(weight), width)
    none = rows  # a pointer that is not followed
    kernels.linear[(-(-len(weight) // outs),)](
        rows, weight, none if product.bias is None else product.bias,
        none if norm is None else norm.weight, none if norm is None else norm.bias,
        none if kept is None else kept, none if residual is None else residual,
        out, len(rows), len(weight), 0.0 if norm is None else norm.eps,
        product.bias is not None, norm is not None, gelu, residual is not None, width,
        _above(len(rows)), outs, chunk if norm is None else _above(width), num_warps=warps,
    )  # fmt: skip


def _way(outs: int, width: int) -> tuple[int, int, int]:
    """Return a program's outputs, its warps and what it takes of a row at once."""
    chunk = next(c for c in (1024, 512, 256, 128) if width % c == 0)
    return (8 if outs > 2048 else 4), 4, chunk


def _above(number: int) -> int:
    """Return the power of two that is not below a number."""
    return 1 << (number - 1).bit_length()
