"""Whether a device runs kernels of our own.

Knows that they need a GPU, triton and a compiler. Does not know what they compute.
"""

from __future__ import annotations

import logging
from functools import lru_cache

import torch

log = logging.getLogger(__name__)


@lru_cache(maxsize=8)
def kernels_work(device: torch.device) -> bool:
    """Return whether kernels of our own run on a device, having tried one."""
    if device.type != "cuda":
        return False
    try:
        from florence_demo.decoding.kernels import norm

        row, one = torch.ones(1, 16, device=device), torch.ones(16, device=device)
        kept, out = torch.empty_like(row), torch.empty_like(row)
        norm[(1,)](row, row, one, one, kept, out, 1e-5, True, 16, 16)
        torch.cuda.synchronize(device)
    except Exception as exc:  # no triton, no compiler, an old GPU: torch's own do it as well
        log.warning("decoding without kernels of its own: %s", exc)
        return False
    return True
