"""Beam search in three kernels, for a GPU.

Knows the answers and the rules of ``search.Beams``, which is the reference for it. Does not know
the model. Importing this needs triton, which comes with torch on a GPU.

What ``Beams`` writes as some hundred operations on a few numbers each is a hundred kernels there.
Here one marks what may not come again, one looks through the scores once, and one does all that is
left, a program an answer.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from florence_demo.decoding.nearby import NEAR
from florence_demo.decoding.rules import DecodeOptions
from florence_demo.decoding.search import WORST, Beams, Shape

CHUNK = 1024
"""Tokens of the vocabulary that a program looks through."""

BLOCK = 128
"""Tokens of the answers that a program moves at once."""


class FusedBeams(Beams):
    """Go on with the best K of all ways to go on, and keep the best K that ended."""

    def __init__(self, shape: Shape, options: DecodeOptions, device: torch.device) -> None:
        super().__init__(shape, options, device)
        rows, found = shape.batch * options.num_beams, 2 * options.num_beams
        self._chunks = -(-shape.vocabulary // CHUNK)
        self._marks = torch.zeros(rows, self._chunks * CHUNK, dtype=torch.int8, device=device)
        self._high = torch.zeros(2, rows, self._chunks, device=device)
        self._values = torch.zeros(rows, self._chunks, found, device=device)
        self._tokens = torch.zeros(self._values.shape, dtype=torch.int32, device=device)
        self._source = torch.zeros_like(self.running[:, :, 0])
        lengths = torch.arange(shape.longest + 2, dtype=torch.float64).clamp_(min=1)
        self._penalties = (lengths**options.length_penalty).float().to(device)

    def choose(self, logits: Tensor) -> Tensor:
        """Add one token to each beam of scores (B, K, V); return where each came from, (B, K)."""
        options, beams = self.options, self.options.num_beams
        batch, _, vocabulary = logits.shape
        rows, room = batch * beams, self.running.shape[2]
        stride = logits.stride(1)
        if options.no_repeat_ngram_size:
            _mark[(rows,)](
                self.running, self.position, self._marks, room, self._marks.shape[1], beams,
                options.no_repeat_ngram_size, BLOCK,
            )  # fmt: skip
        _scan[(rows * self._chunks,)](
            logits, self._marks, self._high[0], self._high[1], self._values, self._tokens, stride,
            vocabulary, self._chunks, options.no_repeat_ngram_size > 0, 2 * beams, CHUNK,
            num_warps=1,
        )  # fmt: skip
        places = options.locations or range(0)
        _choose[(batch,)](
            logits, self._high[0], self._high[1], self._values, self._tokens, self._penalties,
            self.position, self.limit, _numbers(self.done), self.running, self.running_logprobs,
            self.running_scores, self.ids, self.logprobs, self.scores, _numbers(self.finished),
            _numbers(self.improvable), _numbers(self.willing), self.report, self._source, stride,
            self._chunks, room, WORST, beams, _or_none(options.forced_bos_token_id),
            _or_none(options.forced_eos_token_id), options.eos_token_id,
            options.early_stopping is True,
            options.early_stopping == "never" and options.length_penalty > 0,
            places.start, places.stop, NEAR if places else 0, _above(2 * NEAR + 1), _above(beams),
            _above(2 * beams), _above(3 * beams), _above(self._chunks),
            _above(2 * beams * beams * self._chunks), BLOCK,
        )  # fmt: skip
        return self._source

    def tell(self) -> None:
        """Write the report of a step: ``choose`` has."""


def _numbers(flags: Tensor) -> Tensor:
    """Return flags as numbers at the same address."""
    return flags.view(torch.uint8)


def _or_none(token: int | None) -> int:
    return -1 if token is None else token


def _above(number: int) -> int:
    """Return the power of two that is not below a number."""
    return 1 << (number - 1).bit_length()


@triton.jit
def _mark(running, position, marks, room, width, BEAMS: tl.constexpr, NGRAM: tl.constexpr,
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
def _scan(scores, marks, high, total, values, tokens, stride, vocabulary, chunks,
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
def _pick(values, index, at):
    """Return ``values[i]`` for each i of ``index`` (M,); values (N,) stand at ``at`` (N,)."""
    return tl.sum(tl.where(index[:, None] == at[None], values[None], 0), 1)


@triton.jit
def _best_of(scores, at, COUNT: tl.constexpr, HELD: tl.constexpr):
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
def _likeliest(scores, high, total, first, stride, chunks, BEAMS: tl.constexpr,
               END: tl.constexpr, HELD: tl.constexpr, CHUNKS: tl.constexpr):  # fmt: skip
    """Return each beam's maximum, the log of its sum, and whether the end is the likeliest."""
    beam, chunk = tl.arange(0, HELD), tl.arange(0, CHUNKS)
    live = beam < BEAMS
    part = (first + beam)[:, None] * chunks + chunk[None]
    there = live[:, None] & (chunk < chunks)[None]
    tops = tl.load(high + part, mask=there, other=float("-inf"))
    top = tl.where(live, tl.max(tops, 1), 0.0)
    sums = tl.load(total + part, mask=there, other=0.0) * tl.exp(tops - top[:, None])
    log_total = tl.log(tl.where(live, tl.sum(tl.where(there, sums, 0.0), 1), 1.0))
    end = tl.load(scores + (first + beam) * stride + END, mask=live, other=0.0).to(tl.float32)
    return top, log_total, ((end >= top) & live).to(tl.int32)


