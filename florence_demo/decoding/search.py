"""Choose how answers go on: greedily, by beam search, and in either way at random.

Knows scores and token ids. Does not know the model they come from. There is a
``Greedy`` and a ``Beams``; both are a ``Search``, which keeps the answers, and both ask a ``Pick``
for tokens: the likeliest, or ones that are ``Drawn``. The reference is the search of transformers 5
(``GenerationMixin._sample`` and ``_beam_search``); where float32 rounding could tell two ways of
writing a sum apart, the operations here are the same and in the same order.

Shapes: B answers, K hypotheses each, room for L tokens, a vocabulary of V.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from florence_demo.decoding.nearby import likelihoods
from florence_demo.decoding.picking import Drawn, Pick
from florence_demo.decoding.rules import DecodeOptions, Generated

WORST = -1.0e9
"""The score of what must not win; finite, so that sums with it stay numbers."""

ROWS = (
    "position", "limit", "running", "running_logprobs", "running_scores", "ids", "logprobs",
    "scores", "finished", "improvable", "done", "willing", "report",
)  # fmt: skip
"""The tensors of a search; the first dimension of each is the answers."""


@dataclass(frozen=True)
class Shape:
    """Hold the sizes of a search.

    Attributes:
        batch: Answers, B.
        room: Tokens there is room for, L; one more than the longest answer has.
        vocabulary: Tokens there are, V.
        longest: Tokens that an answer can ever have.
    """

    batch: int
    room: int
    vocabulary: int
    longest: int


class Search(ABC):
    """Keep B answers with K hypotheses each, and choose how they go on.

    Every tensor stays on the device and is changed in place, and nothing of a step depends on what
    the host knows: any step can be captured as a graph that is every step. Rows are independent:
    each is at its own place, and what it answers does not depend on its neighbours.

    Attributes:
        position: Index of each answer's last token, (B,); stays where an answer is done.
        limit: Most tokens of each answer, the start token counted, (B,).
        running: Tokens of the hypotheses that go on, (B, K, L), the best first.
        running_logprobs: What the model gave each of them, (B, K, L).
        running_scores: Sum of the log-probabilities, (B, K).
        ids: Tokens of the finished answers, (B, K, L); the best first.
        logprobs: What the model gave each of them, (B, K, L).
        scores: Sums divided by their lengths' penalty, (B, K).
        finished: Which of them there are, (B, K).
        improvable: Whether something running can still beat the finished ones, (B, 1).
        done: Which rows are answered, (B,).
        willing: Whether the model itself wanted to end where the length limit ended it, (B, K).
        report: What the host is told of a step, (B, 2 + L): ``done``, ``position`` and the leading
            hypothesis.
    """

    def __init__(self, shape: Shape, options: DecodeOptions, device: torch.device) -> None:
        batch, beams, room = shape.batch, options.num_beams, shape.room
        self.options = options
        self.position = torch.zeros(batch, dtype=torch.long, device=device)
        self.limit = torch.zeros(batch, dtype=torch.long, device=device)
        self.running = torch.full((batch, beams, room), options.pad_token_id, device=device)
        self.running[:, :, 0] = options.decoder_start_token_id
        self.running_logprobs = torch.zeros((batch, beams, room), device=device)
        self.running_scores = torch.zeros((batch, beams), device=device)
        self.ids = self.running.clone()
        self.logprobs = self.running_logprobs.clone()
        self.scores = torch.zeros((batch, beams), device=device)
        self.finished = torch.zeros((batch, beams), dtype=torch.bool, device=device)
        self.improvable = torch.ones((batch, 1), dtype=torch.bool, device=device)
        self.done = torch.zeros(batch, dtype=torch.bool, device=device)
        self.willing = torch.zeros((batch, beams), dtype=torch.bool, device=device)
        self.pick = Pick()
        if options.do_sample:
            self.pick = Drawn(batch, beams * shape.vocabulary, options, device)
        self.report = self.running.new_zeros(batch, 2 + room)
        limits = torch.full((batch,), options.max_new_tokens + 1, device=device)
        self.begin(torch.arange(batch, device=device), limits)

    def begin(self, rows: Tensor, limits: Tensor) -> None:
        """Let these rows (n,) begin anew, with at most ``limits`` (n,) tokens each."""
        self.position.index_fill_(0, rows, 0)
        self.limit.index_copy_(0, rows, limits)
        # Only the first beam counts at first, or all would go the same way.
        self.running_scores.index_fill_(0, rows, WORST)
        self.running_scores[:, 0].index_fill_(0, rows, 0.0)
        self.scores.index_fill_(0, rows, WORST)
        for name in ("finished", "done", "willing"):
            getattr(self, name).index_fill_(0, rows, False)
        self.improvable.index_fill_(0, rows, True)

    @abstractmethod
    def choose(self, logits: Tensor) -> Tensor | None:
        """Add one token to every hypothesis that is not done.

        Args:
            logits: The model's scores of the next token, (B, K, V).

        Returns:
            The hypothesis that each one goes on from, (B, K), or None where each goes on from
            itself.
        """

    @abstractmethod
    def stop(self, rows: Tensor) -> None:
        """End those of these rows, (B,) bool, that are not done where they stand."""

    @abstractmethod
    def best(self) -> tuple[Tensor, Tensor]:
        """Return the best answer of every row and its log-probabilities, (B, L) each."""

    @property
    def tokens(self) -> Tensor:
        """Return the last token of every hypothesis, (B, K)."""
        return self.running.gather(2, self._at(self.position, 1)).squeeze(2)

    @property
    def at_start(self) -> Tensor:
        """Return which rows have no token yet, (B,)."""
        return self.position == 0

    @property
    def at_limit(self) -> Tensor:
        """Return which rows' next token is the last there is room for, (B,)."""
        return self.position + 2 >= self.limit

    def _at(self, position: Tensor, width: int) -> Tensor:
        """Return positions (B,) as indices of tokens, (B, K, width)."""
        return position[:, None, None].expand(-1, self.options.num_beams, width)

    def tell(self) -> None:
        """Write the report of a step."""
        torch.cat(
            [self.done[:, None].long(), self.position[:, None], self.running[:, 0]],
            dim=1,
            out=self.report,
        )

    def grow(self, room: int) -> None:
        """Make room for so many tokens."""
        self.report = self.report.new_zeros(len(self.report), 2 + room)
        more = (0, room - self.running.shape[2])
        self.running = functional.pad(self.running, more, value=self.options.pad_token_id)
        self.ids = functional.pad(self.ids, more, value=self.options.pad_token_id)
        self.running_logprobs = functional.pad(self.running_logprobs, more)
        self.logprobs = functional.pad(self.logprobs, more)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows (n,) alone."""
        for name in ROWS:
            setattr(self, name, getattr(self, name)[rows])
        self.pick.keep(rows)

    def answers(self, rows: list[int]) -> list[Generated]:
        """Return the best answers of these rows so far."""
        taken = torch.tensor(rows, device=self.done.device)
        ids, logprobs = (best[taken].double() for best in self.best())
        # In one piece: each that is fetched waits for the device.
        numbers = (self.position[taken], self.limit[taken], self.willing[taken, 0])
        told = torch.cat([*(n[:, None].double() for n in numbers), ids, logprobs], 1).tolist()
        found, room = [], ids.shape[1]
        for position, limit, willing, *both in told:
            tokens = [int(token) for token in both[: int(position) + 1]]
            rules = replace(self.options, max_new_tokens=int(limit) - 1)
            found.append(trim(tokens, both[room:], bool(willing), rules))
        return found

    def allowed(self, scores: Tensor) -> Tensor:
        """Return scores (B, K, V) as tokens are picked by: what may not come next at -inf."""
        n = self.options.no_repeat_ngram_size
        if n:
            scores = without_repeats(scores, self.running, n, self.position)
        scores = self.pick.warped(self.running.flatten(0, 1), scores.flatten(0, 1)).view_as(scores)
        for token, when in self._forced():
            only = torch.full(scores.shape[2:], -torch.inf, device=scores.device)
            only.narrow(0, token, 1).zero_()
            scores = torch.where(when[:, None, None], only, scores)
        return scores

    def _forced(self) -> Iterator[tuple[int, Tensor]]:
        """Yield each token that must come, and in which rows that is now, (B,)."""
        options = self.options
        if options.forced_bos_token_id is not None:
            yield options.forced_bos_token_id, self.at_start
        if options.forced_eos_token_id is not None:
            yield options.forced_eos_token_id, self.at_limit

    def wants_end(self, scores: Tensor) -> Tensor:
        """Return for scores (B, K, V) whether the end is the likeliest token, (B, K)."""
        return scores.argmax(-1) == self.options.eos_token_id

    def told(self, scores: Tensor, index: Tensor) -> Tensor:
        """Return what is told of tokens, (B, N): their likelihoods, 0 for one nobody chose.

        Args:
            scores: The model's log-probabilities, (B, K, V).
            index: The tokens (B, N), as indices into K x V.
        """
        told = likelihoods(scores, index, self.options.locations)
        for _, when in self._forced():
            told = told.masked_fill(when[:, None], 0.0)
        return told


class Greedy(Search):
    """Go on with one token a row: the likeliest, or one drawn."""

    def choose(self, logits: Tensor) -> None:
        """Add one token to each row of scores (B, 1, V) that is not done."""
        options, going, logits = self.options, ~self.done, logits.float()
        token = self.pick.one(self.allowed(logits).squeeze(1))
        logprob = self.told(logits.log_softmax(-1), token[:, None])
        token = token.masked_fill(self.done, options.pad_token_id)
        last = self.at_limit
        self.willing |= self.wants_end(logits) & (last & going)[:, None]
        to = self._at(self.position + 1, 1)
        self.running.scatter_(2, to, token[:, None, None])
        self.running_logprobs.scatter_(2, to, logprob[:, :, None])
        self.position += going
        self.done |= (token == options.eos_token_id) | last

    def stop(self, rows: Tensor) -> None:
        """End those of these rows, (B,) bool, that are not done where they stand."""
        self.done |= rows

    def best(self) -> tuple[Tensor, Tensor]:
        """Return the one answer of every row, (B, L), and its log-probabilities."""
        return self.running[:, 0], self.running_logprobs[:, 0]


class Beams(Search):
    """Go on with the best K of all ways to go on, and keep the best K that ended."""

    def choose(self, logits: Tensor) -> Tensor:
        """Add one token to each beam of scores (B, K, V); return where each came from, (B, K)."""
        options, beams = self.options, self.options.num_beams
        vocabulary = logits.shape[2]
        raw = logits.float().log_softmax(-1)
        total = (self.allowed(raw) + self.running_scores[:, :, None]).flatten(1)
        # Twice as many candidates as beams, so that enough go on if some end here.
        best, index = self.pick.several(total, 2 * beams)
        source, token = index // vocabulary, index % vocabulary
        last = self.at_limit[:, None]
        willing = self.wants_end(raw).gather(1, source) & last
        logprob = self.told(raw, index)
        to = (self.position + 1)[:, None, None].expand(-1, 2 * beams, 1)
        ids = _take(self.running, source).scatter_(2, to, token[:, :, None])  # (B, 2K, L)
        logprobs = _take(self.running_logprobs, source).scatter_(2, to, logprob[:, :, None])
        ends = (token == options.eos_token_id) | last
        going = best + ends.float() * WORST
        on = going.topk(beams)[1]
        self.running.copy_(_take(ids, on))
        self.running_logprobs.copy_(_take(logprobs, on))
        self.running_scores.copy_(going.gather(1, on))
        self.position += ~self.done
        # Of the candidates only the best K may end; the others are there to go on.
        ends = ends & (torch.arange(2 * beams, device=ends.device) < beams)
        self._finish(ends & ~self.done[:, None], best, ids, logprobs, willing)
        self._look_ahead()
        return source.gather(1, on)

    def _finish(
        self, ends: Tensor, best: Tensor, ids: Tensor, logprobs: Tensor, willing: Tensor
    ) -> None:
        """Keep the best K of the finished answers and of the candidates that end.

        Args:
            ends: Which of N candidates end, (B, N).
            best: Sums of their log-probabilities, (B, N).
            ids: Their tokens, (B, N, L).
            logprobs: What the model gave each token, (B, N, L).
            willing: Whether the model itself wanted to end there, (B, N).
        """
        options, beams = self.options, self.options.num_beams
        scores = best / self._penalty(self.position)
        full = self.finished.all(-1, keepdim=True) & (options.early_stopping is True)
        scores = scores + full.float() * WORST
        scores = scores + (~self.improvable).float() * WORST
        scores = scores + (~ends).float() * WORST
        merged = torch.cat([self.scores, scores], 1)
        top = merged.topk(beams)[1]
        self.scores.copy_(merged.gather(1, top))
        self.ids.copy_(_take(torch.cat([self.ids, ids], 1), top))
        self.logprobs.copy_(_take(torch.cat([self.logprobs, logprobs], 1), top))
        self.finished.copy_(torch.cat([self.finished, ends], 1).gather(1, top))
        self.willing.copy_(torch.cat([self.willing, willing], 1).gather(1, top))

    def _penalty(self, lengths: Tensor) -> Tensor:
        """Return what the sums of answers of these lengths (B,) are divided by, (B, 1)."""
        power = self.options.length_penalty
        if power == 1.0:
            return lengths[:, None].float()
        # Taken in float64, as Python takes powers, and rounded once.
        return lengths[:, None].double().pow(power).float()

    def _look_ahead(self) -> None:
        """Note which rows are done: full, at the limit, or beyond hope of something better."""
        options = self.options
        longest = options.early_stopping == "never" and options.length_penalty > 0
        penalty = self._penalty(self.limit - 1 if longest else self.position)
        hope = self.running_scores[:, :1] / penalty
        worst = self.scores.min(1, keepdim=True)[0]
        worst = torch.where(self.finished, worst, WORST)
        self.improvable &= (hope > worst).any(-1, keepdim=True)
        self.done |= ~self.improvable.squeeze(1) | (self.position + 1 >= self.limit)
        if options.early_stopping is True:
            self.done |= self.finished.all(-1)

    def stop(self, rows: Tensor) -> None:
        """End those of these rows, (B,) bool, that are not done: what runs there is finished."""
        ends = (rows & ~self.done)[:, None].expand_as(self.finished)
        self._finish(ends, self.running_scores, self.running, self.running_logprobs, ~ends)
        self.done |= rows

    def best(self) -> tuple[Tensor, Tensor]:
        """Return the best finished answer of every row, (B, L), and its log-probabilities."""
        return self.ids[:, 0], self.logprobs[:, 0]


def without_repeats(scores: Tensor, ids: Tensor, n: int, position: Tensor) -> Tensor:
    """Return scores with -inf for each token that would make n tokens in a row occur twice.

    Args:
        scores: Of the next token, (B, K, V).
        ids: The tokens so far, (B, K, L).
        n: Length of what may not repeat.
        position: Index of the last token, (B,).
    """
    windows = ids.unfold(2, n, 1)  # (B, K, W, n)
    last = (position[:, None] + torch.arange(2 - n, 1, device=ids.device)).clamp_(min=0)
    last = ids.gather(2, last[:, None].expand(-1, ids.shape[1], -1))
    same = (windows[..., :-1] == last[:, :, None]).all(-1)
    # A window counts only where it is filled: the tensor is longer than the answer.
    filled = torch.arange(n - 1, ids.shape[2], device=ids.device) <= position[:, None]
    ban = torch.zeros(same.shape, device=ids.device)
    ban.masked_fill_(same & filled[:, None], -torch.inf)
    return scores.scatter_add(2, windows[..., -1], ban)


def trim(ids: list[int], logprobs: list[float], willing: bool, rules: DecodeOptions) -> Generated:
    """Cut the padding off one row.

    Args:
        ids: The row, start token first.
        logprobs: One value an id.
        willing: Whether the model itself wanted to end where the length limit ended it.
        rules: The rules it was searched by.
    """
    end = next((i for i, token in enumerate(ids) if i and token == rules.eos_token_id), None)
    while end is None and len(ids) > 1 and ids[-1] == rules.pad_token_id:
        ids = ids[:-1]
    ids = ids if end is None else ids[: end + 1]
    by_force = len(ids) == rules.max_new_tokens + 1 and rules.forced_eos_token_id is not None
    truncated = end is None or (by_force and not willing)
    return Generated(tuple(ids), tuple(logprobs[: len(ids)]), truncated)


def _take(values: Tensor, index: Tensor) -> Tensor:
    """Return hypotheses (B, N, L) at index (B, M) as (B, M, L)."""
    return values.gather(1, index[:, :, None].expand(-1, -1, values.shape[2]))
