"""Packed linears: the same numbers as the plain ones, whatever the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from florence_demo.decoding.linears import pack_linear

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


@pytest.mark.parametrize("change", WEIGHTS.values(), ids=WEIGHTS.keys())
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("many", [True, False], ids=["many rows", "few rows"])
def test_packed_is_plain(change, bias, many):
    torch.manual_seed(0)
    parts = [nn.Linear(48, width, bias=bias) for width in (33, 16)]
    for part in parts:
        part.weight.data = change(part.weight.data)
        if bias:
            part.bias.data = part.bias.data.to(part.weight.dtype)
    rows = torch.randn(7, 48).to(parts[0].weight.dtype)
    with torch.inference_mode():
        expected = torch.cat([part(rows) for part in parts], dim=1)
        got = pack_linear(parts, many=many)(rows)
    assert got.dtype == expected.dtype
    tolerance = 1e-2 if expected.dtype == torch.bfloat16 else 2e-6
    scale = expected.abs().amax(0, keepdim=True).clamp(min=1e-30)
    assert float(((got - expected) / scale).abs().max()) < tolerance


def test_bias_of_one_part_alone():
    parts = [nn.Linear(8, 4), nn.Linear(8, 4, bias=False)]
    rows = torch.randn(3, 8)
    with torch.inference_mode():
        expected = torch.cat([part(rows) for part in parts], dim=1)
        assert torch.allclose(pack_linear(parts)(rows), expected, atol=1e-6)
