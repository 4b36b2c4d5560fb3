"""The few kernels that the decoder's part of a step is on a GPU, each one pass over its weights.

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
def embed(tokens, position, words, places, ancestors, out, steps, BEAMS: tl.constexpr,
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
def norm(x, residual, scale, shift, kept, out, eps, ADD: tl.constexpr, WIDTH: tl.constexpr,
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
def linear(x, weight, bias, scale, shift, kept, residual, out, rows, outs, eps,
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
def attend_picture(queries, keys, values, unread, parts, arrived, out, length, scale,
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
            best = tl.full((ROWS,), -1.0e30, tl.float32)
            total = tl.zeros((ROWS,), tl.float32)
            seen = tl.zeros((ROWS, WIDTH), tl.float32)
            for other in tl.static_range(SPLITS):
                theirs = parts + ((pair * SPLITS + other) * ROWS + beam) * (WIDTH + 4)
                high = tl.load(theirs + WIDTH, mask=live, other=-1.0e30, cache_modifier=".cg")
                sum_ = tl.load(theirs + WIDTH + 1, mask=live, other=0.0, cache_modifier=".cg")
                part = tl.load(theirs[:, None] + across[None], mask=live[:, None], other=0.0,
                               cache_modifier=".cg")  # fmt: skip
                most = tl.maximum(best, high)
                fade, gain = tl.exp(best - most), tl.exp(high - most)
                seen = seen * fade[:, None] + part * gain[:, None]
                total = total * fade + sum_ * gain
                best = most
            seen = seen / total[:, None]
            tl.store(out + place, seen.to(out.dtype.element_ty), mask=live[:, None])
    else:
        seen = seen / total[:, None]
        tl.store(out + place, seen.to(out.dtype.element_ty), mask=live[:, None])
