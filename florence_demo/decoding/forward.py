"""One step of Florence-2's text decoder, written out for speed.

Knows the decoder's weights, how a machine likes them packed, and the memory of what was decoded so
far. Does not know how tokens are chosen (``search``) nor pictures or text.

Why it is fast, each measured on two cores with AVX2 at base size (231 M), 3 beams, fp32:

* A plain linear of 3 rows repacks its weight matrix at each call. All linears of a step take
  119 ms; packed once by oneDNN 36 ms; packed as fp16 by FBGEMM, which reads half the bytes, 15 ms.
  The arithmetic stays fp32. Checkpoints stored as fp16 (the published ones) lose nothing by it;
  for others a weight is held as the sum of two fp16 numbers, exact to the last bit but one of fp32
  (relative error at most 2 ** -24), and a step takes 29 ms.
* Query, key and value are one product. The keys and values of the picture are computed once and
  its beams are just further queries on them: nothing is copied per beam.
* Beams never move in the cache. Each step has one slot a beam; a table tells which slots are a
  beam's own ancestors. Reordering beams means reordering that table (a few kB), not the cache.
* ``scaled_dot_product_attention`` takes 0.32 ms for 3 queries on 590 keys where two batched
  products and a softmax take 0.27 ms; with the mask over beams it has no fast path at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from florence_demo.decoding.linears import Linear, pack_linear


@dataclass(frozen=True, eq=False)
class _Layer:
    """Hold one decoder layer's weights as they are used."""

    self_qkv: Linear
    self_out: Linear
    self_norm: nn.LayerNorm
    cross_query: Linear
    cross_key_value: Linear
    cross_out: Linear
    cross_norm: nn.LayerNorm
    up: Linear
    activation: Callable[[Tensor], Tensor]
    down: Linear
    norm: nn.LayerNorm


@dataclass(eq=False)
class Cache:
    """Hold what the decoder remembers of B answers with K beams each, H heads of width D.

    Attributes:
        picture_keys: A layer each, (B * H, D, S).
        picture_values: A layer each, (B * H, S, D).
        picture_mask: (B, 1, 1, S), 0 or -inf, or None where no prompt was padded.
        keys: A layer each, (N, B * H, T, K, D); slot (t, k) belongs to beam k as it was at step t.
        values: The same.
        ancestors: Which of a step's slots each beam goes back to, (B, K, T); -1 where it has none.
    """

    picture_keys: list[Tensor]
    picture_values: list[Tensor]
    picture_mask: Tensor | None
    keys: Tensor
    values: Tensor
    ancestors: Tensor

    @property
    def steps(self) -> int:
        """Return the number of steps there is room for."""
        return self.ancestors.shape[2]

    def begin(self, rows: Tensor) -> None:
        """Forget what was decoded in these rows (n,)."""
        self.ancestors.index_fill_(0, rows, -1)
        # Zeros: an unused slot has probability 0, and 0 times another answer's NaN is NaN.
        for past in (self.keys, self.values):
            past.view(len(past), len(self.ancestors), -1).index_fill_(1, rows, 0.0)

    def add(self, position: Tensor) -> Tensor:
        """Give each beam its new slot at its answer's position (B,).

        Returns:
            Where the slots are in keys and values of one layer seen as (B * H * T, K, D), (B * H,).
        """
        batch, beams, steps = self.ancestors.shape
        own = torch.arange(beams, device=position.device)[None, :, None].expand(batch, -1, 1)
        self.ancestors.scatter_(2, position[:, None, None].expand(-1, beams, 1), own)
        first = torch.arange(0, self.keys.shape[1] * steps, steps, device=position.device)
        return (first.view(batch, -1) + position[:, None]).flatten()

    def mask(self) -> Tensor:
        """Return what is added to the scores of slots, (B, 1, K, T * K): -inf where unseen."""
        beams = torch.arange(self.ancestors.shape[1], device=self.ancestors.device)
        unseen = (self.ancestors[..., None] != beams).flatten(2)[:, None]
        return self.keys.new_zeros(unseen.shape).masked_fill_(unseen, -torch.inf)

    def grow(self, steps: int) -> None:
        """Make room for so many steps."""
        more = steps - self.steps
        self.keys = functional.pad(self.keys, (0, 0, 0, 0, 0, more))
        self.values = functional.pad(self.values, (0, 0, 0, 0, 0, more))
        self.ancestors = functional.pad(self.ancestors, (0, more), value=-1)

    def load(self, other: Cache, rows: Tensor) -> None:
        """Take over these rows (n,) of another one with less room, or as much, as the first."""
        count, batch, length = len(rows), len(other.ancestors), other.picture_keys[0].shape[2]

        def first(value: Tensor) -> Tensor:
            return value.view(len(self.ancestors), -1, *value.shape[1:])[:count]

        def taken(value: Tensor) -> Tensor:
            return value.view(batch, -1, *value.shape[1:])[rows]

        for mine, theirs in zip(self.picture_keys, other.picture_keys, strict=True):
            first(mine)[..., :length].copy_(taken(theirs))
        for mine, theirs in zip(self.picture_values, other.picture_values, strict=True):
            first(mine)[..., :length, :].copy_(taken(theirs))
        if self.picture_mask is not None:
            self.picture_mask[:count, ..., length:] = -torch.inf
            seen = 0.0 if other.picture_mask is None else other.picture_mask[rows]
            self.picture_mask[:count, ..., :length] = seen
        for past, old in ((self.keys, other.keys), (self.values, other.values)):
            for mine, theirs in zip(past, old, strict=True):
                first(mine).zero_()[:, :, : other.steps].copy_(taken(theirs))
        self.ancestors[:count].fill_(-1)
        self.ancestors[:count, :, : other.steps] = other.ancestors[rows]

    def leave_mask_out(self) -> None:
        """Do without the picture's mask where it hides nothing."""
        if self.picture_mask is not None and not bool(self.picture_mask.any()):
            self.picture_mask = None

    def reorder(self, source: Tensor) -> None:
        """Let beam k of row b go on from beam ``source[b, k]``; source is (B, K)."""
        self.ancestors.copy_(self.ancestors.gather(1, source[..., None].expand_as(self.ancestors)))

    def keep(self, rows: Tensor) -> None:
        """Forget all answers but these rows (n,)."""
        batch = len(self.ancestors)

        def pick(value: Tensor) -> Tensor:
            return value.view(batch, -1, *value.shape[1:])[rows].flatten(0, 1)

        self.picture_keys = [pick(value) for value in self.picture_keys]
        self.picture_values = [pick(value) for value in self.picture_values]
        self.keys = self.keys.unflatten(1, (batch, -1))[:, rows].flatten(1, 2)
        self.values = self.values.unflatten(1, (batch, -1))[:, rows].flatten(1, 2)
        self.ancestors = self.ancestors[rows]
        if self.picture_mask is not None:
            self.picture_mask = self.picture_mask[rows]


