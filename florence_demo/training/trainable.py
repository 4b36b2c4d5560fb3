"""What of a model learns: everything, all but the vision tower, or a low-rank adapter.

Knows Florence-2's parts by name. Does not know data, optimisers or runs.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from florence_demo.errors import DatasetError
from florence_demo.training.quantizing import unpacked
from florence_demo.training.sharded import wanted, whole

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Mode = Literal["language", "full", "lora"]
MODES: dict[Mode, str] = {
    "language": "all but the vision tower, as the 2024 article meant it",
    "full": "every weight, the vision tower too",
    "lora": "small adapters in the language model, merged at the end",
}

# Anchored at the language model: bare "fc1" and "fc2" would also hit the vision tower.
LORA_TARGETS = r".*language_model\.(encoder|decoder)\..*(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"


def freeze(module: nn.Module) -> None:
    """Take a module out of training for good: no gradient, and never in training mode.

    Without the second, a tower of Florence-2 drops whole paths at random in ``train()``, and what
    the rest learns from changes at each look.
    """
    module.requires_grad_(False)
    module.eval()
    # The Trainer calls model.train() before each step, which reaches every part by this method.
    module.train = functools.partial(_stay, module)  # type: ignore[method-assign]


def _stay(module: nn.Module, _mode: bool = True) -> nn.Module:
    return module


def accept_features(model: Any) -> None:
    """Let a batch carry image features (B, tokens, D) where pixels (B, 3, H, W) would be."""
    inner = model.model
    inner.get_image_features = functools.partial(_features_or_pixels, inner.get_image_features)


def _features_or_pixels(original: Any, pixel_values: Tensor, **kwargs: Any) -> Any:
    if pixel_values.dim() == 3:
        return SimpleNamespace(pooler_output=pixel_values)
    return original(pixel_values, **kwargs)


def prepare(
    model: Any,
    mode: Mode,
    *,
    cached: bool = False,
    rank: int = 8,
    alpha: int | None = None,
    dropout: float = 0.05,
    base: tuple[str, str | None] | None = None,
) -> Any:
    """Return the model to train; its frozen parts are frozen for real.

    Args:
        model: ``Florence2ForConditionalGeneration`` in float32.
        mode: What learns.
        cached: Whether image features come from a cache, which freezes the projector too.
        rank: Of the LoRA adapter.
        alpha: What it is multiplied by, times its rank; None takes twice the rank.
        dropout: Of the LoRA adapter's input.
        base: What the LoRA adapter calls the model: its name or folder, and the revision. An
            adapter that does not name its base cannot be opened again.

    Raises:
        DatasetError: Cached features and a vision tower that learns contradict each other.
    """
    import torch

    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    if mode == "full" and cached:
        raise DatasetError(
            "Cached image features need a frozen vision tower: leave out the cache, or train"
            " “language” or “lora”."
        )
    if mode != "full":
        freeze(model.model.vision_tower)
        # Parts are cut of weights that lie as usual.
        if not torch.cuda.is_available() and not wanted():
            # The same numbers in nine tenths of the time.
            model.model.vision_tower.to(memory_format=torch.channels_last)
    if cached:
        freeze(model.model.multi_modal_projector)
        accept_features(model)
    if mode != "lora":
        return model
    from peft import LoraConfig, get_peft_model

    freeze(model.model.multi_modal_projector)
    settings = LoraConfig(
        r=rank,
        lora_alpha=alpha or 2 * rank,
        lora_dropout=dropout,
        target_modules=LORA_TARGETS,
        bias="none",
    )
    adapted = get_peft_model(model, settings)
    if base:
        # Afterwards: peft takes the name that the model carries, and a loaded one carries none.
        settings.base_model_name_or_path, settings.revision = base
    return adapted


def count(model: nn.Module) -> tuple[int, int]:
    """Return the number of parameters that learn, and of all, tied ones once."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, learns in sizes if learns), sum(n for n, _ in sizes)


def plain_copy(model: Any, dtype: torch.dtype | None = None, device: Any = None) -> Any:
    """Return a native copy that shares nothing with the model, adapters merged.

    The model itself is left as it is to the last bit, so that measuring does not change a run.
    Where its weights are in parts, all processes ask.
    """
    import torch
    from transformers import Florence2ForConditionalGeneration

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    with torch.device("meta"):
        copy = Florence2ForConditionalGeneration(base.config)
    state = {
        name: whole(tensor).detach().to(device=device, dtype=dtype, copy=True)
        for name, tensor in _merged(base).items()
    }
    copy.load_state_dict(state, strict=True, assign=True)
    copy.tie_weights()
    copy.generation_config = base.generation_config
    return copy.eval()


def _merged(base: Any) -> dict[str, Tensor]:
    """Return the state by native names, each adapted weight with its adapter added."""
    modules = dict(base.named_modules())
    state: dict[str, Tensor] = {}
    for name, tensor in base.state_dict().items():
        if ".lora_" in name:
            continue
        if ".base_layer." in name:
            layer_name, leaf = name.split(".base_layer.")
            if leaf not in ("weight", "bias"):
                continue  # how a packed weight is unpacked
            layer = modules[layer_name]
            if leaf == "weight":
                tensor = unpacked(layer.base_layer)
                tensor = tensor + sum(
                    layer.get_delta_weight(adapter).to(tensor) for adapter in layer.active_adapters
                )
            name = f"{layer_name}.{leaf}"
        state[name] = tensor
    return state
