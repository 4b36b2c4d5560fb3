"""Choose how answers go on: greedily, by beam search, and in either way at random.

Knows scores and token ids. Does not know the model they come from. ``start_search`` gives a
``Greedy`` or a ``Beams``; both are a ``Search``, which keeps the answers, and both ask a ``Pick``
for tokens: the likeliest, or ones that are ``Drawn``. The reference is the search of transformers 5
(``GenerationMixin._sample`` and ``_beam_search``); where float32 rounding could tell two ways of
writing a sum apart, the operations here are the same and in the same order.

Shapes: B answers, K hypotheses each, room for L tokens, a vocabulary of V.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional

from florence_demo.decoding.nearby import likelihoods
from florence_demo.decoding.picking import Drawn, Pick
from florence_demo.decoding.rules import DecodeOptions, Generated

WORST = -1.0e9
"""The score of what must not win; finite, so that sums with it stay numbers."""

ROWS = (
    "running", "running_logprobs", "running_scores", "ids", "logprobs", "scores", "finished",
    "improvable", "done", "willing",
)  # fmt: skip
"""The tensors of a search whose first dimension is the answers."""


def start_search(
    batch: int, options: DecodeOptions, device: torch.device, room: int = 64
) -> Search:
    """Return the search for so many answers.

    Args:
        batch: Number of answers, B.
        options: The rules; ``max_new_tokens`` already within the decoder's positions.
        device: Where the scores are.
        room: Tokens to make room for, L.
    """
    kind = Greedy if options.num_beams == 1 else Beams
    return kind(batch, options, device, room)


class Search(ABC):
    """Keep B answers with K hypotheses each, and choose how they go on.

    Every tensor stays on the device and is changed in place, so that a step can be captured as a
    graph. Rows are independent: what a row answers does not depend on its neighbours.

    Attributes:
        running: Tokens of the hypotheses that go on, (B, K, L), the best first.
        running_logprobs: What the model gave each of them, (B, K, L).
        running_scores: Sum of the log-probabilities, (B, K).
        ids: Tokens of the finished answers, (B, K, L); the best first.
        logprobs: What the model gave each of them, (B, K, L).
        scores: Their scores, divided by their lengths' penalty, (B, K).
        finished: Which of them there are, (B, K).
        improvable: Whether something running can still beat the finished ones, (B, 1).
        done: Which rows are answered, (B,).
        willing: Whether the model itself wanted to end where the length limit ended it, (B, K).
        position: Index of the last token, (1,), the same for all rows.
        length: Tokens so far; the host's twin of ``position``.
    """

    def __init__(self, batch: int, options: DecodeOptions, device: torch.device, room: int) -> None:
        beams = options.num_beams
        self.options = options
        self.limit = options.max_new_tokens + 1
        self.length = 1
        self.position = torch.zeros(1, dtype=torch.long, device=device)
        self.running = torch.full((batch, beams, room), options.pad_token_id, device=device)
        self.running[:, :, 0] = options.decoder_start_token_id
        self.running_logprobs = torch.zeros((batch, beams, room), device=device)
        # Only the first beam counts at first, or all would go the same way.
        self.running_scores = torch.zeros((batch, beams), device=device)
        self.running_scores[:, 1:] = WORST
        self.ids = self.running.clone()
        self.logprobs = self.running_logprobs.clone()
        self.scores = torch.full((batch, beams), WORST, device=device)
        self.finished = torch.zeros((batch, beams), dtype=torch.bool, device=device)
        self.improvable = torch.ones((batch, 1), dtype=torch.bool, device=device)
        self.done = torch.zeros(batch, dtype=torch.bool, device=device)
        self.willing = torch.zeros((batch, beams), dtype=torch.bool, device=device)
        self.pick: Pick = Drawn(batch, options, device) if options.do_sample else Pick()

    @abstractmethod
    def add(self, logits: Tensor) -> Tensor | None:
        """Add one token to every hypothesis by scores (B, K, V); see ``choose``."""

    @abstractmethod
    def stop(self, rows: Tensor) -> None:
        """End those of these rows, (B,) bool, that are not done where they stand."""

    @abstractmethod
    def best(self) -> tuple[Tensor, Tensor]:
        """Return the best answer of every row and its log-probabilities, (B, L) each."""

    def choose(self, logits: Tensor) -> Tensor | None:
        """Add one token to every hypothesis.

        Args:
            logits: The model's scores of the next token, (B, K, V) float32.

        Returns:
            The hypothesis that each one goes on from, (B, K), or None where each goes on from
            itself.
        """
        source = self.add(logits)
        self.length += 1
        return source

    @property
    def tokens(self) -> Tensor:
        """Return the last token of every hypothesis, (B, K)."""
        return self.running.index_select(2, self.position).squeeze(2)

    @property
    def forced(self) -> int | None:
        """Return the token that must come next, or None."""
        if self.length == self.limit - 1 and self.options.forced_eos_token_id is not None:
            return self.options.forced_eos_token_id
        return self.options.forced_bos_token_id if self.length == 1 else None

    @property
    def at_limit(self) -> bool:
        """Return whether the next token is the last there is room for."""
        return self.length + 1 >= self.limit

    @property
    def steady(self) -> bool:
        """Return whether the next step is like most: nothing forced, drawn, first or last."""
        first = self.length < max(2, self.options.no_repeat_ngram_size)
        drawn = self.options.do_sample
        return not (first or self.at_limit or drawn or self.forced is not None)

    def grow(self, room: int) -> None:
        """Make room for so many tokens."""
        more = (0, room - self.running.shape[2])
        self.running = functional.pad(self.running, more, value=self.options.pad_token_id)
        self.ids = functional.pad(self.ids, more, value=self.options.pad_token_id)
        self.running_logprobs = functional.pad(self.running_logprobs, more)
        self.logprobs = functional.pad(self.logprobs, more)

    def tensors(self) -> list[Tensor]:
        """Return all that a step changes."""
        return [self.position, *(getattr(self, name) for name in ROWS)]

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows (n,) alone."""
        for name in ROWS:
            setattr(self, name, getattr(self, name)[rows])
        self.pick.keep(rows)

    def answers(self) -> list[Generated]:
        """Return the best answer of every row."""
        ids, logprobs = (best[:, : self.length].tolist() for best in self.best())
        willing = self.willing[:, 0].tolist()
        return [
            trim(row, told, wanted, self.options)
            for row, told, wanted in zip(ids, logprobs, willing, strict=True)
        ]

    def allowed(self, scores: Tensor, ids: Tensor) -> Tensor:
        """Return scores (R, V) with what may not come next after ids (R, L) at -inf."""
        forced, n = self.forced, self.options.no_repeat_ngram_size
        if forced is not None:
            scores = torch.full_like(scores, -torch.inf)
            scores[:, forced] = 0
        elif n and self.length >= n:
            scores = scores + repeats(scores, ids, n, self.position)
        return self.pick.warped(ids, scores)

    def wants_end(self, scores: Tensor) -> Tensor:
        """Return for scores (B, K, V) whether the end is the likeliest token, (B, K)."""
        return scores.argmax(-1) == self.options.eos_token_id

    def told(self, scores: Tensor, index: Tensor) -> Tensor:
        """Return what is told of tokens, (B, N): their likelihoods, 0 for one nobody chose.

        Args:
            scores: The model's log-probabilities, (B, K, V).
            index: The tokens (B, N), as indices into K x V.
        """
        if self.forced is not None:
            return torch.zeros_like(index, dtype=scores.dtype)
        return likelihoods(scores, index, self.options.locations)


