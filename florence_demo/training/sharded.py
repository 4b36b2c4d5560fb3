"""Weights of which each process has a part (FSDP): whether a run's are so, and the whole of them.

Knows what accelerate's launcher says by the environment, and torch's tensors in parts. Whatever
puts a tensor together asks all processes: each of them has to come here. Does not know steps.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from florence_demo.errors import DatasetError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import TrainingArguments


def wanted() -> bool:
    """Say whether the launcher asks for weights in parts."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def check_sharding(mode: str) -> None:
    """Refuse what cannot be learned in parts.

    Raises:
        DatasetError: The launcher asks for parts, and the run for something else.
    """
    if not wanted():
        return
    if os.environ.get("FSDP_VERSION") != "2":
        raise DatasetError("Weights in parts need “fsdp_version: 2” in accelerate's configuration.")
    if mode == "lora":
        raise DatasetError(
            "An adapter is too small to be cut into parts: start LoRA with torchrun, as docs/"
            "cluster.md shows, or learn “language” or “full”."
        )


def allow_on_processors(args: TrainingArguments) -> None:
    """Let accelerate cut weights on processors, too.

    torch does it there as on GPUs. accelerate only looks for it where there is an accelerator
    (``AcceleratorState.__init__``), and elsewhere gives each process the whole, without a word.
    """
    from accelerate import DistributedType, PartialState

    if wanted() and args.device.type == "cpu" and args.world_size > 1:
        shared: dict[str, Any] = PartialState._shared_state
        shared["distributed_type"] = DistributedType.MULTI_XPU


def keep_tied_together(model: Any) -> None:
    """Keep accelerate from cutting a table apart that stands in four places.

    It makes a group of the first and the last layer, which often share their weights. Florence-2's
    table is also the encoder's and the decoder's, and torch refuses a weight in two groups. Where
    the model names neither layer, all four places are in the outermost group.
    """
    if wanted():
        model.get_input_embeddings = model.get_output_embeddings = lambda: None


def in_parts(model: nn.Module) -> bool:
    """Say whether a model's weights are in parts."""
    return any(hasattr(p, "full_tensor") for p in model.parameters())


def own_part(tensor: Any) -> Tensor:
    """Return what this process has of a tensor, the whole where there are no parts."""
    part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part


def whole(tensor: Any) -> Tensor:
    """Return the whole of a tensor; all processes ask."""
    found: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return found
