"""Checkpoints and adapters as files: the tiny model of the tests, honest, and its parts."""

from __future__ import annotations

import functools
import json
import struct
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.checkpoint_makers import Micro

Files = dict[str, bytes]
Header = dict[str, Any]


@functools.cache
def micro() -> Micro:
    """The tiny model."""
    import torch

    torch.manual_seed(0)
    return Micro()


@functools.cache
def native() -> Files:
    """It in the layout of transformers."""
    with tempfile.TemporaryDirectory() as folder:
        return _files(micro().native(Path(folder, "it")))


@functools.cache
def original() -> Files:
    """It in the layout of 2024."""
    with tempfile.TemporaryDirectory() as folder:
        return _files(micro().original(Path(folder, "it")))


def _files(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def settings(files: Files, name: str) -> Any:
    """A fresh copy of what a JSON file of a checkpoint holds."""
    return json.loads(files[name])


@functools.cache
def adapter(kind: str = "plain") -> Files:
    """A LoRA adapter of the tiny model, as PEFT writes it."""
    import torch
    from safetensors.torch import save

    q = "base_model.model.model.language_model.encoder.layers.0.self_attn.q_proj"
    fc = "base_model.model.model.vision_tower.blocks.0.0.channel_block.ffn.fc2"
    if kind == "2024":
        q = "base_model.model.language_model.model.encoder.layers.0.self_attn.q_proj"
        fc = "base_model.model.vision_tower.blocks.0.0.channel_block.ffn.fn.net.fc2"
    torch.manual_seed(1)
    tensors = {
        f"{q}.lora_A.weight": torch.randn(2, 16), f"{q}.lora_B.weight": torch.randn(16, 2),
        f"{fc}.lora_A.weight": torch.randn(2, 32), f"{fc}.lora_B.weight": torch.randn(8, 2),
    }  # fmt: skip
    if kind == "dora":
        tensors |= {
            f"{q}.lora_magnitude_vector": torch.ones(16),
            f"{fc}.lora_magnitude_vector": torch.ones(8),
        }
    config: dict[str, Any] = {
        "peft_type": "LORA", "task_type": None, "base_model_name_or_path": "base", "r": 2,
        "lora_alpha": 6, "target_modules": ["q_proj", "fc2"], "lora_dropout": 0.05, "bias": "none",
        "use_dora": kind == "dora", "use_rslora": False, "rank_pattern": {}, "alpha_pattern": {},
        "modules_to_save": None, "layers_to_transform": None, "inference_mode": True,
        "init_lora_weights": True, "fan_in_fan_out": False,
    }  # fmt: skip
    return {
        "adapter_config.json": json.dumps(config).encode(),
        "adapter_model.safetensors": save(tensors, metadata={"format": "pt"}),
    }


# -- safetensors: eight bytes of length, a JSON header, the numbers -------------------------------


def header_of(data: bytes) -> Header:
    """The header of a safetensors file."""
    (size,) = struct.unpack("<Q", data[:8])
    header: Header = json.loads(data[8 : 8 + size])
    return header


def with_header(data: bytes, header: bytes, *, length: int | None = None) -> bytes:
    """A safetensors file with another header, and with any word about its length."""
    (size,) = struct.unpack("<Q", data[:8])
    said = len(header) if length is None else length
    return struct.pack("<Q", said % (1 << 64)) + header + data[8 + size :]


def with_numbers(data: bytes, byte: bytes) -> bytes:
    """A safetensors file all of whose numbers are made of one byte."""
    start = 8 + struct.unpack("<Q", data[:8])[0]
    return data[:start] + byte * (len(data) - start)


def tensors_of(shapes: Mapping[str, Sequence[int]], kind: str = "F32") -> bytes:
    """A safetensors file of zeros."""
    header: Header = {}
    at, width = (
        0,
        {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "F8_E4M3": 1, "BOOL": 1}[kind],
    )
    for name, shape in shapes.items():
        size = width
        for side in shape:
            size *= side
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    packed = json.dumps(header).encode()
    return struct.pack("<Q", len(packed)) + packed + bytes(at)
