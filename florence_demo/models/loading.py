"""The models one can ask for by name, and the way from a name to a model in memory.

Knows the catalogue, devices and number formats. Does not know tasks, prompts or answers;
what a folder holds and how to open it is ``checkpoints``' business. torch and transformers are
imported when a model is loaded, not before.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from florence_demo.machine import in_bytes
from florence_demo.models.hub import Progress

if TYPE_CHECKING:
    import torch

    from florence_demo.checkpoints.opening import Opened
from florence_demo.models.catalogue import ModelSpec, resolve_spec
from florence_demo.models.devices import choose_device, choose_dtype, short_dtype
from florence_demo.models.finding import VISITOR_BYTES, count_parameters, fetch, folder_of

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
    name: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    progress: Progress | None = None,
    trusted: bool = True,
    open_hub: bool = True,
    allow_pickle: bool = False,
) -> LoadedModel:
    """Load a model by its name in the catalogue, its folder or its hub id.

    Args:
        name: "base-ft", "./checkpoints/mine", "somebody/florence-2-docvqa".
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto", "fp32", "bf16", "fp16", "int8".
        progress: Called while files are downloaded and opened.
        trusted: Whether the folder may name other folders of this machine, as an adapter names its
            base, and whether a download and a question may take any amount; a visitor's may not.
        open_hub: Whether it may name any model of the hub as its base, or the catalogue's alone.
        allow_pickle: Whether pickled weights may be read, in a process of their own.

    Raises:
        CheckpointError: There is no such model, the hub cannot be reached, or the folder holds
            something else.
    """
    from florence_demo.checkpoints.cost import VISITORS
    from florence_demo.checkpoints.opening import open_checkpoint
    from florence_demo.machine import model_memory

    spec = resolve_spec(name)
    target = choose_device(device)
    folder = Path(spec.source)
    if not folder.is_dir():
        folder = fetch(spec, progress, None if trusted else VISITOR_BYTES)
    if progress:
        progress(1.0, f"Opening {spec.title}")

    def resolve_base(base: str) -> Path:
        return folder_of(
            base,
            progress,
            paths=trusted,
            open_hub=open_hub,
            max_bytes=None if trusted else VISITOR_BYTES,
        )

    opened = open_checkpoint(
        folder,
        dtype=choose_dtype(dtype, target, count_parameters(folder, resolve_base)),
        device=str(target),
        resolve_base=resolve_base,
        tokenizers=None if trusted else (),
        limit=None if trusted else VISITORS,
        allow_pickle=allow_pickle,
    )
    loaded = LoadedModel(
        spec,
        folder,
        opened.model,
        opened.processor,
        target,
        next(opened.model.parameters()).dtype,
        sum(sum(kind.values()) for kind in model_memory(opened.model).values()),
        opened,
        dtype == "int8",
    )
    log.info("loaded %s", loaded.describe())
    return loaded


def switch_model(loaded: LoadedModel, name: str, *, allow_pickle: bool = False) -> LoadedModel:
    """Exchange the adapter of a model for another of the same base, without reading the base.

    Args:
        loaded: A model with an adapter, which nobody uses meanwhile; it is used up.
        name: The other adapter's folder.
        allow_pickle: As for ``load_model``.

    Raises:
        CheckpointError: The other adapter cannot be merged; the first one is in again.
    """
    from florence_demo.checkpoints.opening import switch_adapter

    assert loaded.opened is not None
    spec = resolve_spec(name)
    folder = Path(spec.source)
    opened = switch_adapter(loaded.opened, folder, allow_pickle=allow_pickle)
    switched = replace(loaded, spec=spec, folder=folder, opened=opened)
    log.info("switched %s to %s", loaded.title, switched.describe())
    return switched
