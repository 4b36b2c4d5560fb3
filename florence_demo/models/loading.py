"""From a model that was found to a model in memory.

Knows devices and number formats. Does not know tasks, prompts or answers; how a folder is opened is
``checkpoints``' business. torch and transformers are imported when a model is loaded, not before.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from florence_demo.machine import in_bytes
from florence_demo.models.catalogue import ModelSpec, Named
from florence_demo.models.devices import choose_device, choose_dtype, short_dtype
from florence_demo.models.fetching import Progress
from florence_demo.models.finding import Found, find
from florence_demo.trust import OPERATOR, Trust

if TYPE_CHECKING:
    import torch

    from florence_demo.checkpoints.opening import Opened

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """Hold a model in memory with all that is needed to ask it.

    Attributes:
        spec: Where it came from.
        folder: Its files on this machine.
        model: ``Florence2ForConditionalGeneration`` in evaluation mode.
        processor: Its ``Florence2Processor``: tokenizer and image processor.
        device: Where it runs.
        dtype: Its number format, that of the pixels and of every sum.
        weight_bytes: Bytes of parameters and buffers, shared ones once; as loaded, since the
            decoder later keeps some of them in a form of its own.
        opened: What the folder turned out to be, and how to take a merged adapter out again.
        int8: Whether the large products are to be computed in int8.
    """

    spec: ModelSpec
    folder: Path
    model: Any
    processor: Any
    device: torch.device
    dtype: torch.dtype
    weight_bytes: int
    opened: Opened | None = None
    int8: bool = False

    @property
    def base(self) -> Path | None:
        """Return the folder of the model under an adapter that can be taken out again, or None.

        In int8 the weights that an adapter was added to are no longer there.
        """
        if self.int8:
            return None
        return self.opened.base.path if self.opened and self.opened.base else None

    @property
    def title(self) -> str:
        """Return the name that answers carry."""
        return self.spec.title

    def describe(self) -> str:
        """Return one line such as "Florence-2-large-ft, bf16, cuda:0, 1.6 GB"."""
        numbers = "int8" if self.int8 else short_dtype(self.dtype)
        return ", ".join((self.title, numbers, str(self.device), in_bytes(self.weight_bytes)))


def load_model(
    model: Named,
    *,
    device: str = "auto",
    dtype: str = "auto",
    trust: Trust = OPERATOR,
    progress: Progress | None = None,
) -> LoadedModel:
    """Find a model by its name in the catalogue, its folder or its hub id, and load it.

    Args:
        model: "base-ft", "./checkpoints/mine", "somebody/florence-2-docvqa", or what it is.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto", "fp32", "bf16", "fp16", "int8".
        trust: What it may do.
        progress: Called while files are downloaded and opened.

    Raises:
        CheckpointError: There is no such model, the hub cannot be reached, or the folder holds
            something else.
    """
    # Before anything is fetched for a device that is not there.
    target = choose_device(device)
    return load(find(model, trust, progress), target, dtype, progress)


def load(
    found: Found, device: torch.device, dtype: str = "auto", progress: Progress | None = None
) -> LoadedModel:
    """Load a model that was found.

    Args:
        found: Where it is and what it may do.
        device: Where it goes.
        dtype: "auto", "fp32", "bf16", "fp16", "int8".
        progress: Told that it is opened.

    Raises:
        CheckpointError: It cannot be opened whole.
    """
    from florence_demo.checkpoints.opening import open_checkpoint
    from florence_demo.machine import model_memory

    if progress:
        progress(1.0, f"Opening {found.spec.title}")
    opened = open_checkpoint(
        found.info,
        base=found.base,
        tokenizers=found.tokenizers,
        trust=found.trust,
        dtype=choose_dtype(dtype, device, found.parameters),
        device=device,
    )
    loaded = LoadedModel(
        found.spec,
        found.info.path,
        opened.model,
        opened.processor,
        device,
        next(opened.model.parameters()).dtype,
        sum(sum(kind.values()) for kind in model_memory(opened.model).values()),
        opened,
        dtype == "int8",
    )
    log.info("loaded %s", loaded.describe())
    return loaded


def switch_model(loaded: LoadedModel, found: Found) -> LoadedModel:
    """Exchange the adapter of a model for another of the same base, without reading the base.

    Args:
        loaded: A model with an adapter, which nobody uses meanwhile; it is used up.
        found: The other adapter.

    Raises:
        CheckpointError: The other adapter cannot be merged; the first one is in again.
    """
    from florence_demo.checkpoints.opening import switch_adapter

    assert loaded.opened is not None
    opened = switch_adapter(loaded.opened, found.info, found.trust)
    switched = replace(loaded, spec=found.spec, folder=found.info.path, opened=opened)
    log.info("switched %s to %s", loaded.title, switched.describe())
    return switched
