"""Linears as a machine likes them: several in one, packed once, or in int8."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from florence_demo.errors import CheckpointError

Linear = Callable[[Tensor], Tensor]
"""From rows (R, in) to rows (R, out)."""


@dataclass(frozen=True, eq=False)
class PlainLinear:
    """Hold a linear as torch does: weight (out, in), bias (out,) or None."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, rows: Tensor) -> Tensor:
        """Return rows (R, in) as (R, out)."""
        return functional.linear(rows, self.weight, self.bias)


def pack_linear(parts: Sequence[nn.Linear], *, plain: bool = False, many: bool = False) -> Linear:
    """Return one linear that computes several side by side, its weights laid out once.

    Args:
        parts: Linears of the same input width; their outputs are concatenated, so that rows
            (R, in) become (R, sum of the outs).
        plain: Leave the weights as they are.
        many: It will see hundreds of rows, where only what costs no more arithmetic pays.
    """
    weights = [p.weight.detach() for p in parts]
    weight = torch.cat(weights) if len(parts) > 1 else weights[0]
    biases: list[Tensor] = [
        weight.new_zeros(len(p.weight)) if p.bias is None else p.bias.detach() for p in parts
    ]
    bias = None if all(p.bias is None for p in parts) else torch.cat(biases)
    if plain or weight.device.type != "cpu":
        return PlainLinear(weight, bias)
    packed = _pack_half(weight, bias, split=not many)
    packed = packed or (None if many else _pack_mkldnn(weight, bias)) or PlainLinear(weight, bias)
    if weight.dtype == torch.bfloat16 and not many:
        exact = None if bias is None else bias.float()
        few = _pack_half(weight.float(), exact, split=False)
        return packed if few is None else ByRows(few, packed)
    return packed


def _pack_half(weight: Tensor, bias: Tensor | None, *, split: bool) -> Linear | None:
    """Return a linear on fp16 weights and fp32 arithmetic, or None where that loses anything.

    Args:
        weight: (out, in).
        bias: (out,) or None.
        split: Whether two fp16 numbers a weight may be taken where one is not enough.
    """
    if weight.dtype != torch.float32 or not bool(weight.isfinite().all()):
        return None
    lossless = torch.equal(weight.half().float(), weight)
    try:
        pack, run = torch.ops.quantized.linear_prepack_fp16, torch.ops.quantized.linear_dynamic_fp16
        if lossless:
            whole = pack(weight, bias)
            run(weight.new_zeros(1, weight.shape[1]), whole)
            return lambda rows: run(rows, whole)
        # Powers of two change no digit; this one puts the largest weight near fp16's largest.
        scale = 2.0 ** (15 - math.frexp(float(weight.abs().max()))[1])
        high = (weight * scale).half().float()
        if torch.equal(high, weight * scale):
            scaled = pack(high, bias)
            run(weight.new_zeros(1, weight.shape[1]), scaled)
            return lambda rows: run(rows / scale, scaled)
        if not split:
            return None
        pair = pack(torch.cat([high, (weight * scale - high) * 2048], dim=1), bias)
        run(weight.new_zeros(1, 2 * weight.shape[1]), pair)
    except (AttributeError, RuntimeError):  # no FBGEMM in this build or on this processor
        return None
    return lambda rows: run(torch.cat([rows / scale, rows / (2048 * scale)], dim=1), pair)


FEW = 4
"""Rows up to which weights read once as fp16, computed with in fp32, are quicker than bf16's own
products. A step of base on a processor with AVX512-BF16, two threads: three rows 13.5 ms so, 15.4
in bf16 (one thread: 16.3 and 20.3), nine rows 24.3 and 19.2. With AMX, where the formats were
measured one by one: three rows 20.5 and 28.0, nine 52 and 27."""


@dataclass(frozen=True, eq=False)
class ByRows:
    """Compute a linear of a bf16 model as suits the count of rows.

    Attributes:
        few: For few rows: the same weights as fp16, read once and computed with in fp32.
        many: For more: bf16 throughout.
    """

    few: Linear
    many: Linear

    def __call__(self, rows: Tensor) -> Tensor:
        """Return rows (R, in) as (R, out)."""
        if len(rows) <= FEW:
            return self.few(rows.float()).to(rows.dtype)
        return self.many(rows)


def _pack_mkldnn(weight: Tensor, bias: Tensor | None) -> Linear | None:
    """Return a linear on weights (out, in) that oneDNN has reordered once, or None."""
    if not torch.backends.mkldnn.is_available() or weight.dtype == torch.float64:
        return None
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        run = torch.ops.mkldnn._linear_pointwise
        run(weight.new_zeros(1, weight.shape[1]), packed, bias, "none", [], "")
    except (AttributeError, RuntimeError, TypeError):  # private operators: they may change
        return None
    return lambda rows: run(rows, packed, bias, "none", [], "")


_BLOCK = 1 << 19
"""Numbers of rows that are scaled at a time: the 2 MB stay in a cache until they are multiplied."""


class Int8Linear(nn.Module):
    """Compute a linear of (..., in) to (..., out), float32 outside and int8 inside.

    Weights have a scale for each output, rows one each: with one for all of them, as torch has it,
    the features of nano's pictures are nearly half as far off again.

    Args:
        linear: The linear to take over; its own weight is not kept.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float().contiguous()
        scales = (weight.abs().amax(dim=1) / 127).clamp_min(1e-12).double()
        zeros = torch.zeros(len(weight), dtype=torch.long)
        bias: Tensor | None = linear.bias
        self._bias = None if bias is None else bias.detach().float()
        # Without VNNI the products of two 8-bit numbers may not fit where they are summed.
        self._narrow = not getattr(torch.cpu, "_is_vnni_supported", bool)()
        try:
            with warnings.catch_warnings():
                # torch means to drop this type one day; a model asked for in int8 then says so.
                warnings.simplefilter("ignore", UserWarning)
                whole = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
            self._packed: Any = torch.ops.quantized.linear_prepack(whole, None)
        except (AttributeError, RuntimeError) as exc:
            raise CheckpointError(
                "This build of torch has no int8 for this processor: leave out --dtype int8."
            ) from exc

    def forward(self, rows: Tensor) -> Tensor:
        """Return the linear of rows (..., in) as (..., out)."""
        flat = rows.reshape(-1, self.in_features)
        found = flat.new_empty(len(flat), self.out_features)
        at_a_time = max(1, _BLOCK // self.in_features)
        scaled = torch.empty_like(flat[:at_a_time])
        for some, into in zip(flat.split(at_a_time), found.split(at_a_time), strict=True):
            largest = torch.maximum(some.amax(1, True), some.amin(1, True).neg_()).clamp_min_(1e-12)
            torch.div(some, largest, out=scaled[: len(some)])
            product = torch.ops.quantized.linear_dynamic(
                scaled[: len(some)], self._packed, self._narrow
            )
            if self._bias is None:
                torch.mul(product, largest, out=into)
            else:
                torch.addcmul(self._bias, product, largest, out=into)
        return found.view(*rows.shape[:-1], self.out_features)


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
