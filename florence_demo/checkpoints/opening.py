"""Open any Florence-2 checkpoint that was looked into (``inspection``).

Knows in which order the parts work: rename (``names``), fill (``weights``), add a processor
(``processors``), merge an adapter (``adapters``). Looks for nothing: a base and where a tokenizer
may be are given to it. Never runs or imports anything of a folder and never changes it.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from florence_demo.checkpoints.adapter_config import read_adapter_config
from florence_demo.checkpoints.adapters import Merge, merge_adapter
from florence_demo.checkpoints.config import admitted_generation
from florence_demo.checkpoints.cost import check_cost
from florence_demo.checkpoints.info import CheckpointInfo, StoredTensor, called
from florence_demo.checkpoints.inspection import (
    contradictions,
    native_settings,
    native_shapes,
    read_headers,
    read_model,
)
from florence_demo.checkpoints.names import native_generation
from florence_demo.checkpoints.processors import load_processor, picture_settings
from florence_demo.checkpoints.reading import brief, read_json, reading
from florence_demo.checkpoints.weights import empty_model, fill, stored_dtype
from florence_demo.errors import CheckpointError, plain
from florence_demo.trust import OPERATOR, Trust

if TYPE_CHECKING:
    import torch
    from transformers import (
        Florence2ForConditionalGeneration,
        Florence2Processor,
        GenerationConfig,
    )

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Opened:
    """Hold an opened checkpoint.

    Attributes:
        model: The model, in eval mode.
        processor: Its processor; ``processor.image_token`` stands for a picture's token and must
            not occur in a person's text.
        info: What it is; ``problems`` holds what a person should know.
        base: Where an adapter is merged, what its base is.
        merge: Where an adapter is merged, how to take it out.
    """

    model: Florence2ForConditionalGeneration
    processor: Florence2Processor
    info: CheckpointInfo
    base: CheckpointInfo | None = None
    merge: Merge | None = None


def open_checkpoint(
    info: CheckpointInfo,
    *,
    base: CheckpointInfo | None = None,
    tokenizers: Iterable[Path] = (),
    trust: Trust = OPERATOR,
    dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
) -> Opened:
    """Return the model and the processor of any Florence-2 checkpoint or adapter.

    Args:
        info: A native or a 2024 checkpoint, or a LoRA adapter over either.
        base: What an adapter changes.
        tokenizers: Folders to take a tokenizer from where the model has none, looked at in turn.
        trust: Whether it may be pickled, and what a question to it may take.
        dtype: Type of the parameters; None keeps the stored one.
        device: Where they go.

    Raises:
        CheckpointError: If it cannot be opened whole; the sentence says why.
    """
    if info.layout == "adapter":
        if base is None:
            base_called = called(info.base or "another model")
            beside = PurePath((info.base or "of that model").partition("@")[0]).name
            raise CheckpointError(
                f"{info.path.name} is an adapter of {base_called}, which is not"
                f" here: put the folder {plain(beside, 200)} beside it."
            )
        how: dict[str, Any] = {"tokenizers": tokenizers, "dtype": dtype, "device": device}
        return switch_adapter(open_checkpoint(base, trust=trust, **how), info, trust)
    folder = info.path
    with reading(folder), stored_tensors(info, trust) as tensors:
        config, picture = settings_of(folder, info, tensors)
        check_cost(config, picture, info.parameters, trust.cost)
        processor = load_processor(folder, config, picture, tokenizers)
        model = empty_model(config)
        model.config.image_token_id = processor.image_token_id
        notes = fill(model, tensors, dtype or stored_dtype(info.dtype), device)
        ready(model, folder, info)
    log.info("opened %s: %s, %s parameters", folder.name, info.layout, f"{info.parameters:,}")
    return Opened(model, processor, replace(info, problems=(*info.problems, *notes)))


def settings_of(
    folder: Path, info: CheckpointInfo, tensors: list[StoredTensor]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the configuration, checked against the weights, and the picture's settings."""
    config = native_settings(read_json(folder / "config.json"), info.layout)
    for problem in contradictions(config, native_shapes(tensors)):
        raise CheckpointError(f"{folder.name} contradicts itself: {problem}")
    return config, picture_settings(folder, config)


def ready(model: Florence2ForConditionalGeneration, folder: Path, info: CheckpointInfo) -> None:
    """Set what a filled model needs to generate: its type, and its folder's settings."""
    model.config.dtype = model.dtype
    model.generation_config = _generation(folder, info, model.config.text_config.vocab_size)
    model.eval()


def switch_adapter(opened: Opened, info: CheckpointInfo | None, trust: Trust = OPERATOR) -> Opened:
    """Take the merged adapter out of a model and merge another, without reading the base again.

    Nobody may use the model meanwhile. If the new adapter cannot be merged, the one in use stays.

    Args:
        opened: A base, or a base with an adapter merged; it is used up.
        info: The new adapter; None leaves the base alone.
        trust: Whether it may be pickled.

    Raises:
        CheckpointError: If it is no adapter, or not one of this base.
    """
    base = opened.base or opened.info
    if info is None:
        if opened.merge is not None:
            opened.merge.toggle(opened.model)
        return Opened(opened.model, opened.processor, base)
    folder = info.path
    if info.layout != "adapter":
        raise CheckpointError(f"{folder.name} is a whole model, not an adapter of one.")
    with reading(folder), stored_tensors(info, trust) as tensors:
        config = read_adapter_config(read_json(folder / "adapter_config.json"))
        merge = merge_adapter(opened.model, tensors, config, instead_of=opened.merge)
    log.info("merged %s into %s", folder.name, base.path.name)
    info = replace(info, size=base.size, tokens=base.tokens)
    return Opened(opened.model, opened.processor, info, base, merge)


@contextmanager
def stored_tensors(info: CheckpointInfo, trust: Trust) -> Iterator[list[StoredTensor]]:
    """Yield a checkpoint's tensors; those of a pickle from a private copy that goes afterwards."""
    files = [info.path / name for name in info.files]
    read = read_headers if info.layout == "adapter" else read_model
    if not info.pickled:
        yield read(files)
        return
    if not trust.pickle:
        raise CheckpointError(f"{info.path.name} was not opened. {info.problems[0]}")
    from florence_demo.checkpoints.pickles import unpickled

    with tempfile.TemporaryDirectory(prefix="florence-demo-") as private:
        yield read(unpickled(files, Path(private)))


def _generation(folder: Path, info: CheckpointInfo, tokens: int) -> GenerationConfig:
    from transformers import GenerationConfig

    file = folder / "generation_config.json"
    saved = read_json(file) if file.is_file() else {}
    # A native folder without the file generates with its token ids alone.
    if info.layout != "native" or not saved:
        saved = native_generation(read_json(folder / "config.json"), saved)
    try:
        return GenerationConfig(**admitted_generation(saved, tokens))
    except (ValueError, TypeError) as exc:  # two values that do not go together
        raise CheckpointError(f"generation_config.json cannot be used ({brief(exc)}).") from exc
