"""Open any Florence-2 checkpoint, and write it as a native one.

Knows in which order the parts work: look (``inspection``), rename (``names``),
fill (``weights``), add a processor (``processors``). Never runs or imports anything of a folder and
never changes it. The functions that a folder is only looked at with need no torch.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from florence_demo.checkpoints.adapter_config import read_adapter_config
from florence_demo.checkpoints.adapters import Merge, merge_adapter
from florence_demo.checkpoints.config import admitted_generation
from florence_demo.checkpoints.cost import Cost, check_cost
from florence_demo.checkpoints.info import CheckpointInfo, StoredTensor
from florence_demo.checkpoints.inspection import (
    contradictions,
    inspect_checkpoint,
    native_settings,
    native_shapes,
    read_headers,
)
from florence_demo.checkpoints.names import native_generation
from florence_demo.checkpoints.processors import load_processor, picture_settings
from florence_demo.checkpoints.reading import brief, read_json, reading
from florence_demo.checkpoints.weights import empty_model, fill, stored_dtype
from florence_demo.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from transformers import (
        Florence2ForConditionalGeneration,
        Florence2Processor,
        GenerationConfig,
    )

log = logging.getLogger(__name__)

ResolveBase = Callable[[str], Path]

MAX_BESIDE = 500
"""Folders looked into for a tokenizer beside a checkpoint that has none."""


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
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
    resolve_base: ResolveBase | None = None,
    allow_pickle: bool = False,
    tokenizers: Iterable[Path] | None = None,
    limit: Cost | None = None,
) -> Opened:
    """Return the model and the processor of any Florence-2 checkpoint or adapter.

    Args:
        folder: A native or a 2024 checkpoint, or a LoRA adapter over either.
        dtype: Type of the parameters; None keeps the stored one.
        device: Where they go.
        resolve_base: Returns the folder of a model by its name, for an adapter's base and for a
            tokenizer that is lacking; raises CheckpointError where it cannot.
        allow_pickle: Whether the operator allows a ``pytorch_model.bin`` from this place.
        tokenizers: Folders to take a tokenizer from where this one has none; None looks into the
            folders beside it, which is not for a visitor's upload.
        limit: What a question to it may take; None, for an operator's own, is any amount.

    Raises:
        CheckpointError: If it cannot be opened whole; the sentence says why.
    """
    folder = Path(folder)
    info = inspect_checkpoint(folder)
    if info.layout == "adapter":
        opened = open_checkpoint(
            _base_of(info, resolve_base),
            dtype=dtype,
            device=device,
            resolve_base=resolve_base,
            allow_pickle=allow_pickle,
            tokenizers=tokenizers,
            limit=limit,
        )
        return switch_adapter(opened, folder, allow_pickle=allow_pickle)
    others = _other_folders(info, tokenizers, resolve_base)
    with reading(folder), stored_tensors(info, allow_pickle) as tensors:
        config, picture = settings_of(folder, info, tensors)
        check_cost(config, picture, info.parameters, limit)
        processor = load_processor(folder, config, picture, others)
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


def switch_adapter(opened: Opened, folder: Path | None, *, allow_pickle: bool = False) -> Opened:
    """Take the merged adapter out of a model and merge another, without reading the base again.

    Nobody may use the model meanwhile. If the new adapter cannot be merged, the one in use stays.

    Args:
        opened: A base, or a base with an adapter merged; it is used up.
        folder: The new adapter; None leaves the base alone.
        allow_pickle: Whether the operator allows an ``adapter_model.bin`` from this place.

    Raises:
        CheckpointError: If it is no adapter, or not one of this base.
    """
    base = opened.base or opened.info
    if folder is None:
        if opened.merge is not None:
            opened.merge.toggle(opened.model)
        return Opened(opened.model, opened.processor, base)
    folder = Path(folder)
    info = inspect_checkpoint(folder)
    if info.layout != "adapter":
        raise CheckpointError(f"{folder.name} is a whole model, not an adapter of one.")
    with reading(folder), stored_tensors(info, allow_pickle) as tensors:
        config = read_adapter_config(read_json(folder / "adapter_config.json"))
        merge = merge_adapter(opened.model, tensors, config, instead_of=opened.merge)
    log.info("merged %s into %s", folder.name, base.path.name)
    info = replace(info, size=base.size, tokens=base.tokens)
    return Opened(opened.model, opened.processor, info, base, merge)


def adapter_base(folder: Path, resolve_base: ResolveBase | None = None) -> Path | None:
    """Return the folder of the model that an adapter changes; None if it is no adapter.

    Args:
        folder: A checkpoint.
        resolve_base: As for ``open_checkpoint``.

    Raises:
        CheckpointError: If it is no checkpoint, or an adapter whose base is not to be had.
    """
    info = inspect_checkpoint(folder)
    return _base_of(info, resolve_base) if info.layout == "adapter" else None


def _base_of(info: CheckpointInfo, resolve_base: ResolveBase | None) -> Path:
    """Return the folder of an adapter's base: as it is resolved, or of its name beside it."""
    if not info.base:
        raise CheckpointError(
            f"{info.path.name} is an adapter that does not name its base: add "
            "base_model_name_or_path to adapter_config.json."
        )
    # Only the last part of the name counts here, so an adapter cannot name a folder elsewhere.
    beside = info.path.absolute().parent / PurePath(info.base).name
    try:
        if resolve_base is None:
            raise CheckpointError(
                f"{info.path.name} is an adapter of {info.base}, which is not here: put the "
                f"folder {beside.name} beside it."
            )
        folder = resolve_base(info.base)
    except CheckpointError:
        if not _is_beside(beside, info.path.absolute()):
            raise
        folder = beside
    if inspect_checkpoint(folder).layout == "adapter":
        raise CheckpointError(f"The base of {info.path.name} is an adapter itself, not a model.")
    return folder


