"""What the host hears of a step, without waiting for a GPU.

Knows the report that a search writes of each step. Does not know who wants to hear it.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Report:
    """Hold the report of one step, on its way from where it was written.

    Args:
        written: What the search wrote, (B, 2 + L): whether done, the position, the leading tokens.
            It may be written anew at once.
    """

    def __init__(self, written: Tensor) -> None:
        self._arrived = torch.cuda.Event() if written.is_cuda else None
        if self._arrived is None:
            self._values = written.clone()
        else:
            self._values = torch.empty(written.shape, dtype=written.dtype, pin_memory=True)
            self._values.copy_(written, non_blocking=True)
            self._arrived.record()

    def done(self) -> list[bool]:
        """Return which rows are done."""
        return [bool(value) for value in self._read()[:, 0].tolist()]

    def leading(self, row: int) -> list[int]:
        """Return the tokens of a row's leading hypothesis."""
        values = self._read()[row]
        tokens: list[int] = values[2 : 3 + int(values[1])].tolist()
        return tokens

    def _read(self) -> Tensor:
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._values
