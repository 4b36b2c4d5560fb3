"""Beam search in few kernels, for a GPU.

Knows which kernel does which part of ``search.Beams``, whose answers and rules it shares: the
reference for it is that search itself. Does not know how a kernel works (``search_kernels``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from florence_demo.decoding import search_kernels as kernels
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
            kernels.mark[(rows,)](
                self.running, self.position, self._marks, room, self._marks.shape[1], beams,
                options.no_repeat_ngram_size, BLOCK,
            )  # fmt: skip
        kernels.scan[(rows * self._chunks,)](
            logits, self._marks, self._high[0], self._high[1], self._values, self._tokens, stride,
            vocabulary, self._chunks, options.no_repeat_ngram_size > 0, 2 * beams, CHUNK,
            num_warps=1,
        )  # fmt: skip
        places = options.locations or range(0)
        kernels.choose[(batch,)](
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
