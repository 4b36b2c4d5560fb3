"""Packed linears: the same numbers as the plain ones, whatever the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from florence_demo.decoding.linears import FEW, ByRows, pack_linear

WEIGHTS = {
    "fp16 numbers": lambda w: w.half().float(),
    "fp32 numbers": lambda w: w,
    "tiny": lambda w: w * 1e-6,
    "beyond fp16": lambda w: w * 1e6,
    "of all sizes": lambda w: w * torch.logspace(-3, 3, len(w))[:, None],
    "nothing": lambda w: w * 0,
    "bf16": lambda w: w.bfloat16(),
    "float64": lambda w: w.double(),
}


def made(change, bias) -> list[nn.Linear]:
    torch.manual_seed(0)
    parts = [nn.Linear(48, width, bias=bias) for width in (33, 16)]
    for part in parts:
        part.weight.data = change(part.weight.data)
        if bias:
            part.bias.data = part.bias.data.to(part.weight.dtype)
    return parts


def error(got, expected) -> float:
    scale = expected.abs().amax(0, keepdim=True).clamp(min=1e-30)
    return float(((got - expected) / scale).abs().max())


@pytest.mark.parametrize("change", WEIGHTS.values(), ids=WEIGHTS.keys())
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("many", [True, False], ids=["many rows", "few rows"])
@pytest.mark.parametrize("count", [FEW, FEW + 3])
def test_packed_is_plain(change, bias, many, count):
    parts = made(change, bias)
    rows = torch.randn(count, 48).to(parts[0].weight.dtype)
    with torch.inference_mode():
        expected = torch.cat([part(rows) for part in parts], dim=1)
        got = pack_linear(parts, many=many)(rows)
    assert got.dtype == expected.dtype
    assert error(got, expected) < (1e-2 if rows.dtype == torch.bfloat16 else 2e-6)


def test_the_number_format_follows_the_count_of_rows():
    """bf16 weights are computed with in fp32 for few rows, with no error but the last rounding."""
    linear = pack_linear(made(lambda w: w.bfloat16(), True))
    if not isinstance(linear, ByRows):
        assert "fbgemm" not in torch.backends.quantized.supported_engines
        return  # bf16 throughout, as the test above holds
    few = torch.randn(FEW, 48).bfloat16()
    exact = torch.cat([part.float()(few.float()) for part in made(lambda w: w.bfloat16(), True)], 1)
    assert error(linear.few(few.float()), exact) < 2e-6
    assert torch.equal(linear(few), linear.few(few.float()).bfloat16())
    more = torch.randn(FEW + 1, 48).bfloat16()
    assert torch.equal(linear(more), linear.many(more))
    # The two may round to the same numbers: which was asked tell those that do not.
    asked = ByRows(few=torch.zeros_like, many=torch.ones_like)
    assert torch.equal(asked(few), torch.zeros_like(few))
    assert torch.equal(asked(more), torch.ones_like(more))


def test_bias_of_one_part_alone():
    parts = [nn.Linear(8, 4), nn.Linear(8, 4, bias=False)]
    rows = torch.randn(3, 8)
    with torch.inference_mode():
        expected = torch.cat([part(rows) for part in parts], dim=1)
        assert torch.allclose(pack_linear(parts)(rows), expected, atol=1e-6)
