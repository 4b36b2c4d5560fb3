"""Pick tokens by their scores: the likeliest, or ones that are drawn.

Knows scores (R, V) of R rows and a vocabulary of V. Does not know answers, beams or a model.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.generation.logits_process import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from florence_demo.decoding.rules import DecodeOptions

CHUNK = 256
"""Width of the groups in which ``largest`` looks first."""


class Pick:
    """Pick the likeliest."""

    def warped(self, ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores (R, V), after ids (R, L), as they are picked by."""
        return scores

    def one(self, scores: Tensor) -> Tensor:
        """Return one token a row, (R,)."""
        return scores.argmax(-1)

    def several(self, scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return ``count`` different entries a row: their scores and indices, (R, count) each."""
        return largest(scores, count)

    def begin(self, row: int, seed: int | None) -> None:
        """Let a row begin anew, its draws told by a seed or, where that is None, by nothing."""

    def refill(self) -> None:
        """Make ready for the next step; called outside of it, as a graph has no chance in it."""

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows (n,) alone."""

    def load(self, other: Pick, rows: list[int]) -> None:
        """Go on by the chance of these rows of another."""


class Drawn(Pick):
    """Draw, each row with its own source of chance: what a row draws is its own business.

    Drawing without replacement is taking the largest quotients of probabilities and exponential
    noise, as ``torch.multinomial`` does it itself: noise filled in beforehand draws the same.

    Args:
        batch: Number of rows.
        width: How many entries a row is drawn from, N.
        options: Temperature, how many of the likeliest are drawn among, and the seed.
        device: Where the scores are.
    """

    def __init__(
        self, batch: int, width: int, options: DecodeOptions, device: torch.device
    ) -> None:
        self.noise = torch.ones(batch, width, device=device)
        self.generators = [torch.Generator(device) for _ in range(batch)]
        for row in range(batch):
            self.begin(row, options.seed)
        self.warpers = _warpers(options)

    def begin(self, row: int, seed: int | None) -> None:
        """Let a row begin anew, its draws told by a seed or, where that is None, by nothing."""
        if seed is None:
            self.generators[row].seed()
        else:  # equal seeds draw equally in every row
            self.generators[row].manual_seed(seed)

    def warped(self, ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores (R, V), after ids (R, L), by temperature and with the unlikely left out."""
        warped: Tensor = self.warpers(ids, scores)
        return warped

    def one(self, scores: Tensor) -> Tensor:
        """Return one token a row, (R,)."""
        return self._quotients(scores).argmax(-1)

    def several(self, scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return ``count`` different entries a row: their scores and indices, (R, count) each."""
        index = self._quotients(scores).topk(count)[1]
        return scores.gather(1, index), index

    def refill(self) -> None:
        """Make ready for the next step; called outside of it, as a graph has no chance in it."""
        for row, generator in zip(self.noise, self.generators, strict=True):
            row.exponential_(generator=generator)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows (n,) alone."""
        self.generators = [self.generators[row] for row in rows.tolist()]
        self.noise = self.noise[rows]

    def load(self, other: Pick, rows: list[int]) -> None:
        """Go on by the chance of these rows of another."""
        assert isinstance(other, Drawn)
        for at, row in enumerate(rows):
            self.generators[at].set_state(other.generators[row].get_state())

    def _quotients(self, scores: Tensor) -> Tensor:
        """Return what is drawn by for scores (R, N): the largest entries of each row win."""
        return scores.softmax(-1) / self.noise


def largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the largest values of each row and where they are, as ``topk`` does.

    A processor's ``topk`` over 3 beams of 51,289 tokens takes 0.38 ms. Nothing outside the groups
    with the largest maxima can be among the largest: looking there alone takes 0.04 ms.

    Args:
        values: (R, N).
        count: How many of each row.

    Returns:
        The values and their indices, (R, count) each, the largest first.
    """
    groups = values.shape[1] // CHUNK
    if values.device.type != "cpu" or groups <= 4 * count:
        return values.topk(count)
    head = values[:, : groups * CHUNK].view(len(values), groups, CHUNK)
    where = head.amax(-1).topk(count)[1].sort()[0] * CHUNK
    inside = torch.arange(CHUNK, device=values.device)
    tail = torch.arange(groups * CHUNK, values.shape[1], device=values.device)
    index = torch.cat(
        [(where[:, :, None] + inside).flatten(1), tail.expand(len(values), -1)], dim=1
    )
    best, at = values.gather(1, index).topk(count)
    return best, index.gather(1, at)


def _warpers(options: DecodeOptions) -> LogitsProcessorList:
    """Return what changes scores before drawing, transformers' own and in its order."""
    keep = 1 if options.num_beams == 1 else 2  # beams need one token besides the end
    warpers = LogitsProcessorList()
    if options.temperature != 1.0:
        warpers.append(TemperatureLogitsWarper(float(options.temperature)))
    if options.top_k:
        warpers.append(TopKLogitsWarper(options.top_k, min_tokens_to_keep=keep))
    if options.top_p < 1.0:
        warpers.append(TopPLogitsWarper(options.top_p, min_tokens_to_keep=keep))
    return warpers
