"""The shape of the embedded model and how its weights begin.

Knows transformers' own Florence-2 class, the sizes chosen for two processor cores, and an
initialisation under which places are smooth from the first step. Does not know how it is trained.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from transformers import (
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    GenerationConfig,
)

from florence_demo.codec import BINS
from florence_demo.nano.tokenizer import CELLS, POSITIONS, SIDE


@dataclass(frozen=True)
class Sizes:
    """Hold the sizes of a model.

    Attributes:
        stages: Widths of the tower's stages, strides 4, 2, 2.
        depths: Blocks a stage; the first works on 64 x 64 cells and has none.
        width: Width of the language model.
        layers: Layers of its encoder and of its decoder.
        head: Width of an attention head.
        window: Cells a side of a window in the tower. Windows of 8 cost a quarter of windows of
            16; the blocks' convolutions and channel attention carry what crosses them.
    """

    stages: tuple[int, int, int] = (48, 96, 192)
    depths: tuple[int, int, int] = (0, 1, 2)
    width: int = 192
    layers: tuple[int, int] = (2, 2)
    head: int = 48
    window: int = 8


def build_config(processor: Florence2Processor, sizes: Sizes | None = None) -> Florence2Config:
    """Return the configuration of a model that fits a processor."""
    sizes = sizes or Sizes()
    tokenizer = processor.tokenizer
    heads = [max(1, width // 32) for width in sizes.stages]
    text = {
        "model_type": "bart",
        "vocab_size": len(tokenizer),
        "d_model": sizes.width,
        "encoder_layers": sizes.layers[0],
        "decoder_layers": sizes.layers[1],
        "encoder_ffn_dim": 2 * sizes.width,
        "decoder_ffn_dim": 2 * sizes.width,
        "encoder_attention_heads": sizes.width // sizes.head,
        "decoder_attention_heads": sizes.width // sizes.head,
        "max_position_embeddings": POSITIONS,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "scale_embedding": False,
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": tokenizer.eos_token_id,
        "forced_bos_token_id": tokenizer.bos_token_id,
        "forced_eos_token_id": tokenizer.eos_token_id,
        "tie_word_embeddings": True,
    }
    vision = {
        "embed_dim": list(sizes.stages),
        "depths": list(sizes.depths),
        "num_heads": heads,
        "num_groups": heads,
        "patch_size": [7, 3, 3],
        "patch_stride": [4, 2, 2],
        "patch_padding": [3, 1, 1],
        "patch_prenorm": [False, True, True],
        # 256 pixels make 32 and 16 cells a side: windows of 8 never pad.
        "window_size": sizes.window,
        "drop_path_rate": 0.0,
        "projection_dim": sizes.width,
        "max_position_embeddings": 50,
    }
    return Florence2Config(
        vision_config=vision,
        text_config=text,
        image_token_id=processor.image_token_id,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )


def generation_config(processor: Florence2Processor) -> GenerationConfig:
    """Return how the model decodes unless told otherwise."""
    tokenizer = processor.tokenizer
    return GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
        forced_bos_token_id=tokenizer.bos_token_id,
        forced_eos_token_id=tokenizer.eos_token_id,
        num_beams=3,
        early_stopping=False,
        # A tokenizer that spells repeats trigrams in every receipt.
        no_repeat_ngram_size=0,
        max_new_tokens=1024,
    )


def build_model(
    processor: Florence2Processor, sizes: Sizes | None = None
) -> Florence2ForConditionalGeneration:
    """Return a model with fresh weights, in fp32."""
    config = build_config(processor, sizes)
    # On these widths SDPA's backward pass is slower than plain matrix products on a processor.
    config._attn_implementation = "eager"
    model = Florence2ForConditionalGeneration(config)
    model.generation_config = generation_config(processor)
    initialise(model, processor)
    return model


@torch.no_grad()
def initialise(model: Florence2ForConditionalGeneration, processor: Florence2Processor) -> None:
    """Set the weights a training begins with: by fan-in, and sinusoids wherever a place is meant.

    Neighbouring locations begin as neighbours; with random rows each of the 1,000 would have to
    be learned on its own.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            fan_in = module.weight[0].numel()
            # A depthwise convolution is added to what it reads: at full size, eight in a row
            # would make the features grow a hundredfold.
            size = 0.1 if isinstance(module, nn.Conv2d) and module.groups > 1 else 1.0
            nn.init.trunc_normal_(module.weight, std=size * fan_in**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    language = model.model.language_model
    width = language.shared.weight.shape[1]
    small = width**-0.5
    # One matrix reads words and writes them: rows of length one make logits of a usable size.
    nn.init.normal_(language.shared.weight, std=small)
    first = processor.tokenizer.convert_tokens_to_ids("<loc_0>")
    places = sinusoids(torch.arange(BINS) + 0.5, width, longest=2.0 * BINS, shortest=16.0)
    language.shared.weight[first : first + BINS] = places * small * math.sqrt(2)
    for part in (language.encoder, language.decoder):
        table = part.embed_positions.weight
        order = sinusoids(torch.arange(len(table)).float(), width, longest=4.0 * POSITIONS)
        table.copy_(order * small)
    positions = model.model.multi_modal_projector.image_position_embed
    for table in (positions.row_embeddings.weight, positions.column_embeddings.weight):
        centres = torch.arange(len(table)) + 0.5
        table.copy_(sinusoids(centres, table.shape[1], longest=4.0 * CELLS, shortest=2.5))
    model.tie_weights()


def sinusoids(at: Tensor, width: int, *, longest: float, shortest: float = 6.0) -> Tensor:
    """Return sines and cosines (n, width) of positions (n,), wavelengths in geometric steps."""
    half = width // 2
    steps = torch.linspace(0, 1, half)
    wavelengths = shortest * (longest / shortest) ** steps
    angles = at[:, None] * (2 * math.pi / wavelengths)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def square(pixels: Tensor) -> Tensor:
    """Return pictures (B, SIDE, SIDE, 3) uint8 as normalised (B, 3, SIDE, SIDE) channels last."""
    assert pixels.shape[1:] == (SIDE, SIDE, 3), pixels.shape
    mean, std = _normal(pixels.device)
    scaled = (pixels.float() / 255 - mean) / std
    turned: Tensor = rearrange(scaled, "b row column rgb -> b rgb row column")
    return turned


# A tensor that is made anew is copied to the device while the device is waited for.
@functools.lru_cache
def _normal(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (3,) of the colours of ordinary pictures."""
    with torch.inference_mode(False):
        return (
            torch.tensor([0.485, 0.456, 0.406], device=device),
            torch.tensor([0.229, 0.224, 0.225], device=device),
        )