@triton.jit
def _ways_on(values, tokens, before, top, log_total, first, chunks, BEAMS: tl.constexpr,
             HELD: tl.constexpr, COUNT: tl.constexpr, LOOKED: tl.constexpr):  # fmt: skip
    """Return the best 2 BEAMS ways to go on: their sums, tokens and beams, (COUNT,) each."""
    beam, n, j = tl.arange(0, HELD), tl.arange(0, COUNT), tl.arange(0, LOOKED)
    each = chunks * 2 * BEAMS
    within = j < BEAMS * each
    value = tl.load(values + first * each + j, mask=within, other=float("-inf"))
    whose = j // each
    value = value - _pick(top, whose, beam) - _pick(log_total, whose, beam)
    value = tl.where(within, value + _pick(before, whose, beam), float("-inf"))
    best, found = _best_of(value, j, 2 * BEAMS, COUNT)
    token = tl.load(tokens + first * each + found, mask=n < 2 * BEAMS, other=0).to(tl.int64)
    return best, token, found // each


@triton.jit
def _told(line, token, total, listed, LOW: tl.constexpr, STOP: tl.constexpr, NEAR: tl.constexpr,
          SPAN: tl.constexpr):  # fmt: skip
    """Return how likely tokens are, a place together with those beside it.

    ``line`` points to the scores that each was chosen from, whose log of the sum is ``total``.
    """
    told = tl.load(line + token, mask=listed, other=0.0).to(tl.float32) - total
    if NEAR > 0:
        step = tl.arange(0, SPAN) - NEAR
        beside = token[:, None] + step[None]
        real = (beside >= LOW) & (beside < STOP) & (step <= NEAR)[None] & listed[:, None]
        around = tl.load(line[:, None] + beside, mask=real, other=float("-inf")).to(tl.float32)
        around = tl.where(real, tl.exp(around - total[:, None]), 0.0)
        place = (token >= LOW) & (token < STOP)
        told = tl.where(place, tl.log(tl.where(place, tl.sum(around, 1), 1.0)), told)
    return told


@triton.jit
def _finish(final_scores, finished, willing, first, best, ends, wanted, penalty, worst, improvable,
            BEAMS: tl.constexpr, EARLY: tl.constexpr, HELD: tl.constexpr, COUNT: tl.constexpr,
            MERGED: tl.constexpr):  # fmt: skip
    """Keep the best of the finished answers and of the candidates that end, as ``Beams`` does.

    Returns:
        Which are kept (the old ones first, then the candidates), their scores, and which of them
        are finished, (HELD,) each.
    """
    beam, n, m = tl.arange(0, HELD), tl.arange(0, COUNT), tl.arange(0, MERGED)
    live, old, new = beam < BEAMS, m < BEAMS, (m >= BEAMS) & (m < 3 * BEAMS)
    before = tl.load(finished + first + beam, mask=live, other=1).to(tl.int32)
    late = m - BEAMS
    ended = _pick(ends.to(tl.int32), late, n)
    score = _pick(tl.where(n < 2 * BEAMS, best, 0.0), late, n) / penalty
    if EARLY:
        score = tl.where(tl.sum(before, 0) == HELD, score + worst, score)
    score = tl.where(improvable, score, score + worst)
    score = tl.where(ended != 0, score, score + worst)
    held = tl.load(final_scores + first + m, mask=old, other=0.0)
    score = tl.where(old, held, tl.where(new, score, float("-inf")))
    was = tl.load(finished + first + m, mask=old, other=0).to(tl.int32)
    meant = tl.load(willing + first + m, mask=old, other=0).to(tl.int32)
    kept_scores, kept = _best_of(score, m, BEAMS, HELD)
    kept_finished = _pick(tl.where(old, was, ended), kept, m)
    kept_willing = _pick(tl.where(old, meant, _pick(wanted, late, n)), kept, m)
    tl.debug_barrier()  # all is read before any of it is written over
    tl.store(final_scores + first + beam, kept_scores, mask=live)
    tl.store(finished + first + beam, kept_finished.to(tl.int8), mask=live)
    tl.store(willing + first + beam, kept_willing.to(tl.int8), mask=live)
    return kept, kept_scores, kept_finished


