"""How likely what a search chose was: a word by itself, a place together with those beside it.

Knows log-probabilities and which tokens are places. Does not know what the places mean.

A place is one of 1,000 tokens a side, and a model that is sure of a box spreads its probability
over a few neighbours. What counts is the probability of naming about this place.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

NEAR = 8
"""Places on each side that count as about the same: 0.8 % of a side of the picture."""


def likelihoods(logprobs: Tensor, index: Tensor, locations: range | None) -> Tensor:
    """Return the log of the probability of each choice, or of about the same place.

    Args:
        logprobs: What each of K hypotheses gave each of V tokens, (B, K, V).
        index: The choices (B, N), as indices into K x V.
        locations: Ids of the places in order; None where every token counts by itself.

    Returns:
        (B, N), natural logarithms.
    """
    flat = logprobs.flatten(1)
    if locations is None:
        return flat.gather(1, index)
    vocabulary = logprobs.shape[2]
    steps, alone = _around(locations, vocabulary, index.device)
    token = index % vocabulary
    around = index[:, :, None] + steps[token]  # (B, N, 2 NEAR + 1)
    values = flat.gather(1, around.flatten(1)).view_as(around)
    return (values + alone[token]).logsumexp(-1)


@lru_cache(maxsize=8)
def _around(locations: range, vocabulary: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the steps to each token's neighbours, (V, 2 NEAR + 1), and -inf where is none."""
    ids = torch.arange(vocabulary)[:, None]
    steps = torch.arange(-NEAR, NEAR + 1)[None]
    place = (ids >= locations.start) & (ids < locations.stop)
    beside = (ids + steps >= locations.start) & (ids + steps < locations.stop)
    real = (place & beside) | (steps == 0)
    alone = torch.zeros(real.shape).masked_fill_(~real, -torch.inf)
    return (steps * real).to(device), alone.to(device)
