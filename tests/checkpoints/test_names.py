"""The map between the layouts: complete, one to one, and quiet about names it does not know."""

from __future__ import annotations

import json

import pytest

from florence_demo.checkpoints.names import (
    FLORENCE_TOKENS,
    holder,
    native_config,
    native_generation,
    native_name,
    unwrapped,
)
from florence_demo.errors import CheckpointError

M, T = "model.multi_modal_projector.", "vision_tower.blocks.2.8."
NAMES = {
    "language_model.model.encoder.fc1.bias": "model.language_model.encoder.fc1.bias",
    "language_model.lm_head.weight": "lm_head.weight",
    "language_model.final_logits_bias": None,
    "vision_tower.convs.3.proj.weight": "model.vision_tower.convs.3.conv.weight",
    "vision_tower.convs.3.norm.weight": "model.vision_tower.convs.3.norm.weight",
    f"{T}spatial_block.conv1.fn.dw.weight": f"model.{T}spatial_block.conv1.weight",
    f"{T}channel_block.conv2.fn.dw.bias": f"model.{T}channel_block.conv2.bias",
    f"{T}spatial_block.window_attn.norm.weight": f"model.{T}spatial_block.norm1.weight",
    f"{T}channel_block.channel_attn.norm.bias": f"model.{T}channel_block.norm1.bias",
    f"{T}spatial_block.window_attn.fn.qkv.weight": f"model.{T}spatial_block.window_attn.qkv.weight",
    f"{T}channel_block.channel_attn.fn.proj.bias": f"model.{T}channel_block.channel_attn.proj.bias",
    f"{T}spatial_block.ffn.norm.weight": f"model.{T}spatial_block.norm2.weight",
    f"{T}channel_block.ffn.fn.net.fc2.bias": f"model.{T}channel_block.ffn.fc2.bias",
    "vision_tower.head.weight": None,
    "vision_tower.norms.weight": None,
    "image_projection": f"{M}image_projection.weight",
    "image_proj_norm.weight": f"{M}image_proj_norm.weight",
    "image_pos_embed.row_embeddings.weight": f"{M}image_position_embed.row_embeddings.weight",
    "visual_temporal_embed.pos_idx_to_embed": f"{M}visual_temporal_embed.pos_idx_to_embed",
    "bert.pooler.weight": "bert.pooler.weight",
}


@pytest.mark.parametrize(("original", "native"), NAMES.items())
def test_names(original, native):
    assert native_name(original) == native
    if native is not None:
        assert native_name(native) == native


def test_wrappers_go():
    assert unwrapped("module._orig_mod.image_projection") == "image_projection"
    inner = "_fsdp_wrapped_module.model.encoder._checkpoint_wrapped_module.fc1._orig_mod.bias"
    assert unwrapped(inner) == "model.encoder.fc1.bias"
    assert unwrapped("my_orig_mod.bias") == "my_orig_mod.bias"


def test_a_native_checkpoint_is_held_by_nothing():
    # Without its head, which is tied, every one of its names begins with "model.".
    names = [name for name in NAMES.values() if name and name.startswith("model.")]
    assert holder(names) == ""
    assert holder([f"model.{name}" for name in names]) == "model."
    assert holder([]) == ""


def test_the_thousand_and_twenty_four_tokens():
    assert len(FLORENCE_TOKENS) == len(set(FLORENCE_TOKENS)) == 1024
    ids = {name: 50265 + i for i, name in enumerate(FLORENCE_TOKENS)}
    assert (ids["<loc_0>"], ids["<loc_999>"], ids["<and>"]) == (50269, 51268, 51288)


def test_generation_fields_of_a_silent_text_config():
    config = {"text_config": {"d_model": 8}}
    told = native_generation(config, {"num_beams": 5, "bos_token_id": 2, "forced_bos_token_id": 9})
    assert told["num_beams"] == 5
    assert (told["bos_token_id"], told["pad_token_id"], told["eos_token_id"]) == (0, 1, 2)
    assert told["forced_bos_token_id"] is None
    assert told["no_repeat_ngram_size"] == 0
    said = native_generation({"text_config": {"num_beams": 3, "early_stopping": True}}, told)
    assert (said["num_beams"], said["early_stopping"]) == (3, True)


@pytest.mark.parametrize("section", ["text_config", "vision_config"])
def test_a_config_without_a_section_is_refused(section):
    config = {"text_config": {}, "vision_config": {}}
    del config[section]
    with pytest.raises(CheckpointError, match=section):
        native_config(config)


@pytest.mark.golden
@pytest.mark.parametrize("size", ["base", "large", "tiny"])
def test_true_configs(golden, size):
    config = json.loads((golden / "hub-form" / f"config.{size}.json").read_text())
    native = native_config(config)
    assert native["vision_config"]["embed_dim"] == config["vision_config"]["dim_embed"]
    assert native["text_config"]["vocab_size"] == 51289
    assert native["text_config"]["model_type"] == "bart"
    assert native_generation(config)["no_repeat_ngram_size"] == 3
