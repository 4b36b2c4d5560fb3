"""Put stored tensors into an empty model: named, turned, checked, one by one.

Knows tensors and the native model. The model is built without memory and every tensor is read
from the mapped file straight into the place it stays in, so loading takes the memory of the
weights once. A tensor that is missing, left over, wrongly shaped or not finite is an error; no
weight is ever made up.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from florence_demo.checkpoints.info import StoredTensor, listed
from florence_demo.checkpoints.names import (
    HEAD,
    LOGITS_BIAS,
    SHARED,
    TIED,
    TRANSPOSED,
    is_original,
    native_name,
)
from florence_demo.checkpoints.reading import brief
from florence_demo.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from transformers import Florence2ForConditionalGeneration

Read = Callable[[StoredTensor], "torch.Tensor"]

_FLOATS = ("F64", "F32", "F16", "BF16")


def empty_model(config: Mapping[str, Any]) -> Florence2ForConditionalGeneration:
    """Return the native model of a configuration, without memory for its weights.

    Raises:
        CheckpointError: If no model can be built from it.
    """
    import torch
    from transformers import Florence2Config, Florence2ForConditionalGeneration

    try:
        with torch.device("meta"):
            return Florence2ForConditionalGeneration(Florence2Config.from_dict(dict(config)))
    except Exception as exc:  # a configuration of lies can fail anywhere in the library
        raise CheckpointError(f"config.json describes no working model ({brief(exc)}).") from exc


def fill(
    model: Florence2ForConditionalGeneration,
    tensors: Sequence[StoredTensor],
    dtype: torch.dtype,
    device: str | torch.device,
) -> tuple[str, ...]:
    """Fill an empty model with stored tensors, and return what a person should know about them.

    Args:
        model: From ``empty_model``.
        tensors: All tensors of the checkpoint, of either layout.
        dtype: Type of the parameters.
        device: Where they go.

    Raises:
        CheckpointError: If the tensors are not exactly those of the model, or not finite.
    """
    import torch

    places = {name: tuple(place.shape) for name, place in model.state_dict().items()}
    tied = _tied(model)
    stored = _placed(tensors, places, tied)
    filled: dict[str, torch.Tensor] = {}
    broken, notes = [], []
    with ExitStack() as files:
        read = reader(files, tensors)
        _check_logits_bias(tensors, read)
        for name, tensor in stored.items():
            if name in tied:
                if not _same(read(tensor), read(stored[SHARED])):
                    notes.append(tensor.name)
                continue
            source = read(tensor)
            if name in TRANSPOSED and is_original(tensor.name):
                source = source.t()
            value = torch.empty(source.shape, dtype=dtype, device=device).copy_(source)
            if not finite(value):
                broken.append(tensor.name)
            filled[name] = value
    if broken:
        raise CheckpointError(
            f"{len(broken)} of the weights are not numbers (NaN or infinite): {listed(broken)}."
        )
    for name in tied:
        filled[name] = filled[SHARED]
    model.load_state_dict(filled, strict=True, assign=True)
    model.tie_weights()
    return _about_tied(notes)


def stored_dtype(name: str) -> torch.dtype:
    """Return torch's type of "fp32", "fp16" and "bf16"; "fp64" is more than anything needs."""
    import torch

    return {"fp16": torch.float16, "bf16": torch.bfloat16}.get(name, torch.float32)


def reader(files: ExitStack, tensors: Iterable[StoredTensor]) -> Read:
    """Return a function that reads one tensor, its files mapped until the stack closes.

    Raises:
        CheckpointError: If a file is gone or damaged.
    """
    from safetensors import SafetensorError, safe_open

    opened = {}
    for path in sorted({tensor.file for tensor in tensors}):
        try:
            _read_ahead(path)
            opened[path] = files.enter_context(safe_open(path, framework="pt"))
        except (SafetensorError, OSError, RuntimeError) as exc:
            raise CheckpointError(f"{path.name} vanished or changed while it was read.") from exc

    def read(tensor: StoredTensor) -> torch.Tensor:
        value: torch.Tensor = opened[tensor.file].get_tensor(tensor.key)
        return value

    return read


def _read_ahead(path: Path) -> None:
    """Ask the system to read a file in one go; page by page, as it is mapped, takes much longer."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def _tied(model: Florence2ForConditionalGeneration) -> tuple[str, ...]:
    tied = bool(model.config.tie_word_embeddings)
    return tuple(name for name in TIED if tied or name != HEAD)


def _placed(
    tensors: Iterable[StoredTensor],
    places: Mapping[str, tuple[int, ...]],
    tied: tuple[str, ...],
) -> dict[str, StoredTensor]:
    """Return each stored tensor under the native name of its place, or say what does not fit."""
    stored: dict[str, StoredTensor] = {}
    extra, twice, odd = [], [], []
    for tensor in tensors:
        name = native_name(tensor.name)
        if name is None:
            continue
        if name not in places:
            extra.append(tensor.name)
        elif name in stored:
            twice.append(tensor.name)
        elif tensor.dtype not in _FLOATS:
            odd.append(f"{tensor.name} ({tensor.dtype})")
        stored[name] = tensor
    # Whoever writes tied tensors once may keep any one of their names.
    if SHARED not in stored:
        name = next((name for name in tied if name in stored), None)
        if name is not None:
            stored[SHARED] = stored.pop(name)
    missing = [name for name in places if name not in stored and name not in tied]
    for names, what in (
        (missing, "are missing"),
        (extra, "belong to no part of a Florence-2"),
        (twice, "are there twice"),
        (odd, "are not of a floating type"),
    ):
        if names:
            raise CheckpointError(f"{len(names)} weights {what}: {listed(names)}.")
    wrong = []
    for name, tensor in stored.items():
        turned = name in TRANSPOSED and is_original(tensor.name)
        shape = tensor.shape[::-1] if turned else tensor.shape
        if shape != places[name]:
            wrong.append(f"{tensor.name} {list(shape)} where {list(places[name])} fits")
    if wrong:
        raise CheckpointError(
            f"{len(wrong)} weights have another shape than config.json says: {listed(wrong, 3)}."
        )
    return stored


def _check_logits_bias(tensors: Iterable[StoredTensor], read: Read) -> None:
    for tensor in tensors:
        if tensor.name == LOGITS_BIAS and bool(read(tensor).any()):
            raise CheckpointError(
                f"{LOGITS_BIAS} is not zero, and the native model has no place for it."
            )


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    import torch

    return one.dtype == other.dtype and torch.equal(one, other)


def finite(value: torch.Tensor) -> bool:
    """Say whether all numbers are finite, without the copies that ``isfinite`` makes."""
    import torch

    low, high = torch.aminmax(value)
    return bool(torch.isfinite(low) & torch.isfinite(high))


def _about_tied(names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        return ()
    return (
        f"The file holds {listed(names)} apart from the token embedding; the configuration ties "
        "them, so the embedding is used, as the 2024 code does.",
    )
