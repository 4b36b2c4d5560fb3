"""The three kernels that beam search is on a GPU.

Knows scores, tokens and pointers. Does not know the rules' names; ``fused_search`` does. Importing
this needs triton, which comes with torch on a GPU.

What ``search.Beams`` writes as some hundred operations on a few numbers each is a hundred kernels
there. Here one marks what may not come again, one looks through the scores once, and one does all
that is left, a program an answer.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def mark(running, position, marks, room, width, BEAMS: tl.constexpr, NGRAM: tl.constexpr,
         BLOCK: tl.constexpr):  # fmt: skip
    """Set ``marks`` (R, width) for tokens that would let NGRAM tokens of ``running`` recur."""
    row = tl.program_id(0)
    now = tl.load(position + row // BEAMS)
    ids = running + row * room
    for start in range(0, now + 2 - NGRAM, BLOCK):
        at = start + tl.arange(0, BLOCK)
        # The last token of the window is at most the last token of the answer.
        same = at + (NGRAM - 1) <= now
        for back in tl.static_range(NGRAM - 1):
            last = tl.load(ids + now + (2 - NGRAM) + back, mask=now + (2 - NGRAM) + back >= 0)
            same &= tl.load(ids + at + back, mask=at + back <= now, other=-1) == last
        token = tl.load(ids + at + (NGRAM - 1), mask=same, other=0)
        tl.store(marks + row * width + token, tl.full((BLOCK,), 1, tl.int8), mask=same)


@triton.jit
def scan(scores, marks, high, total, values, tokens, stride, vocabulary, chunks,
         BANNED: tl.constexpr, COUNT: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Look through scores (R, stride): a chunk's maximum, sum of exponentials and best tokens.

    ``high`` and ``total`` are (R, chunks), ``values`` and ``tokens`` (R, chunks, COUNT); what is
    marked is not among the best, and is marked no more.
    """
    row, chunk = tl.program_id(0) // chunks, tl.program_id(0) % chunks
    at = chunk * BLOCK + tl.arange(0, BLOCK)
    inside = at < vocabulary
    score = tl.load(scores + row * stride + at, mask=inside, other=float("-inf")).to(tl.float32)
    if BANNED:
        mine = marks + row * chunks * BLOCK + at
        banned = tl.load(mine) != 0
        tl.store(mine, tl.zeros((BLOCK,), tl.int8), mask=banned)
    most = tl.max(score, 0)
    tl.store(high + row * chunks + chunk, most)
    tl.store(total + row * chunks + chunk, tl.sum(tl.exp(score - most), 0))
    if BANNED:
        score = tl.where(banned, float("-inf"), score)
    to = (row * chunks + chunk) * COUNT
    for place in tl.static_range(COUNT):
        best, where = tl.max(score, 0, return_indices=True)
        tl.store(values + to + place, best)
        tl.store(tokens + to + place, chunk * BLOCK + where)
        score = tl.where(at == chunk * BLOCK + where, float("-inf"), score)


@triton.jit
def pick(values, index, at):
    """Return ``values[i]`` for each i of ``index`` (M,); values (N,) stand at ``at`` (N,)."""
    return tl.sum(tl.where(index[:, None] == at[None], values[None], 0), 1)


@triton.jit
def best_of(scores, at, COUNT: tl.constexpr, HELD: tl.constexpr):
    """Return the COUNT largest of scores (N,) and where they stand, as (HELD,) each."""
    place = tl.arange(0, HELD)
    best = tl.full((HELD,), float("-inf"), tl.float32)
    where = tl.zeros((HELD,), tl.int32)
    for turn in tl.static_range(COUNT):
        value, found = tl.max(scores, 0, return_indices=True)
        best = tl.where(place == turn, value, best)
        where = tl.where(place == turn, found, where)
        # Taken, even where nothing else is left.
        scores = tl.where(at == found, float("-inf"), scores)
    return best, where


