"""Notice an answer that only repeats itself.

Knows token ids. Does not know what they mean.

A model that has lost its way writes the same words or places over and over, to the limit of its
length: a thousand steps of nothing. It never finds back, because each round makes the next one
surer (Holtzman et al. 2020, arXiv:1904.09751, section 4.2).
"""

from __future__ import annotations

from collections.abc import Sequence

from florence_demo.decoding.rules import Generated

LOOK = 16
"""Tokens between two looks."""

ROUNDS = 4
"""Times that the same must stand in a row; a table may well hold a number three times."""

LEAST = 48
"""Tokens of all rounds together: a row of dots or of equal digits is no loop yet."""

LONGEST = 96
"""Tokens of a round at most."""


def without_loop(ids: Sequence[int]) -> int | None:
    """Return how many tokens to keep of an answer that ends in a loop: all up to its first round.

    Args:
        ids: The tokens so far.

    Returns:
        The number of tokens, or None where nothing repeats.
    """
    for period in range(1, min(LONGEST, len(ids) // ROUNDS) + 1):
        same = period
        while same < len(ids) and ids[-same - 1] == ids[period - same - 1]:
            same += 1
        if same >= max(LEAST, ROUNDS * period):
            return len(ids) - same + period
    return None


def cut(answer: Generated) -> Generated:
    """Return an answer that was ended for its loop without the rounds after the first."""
    keep = without_loop(answer.ids)
    if keep is None:  # another hypothesis was better, and does not loop
        return answer
    return Generated(answer.ids[:keep], answer.logprobs[:keep], truncated=False, looped=True)
