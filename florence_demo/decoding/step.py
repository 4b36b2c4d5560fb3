"""One step of decoding. All of it is this step again and again; begin to read here.

Knows who scores, who chooses and who remembers. Does not know how: ``forward`` scores, ``search``
chooses, ``rules`` says by which rules. ``group`` repeats the step for answers that share it,
``crowd`` lets callers in and out, ``graphs`` replays it on a GPU, where ``fused`` and
``fused_search`` do the same in few kernels.
"""

from __future__ import annotations

from florence_demo.decoding.forward import Cache, DecoderStep
from florence_demo.decoding.search import Search


def take_step(step: DecoderStep, search: Search, cache: Cache) -> None:
    """Add one token to every hypothesis.

    Args:
        step: From the last tokens (B, K) to the scores of the next, (B, K, V).
        search: B answers with K hypotheses each; it chooses a token for each, and tells which
            hypothesis each goes on from, (B, K).
        cache: What the decoder remembers of each hypothesis; reordered as the search has chosen.
    """
    scores = step(search.tokens, search.position, cache)
    source = search.choose(scores)
    if source is not None:
        cache.reorder(source)
    search.tell()
