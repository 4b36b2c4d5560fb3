"""One step of the decoder in few kernels, for a GPU and numbers of 16 bits.

Knows the weights and the memory of ``forward.DecoderStep``, which is the reference for it. Does not
know how tokens are chosen. Importing this needs triton, which comes with torch on a GPU.

A step has few rows and many weights: it is as fast as the weights are read. What torch does in
thirty kernels a layer is eight here: a norm goes before the product that reads it, activation and
residual behind the product that writes them, and sums between layers stay in float32.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import GELUActivation

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
        rows: Sum = (self._embedded(tokens, position, cache), None)
        norm = self.embed_norm
        for at, layer in enumerate(self.layers):
            qkv, kept = _normed(rows, norm, layer.self_qkv, few=few)
            seen = self._own_seen(qkv, position, cache, at)
            rows = _added(seen, layer.self_out, kept, few=few)
            query, kept = _normed(rows, layer.self_norm, layer.cross_query, few=few)
            seen = self._picture_seen(query, cache, at)
            rows = _added(seen, layer.cross_out, kept, few=few)
            wide, kept = _normed(rows, layer.cross_norm, layer.up, few=few, gelu=True)
            rows = _added(wide, layer.down, kept, few=few)
            norm = layer.norm
        scores: Tensor = self.head(_normalised(rows, norm)[0])
        return scores.view(*tokens.shape, -1)

    def _scores(self, rows: Tensor) -> Tensor:
        """Return the head's product."""
        return functional.linear(rows, self._wide_head)[:, : self.vocabulary]

    def _embedded(self, tokens: Tensor, position: Tensor, cache: Cache) -> Tensor:
        words = self.embed.weight
        width = words.shape[1]
        rows: Tensor = words.new_empty(tokens.numel(), width, dtype=torch.float32)
        _embed[(len(rows),)](
            tokens, position, words, self.places, cache.ancestors, rows, cache.steps,
            tokens.shape[1], width, _above(width),
        )  # fmt: skip
        return rows

    def _own_seen(self, qkv: Tensor, position: Tensor, cache: Cache, at: int) -> Tensor:
        heads, width = self.heads, cache.keys.shape[4]
        out = qkv.new_empty(len(qkv), heads * width)
        _attend_own[(len(qkv) * heads,)](
            qkv, cache.keys[at], cache.values[at], cache.ancestors, position, out, cache.steps,
            self.scale, cache.keys.shape[3], heads, width, 64,
        )  # fmt: skip
        return out

    def _picture_seen(self, query: Tensor, cache: Cache, at: int) -> Tensor:
        heads, width, beams = self.heads, cache.keys.shape[4], cache.keys.shape[3]
        keys, values = cache.picture_keys[at], cache.picture_values[at]
        held, pairs = max(16, _above(beams)), len(keys)
        splits = max(1, min(-(-keys.shape[2] // SLOTS), PROGRAMS // pairs))
        parts = query.new_empty(pairs, splits, held, width + 4, dtype=torch.float32)
        out = torch.empty_like(query)
        _attend_picture[(pairs * splits,)](
            query, keys, values, cache.picture_mask, parts, self._arrived, out, keys.shape[2],
            self.scale, beams, heads, width, held, SLOTS, splits,
        )  # fmt: skip
        return out


def _normalised(rows: Sum, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """Return normalised rows in the model's type, and exactly."""
    left, right = rows
    kept = torch.empty_like(left, dtype=torch.float32)
    half = torch.empty_like(left, dtype=norm.weight.dtype)
    _normalise[(len(left),)](
        left, left if right is None else right, norm.weight, norm.bias, kept, half, norm.eps,
        right is not None, left.shape[1], _above(left.shape[1]),
    )  # fmt: skip
    return half, kept


def _normed(
    rows: Sum, norm: nn.LayerNorm, product: Any, *, few: bool, gelu: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the product of normalised rows (R, out), activated or not, and those rows."""
    if not few:
        half, kept = _normalised(rows, norm)
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
    _multiply[(-(-len(weight) // outs),)](
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


def probe(device: torch.device) -> None:
    """Run a kernel, or raise whatever is in its way."""
    norm = nn.LayerNorm(16, device=device)
    _normalised((torch.ones(1, 16, device=device), None), norm)
    torch.cuda.synchronize(device)


@triton.jit
def _embed(tokens, position, words, places, ancestors, out, steps, BEAMS: tl.constexpr,
          WIDTH: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Write word and place of each row's token, (R, WIDTH), and give each beam its new slot."""
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    inside = at < WIDTH
    token, now = tl.load(tokens + row), tl.load(position + row // BEAMS)
    tl.store(ancestors + row * steps + now, row % BEAMS)
    word = tl.load(words + token * WIDTH + at, mask=inside).to(tl.float32)
    sum_ = word + tl.load(places + now * WIDTH + at, mask=inside).to(tl.float32)
    tl.store(out + row * WIDTH + at, sum_, mask=inside)


@triton.jit
def _normalise(x, residual, scale, shift, kept, out, eps, ADD: tl.constexpr, WIDTH: tl.constexpr,
         BLOCK: tl.constexpr):  # fmt: skip
    """Write rows (R, WIDTH), with ADD those and ``residual``, normalised: exactly and rounded."""
    row = tl.program_id(0) * WIDTH
    at = tl.arange(0, BLOCK)
    inside = at < WIDTH
    part = tl.load(x + row + at, mask=inside, other=0.0).to(tl.float32)
    gain = tl.load(scale + at, mask=inside, other=0.0).to(tl.float32)
    offset = tl.load(shift + at, mask=inside, other=0.0).to(tl.float32)
    if ADD:
        part += tl.load(residual + row + at, mask=inside, other=0.0)
    mean = tl.sum(part, 0) / WIDTH
    part = tl.where(inside, part - mean, 0.0)
    part = part * (1.0 / tl.sqrt(tl.sum(part * part, 0) / WIDTH + eps)) * gain + offset
    tl.store(kept + row + at, part, mask=inside)
    tl.store(out + row + at, part.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _multiply(x, weight, bias, scale, shift, kept, residual, out, rows, outs, eps,
           BIAS: tl.constexpr, NORM: tl.constexpr, GELU: tl.constexpr, ADD: tl.constexpr,
           WIDTH: tl.constexpr, ROWS: tl.constexpr, OUTS: tl.constexpr,
           CHUNK: tl.constexpr):  # fmt: skip
    """Write the product of few rows (R, WIDTH) and weights (outs, WIDTH), as (R, outs).

    With NORM the rows are normalised first, and written once as ``kept`` (R, WIDTH) for whoever
    adds them later; with GELU the product is activated; with ADD ``residual`` (R, outs) is added.
    """
    place = tl.program_id(0) * OUTS + tl.arange(0, OUTS)
    row, at = tl.arange(0, ROWS), tl.arange(0, CHUNK)
    live, inside = row < rows, place < outs
    whole = row[:, None] * outs + place[None]
    wanted = live[:, None] & inside[None]
    wide = place.to(tl.int64)[:, None] * WIDTH + at[None]
    here = row[:, None] * WIDTH + at[None]
    # All that is read is asked for before anything waits for it.
    if NORM:
        within = at < WIDTH
        taken = tl.load(weight + wide, mask=inside[:, None] & within[None], other=0.0)
        part = tl.load(x + here, mask=live[:, None] & within[None], other=0.0)
        gain = tl.load(scale + at, mask=within, other=0.0).to(tl.float32)
        offset = tl.load(shift + at, mask=within, other=0.0).to(tl.float32)
    added = tl.zeros((ROWS, OUTS), tl.float32)
    if ADD:
        added += tl.load(residual + whole, mask=wanted, other=0.0)
    if BIAS:
        about = tl.load(bias + place, mask=inside, other=0.0)[None].to(tl.float32)
    if NORM:
        mean = tl.sum(part, 1) / WIDTH
        spread = tl.sum(part * part, 1) / WIDTH - mean * mean
        part = (part - mean[:, None]) * (1.0 / tl.sqrt(spread + eps))[:, None]
        part = part * gain[None] + offset[None]
        if tl.program_id(0) == 0:
            tl.store(kept + here, part, mask=live[:, None] & within[None])
        sums = tl.sum(part[:, None, :] * taken.to(tl.float32)[None], 2)
    else:
        parts = tl.zeros((ROWS, OUTS, CHUNK), tl.float32)
        for start in tl.static_range(0, WIDTH, CHUNK):
            taken = tl.load(weight + wide + start, mask=inside[:, None], other=0.0)
            part = tl.load(x + here + start, mask=live[:, None], other=0.0).to(tl.float32)
            parts += part[:, None, :] * taken.to(tl.float32)[None]
        sums = tl.sum(parts, 2)
    if BIAS:
        sums += about
    if GELU:
        sums = 0.5 * sums * (1.0 + tl.erf(sums * 0.7071067811865476))
    tl.store(out + whole, (sums + added).to(out.dtype.element_ty), mask=wanted)


@triton.jit
def _attend_own(qkv, keys, values, ancestors, position, out,
               steps, scale, BEAMS: tl.constexpr, HEADS: tl.constexpr,
               WIDTH: tl.constexpr, SLOTS: tl.constexpr):  # fmt: skip
    """Attend to a beam's own ancestors and put its new key and value into its slot.

    ``qkv`` is (R, 3 * HEADS * WIDTH), keys and values (B * HEADS, steps, BEAMS, WIDTH), ancestors
    (B, BEAMS, steps), the output (R, HEADS * WIDTH); a program is one head of one row.
    """
    row, head = tl.program_id(0) // HEADS, tl.program_id(0) % HEADS
    answer, beam = row // BEAMS, row % BEAMS
    across = tl.arange(0, WIDTH)
    now = tl.load(position + answer)
    own = qkv + row * 3 * HEADS * WIDTH + head * WIDTH + across
    query = tl.load(own).to(tl.float32) * scale
    key, value = tl.load(own + HEADS * WIDTH), tl.load(own + 2 * HEADS * WIDTH)
    first = (answer * HEADS + head).to(tl.int64) * steps
    slot = ((first + now) * BEAMS + beam) * WIDTH + across
    tl.store(keys + slot, key)
    tl.store(values + slot, value)
    best = tl.sum(query * key.to(tl.float32), 0)
    total = tl.sum(tl.where(across == 0, 1.0, 0.0), 0)
    seen = value.to(tl.float32)
    for start in range(0, now, SLOTS):
        at = start + tl.arange(0, SLOTS)
        live = at < now
        who = tl.load(ancestors + row * steps + at, mask=live, other=0)
        slots = ((first + at) * BEAMS + who)[:, None] * WIDTH + across[None]
        past = tl.load(keys + slots, mask=live[:, None], other=0.0).to(tl.float32)
        score = tl.where(live, tl.sum(past * query[None], 1), float("-inf"))
        past = tl.load(values + slots, mask=live[:, None], other=0.0).to(tl.float32)
        most = tl.maximum(best, tl.max(score, 0))
        chance, fade = tl.exp(score - most), tl.exp(best - most)
        seen = seen * fade + tl.sum(past * chance[:, None], 0)
        total = total * fade + tl.sum(chance, 0)
        best = most
    done = out + row * HEADS * WIDTH + head * WIDTH + across
    tl.store(done, (seen / total).to(out.dtype.element_ty))


@triton.jit
def _put_together(parts, live, WIDTH: tl.constexpr, ROWS: tl.constexpr, SPLITS: tl.constexpr):
    """Return what stretches of attention saw together, (ROWS, WIDTH), and its sum, (ROWS,)."""
    beam, across = tl.arange(0, ROWS), tl.arange(0, WIDTH)
    best = tl.full((ROWS,), -1.0e30, tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    seen = tl.zeros((ROWS, WIDTH), tl.float32)
    for other in tl.static_range(SPLITS):
        # From where all processors see it: others have just written it.
        theirs = parts + (other * ROWS + beam) * (WIDTH + 4)
        high = tl.load(theirs + WIDTH, mask=live, other=-1.0e30, cache_modifier=".cg")
        sum_ = tl.load(theirs + WIDTH + 1, mask=live, other=0.0, cache_modifier=".cg")
        part = tl.load(theirs[:, None] + across[None], mask=live[:, None], other=0.0,
                       cache_modifier=".cg")  # fmt: skip
        most = tl.maximum(best, high)
        fade, gain = tl.exp(best - most), tl.exp(high - most)
        seen = seen * fade[:, None] + part * gain[:, None]
        total = total * fade + sum_ * gain
        best = most
    return seen, total


@triton.jit
def _attend_picture(queries, keys, values, unread, parts, arrived, out, length, scale,
                   BEAMS: tl.constexpr, HEADS: tl.constexpr, WIDTH: tl.constexpr,
                   ROWS: tl.constexpr, SLOTS: tl.constexpr, SPLITS: tl.constexpr):  # fmt: skip
    """Attend to the picture and the prompt; an answer's beams read them together.

    Queries and output are (R, HEADS * WIDTH), keys (B * HEADS, WIDTH, length), values
    (B * HEADS, length, WIDTH), unread (B, length) 0 or -inf; a program is one of SPLITS stretches
    of one head of one answer. Whichever comes last puts the stretches' ``parts``,
    (B * HEADS, SPLITS, ROWS, WIDTH + 4), together, and leaves ``arrived``, (B * HEADS,), at 0.
    """
    pair, split = (tl.program_id(0) // SPLITS).to(tl.int64), tl.program_id(0) % SPLITS
    answer, head = pair // HEADS, pair % HEADS
    beam, across = tl.arange(0, ROWS), tl.arange(0, WIDTH)
    live = beam < BEAMS
    place = (answer * BEAMS + beam)[:, None] * HEADS * WIDTH + head * WIDTH + across[None]
    query = tl.load(queries + place, mask=live[:, None], other=0.0)
    best = tl.full((ROWS,), -1.0e30, tl.float32)  # finite: a stretch may have nothing to read
    total = tl.zeros((ROWS,), tl.float32)
    seen = tl.zeros((ROWS, WIDTH), tl.float32)
    stretch = tl.cdiv(tl.cdiv(length, SPLITS), SLOTS) * SLOTS
    for start in range(split * stretch, tl.minimum(length, (split + 1) * stretch), SLOTS):
        at = start + tl.arange(0, SLOTS)
        inside = at < length
        key = tl.load(keys + (pair * WIDTH + across)[:, None] * length + at[None],
                      mask=inside[None], other=0.0)  # fmt: skip
        value = tl.load(values + (pair * length + at)[:, None] * WIDTH + across[None],
                        mask=inside[:, None], other=0.0)  # fmt: skip
        hidden = tl.load(unread + answer * length + at, mask=inside, other=float("-inf"))
        score = tl.dot(query, key) * scale + hidden.to(tl.float32)[None]
        most = tl.maximum(best, tl.max(score, 1))
        chance, fade = tl.exp(score - most[:, None]), tl.exp(best - most)
        seen = seen * fade[:, None] + tl.dot(chance.to(value.dtype), value)
        total = total * fade + tl.sum(chance, 1)
        best = most
    if SPLITS > 1:
        mine = parts + ((pair * SPLITS + split) * ROWS + beam) * (WIDTH + 4)
        tl.store(mine[:, None] + across[None], seen, mask=live[:, None])
        tl.store(mine + WIDTH, best, mask=live)
        tl.store(mine + WIDTH + 1, total, mask=live)
        tl.debug_barrier()
        count = tl.atomic_add(arrived + pair, 1, sem="acq_rel")
        if count == SPLITS - 1:
            tl.store(arrived + pair, 0)
            seen, total = _put_together(parts + pair * SPLITS * ROWS * (WIDTH + 4), live, WIDTH,
                                        ROWS, SPLITS)  # fmt: skip
            seen = seen / total[:, None]
            tl.store(out + place, seen.to(out.dtype.element_ty), mask=live[:, None])
    else:
        seen = seen / total[:, None]
        tl.store(out + place, seen.to(out.dtype.element_ty), mask=live[:, None])