class DecoderStep:
    """Compute the scores of the next token from the last one.

    Args:
        model: The native Florence-2 model.
        plain: Leave the weights as they are, for tests in float64.
        release: Free each original weight once its packed form exists. The model then serves as
            tower and encoder only; its own ``generate`` no longer works.
    """

    def __init__(self, model: Any, *, plain: bool = False, release: bool = False) -> None:
        decoder = model.model.language_model.decoder
        self.heads = int(decoder.layers[0].self_attn.num_heads)
        self.scale = float(decoder.layers[0].self_attn.scaling)
        self.embed = decoder.embed_tokens
        # A place more than there are: an answer that is done stays behind its last token.
        places = decoder.embed_positions
        self.places = functional.pad(places.weight.detach()[places.offset :], (0, 0, 0, 1))
        self.embed_norm = decoder.layernorm_embedding
        self.layers = [self._take(layer, plain, release) for layer in decoder.layers]
        # The head shares its matrix with the embedding, which stays: it is read row by row.
        self.head = pack_linear([model.lm_head], plain=plain)
        self.vocabulary = len(model.lm_head.weight)

    @staticmethod
    def _take(layer: Any, plain: bool, release: bool) -> _Layer:
        own, cross = layer.self_attn, layer.encoder_attn

        def pack(*parts: nn.Linear, many: bool = False) -> Linear:
            linear = pack_linear(parts, plain=plain, many=many)
            for part in parts if release else ():
                # One linear alone and unpacked still uses the original storage: it stays alive.
                part.weight.data = part.weight.new_empty(0)
            return linear

        return _Layer(
            self_qkv=pack(own.q_proj, own.k_proj, own.v_proj),
            self_out=pack(own.out_proj),
            self_norm=layer.self_attn_layer_norm,
            cross_query=pack(cross.q_proj),
            cross_key_value=pack(cross.k_proj, cross.v_proj, many=True),
            cross_out=pack(cross.out_proj),
            cross_norm=layer.encoder_attn_layer_norm,
            up=pack(layer.fc1),
            activation=layer.activation_fn,
            down=pack(layer.fc2),
            norm=layer.final_layer_norm,
        )

    def cache(self, batch: int, length: int, beams: int, steps: int) -> Cache:
        """Return memory for a batch of answers.

        Args:
            batch: Answers.
            length: Of the encoder's output.
            beams: Hypotheses an answer.
            steps: Steps to make room for.
        """
        like, count = self.embed.weight, len(self.layers)
        width = like.shape[1] // self.heads
        heads = batch * self.heads
        return Cache(
            picture_keys=[like.new_zeros(heads, width, length) for _ in range(count)],
            picture_values=[like.new_zeros(heads, length, width) for _ in range(count)],
            picture_mask=like.new_zeros(batch, 1, 1, length),
            keys=like.new_zeros(count, heads, steps, beams, width),
            values=like.new_zeros(count, heads, steps, beams, width),
            ancestors=torch.full((batch, beams, steps), -1, device=like.device),
        )

    def begin(self, cache: Cache, rows: Tensor, hidden: Tensor, mask: Tensor) -> None:
        """Let answers begin.

        Args:
            cache: Where; what it held of these rows is forgotten.
            rows: Which answers, (n,).
            hidden: The encoder's output, (n, S, C).
            mask: (n, S), 1 for what is read and 0 for padding.
        """
        cache.begin(rows)
        parts = {"b": len(hidden), "two": 2, "h": self.heads}
        for at, layer in enumerate(self.layers):
            both = layer.cross_key_value(rearrange(hidden, "b s c -> (b s) c"))
            key, value = rearrange(both, "(b s) (two h d) -> two b h s d", **parts)
            keys = cache.picture_keys[at].unflatten(0, (-1, self.heads))
            keys.index_copy_(0, rows, key.mT)
            values = cache.picture_values[at].unflatten(0, (-1, self.heads))
            values.index_copy_(0, rows, value)
        if cache.picture_mask is not None:
            unread = torch.where(mask[:, None, None] == 0, -torch.inf, 0.0)
            cache.picture_mask.index_copy_(0, rows, unread.to(cache.picture_mask.dtype))

    def __call__(self, tokens: Tensor, position: Tensor, cache: Cache) -> Tensor:
        """Return the scores of each next token, (B, K, V).

        Args:
            tokens: The last token of every beam, (B, K).
            position: Its index in each answer, (B,); a tensor so that one captured graph serves
                every step.
            cache: Read and extended.
        """
        batch, beams = tokens.shape
        slots = cache.add(position)
        rows = self.embed(tokens) + self.places[position][:, None]
        rows = self.embed_norm(rows).flatten(0, 1)  # (B * K, C)
        past = cache.mask()
        for at, layer in enumerate(self.layers):
            query, key, value = self._split(layer.self_qkv(rows), batch, 3)
            cache.keys[at].flatten(0, 1).index_copy_(0, slots, key)
            cache.values[at].flatten(0, 1).index_copy_(0, slots, value)
            keys, values = cache.keys[at].flatten(1, 2), cache.values[at].flatten(1, 2)
            rows = layer.self_norm(
                rows + layer.self_out(self._attend(query, keys.mT, values, past))
            )
            (query,) = self._split(layer.cross_query(rows), batch, 1)
            seen = self._attend(
                query, cache.picture_keys[at], cache.picture_values[at], cache.picture_mask
            )
            rows = layer.cross_norm(rows + layer.cross_out(seen))
            rows = layer.norm(rows + layer.down(layer.activation(layer.up(rows))))
        scores: Tensor = self.head(rows)
        return scores.view(batch, beams, -1)

    def _split(self, rows: Tensor, batch: int, parts: int) -> tuple[Tensor, ...]:
        """Return rows (B * K, parts * C) as ``parts`` tensors (B * H, K, D)."""
        apart = rows.view(batch, -1, parts, self.heads, rows.shape[1] // parts // self.heads)
        return tuple(apart.permute(2, 0, 3, 1, 4).flatten(1, 2))

    def _attend(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """Return attention's output as rows (B * K, C).

        Args:
            query: (B * H, K, D).
            keys: (B * H, D, S).
            values: (B * H, S, D).
            mask: (B, 1, K or 1, S), added to the scores, or None.
        """
        scores = torch.bmm(query * self.scale, keys)
        if mask is not None:
            apart = scores.view(len(mask), self.heads, *scores.shape[1:])
            scores = apart.add_(mask).flatten(0, 1)
        exact = torch.promote_types(query.dtype, torch.float32)
        chances = scores.softmax(-1, dtype=exact).to(query.dtype)
        seen = torch.bmm(chances, values)  # (B * H, K, D)
        apart = seen.view(-1, self.heads, *seen.shape[1:])
        return apart.transpose(1, 2).reshape(-1, self.heads * seen.shape[2])