def _is_beside(folder: Path, adapter: Path) -> bool:
    """Say whether a folder that an adapter names lies beside it and holds a model."""
    try:
        inside = folder.name not in ("", "..") and folder != adapter
        return inside and (folder / "config.json").is_file()
    except (OSError, ValueError):  # a name that no file system takes
        return False


@contextmanager
def stored_tensors(info: CheckpointInfo, allow_pickle: bool) -> Iterator[list[StoredTensor]]:
    """Yield a checkpoint's tensors; those of a pickle from a private copy that goes afterwards."""
    files = [info.path / name for name in info.files]
    if not info.pickled:
        yield read_headers(files)
        return
    if not allow_pickle:
        raise CheckpointError(f"{info.path.name} was not opened. {info.problems[0]}")
    from florence_demo.checkpoints.pickles import unpickled

    with tempfile.TemporaryDirectory(prefix="florence-demo-") as private:
        yield read_headers(unpickled(files, Path(private)))


def _other_folders(
    info: CheckpointInfo, tokenizers: Iterable[Path] | None, resolve_base: ResolveBase | None
) -> Iterator[Path]:
    """Yield where else a tokenizer may be; the base is asked for last, it may be a download."""
    yield from _beside(info.path) if tokenizers is None else tokenizers
    if info.base and resolve_base is not None:
        try:
            yield resolve_base(info.base)
        except CheckpointError as exc:
            log.info("no tokenizer from the base of %s: %s", info.path.name, exc)


def _beside(folder: Path) -> list[Path]:
    """Return the folder around a checkpoint and those in it: a run keeps its tokenizer there."""
    around = folder.absolute().parent
    try:
        inner = [path for path in islice(around.iterdir(), MAX_BESIDE) if path.is_dir()]
    except OSError:
        inner = []
    return [around, *sorted(path for path in inner if path.name != folder.name)]


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
