"""The models one can ask for by name, and the way from a name to a model in memory.

Knows the catalogue, devices and number formats. Does not know tasks, prompts or answers;
what a folder holds and how to open it is ``checkpoints``' business. torch and transformers are
imported when a model is loaded, not before.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from florence_demo import machine
from florence_demo.checkpoint_info import plain
from florence_demo.errors import CheckpointError
from florence_demo.hub import Progress, download
from florence_demo.memory import in_bytes

if TYPE_CHECKING:
    import torch

    from florence_demo.checkpoints import Opened

log = logging.getLogger(__name__)

ASSETS = Path(__file__).resolve().parent.parent / "assets"

VISITOR_BYTES = 8_000_000_000
"""What a visitor may have fetched of a model of the hub; Florence-2-large in fp32 has 3.1 GB."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)

BF16_FROM = 100_000_000
"""Parameters from which a CPU with bf16 uses it; smaller models answer in a blink, and exactly."""


@dataclass(frozen=True)
class ModelSpec:
    """Hold one entry of the catalogue.

    Attributes:
        name: What a person types: "base-ft".
        title: What the page shows.
        source: A folder, or an id on the Hugging Face hub.
        revision: Commit of the hub repository, None for its newest.
        note: What a person should know before choosing it.
        public: Whether it is one of the catalogue, rather than a folder or id that somebody typed.
    """

    name: str
    title: str
    source: str
    revision: str | None = None
    note: str = ""
    public: bool = True


_HUB = "florence-community/Florence-2-"
_CATALOGUE = (
    ModelSpec(
        "nano",
        "nano (embedded, synthetic scenes)",
        str(ASSETS / "nano"),
        note="A tiny Florence-2 that we train on drawn scenes of 84 kinds of things and printed"
        " text. This is an early version: it answers in a blink, is often wrong, and knows nothing"
        " about photographs.",
    ),
    ModelSpec(
        "base",
        "Florence-2-base",
        _HUB + "base",
        note="Microsoft's small model, 0.23 billion parameters, 0.5 GB to download.",
    ),
    ModelSpec(
        "large",
        "Florence-2-large",
        _HUB + "large",
        note="Microsoft's large model, 0.77 billion parameters, 1.6 GB to download.",
    ),
    ModelSpec(
        "base-ft",
        "Florence-2-base-ft",
        _HUB + "base-ft",
        "0b03b6f15a4a211370fb204aee4e7dd48887ea37",
        note="Microsoft's small model, tuned further on many tasks. A good first choice.",
    ),
    ModelSpec(
        "large-ft",
        "Florence-2-large-ft",
        _HUB + "large-ft",
        note="Microsoft's large model, tuned further on many tasks: the best answers.",
    ),
)

MODELS: dict[str, ModelSpec] = {spec.name: spec for spec in _CATALOGUE}


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


def short_dtype(dtype: torch.dtype) -> str:
    """Return "fp32", "bf16" or "fp16"."""
    return {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}.get(
        str(dtype).removeprefix("torch."), str(dtype).removeprefix("torch.")
    )


def resolve_spec(name: str) -> ModelSpec:
    """Return the catalogue's entry, or one made for a folder or a hub id.

    Raises:
        CheckpointError: The name is none of the three.
    """
    name = name.strip()
    if name in MODELS:
        return MODELS[name]
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") != 1
    try:
        folder = Path(name).expanduser()
        if name and folder.is_dir():
            return ModelSpec(name, folder.name, str(folder), public=False)
    except (OSError, RuntimeError, ValueError):  # too long, no such person's home, a zero byte
        looks_like_path = True
    if looks_like_path:
        known = ", ".join(MODELS)
        raise CheckpointError(
            f"There is no model “{plain(name)}”: choose one of {known}, a folder with a"
            " checkpoint, or an id of the Hugging Face hub such as"
            " florence-community/Florence-2-base-ft."
        )
    return ModelSpec(name, name, name, public=False)


def choose_device(wanted: str = "auto") -> torch.device:
    """Return the device to run on: "auto" takes a GPU where there is one.

    Raises:
        CheckpointError: The wanted device is not on this machine.
    """
    import torch

    if wanted != "auto":
        try:
            device = torch.device(wanted)
            torch.empty(1, device=device)
        except (RuntimeError, AssertionError) as exc:
            raise CheckpointError(
                f"The device “{wanted}” cannot be used on this machine: try “auto” or “cpu”."
            ) from exc
        return device
    if torch.cuda.is_available():
        return torch.device("cuda:0")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def choose_dtype(wanted: str, device: torch.device, parameters: int = 0) -> torch.dtype:
    """Return the number format: "auto" is bf16 or fp16 on a GPU, and fp32 on a CPU as a rule.

    Args:
        wanted: "auto", "fp32", "bf16", "fp16", or "int8", for which the model is opened in fp32.
        device: Where the model will run.
        parameters: Its size: "auto" takes bf16 for a large one on a CPU that multiplies bf16.

    Raises:
        CheckpointError: The name is none of these, or int8 is wanted on a GPU.
    """
    import torch

    named = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if wanted in named:
        return named[wanted]
    if wanted == "int8":
        if device.type == "cpu":
            return torch.float32
        raise CheckpointError("int8 is for processors: leave out --dtype, or add --device cpu.")
    if wanted != "auto":
        raise CheckpointError(
            f"“{wanted}” is no number format: choose auto, fp32, bf16, fp16 or int8."
        )
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu" and parameters >= BF16_FROM and machine.fast_bf16():
        return torch.bfloat16
    return torch.float16 if device.type == "mps" else torch.float32


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
    from florence_demo.checkpoint_cost import VISITORS
    from florence_demo.checkpoints import open_checkpoint
    from florence_demo.memory import model_memory

    spec = resolve_spec(name)
    target = choose_device(device)
    folder = Path(spec.source)
    if not folder.is_dir():
        folder = _fetch(spec, progress, None if trusted else VISITOR_BYTES)
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


