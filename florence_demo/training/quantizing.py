"""Weights in four bits beneath an adapter (QLoRA), where bitsandbytes serves on this machine.

Knows which layers are packed and how they are unpacked again. bitsandbytes is nobody's requirement:
who wants it installs it.
"""

from __future__ import annotations

import re
from typing import Any

from florence_demo.errors import DatasetError

_NEEDED = (
    "Weights in four bits need bitsandbytes, which is not here: run `pip install bitsandbytes`, or"
    " leave out quantize."
)
_FAILED = (
    "bitsandbytes is here, but packs no weights on this machine ({}): leave out quantize, which"
    " saves memory and nothing else."
)


def quantize(model: Any, targets: str, kind: str, device: Any) -> None:
    """Pack the layers that an adapter is for; the rest of the model stays as it is.

    Args:
        model: ``Florence2ForConditionalGeneration`` in float32; packed where it is.
        targets: A pattern of the layers' names.
        kind: What bitsandbytes calls the format: nf4.
        device: Where it will learn.

    Raises:
        DatasetError: bitsandbytes is not here, or does not serve on this machine.
    """
    import torch

    try:
        from bitsandbytes.nn import Linear4bit
    except ImportError as exc:
        raise DatasetError(_NEEDED) from exc
    try:
        for name, layer in list(model.named_modules()):
            if not (re.fullmatch(targets, name) and isinstance(layer, torch.nn.Linear)):
                continue
            packed = Linear4bit(
                layer.in_features,
                layer.out_features,
                layer.bias is not None,
                compute_dtype=torch.float32,
                quant_type=kind,
            )
            packed.load_state_dict(layer.state_dict())
            # It packs on the way to a device, also to the one where it is.
            packed = packed.to(device)
            packed(torch.zeros(1, layer.in_features, device=device))
            outer, _, own = name.rpartition(".")
            setattr(model.get_submodule(outer), own, packed.requires_grad_(False))
    except Exception as exc:  # whatever a library built for other machines raises here
        raise DatasetError(_FAILED.format(f"{type(exc).__name__}: {exc}"[:200])) from exc


def unpacked(layer: Any) -> Any:
    """Return a layer's weight as float32 (out, in), whether it is packed or not."""
    weight = layer.weight
    state = getattr(weight, "quant_state", None)
    if state is None:
        return weight
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(weight.data, state).float()
