"""From a model's name to its folder: of the catalogue, a path, or the hub."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from florence_demo.errors import CheckpointError, plain
from florence_demo.models.catalogue import MODELS, ModelSpec, resolve_spec
from florence_demo.models.hub import Progress, download

VISITOR_BYTES = 8_000_000_000
"""What a visitor may have fetched of a model of the hub; Florence-2-large in fp32 has 3.1 GB."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


def count_parameters(folder: Path, resolve_base: Callable[[str], Path]) -> int:
    """Return how many parameters a checkpoint's model has; of an adapter, its base has.

    Args:
        folder: A checkpoint.
        resolve_base: Returns the folder of an adapter's base by its name.

    Raises:
        CheckpointError: If it is no checkpoint, or an adapter whose base is not to be had.
    """
    from florence_demo.checkpoints.inspection import inspect_checkpoint
    from florence_demo.checkpoints.opening import adapter_base

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
    from florence_demo.checkpoints.opening import adapter_base

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
    return fetch(spec, progress, max_bytes)


def fetch(spec: ModelSpec, progress: Progress | None, max_bytes: int | None) -> Path:
    """Return the folder of a model that is not on this machine yet."""
    if Path(spec.source).is_absolute():
        raise CheckpointError(
            f"The folder of “{spec.name}” is missing: get the whole project again, or choose"
            " another model."
        )
    limit = None if spec.public else max_bytes
    return download(spec.source, spec.revision, plain(spec.title), progress, limit)