def count_parameters(folder: Path, resolve_base: Callable[[str], Path]) -> int:
    """Return how many parameters a checkpoint's model has; of an adapter, its base has.

    Args:
        folder: A checkpoint.
        resolve_base: Returns the folder of an adapter's base by its name.

    Raises:
        CheckpointError: If it is no checkpoint, or an adapter whose base is not to be had.
    """
    from florence_demo.checkpoints import adapter_base, inspect_checkpoint

    return inspect_checkpoint(adapter_base(folder, resolve_base) or folder).parameters


def base_of(
    name: str, progress: Progress | None = None, *, trusted: bool = True, open_hub: bool = True
) -> Path | None:
    """Return the folder of the model under an adapter; None if the name is of no such adapter.

    Args:
        name: As ``load_model`` takes it; only folders of this machine are looked into.
        progress: Called while the base is downloaded.
        trusted: As for ``load_model``.
        open_hub: As for ``load_model``.
    """
    from florence_demo.checkpoints import adapter_base

    try:
        folder = Path(resolve_spec(name).source)
        if not folder.is_dir():
            return None
        limit = None if trusted else VISITOR_BYTES
        return adapter_base(
            folder,
            lambda base: folder_of(
                base, progress, paths=trusted, open_hub=open_hub, max_bytes=limit
            ),
        )
    except CheckpointError:
        # Loading it will say what is wrong.
        return None


def switch_model(loaded: LoadedModel, name: str, *, allow_pickle: bool = False) -> LoadedModel:
    """Exchange the adapter of a model for another of the same base, without reading the base.

    Args:
        loaded: A model with an adapter, which nobody uses meanwhile; it is used up.
        name: The other adapter's folder.
        allow_pickle: As for ``load_model``.

    Raises:
        CheckpointError: The other adapter cannot be merged; the first one is in again.
    """
    from florence_demo.checkpoints import switch_adapter

    assert loaded.opened is not None
    spec = resolve_spec(name)
    folder = Path(spec.source)
    opened = switch_adapter(loaded.opened, folder, allow_pickle=allow_pickle)
    switched = replace(loaded, spec=spec, folder=folder, opened=opened)
    log.info("switched %s to %s", loaded.title, switched.describe())
    return switched


def folder_of(
    name: str,
    progress: Progress | None = None,
    *,
    paths: bool = True,
    open_hub: bool = True,
    max_bytes: int | None = VISITOR_BYTES,
) -> Path:
    """Return the folder of a model named by catalogue name, hub id or path.

    Args:
        name: What it is called.
        progress: Called while files are downloaded.
        paths: Whether it may be a path; if not, nothing tells whether there is such a path.
        open_hub: Whether it may be any id of the hub.
        max_bytes: What may be fetched of a model outside the catalogue; None is any amount.

    Raises:
        CheckpointError: There is none, or its name is of a kind that is not allowed.
    """
    # Microsoft's own repositories hold the same weights in the 2024 layout, under these names.
    short = name.removeprefix("microsoft/Florence-2-")
    if not paths and short not in MODELS:
        if not _HUB_ID.fullmatch(name):
            raise CheckpointError(
                f"The checkpoint names “{plain(name)}” as its base, which is no model of the hub. "
                "A folder of another machine cannot be found here: put the base's folder beside "
                "it, or name a model of the hub in adapter_config.json."
            )
        spec = ModelSpec(name, name, name, public=False)
    else:
        spec = resolve_spec(short if short in MODELS else name)
    folder = Path(spec.source)
    if (paths or spec.public) and folder.is_dir():
        return folder
    if not open_hub and not spec.public:
        raise CheckpointError(
            f"The checkpoint is built on “{plain(name)}”, which is not fetched here: upload a"
            f" whole checkpoint, or one built on a model of this list: {', '.join(MODELS)}."
        )
    return _fetch(spec, progress, max_bytes)


def _fetch(spec: ModelSpec, progress: Progress | None, max_bytes: int | None) -> Path:
    """Return the folder of a model that is not on this machine yet."""
    if Path(spec.source).is_absolute():
        raise CheckpointError(
            f"The folder of “{spec.name}” is missing: get the whole project again, or choose"
            " another model."
        )
    limit = None if spec.public else max_bytes
    return download(spec.source, spec.revision, plain(spec.title), progress, limit)
