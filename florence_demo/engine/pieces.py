"""From the tokens that a model wrote to the pieces that ``codec`` reads.

Knows a tokenizer. Does not know what the pieces mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from florence_demo.codec import BINS, Piece, lex


class Cutter:
    """Cut token ids into pieces: each location and tag alone, each run of text together."""

    def __init__(self, tokenizer: Any) -> None:
        """Take the tokenizer whose tokens they are."""
        self._tokenizer = tokenizer
        self._special = {
            token_id: piece
            for token, token_id in tokenizer.get_vocab().items()
            if (piece := lex(token)[0]).loc >= 0 or piece.tag
        }
        self.locations = _in_order(self._special)
        """The ids of the locations, 0 to 999; None where they do not follow each other."""

    def __call__(self, ids: Sequence[int], logprobs: Sequence[float] = ()) -> list[Piece]:
        """Return the pieces of some tokens.

        A character can be spread over several tokens, so a run is turned into text as a whole.

        Args:
            ids: The tokens.
            logprobs: The natural-log probability of each, where they are known.
        """
        result: list[Piece] = []
        run: list[int] = []

        def flush(end: int) -> None:
            if run:
                text = self._tokenizer.decode(run, clean_up_tokenization_spaces=False)
                result.append(Piece(text, logprobs=tuple(logprobs[end - len(run) : end])))
                run.clear()

        for at, token_id in enumerate(ids):
            special = self._special.get(token_id)
            if special is None:
                run.append(token_id)
                continue
            flush(at)
            own = tuple(logprobs[at : at + 1])
            result.append(Piece(special.text, special.loc, special.tag, own))
        flush(len(ids))
        return result


def _in_order(special: Mapping[int, Piece]) -> range | None:
    ids = {piece.loc: token for token, piece in special.items() if piece.loc >= 0}
    if sorted(ids) != list(range(BINS)):
        return None
    locations = range(ids[0], ids[0] + BINS)
    return locations if [ids[loc] for loc in range(BINS)] == list(locations) else None
