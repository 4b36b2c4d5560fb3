"""Checkpoints for tests: a tiny native model, written natively and in the 2024 layout."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from florence_demo.checkpoints.converting import convert_checkpoint
from florence_demo.checkpoints.info import CheckpointInfo
from florence_demo.checkpoints.inspection import inspect_checkpoint
from florence_demo.checkpoints.opening import Opened, open_checkpoint
from florence_demo.trust import OPERATOR
from tests.micro_florence import micro_model, micro_processor

Tensors = dict[str, torch.Tensor]

PICKLES = replace(OPERATOR, pickle=True)
"""The trust of an operator who allows pickles."""


def open_folder(folder: Path, base: Path | None = None, **how: Any) -> Opened:
    """Look into a folder, and its base's, and open it."""
    looked = None if base is None else inspect_checkpoint(base)
    return open_checkpoint(inspect_checkpoint(folder), base=looked, **how)


def convert_folder(
    folder: Path, target: Path, base: Path | None = None, **how: Any
) -> CheckpointInfo:
    """Look into a folder, and its base's, and convert it."""
    looked = None if base is None else inspect_checkpoint(base)
    return convert_checkpoint(inspect_checkpoint(folder), target, base=looked, **how)


_BACK = (
    (r"^model\.language_model\.", "language_model.model."),
    (r"^lm_head\.", "language_model.lm_head."),
    (r"^model\.multi_modal_projector\.image_projection\.weight$", "image_projection"),
    (r"^model\.multi_modal_projector\.image_proj_norm\.", "image_proj_norm."),
    (r"^model\.multi_modal_projector\.image_position_embed\.", "image_pos_embed."),
    (r"^model\.multi_modal_projector\.visual_temporal_embed\.", "visual_temporal_embed."),
    (r"^model\.vision_tower\.convs\.(\d+)\.conv\.", r"vision_tower.convs.\1.proj."),
    (r"^model\.vision_tower\.", "vision_tower."),
    (r"_block\.(conv\d)\.", r"_block.\1.fn.dw."),
    (r"spatial_block\.norm1\.", "spatial_block.window_attn.norm."),
    (r"channel_block\.norm1\.", "channel_block.channel_attn.norm."),
    (r"\.(window_attn|channel_attn)\.(qkv|proj)\.", r".\1.fn.\2."),
    (r"\.norm2\.", ".ffn.norm."),
    (r"\.ffn\.(fc1|fc2)\.", r".ffn.fn.net.\1."),
)


def original_name(name: str) -> str:
    for pattern, replacement in _BACK:
        name = re.sub(pattern, replacement, name)
    return name


def original_tensors(model: Any) -> Tensors:
    """The weights of a native model under their 2024 names, tied ones once."""
    tied = {"lm_head.weight"} | {
        f"model.language_model.{side}.embed_tokens.weight" for side in ("encoder", "decoder")
    }
    tensors = {original_name(k): v for k, v in model.state_dict().items() if k not in tied}
    tensors["image_projection"] = tensors["image_projection"].t()
    rows = model.config.text_config.vocab_size
    tensors["language_model.final_logits_bias"] = torch.zeros(1, rows)
    return {name: value.detach().clone().contiguous() for name, value in tensors.items()}


def original_config(model: Any) -> dict[str, Any]:
    """The config.json that the 2024 script would have saved for a native model."""
    vision = model.config.vision_config.to_dict()
    text = model.config.text_config.to_dict()
    vision["dim_embed"] = vision.pop("embed_dim")
    vision["model_type"] = ""
    vision["image_pos_embed"] = {
        "type": "learned_abs_2d",
        "max_pos_embeddings": vision.pop("max_position_embeddings"),
    }
    vision["visual_temporal_embedding"] = {
        "type": "COSINE",
        "max_temporal_embeddings": vision.pop("max_temporal_embeddings"),
    }
    vision["image_feature_source"] = ["spatial_avg_pool", "temporal_avg_pool"]
    text |= {
        "model_type": "florence2_language",
        "num_beams": 3,
        "early_stopping": True,
        "no_repeat_ngram_size": 3,
        "forced_bos_token_id": 0,
        "forced_eos_token_id": 2,
    }
    return {
        "model_type": "florence2",
        "auto_map": {"AutoConfig": "configuration_florence2.Florence2Config"},
        "bos_token_id": 2,
        "eos_token_id": 1,
        "pad_token_id": 0,
        "text_config": text,
        "vision_config": vision,
        "torch_dtype": "float32",
    }


class Micro:
    """One tiny native model, and ways to write it."""

    def __init__(self) -> None:
        self.processor = micro_processor()
        self.model = micro_model(self.processor)
        for name, value in self.model.named_parameters():
            # Biases and norms begin as zeros and ones, which would hide a swapped pair.
            if value.ndim == 1:
                torch.nn.init.normal_(value, std=0.2, mean=1.0 if "norm" in name else 0.0)

    def native(self, folder: Path) -> Path:
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        return folder

    def original(self, folder: Path, *, tensors: Tensors | None = None, **changes: Any) -> Path:
        """Write the 2024 layout; ``changes`` go into config.json."""
        folder.mkdir(parents=True)
        save_file(
            original_tensors(self.model) if tensors is None else tensors,
            folder / "model.safetensors",
            metadata={"format": "pt"},
        )
        config = original_config(self.model)
        for key, value in changes.items():
            section, _, field = key.rpartition("__")
            (config[section] if section else config)[field] = value
        write_json(folder / "config.json", config)
        self.tokenizer(folder)
        return folder

    def tokenizer(self, folder: Path) -> None:
        self.processor.tokenizer.save_pretrained(folder)
        (folder / "tokenizer_config.json").write_text('{"model_max_length": 1024}')
        write_json(
            folder / "preprocessor_config.json",
            {
                "auto_map": {"AutoProcessor": "processing_florence2.Florence2Processor"},
                "image_processor_type": "CLIPImageProcessor",
                "size": {"height": 32, "width": 32},
                "crop_size": {"height": 32, "width": 32},
                "do_center_crop": False,
                "do_convert_rgb": None,
                "image_mean": [0.5] * 3,
                "image_std": [0.5] * 3,
                "image_seq_length": 577,
            },
        )


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def edit_json(path: Path, **changes: Any) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**value, **changes})


def copied(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    return target
