"""The text encoder's pass, written out: from embeddings of picture and prompt to what is read.

Knows BART's encoder layers. Does not know tokens. The reference is transformers' own encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class TextEncoder:
    """Compute the encoder's output.

    Args:
        encoder: The native encoder; queries, keys and values become one product, and its own
            weights of them views of that one's.
    """

    def __init__(self, encoder: Any) -> None:
        self.positions = encoder.embed_positions
        self.most = len(self.positions.weight) - self.positions.offset
        self.norm = encoder.layernorm_embedding
        self.layers = [_Layer(layer) for layer in encoder.layers]

    def __call__(self, embeds: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the output (B, S, C).

        Args:
            embeds: Of picture and prompt, (B, S, C).
            mask: (B, S), 1 for what is read and 0 for padding; None where nothing is padded.
        """
        start = self.positions.offset
        x: Tensor = self.norm(embeds + self.positions.weight[start : start + embeds.shape[1]])
        added = None
        if mask is not None:
            added = torch.zeros_like(mask, dtype=x.dtype).masked_fill_(mask == 0, -torch.inf)
            added = added[:, None, None].expand(-1, 1, mask.shape[1], -1)
        for layer in self.layers:
            x = layer(x, added)
        return x


class _Layer:
    """Compute one layer of the encoder."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.heads = layer.self_attn.num_heads
        own = layer.self_attn
        self.parts = [own.q_proj, own.k_proj, own.v_proj]
        self.joined = _join(self.parts) if all(type(p) is nn.Linear for p in self.parts) else None

    def __call__(self, x: Tensor, mask: Tensor | None) -> Tensor:
        layer = self.layer
        rows, length, channels = x.shape
        if self.joined is None:
            parts = torch.cat([part(x) for part in self.parts], dim=-1)
        else:
            parts = functional.linear(x, self.joined.weight, self.joined.bias)
        apart = parts.view(rows, length, 3, self.heads, channels // self.heads)
        query, key, value = apart.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=layer.self_attn.scaling
        )
        seen = layer.self_attn.out_proj(seen.transpose(1, 2).reshape(x.shape))
        x = layer.self_attn_layer_norm(seen.add_(x))
        x = layer.final_layer_norm(layer.fc2(layer.activation_fn(layer.fc1(x))).add_(x))
        if x.dtype == torch.float16:
            most = torch.finfo(x.dtype).max - 1000
            x = x.clamp_(-most, most)
        return x


@dataclass(frozen=True, eq=False)
class _Joined:
    """Hold several linears as one."""

    weight: Tensor
    bias: Tensor | None


def _join(parts: list[nn.Linear]) -> _Joined:
    weight = torch.cat([part.weight.detach() for part in parts])
    bias = None
    if all(part.bias is not None for part in parts):
        bias = torch.cat([part.bias.detach() for part in parts])
    for part, own in zip(parts, weight.chunk(len(parts)), strict=True):
        part.weight.data = own  # held once
    return _Joined(weight, bias)
