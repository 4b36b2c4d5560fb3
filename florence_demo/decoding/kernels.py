"""The few kernels that a step of decoding is on a GPU, each with one pass over its weights.

Knows rows, weights and pointers. Does not know a model; ``fused`` does. Importing this needs
triton, which comes with torch on a GPU.

A step has few rows and many weights: it is as fast as the weights are read. What torch does in
thirty kernels a layer is eight here: a norm goes before the product that reads it, activation and
residual behind the product that writes them, and sums between layers stay in float32.
"""

from __future__ import annotations

import triton
import triton.language as tl

FEW = 4
"""Rows up to which products are summed without the tensor cores."""


@triton.jit
def embed(tokens, position, words, places, out, BEAMS: tl.constexpr,
          WIDTH: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Write word and place of each row's token, (R, WIDTH)."""
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    inside = at < WIDTH
    token, place = tl.load(tokens + row), tl.load(position + row // BEAMS)
    word = tl.load(words + token * WIDTH + at, mask=inside).to(tl.float32)
    sum_ = word + tl.load(places + place * WIDTH + at, mask=inside).to(tl.float32)
    tl.store(out + row * WIDTH + at, sum_, mask=inside)


@triton.jit
def linear(x, weight, bias, scale, shift, normed, residual,
           out, rows, outs, eps, BIAS: tl.constexpr, NORM: tl.constexpr,
           GELU: tl.constexpr, ADD: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr,
           OUTS: tl.constexpr, CHUNK: tl.constexpr, DOT: tl.constexpr):  # fmt: skip
    """Write the product of rows (R, WIDTH) and weights (outs, WIDTH), as (R, outs).

    With NORM the rows are normalised first, and written once as ``normed`` (R, WIDTH) for whoever
    adds them later; with GELU the product is activated; with ADD ``residual`` (R, outs) is added.
    """
    place = tl.program_id(0) * OUTS + tl.arange(0, OUTS)
    row = tl.arange(0, ROWS)
    live, inside = row < rows, place < outs
    mean = tl.zeros((ROWS,), tl.float32)
    sharp = tl.zeros((ROWS,), tl.float32)
    if NORM:
        squares = tl.zeros((ROWS,), tl.float32)
        for start in tl.static_range(0, WIDTH, CHUNK):
            at = start + tl.arange(0, CHUNK)
            part = tl.load(x + row[:, None] * WIDTH + at[None], mask=live[:, None], other=0.0)
            mean += tl.sum(part, 1)
            squares += tl.sum(part * part, 1)
        mean = mean / WIDTH
        sharp = 1.0 / tl.sqrt(squares / WIDTH - mean * mean + eps)
    if DOT:
        sums = tl.zeros((ROWS, OUTS), tl.float32)
    else:
        parts = tl.zeros((ROWS, OUTS, CHUNK), tl.float32)
    for start in tl.static_range(0, WIDTH, CHUNK):
        at = start + tl.arange(0, CHUNK)
        wide = place.to(tl.int64)[:, None] * WIDTH + at[None]
        taken = tl.load(weight + wide, mask=inside[:, None], other=0.0)
        part = tl.load(x + row[:, None] * WIDTH + at[None], mask=live[:, None], other=0.0)
        if NORM:
            part = (part - mean[:, None]) * sharp[:, None]
            part = part * tl.load(scale + at)[None].to(tl.float32)
            part = part + tl.load(shift + at)[None].to(tl.float32)
            if tl.program_id(0) == 0:
                tl.store(normed + row[:, None] * WIDTH + at[None], part, mask=live[:, None])
        part = part.to(taken.dtype)
        if DOT:
            sums = tl.dot(part, tl.trans(taken), sums)
        else:
            parts += part.to(tl.float32)[:, None, :] * taken.to(tl.float32)[None]
    if not DOT:
        sums = tl.sum(parts, 2)
    if BIAS:
        sums += tl.load(bias + place, mask=inside, other=0.0)[None].to(tl.float32)
    if GELU:
        sums = 0.5 * sums * (1.0 + tl.erf(sums * 0.7071067811865476))
    whole = row[:, None] * outs + place[None]
    wanted = live[:, None] & inside[None]
    if ADD:
        sums += tl.load(residual + whole, mask=wanted, other=0.0)
    tl.store(out + whole, sums.to(out.dtype.element_ty), mask=wanted)


@triton.jit
def attend_own(qkv, keys, values, ancestors, position, out,
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
def attend_picture(queries, keys, values, unread, out, length,
                   scale, BEAMS: tl.constexpr, HEADS: tl.constexpr, WIDTH: tl.constexpr,
                   ROWS: tl.constexpr, SLOTS: tl.constexpr):  # fmt: skip
    """Attend to the picture and the prompt; an answer's beams read them together.

    Queries and output are (R, HEADS * WIDTH), keys (B * HEADS, WIDTH, length), values
    (B * HEADS, length, WIDTH), unread (B, length) 0 or -inf; a program is one head of one answer.
    """
    pair = tl.program_id(0).to(tl.int64)
    answer, head = pair // HEADS, pair % HEADS
    beam, across = tl.arange(0, ROWS), tl.arange(0, WIDTH)
    live = beam < BEAMS
    place = (answer * BEAMS + beam)[:, None] * HEADS * WIDTH + head * WIDTH + across[None]
    query = tl.load(queries + place, mask=live[:, None], other=0.0)
    best = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    seen = tl.zeros((ROWS, WIDTH), tl.float32)
    for start in range(0, length, SLOTS):
        at = start + tl.arange(0, SLOTS)
        inside = at < length
        key = tl.load(keys + (pair * WIDTH + across)[:, None] * length + at[None],
                      mask=inside[None], other=0.0)  # fmt: skip
        hidden = tl.load(unread + answer * length + at, mask=inside, other=float("-inf"))
        score = tl.dot(query, key) * scale + hidden.to(tl.float32)[None]
        value = tl.load(values + (pair * length + at)[:, None] * WIDTH + across[None],
                        mask=inside[:, None], other=0.0)  # fmt: skip
        most = tl.maximum(best, tl.max(score, 1))
        chance, fade = tl.exp(score - most[:, None]), tl.exp(best - most)
        seen = seen * fade[:, None] + tl.dot(chance.to(value.dtype), value)
        total = total * fade + tl.sum(chance, 1)
        best = most
    seen = seen / total[:, None]
    tl.store(out + place, seen.to(out.dtype.element_ty), mask=live[:, None])
