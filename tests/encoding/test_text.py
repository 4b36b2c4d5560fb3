"""The text encoder written out: the output of transformers' own."""

from __future__ import annotations

import pytest
import torch

from florence_demo.decoding.linears import to_int8
from florence_demo.encoding.text import TextEncoder
from tests.decoding.test_decoder import tiny_model


@pytest.fixture
def encoder():
    return tiny_model(2).model.language_model.encoder


@torch.inference_mode()
def native(encoder, embeds, mask):
    return encoder(inputs_embeds=embeds, attention_mask=mask).last_hidden_state


def asked(dtype=torch.float32):
    torch.manual_seed(0)
    mask = torch.ones(3, 9, dtype=torch.long)
    mask[1, 6:] = 0
    return torch.randn(3, 9, 16, dtype=dtype), mask


@pytest.mark.parametrize(
    ("dtype", "near"), [(torch.float32, 1e-6), (torch.bfloat16, 0.05), (torch.float16, 0.01)]
)
def test_the_output_is_that_of_the_native_encoder(encoder, dtype, near):
    encoder.to(dtype)
    embeds, mask = asked(dtype)
    expected = native(encoder, embeds, mask)
    with torch.inference_mode():
        found = TextEncoder(encoder)(embeds, mask)
        alone = TextEncoder(encoder)(embeds[:1])
    read = mask.bool()
    assert torch.allclose(found[read], expected[read], atol=near)
    assert torch.allclose(alone, expected[:1], atol=near)


def test_the_native_encoder_goes_on_with_the_joined_weights(encoder):
    expected = native(encoder, *asked())
    ours = TextEncoder(encoder)
    assert torch.equal(native(encoder, *asked()), expected)
    own = encoder.layers[0].self_attn.k_proj.weight
    assert own.data_ptr() == ours.layers[0].joined.weight[16:].data_ptr()  # held once


def test_linears_in_int8_are_used_as_they_are(encoder):
    to_int8(encoder)
    with torch.inference_mode():
        found = TextEncoder(encoder)(*asked())
    assert torch.allclose(found[0], native(encoder, *asked())[0], atol=1e-6)
