"""Open any Florence-2 checkpoint, and write it as a native one.

Knows in which order the parts work: look (``checkpoint_files``), rename (``checkpoint_names``),
fill (``weights``), add a processor (``processors``). Never runs or imports anything of a folder and
never changes it. The functions that a folder is only looked at with need no torch.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from florence_demo.checkpoint_files import (
    CheckpointInfo,
    StoredTensor,
    contradictions,
    inspect_checkpoint,
    native_shapes,
    read_headers,
    read_json,
)
from florence_demo.checkpoint_names import native_config, native_generation
from florence_demo.errors import CheckpointError
from florence_demo.processors import load_processor
from florence_demo.weights import empty_model, fill, stored_dtype

if TYPE_CHECKING:
    import torch
    from transformers import (
        Florence2ForConditionalGeneration,
        Florence2Processor,
        GenerationConfig,
    )

log = logging.getLogger(__name__)

ResolveBase = Callable[[str], Path]

_NOT_SETTINGS = ("auto_map", "attn_implementation", "experts_implementation")


@dataclass(frozen=True, eq=False)
class Opened:
    """Hold an opened checkpoint.

    Attributes:
        model: The model, in eval mode.
        processor: Its processor; ``processor.image_token`` stands for a picture's token and must
            not occur in a person's text.
        info: What it is; ``problems`` holds what a person should know.
    """

    model: Florence2ForConditionalGeneration
    processor: Florence2Processor
    info: CheckpointInfo


def open_checkpoint(
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
    resolve_base: ResolveBase | None = None,
    allow_pickle: bool = False,
    tokenizers: Iterable[Path] = (),
) -> Opened:
    """Return the model and the processor of any Florence-2 checkpoint.

    Args:
        folder: A native or a 2024 checkpoint.
        dtype: Type of the parameters; None keeps the stored one.
        device: Where they go.
        resolve_base: Returns the folder of a model by its name, for an adapter's base and for a
            tokenizer that is lacking; raises CheckpointError where it cannot.
        allow_pickle: Whether the operator allows a ``pytorch_model.bin`` from this place.
        tokenizers: Folders to take a tokenizer from where this one has none.

    Raises:
        CheckpointError: If it cannot be opened whole; the sentence says why.
    """
    folder = Path(folder)
    info = inspect_checkpoint(folder)
    config = _settings(folder, info)
    with _stored(info, allow_pickle) as tensors:
        for problem in contradictions(config, native_shapes(tensors)):
            raise CheckpointError(f"{folder.name} contradicts itself: {problem}")
        others = _other_folders(info, tokenizers, resolve_base)
        processor = load_processor(folder, config, native=info.layout == "native", others=others)
        config["image_token_id"] = processor.image_token_id
        model = empty_model(config)
        notes = fill(model, tensors, dtype or stored_dtype(info.dtype), device)
    model.config.dtype = model.dtype
    model.generation_config = _generation(folder, info)
    log.info("opened %s: %s, %s parameters", folder.name, info.layout, f"{info.parameters:,}")
    return Opened(model.eval(), processor, replace(info, problems=(*info.problems, *notes)))


def _settings(folder: Path, info: CheckpointInfo) -> dict[str, Any]:
    """Return the native configuration, without anything that could make the library fetch code."""
    config = read_json(folder / "config.json")
    if info.layout != "native":
        return native_config(config)
    for section in (config, config["text_config"], config["vision_config"]):
        for key in [k for k in section if k.startswith("_") or k in _NOT_SETTINGS]:
            del section[key]
    return config


@contextmanager
def _stored(info: CheckpointInfo, allow_pickle: bool) -> Iterator[list[StoredTensor]]:
    """Yield a checkpoint's tensors; those of a pickle from a private copy that goes afterwards."""
    files = [info.path / name for name in info.files]
    if not info.pickled:
        yield read_headers(files)
        return
    if not allow_pickle:
        raise CheckpointError(f"{info.path.name} was not opened. {info.problems[0]}")
    from florence_demo.pickles import unpickled

    with tempfile.TemporaryDirectory(prefix="florence-demo-") as private:
        yield read_headers(unpickled(files, Path(private)))


def _other_folders(
    info: CheckpointInfo, tokenizers: Iterable[Path], resolve_base: ResolveBase | None
) -> Iterator[Path]:
    """Yield where else a tokenizer may be; the base is asked for last, it may be a download."""
    yield from tokenizers
    if info.base and resolve_base is not None:
        try:
            yield resolve_base(info.base)
        except CheckpointError as exc:
            log.info("no tokenizer from the base of %s: %s", info.path.name, exc)


def _generation(folder: Path, info: CheckpointInfo) -> GenerationConfig:
    from transformers import GenerationConfig

    file = folder / "generation_config.json"
    saved = read_json(file) if file.is_file() else {}
    if info.layout != "native":
        return GenerationConfig(**native_generation(read_json(folder / "config.json"), saved))
    config = read_json(folder / "config.json")
    try:
        # A native folder without the file generates with its token ids alone.
        return GenerationConfig.from_dict(saved or native_generation(config))
    except (ValueError, TypeError) as exc:
        raise CheckpointError(f"generation_config.json cannot be used: {exc}") from exc
