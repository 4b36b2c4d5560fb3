"""Linears in int8, for a processor: less exact, and about twice as fast.

Weights get one scale an output, inputs one scale a call, found as they come (dynamic quantisation).
Measured at base size on a core with AVX512-VNNI: the vision tower takes 2.1 s instead of 3.8 s, the
text encoder 0.24 s instead of 0.46 s; their outputs differ from fp32 by 2 % (root mean square).
Knows linears. Does not know models.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from florence_demo.errors import CheckpointError


class Int8Linear(nn.Module):
    """Compute a linear of (..., in) to (..., out), float32 outside and int8 inside.

    Args:
        linear: The linear to take over; its own weight is not kept.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float().contiguous()
        scales = (weight.abs().amax(dim=1) / 127).clamp_min(1e-12).double()
        zeros = torch.zeros(len(weight), dtype=torch.long)
        bias = None if linear.bias is None else linear.bias.detach().float()
        # Without VNNI the products of two 8-bit numbers may not fit where they are summed.
        self._narrow = not getattr(torch.cpu, "_is_vnni_supported", bool)()
        try:
            with warnings.catch_warnings():
                # torch means to drop this type one day; a model asked for in int8 then says so.
                warnings.simplefilter("ignore", UserWarning)
                whole = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
            self._packed: Any = torch.ops.quantized.linear_prepack(whole, bias)
        except (AttributeError, RuntimeError) as exc:
            raise CheckpointError(
                "This build of torch has no int8 for this processor: leave out --dtype int8."
            ) from exc

    def forward(self, rows: Tensor) -> Tensor:
        """Return the linear of rows (..., in) as (..., out)."""
        result: Tensor = torch.ops.quantized.linear_dynamic(rows, self._packed, self._narrow)
        return result


def to_int8(module: nn.Module) -> None:
    """Exchange every linear inside a module.

    Raises:
        CheckpointError: This build of torch has no int8 for this processor.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, Int8Linear(child))
        else:
            to_int8(child)
