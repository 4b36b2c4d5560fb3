"""The vision tower written out: the features of transformers' own pass, on every shape there is."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import Florence2Config, Florence2ForConditionalGeneration

from florence_demo.checkpoints.inspection import inspect_checkpoint
from florence_demo.checkpoints.opening import open_checkpoint
from florence_demo.decoding.linears import to_int8
from florence_demo.encoding.tower import Tower
from florence_demo.models.catalogue import MODELS

EXACT = 1e-5

SHAPES = {
    "base": {"embed_dim": [128, 256, 512, 1024], "window_size": 12},
    "large": {"embed_dim": [256, 512, 1024, 2048], "window_size": 12},
    "narrow": {"embed_dim": [8, 24, 48, 64], "window_size": 4, "num_heads": [1, 3, 2, 4]},
}


def random_model(shape: str):
    """A Florence-2 with the tower's true widths, one block a stage, and hardly a decoder."""
    torch.manual_seed(0)
    vision = dict(SHAPES[shape])
    heads = vision.get("num_heads", [width // 32 for width in vision["embed_dim"]])
    config = Florence2Config(
        vision_config={
            **vision, "depths": [1, 1, 1, 1], "num_heads": heads, "num_groups": heads,
            "projection_dim": 16,
        },
        text_config={
            "model_type": "bart", "vocab_size": 12, "d_model": 16, "encoder_layers": 1,
            "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
            "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
        },
        image_token_id=3,
    )  # fmt: skip
    model = Florence2ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def off_by(found: torch.Tensor, true: torch.Tensor) -> float:
    assert found.shape == true.shape
    return float((found.float() - true.float()).norm() / true.float().norm())


@torch.inference_mode()
def both(model, pixels):
    """Features of the native pass and of ours."""
    native = model.get_image_features(pixels).pooler_output
    return Tower(model)(pixels), native


def check_half(model, pixels):
    """With few digits the native pass is as far from the exact features as two passes apart."""
    ours, native = both(model, pixels)
    exact = both(copy.deepcopy(model).float(), pixels.float())[1]
    assert off_by(ours, exact) < 1.25 * off_by(native, exact)
    assert off_by(ours, native) < 0.03


SIZES = {"square": (96, 96), "odd": (64, 160), "a window is not full": (104, 72)}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("shape", SHAPES)
def test_features_are_those_of_the_native_tower(shape, size):
    model = random_model(shape)
    pixels = torch.randn(2, 3, *size)
    assert off_by(*both(model, pixels)) < EXACT
    check_half(model.bfloat16(), pixels.bfloat16())


@pytest.mark.golden
def test_features_of_the_golden_checkpoint(golden):
    opened = open_checkpoint(inspect_checkpoint(golden / "legacy-tiny"), dtype=torch.float32)
    pixels = load_file(golden / "golden" / "legacy-tiny.safetensors")["pixel_values"]
    assert off_by(*both(opened.model.eval(), pixels)) < EXACT


def test_features_of_the_embedded_model():
    folder = inspect_checkpoint(Path(MODELS["nano"].source))
    model = open_checkpoint(folder, dtype=torch.float32).model.eval()
    torch.manual_seed(0)
    pixels = torch.randn(2, 3, 256, 256)
    assert off_by(*both(model, pixels)) < EXACT
    check_half(model.bfloat16(), pixels.bfloat16())


def test_linears_in_int8_are_used_as_they_are():
    model = random_model("narrow")
    to_int8(model.model.vision_tower)
    # What is rounded to 8 bits may fall to the other side by the last digit of fp32.
    assert off_by(*both(model, torch.randn(1, 3, 96, 96))) < 0.02


def test_a_pass_leaves_the_model_and_the_pixels_as_they_were():
    model = random_model("narrow")
    pixels = torch.randn(1, 3, 64, 64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = pixels.clone()
    both(model, pixels)
    assert torch.equal(pixels, seen)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_it_is_asked_before_each_step():
    asked = []
    tower = Tower(random_model("narrow"))
    with torch.inference_mode():
        tower(torch.randn(1, 3, 64, 64), lambda: asked.append(1))
    assert len(asked) == 12  # a convolution and two halves of a block in each of four stages