@triton.jit
def choose(scores, high, total, values, tokens, penalties, position, limit, done, running,
           running_logprobs, running_scores, ids, logprobs, final_scores, finished, improvable,
           willing, report, source, stride, chunks, room, worst, BEAMS: tl.constexpr,
           FIRST: tl.constexpr, LAST: tl.constexpr, END: tl.constexpr, EARLY: tl.constexpr,
           LONGEST: tl.constexpr, LOW: tl.constexpr, STOP: tl.constexpr, NEAR: tl.constexpr,
           SPAN: tl.constexpr, HELD: tl.constexpr, COUNT: tl.constexpr, MERGED: tl.constexpr,
           CHUNKS: tl.constexpr, LOOKED: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Do what ``Beams.choose`` does after its look through the scores; a program an answer.

    FIRST and LAST are the forced tokens or -1, END ends an answer, LOW to STOP are the places.
    SPAN, HELD, COUNT, MERGED, CHUNKS and LOOKED are powers of two not below the places that count
    together, BEAMS, 2 BEAMS, 3 BEAMS, the chunks of a row and the tokens found in all of them.
    """
    b = tl.program_id(0).to(tl.int64)
    beam, n, j = tl.arange(0, HELD), tl.arange(0, COUNT), tl.arange(0, LOOKED)
    live, listed = beam < BEAMS, n < 2 * BEAMS
    now, most_tokens, over = tl.load(position + b), tl.load(limit + b), tl.load(done + b) != 0
    to = now + 1
    at_limit = now + 2 >= most_tokens
    # The model's own: what the log-probabilities are, and whether the end is the likeliest.
    chunk = tl.arange(0, CHUNKS)
    part = (b * BEAMS + beam)[:, None] * chunks + chunk[None]
    there = live[:, None] & (chunk < chunks)[None]
    tops = tl.load(high + part, mask=there, other=float("-inf"))
    top = tl.where(live, tl.max(tops, 1), 0.0)
    sums = tl.load(total + part, mask=there, other=0.0) * tl.exp(tops - top[:, None])
    log_total = tl.log(tl.where(live, tl.sum(tl.where(there, sums, 0.0), 1), 1.0))
    row = (b * BEAMS + beam) * stride
    wants = (tl.load(scores + row + END, mask=live, other=0.0).to(tl.float32) >= top) & live
    before = tl.load(running_scores + b * BEAMS + beam, mask=live, other=float("-inf"))
    # The best 2 BEAMS ways to go on.
    each = chunks * 2 * BEAMS
    within = j < BEAMS * each
    value = tl.load(values + b * BEAMS * each + j, mask=within, other=float("-inf"))
    whose = j // each
    value = value - pick(top, whose, beam) - pick(log_total, whose, beam)
    value = tl.where(within, value + pick(before, whose, beam), float("-inf"))
    best, found = best_of(value, j, 2 * BEAMS, COUNT)
    token = tl.load(tokens + b * BEAMS * each + found, mask=listed, other=0).to(tl.int64)
    parent = found // each
    forced = now * 0 - 1
    if FIRST >= 0:
        forced = tl.where(now == 0, FIRST, forced)
    if LAST >= 0:
        forced = tl.where(at_limit, LAST, forced)
    if forced >= 0:
        parent = n % BEAMS
        token = tl.zeros((COUNT,), tl.int64) + forced
        best = tl.where(n < BEAMS, pick(before, parent, beam), float("-inf"))
    # How likely each is: a place together with those beside it.
    own_top, own_total = pick(top, parent, beam), pick(log_total, parent, beam)
    line = scores + (b * BEAMS + parent) * stride
    told = tl.load(line + token, mask=listed, other=0.0).to(tl.float32) - own_top - own_total
    if NEAR > 0:
        step = tl.arange(0, SPAN) - NEAR
        beside = token[:, None] + step[None]
        real = (beside >= LOW) & (beside < STOP) & (step <= NEAR)[None] & listed[:, None]
        around = tl.load(line[:, None] + beside, mask=real, other=float("-inf")).to(tl.float32)
        around = tl.exp(around - (own_top + own_total)[:, None])
        place = (token >= LOW) & (token < STOP)
        around = tl.log(tl.where(place, tl.sum(tl.where(real, around, 0.0), 1), 1.0))
        told = tl.where(place, around, told)
    told = tl.where(forced >= 0, 0.0, told)
    # Which go on.
    ends = (token == END) | at_limit
    going = tl.where(listed, tl.where(ends, best + worst, best), float("-inf"))
    next_scores, on = best_of(going, n, BEAMS, HELD)
    tl.store(running_scores + b * BEAMS + beam, next_scores, mask=live)
    origin = pick(parent, on, n)
    tl.store(source + b * BEAMS + beam, origin.to(tl.int64), mask=live)
    # Which are kept as finished: of those there were and those that end here, the best.
    here = tl.where(over, now, to)
    full_before = tl.sum(tl.where(live, tl.load(finished + b * BEAMS + beam, mask=live,
                                                other=1).to(tl.int32), 1), 0) == HELD  # fmt: skip
    hope_left = tl.load(improvable + b) != 0
    m = tl.arange(0, MERGED)
    old, new = m < BEAMS, (m >= BEAMS) & (m < 3 * BEAMS)
    late = m - BEAMS
    ended = pick(tl.where(ends & (n < BEAMS), 1, 0), late, n) != 0
    ended = ended & new & (over == 0)
    score = pick(tl.where(listed, best, 0.0), late, n) / tl.load(penalties + here)
    if EARLY:
        score = tl.where(full_before, score + worst, score)
    score = tl.where(hope_left, score, score + worst)
    score = tl.where(ended, score, score + worst)
    held = tl.load(final_scores + b * BEAMS + m, mask=old, other=0.0)
    score = tl.where(old, held, tl.where(new, score, float("-inf")))
    was = tl.load(finished + b * BEAMS + m, mask=old, other=0).to(tl.int32)
    is_finished = tl.where(old, was, ended.to(tl.int32))
    meant = tl.load(willing + b * BEAMS + m, mask=old, other=0).to(tl.int32)
    wanted = pick(pick(wants.to(tl.int32), parent, beam), late, n)
    meant = tl.where(old, meant, tl.where(at_limit, wanted, 0))
    kept_scores, kept = best_of(score, m, BEAMS, HELD)
    kept_finished = pick(is_finished, kept, m)
    kept_willing = pick(meant, kept, m)
    tl.debug_barrier()
    tl.store(final_scores + b * BEAMS + beam, kept_scores, mask=live)
    tl.store(finished + b * BEAMS + beam, kept_finished.to(tl.int8), mask=live)
    tl.store(willing + b * BEAMS + beam, kept_willing.to(tl.int8), mask=live)
    # Whether that was all.
    full = tl.sum(tl.where(live, kept_finished, 1), 0) == HELD
    divided = tl.load(penalties + (most_tokens - 1 if LONGEST else here))
    hope = tl.max(tl.where(beam == 0, next_scores, float("-inf")), 0) / divided
    least = tl.min(tl.where(live, kept_scores, float("inf")), 0)
    bar = tl.where(kept_finished != 0, least, worst)
    hope_left = hope_left & (tl.max(tl.where(live & (hope > bar), 1, 0), 0) != 0)
    over = over | (hope_left == 0) | (here + 1 >= most_tokens)
    if EARLY:
        over = over | full
    tl.store(improvable + b, hope_left.to(tl.int8))
    tl.store(done + b, over.to(tl.int8))
    tl.store(position + b, here)
    tl.store(report + b * (room + 2), over.to(tl.int64))
    tl.store(report + b * (room + 2) + 1, here)
    # The tokens themselves.
    from_old = kept < BEAMS
    late = kept - BEAMS
    kept_row = tl.where(from_old, kept, pick(parent, late, n))
    kept_token, kept_told = pick(token, late, n), pick(told, late, n)
    next_token, next_told = pick(token, on, n), pick(told, on, n)
    first = b * BEAMS * room
    mine = first + beam[:, None] * room
    for start in range(0, to + 1, BLOCK):
        t = start + tl.arange(0, BLOCK)
        reach = live[:, None] & (t <= to)[None]
        last = (t == to)[None]
        go = first + origin[:, None] * room + t[None]
        keep = first + kept_row[:, None] * room + t[None]
        stay = reach & from_old[:, None]
        fresh = reach & (from_old[:, None] == 0)
        words = tl.load(running + go, mask=reach, other=0)
        chances = tl.load(running_logprobs + go, mask=reach, other=0.0)
        answer = tl.load(ids + keep, mask=stay, other=0)
        answer += tl.load(running + keep, mask=fresh, other=0)
        likely = tl.load(logprobs + keep, mask=stay, other=0.0)
        likely += tl.load(running_logprobs + keep, mask=fresh, other=0.0)
        words = tl.where(last, next_token[:, None], words)
        chances = tl.where(last, next_told[:, None], chances)
        answer = tl.where(last & (from_old[:, None] == 0), kept_token[:, None], answer)
        likely = tl.where(last & (from_old[:, None] == 0), kept_told[:, None], likely)
        tl.debug_barrier()  # all is read before any of it is written over
        tl.store(running + mine + t[None], words, mask=reach)
        tl.store(running_logprobs + mine + t[None], chances, mask=reach)
        tl.store(ids + mine + t[None], answer, mask=reach)
        tl.store(logprobs + mine + t[None], likely, mask=reach)
        lead = tl.sum(tl.where((beam == 0)[:, None], words, 0), 0)
        tl.store(report + b * (room + 2) + 2 + t, lead, mask=t <= to)