@triton.jit
def _is_over(scores, kept_scores, kept_finished, improvable, divided, worst, BEAMS: tl.constexpr,
             EARLY: tl.constexpr, HELD: tl.constexpr):  # fmt: skip
    """Return whether something running can still get better, and whether all is there."""
    beam = tl.arange(0, HELD)
    live = beam < BEAMS
    hope = tl.max(tl.where(beam == 0, scores, float("-inf")), 0) / divided
    least = tl.min(tl.where(live, kept_scores, float("inf")), 0)
    bar = tl.where(kept_finished != 0, least, worst)
    improvable = improvable & (tl.max(tl.where(live & (hope > bar), 1, 0), 0) != 0)
    over = improvable == 0
    if EARLY:
        over = over | (tl.sum(tl.where(live, kept_finished, 1), 0) == HELD)
    return improvable, over


@triton.jit
def _move(running, running_logprobs, ids, logprobs, lead, first, room, to, origin, next_token,
          next_told, kept_row, from_old, kept_token, kept_told, BEAMS: tl.constexpr,
          HELD: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Write the tokens of what goes on and of what is finished, up to ``to``; ``lead`` too."""
    beam = tl.arange(0, HELD)
    live, new = beam < BEAMS, from_old == 0
    mine = (first + beam)[:, None] * room
    for start in range(0, to + 1, BLOCK):
        t = start + tl.arange(0, BLOCK)
        reach, last = live[:, None] & (t <= to)[None], (t == to)[None]
        go = (first + origin)[:, None] * room + t[None]
        keep = (first + kept_row)[:, None] * room + t[None]
        stay, fresh = reach & from_old[:, None], reach & new[:, None]
        words = tl.load(running + go, mask=reach, other=0)
        chances = tl.load(running_logprobs + go, mask=reach, other=0.0)
        answer = tl.load(ids + keep, mask=stay, other=0)
        answer += tl.load(running + keep, mask=fresh, other=0)
        likely = tl.load(logprobs + keep, mask=stay, other=0.0)
        likely += tl.load(running_logprobs + keep, mask=fresh, other=0.0)
        words = tl.where(last, next_token[:, None], words)
        chances = tl.where(last, next_told[:, None], chances)
        answer = tl.where(last & new[:, None], kept_token[:, None], answer)
        likely = tl.where(last & new[:, None], kept_told[:, None], likely)
        tl.debug_barrier()  # all is read before any of it is written over
        tl.store(running + mine + t[None], words, mask=reach)
        tl.store(running_logprobs + mine + t[None], chances, mask=reach)
        tl.store(ids + mine + t[None], answer, mask=reach)
        tl.store(logprobs + mine + t[None], likely, mask=reach)
        first_line = tl.sum(tl.where((beam == 0)[:, None], words, 0), 0)
        tl.store(lead + t, first_line, mask=t <= to)


@triton.jit
def _write(improvable, done, position, report, b, hope, over, here):
    """Write where an answer stands, for the next step and for the host."""
    tl.store(improvable + b, hope.to(tl.int8))
    tl.store(done + b, over.to(tl.int8))
    tl.store(position + b, here)
    tl.store(report, over.to(tl.int64))
    tl.store(report + 1, here)


@triton.jit
def _forced(now, at_limit, FIRST: tl.constexpr, LAST: tl.constexpr):
    """Return the token that must come next, or -1."""
    forced = now * 0 - 1
    if FIRST >= 0:
        forced = tl.where(now == 0, FIRST, forced)
    if LAST >= 0:
        forced = tl.where(at_limit, LAST, forced)
    return forced


@triton.jit
def _choose(scores, high, total, values, tokens, penalties, position, limit, done, running,
            running_logprobs, running_scores, ids, logprobs, final_scores, finished, improvable,
            willing, report, source, stride, chunks, room, worst, BEAMS: tl.constexpr,
            FIRST: tl.constexpr, LAST: tl.constexpr, END: tl.constexpr, EARLY: tl.constexpr,
            LONGEST: tl.constexpr, LOW: tl.constexpr, STOP: tl.constexpr, NEAR: tl.constexpr,
            SPAN: tl.constexpr, HELD: tl.constexpr, COUNT: tl.constexpr, MERGED: tl.constexpr,
            CHUNKS: tl.constexpr, LOOKED: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Do what ``Beams.choose`` does after its look through the scores; a program an answer.

    FIRST and LAST are the forced tokens or -1. SPAN to LOOKED are powers of two not below the
    places that count together, BEAMS, 2 and 3 BEAMS, a row's chunks and the tokens found in all.
    """
    b, beam, n = tl.program_id(0).to(tl.int64), tl.arange(0, HELD), tl.arange(0, COUNT)
    first, live, listed = b * BEAMS, beam < BEAMS, n < 2 * BEAMS
    now, most, over = tl.load(position + b), tl.load(limit + b), tl.load(done + b) != 0
    to, at_limit = now + 1, now + 2 >= most
    before = tl.load(running_scores + first + beam, mask=live, other=float("-inf"))
    top, log_total, wants = _likeliest(
        scores, high, total, first, stride, chunks, BEAMS, END, HELD, CHUNKS
    )
    best, token, parent = _ways_on(
        values, tokens, before, top, log_total, first, chunks, BEAMS, HELD, COUNT, LOOKED
    )
    forced = _forced(now, at_limit, FIRST, LAST)
    if forced >= 0:
        parent = n % BEAMS
        token = tl.zeros((COUNT,), tl.int64) + forced
        best = tl.where(n < BEAMS, _pick(before, parent, beam), float("-inf"))
    own_total = _pick(top, parent, beam) + _pick(log_total, parent, beam)
    line = scores + (first + parent) * stride
    told = _told(line, token, own_total, listed, LOW, STOP, NEAR, SPAN)
    told = tl.where(forced >= 0, 0.0, told)
    # Which go on.
    ends = (token == END) | at_limit
    going = tl.where(listed, tl.where(ends, best + worst, best), float("-inf"))
    next_scores, on = _best_of(going, n, BEAMS, HELD)
    origin = _pick(parent, on, n)
    tl.store(running_scores + first + beam, next_scores, mask=live)
    tl.store(source + first + beam, origin.to(tl.int64), mask=live)
    # Which are kept as finished, and whether that was all.
    here, hope = tl.where(over, now, to), tl.load(improvable + b) != 0
    kept, kept_scores, kept_finished = _finish(
        final_scores, finished, willing, first, best, ends & (n < BEAMS) & (over == 0),
        tl.where(at_limit, _pick(wants, parent, beam), 0), tl.load(penalties + here), worst, hope,
        BEAMS, EARLY, HELD, COUNT, MERGED,
    )  # fmt: skip
    divided = tl.load(penalties + (most - 1 if LONGEST else here))
    hope, all_there = _is_over(
        next_scores, kept_scores, kept_finished, hope, divided, worst, BEAMS, EARLY, HELD
    )
    over = over | all_there | (here + 1 >= most)
    _write(improvable, done, position, report + b * (room + 2), b, hope, over, here)
    late, from_old = kept - BEAMS, kept < BEAMS
    _move(
        running, running_logprobs, ids, logprobs, report + b * (room + 2) + 2, first, room, to,
        origin, _pick(token, on, n), _pick(told, on, n),
        tl.where(from_old, kept, _pick(parent, late, n)), from_old, _pick(token, late, n),
        _pick(told, late, n), BEAMS, HELD, BLOCK,
    )  # fmt: skip