class Greedy(Search):
    """Go on with one token a row: the likeliest, or one drawn."""

    def add(self, logits: Tensor) -> None:
        """Add one token to each row of scores (B, 1, V)."""
        options, logits = self.options, logits.squeeze(1)
        token = self.pick.one(self.allowed(logits, self.running.squeeze(1)))
        logprob = self.told(logits.log_softmax(-1)[:, None], token[:, None]).squeeze(1)
        token = token.masked_fill(self.done, options.pad_token_id)
        if self.at_limit:
            self.willing |= self.wants_end(logits[:, None]) & ~self.done[:, None]
        self.position += 1
        self.running.index_copy_(2, self.position, token[:, None, None])
        self.running_logprobs.index_copy_(2, self.position, logprob[:, None, None])
        self.done |= (token == options.eos_token_id) | self.at_limit

    def stop(self, rows: Tensor) -> None:
        """End those of these rows, (B,) bool, that are not done where they stand."""
        self.done |= rows

    def best(self) -> tuple[Tensor, Tensor]:
        """Return the one answer of every row, (B, L), and its log-probabilities."""
        return self.running[:, 0], self.running_logprobs[:, 0]


class Beams(Search):
    """Go on with the best K of all ways to go on, and keep the best K that ended."""

    def __init__(self, batch: int, options: DecodeOptions, device: torch.device, room: int) -> None:
        super().__init__(batch, options, device, room)
        # Powers taken in float64, as Python takes them, and rounded once.
        lengths = torch.arange(1, self.limit + 1, dtype=torch.float64)
        self.penalties = (lengths**options.length_penalty).float().to(device)

    def add(self, logits: Tensor) -> Tensor:
        """Add one token to each beam of scores (B, K, V); return where each came from, (B, K)."""
        options, beams = self.options, self.options.num_beams
        vocabulary = logits.shape[2]
        raw = logits.log_softmax(-1)
        total = self.allowed(raw.flatten(0, 1), self.running.flatten(0, 1)).view_as(raw)
        total = (total + self.running_scores[:, :, None]).flatten(1)
        # Twice as many candidates as beams, so that enough go on if some end here.
        best, index = self.pick.several(total, 2 * beams)
        source, token = index // vocabulary, index % vocabulary
        willing = torch.zeros_like(token, dtype=torch.bool)
        if self.at_limit:
            willing = self.wants_end(raw).gather(1, source)
        logprob = self.told(raw, index)
        self.position += 1
        ids = _take(self.running, source)  # (B, 2K, L)
        ids.index_copy_(2, self.position, token[:, :, None])
        logprobs = _take(self.running_logprobs, source)
        logprobs.index_copy_(2, self.position, logprob[:, :, None])
        ends = (token == options.eos_token_id) | self.at_limit
        going = best + ends.float() * WORST
        on = going.topk(beams)[1]
        self.running.copy_(_take(ids, on))
        self.running_logprobs.copy_(_take(logprobs, on))
        self.running_scores.copy_(going.gather(1, on))
        # Of the candidates only the best K may end; the others are there to go on.
        ends = ends & (torch.arange(2 * beams, device=ends.device) < beams)
        self._finish(ends, best, ids, logprobs, willing)
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
        scores = best / self.penalties.index_select(0, self.position - 1)
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

    def _look_ahead(self) -> None:
        """Note which rows are done: full, at the limit, or beyond hope of something better."""
        options = self.options
        penalty = self.penalties.index_select(0, self.position - 1)
        if options.early_stopping == "never" and options.length_penalty > 0:
            penalty = self.penalties[self.limit - 2]
        hope = self.running_scores[:, :1] / penalty
        worst = self.scores.min(1, keepdim=True)[0]
        worst = torch.where(self.finished, worst, WORST)
        self.improvable &= (hope > worst).any(-1, keepdim=True)
        self.done |= ~self.improvable.squeeze(1) | self.at_limit
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


def repeats(scores: Tensor, ids: Tensor, n: int, position: Tensor) -> Tensor:
    """Return -inf for each token that would make n tokens in a row occur twice, else 0.

    Args:
        scores: Of the next token, (R, V); only its shape counts.
        ids: The tokens so far, (R, L).
        n: Length of what may not repeat.
        position: Index of the last token, (1,).
    """
    windows = ids.unfold(1, n, 1)  # (R, W, n)
    last = position + torch.arange(2 - n, 1, device=ids.device)
    same = (windows[..., :-1] == ids.index_select(1, last)[:, None]).all(-1)
    # A window counts only where it is filled: the tensor is longer than the answer.
    filled = torch.arange(n - 1, ids.shape[1], device=ids.device) <= position
    ban = torch.zeros(same.shape, device=ids.device).masked_fill_(same & filled, -torch.inf)
    return torch.zeros_like(scores).scatter_add_(1, windows[..., -1], ban)


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
