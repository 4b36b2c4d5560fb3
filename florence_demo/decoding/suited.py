"""Which step and which search suit a machine and a model.

Knows that kernels of our own need a GPU, triton and a compiler. Does not know what they compute.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

import torch

from florence_demo.decoding.forward import DecoderStep
from florence_demo.decoding.rules import DecodeOptions
from florence_demo.decoding.search import Beams, Greedy, Search, Shape

log = logging.getLogger(__name__)

MOST = 8
"""Beams, and tokens that may not recur, up to which a search has kernels of its own."""


@lru_cache(maxsize=8)
def kernels_work(device: torch.device) -> bool:
    """Return whether kernels of our own run on a device, having tried one."""
    if device.type != "cuda":
        return False
    try:
        from florence_demo.decoding.fused import probe

        probe(device)
    except Exception as exc:  # no triton, no compiler, an old GPU: torch's own do it as well
        log.warning("decoding without kernels of its own: %s", exc)
        return False
    return True


def suited_step(model: Any, *, plain: bool, release: bool) -> DecoderStep:
    """Return the decoder's step; the arguments are those of ``DecoderStep``."""
    if not plain and kernels_work(model.device):
        from florence_demo.decoding.fused import FusedStep

        return FusedStep(model, release=release)
    return DecoderStep(model, plain=plain, release=release)


def suited_search(shape: Shape, options: DecodeOptions, device: torch.device) -> Search:
    """Return the search for so many answers, each at its beginning.

    Args:
        shape: How many answers, and their room.
        options: The rules; ``max_new_tokens`` already within the decoder's positions.
        device: Where the scores are.
    """
    if options.num_beams == 1:
        return Greedy(shape, options, device)
    small = max(options.num_beams, options.no_repeat_ngram_size) <= MOST
    if small and not options.do_sample and kernels_work(device):
        from florence_demo.decoding.fused_search import FusedBeams

        return FusedBeams(shape, options, device)
    return Beams(shape, options, device)
