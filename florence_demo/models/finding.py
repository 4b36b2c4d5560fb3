"""From a model's name to its folders, each looked into once: the catalogue's, a path, the hub's.

Knows where a base and a tokenizer may come from that a folder lacks, and what a visitor's
checkpoint may not name. Opens no weights (``loading``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePath

from florence_demo.checkpoints.info import CheckpointInfo, called
from florence_demo.checkpoints.inspection import inspect_checkpoint
from florence_demo.errors import CheckpointError, plain
from florence_demo.models.catalogue import (
    MODELS,
    ModelSpec,
    Named,
    catalogued,
    hub_spec,
    is_hub_name,
    model_names,
    spec_of,
)
from florence_demo.models.fetching import DownloadStopped, Progress
from florence_demo.models.hub import download
from florence_demo.trust import Trust

log = logging.getLogger(__name__)

MAX_BESIDE = 500
"""Folders looked into for a tokenizer beside a checkpoint that has none."""
RUN_FILE = "train_config.json"
"""What tells that a folder is a run's: an adapter in it lies beside what the run lies beside."""


@dataclass(frozen=True)
class Found:
    """Hold a model that is on this machine and not opened yet.

    Attributes:
        spec: What was asked for.
        info: What its folder holds.
        base: Of an adapter, what its base's folder holds.
        tokenizers: Where else its tokenizer may be; nothing is looked at or fetched before it is
            asked for.
        trust: What it may do.
    """

    spec: ModelSpec
    info: CheckpointInfo
    base: CheckpointInfo | None
    tokenizers: Iterable[Path]
    trust: Trust

    @property
    def parameters(self) -> int:
        """How many parameters the model has; of an adapter, its base has."""
        return (self.base or self.info).parameters


def find(model: Named, trust: Trust, progress: Progress | None = None) -> Found:
    """Return a model's folders, fetched where needed, and what they hold.

    Args:
        model: Its name in the catalogue, its folder, its id on the hub, or what it is.
        trust: What it may do, and what a name may say.
        progress: Called while files are downloaded.

    Raises:
        CheckpointError: There is no such model, the hub cannot be reached, the folder holds
            something else, or an adapter's base is not to be had.
    """
    spec = spec_of(model, trust)
    info = inspect_checkpoint(folder_of(spec, trust, progress))
    base = _base_of(info, trust, progress) if info.layout == "adapter" else None
    return Found(spec, info, base, _Elsewhere(base or info, trust, progress), trust)


def folder_of(spec: ModelSpec, trust: Trust, progress: Progress | None = None) -> Path:
    """Return the folder of a model, fetched from the hub where it is one of the hub.

    Args:
        spec: The model.
        trust: How much may be fetched.
        progress: Called while files are downloaded.

    Raises:
        CheckpointError: It cannot be fetched, or a part of this project is missing.
    """
    folder = spec.folder
    if folder is None:
        limit = None if spec.public else trust.download
        return download(spec.source, spec.revision, plain(spec.title), progress, limit)
    if spec.public and not folder.is_dir():
        raise CheckpointError(
            f"The folder of “{spec.name}” is missing: get the whole project again, or choose"
            " another model."
        )
    return folder


def spec_of_base(name: str, trust: Trust) -> ModelSpec:
    """Return the model that a checkpoint names as its base.

    Args:
        name: A stranger's word, "owner/name@revision" where it tells the revision; without trust,
            nothing tells whether there is such a path.
        trust: What it may name.

    Raises:
        CheckpointError: There is none, or its name is of a kind that is not allowed.
    """
    # Microsoft's own repositories hold the same weights in the 2024 layout, under these names.
    short = name.removeprefix("microsoft/Florence-2-")
    if short in MODELS:
        return MODELS[short]
    source, _, revision = name.partition("@")
    known = catalogued(source)
    # Where nothing else may be fetched, the newest stands for any of a model that is not pinned.
    closed = not (trust.hub or trust.folders)
    if known and (revision in ("", known.revision) or (closed and known.revision is None)):
        return known
    if trust.folders:
        return spec_of(name, trust)
    if not is_hub_name(name):
        raise CheckpointError(
            f"The checkpoint names “{called(name, 80)}” as its base, which is no model of the hub. "
            "A folder of another machine cannot be found here: put the base's folder beside "
            "it, or name a model of the hub in adapter_config.json."
        )
    if not trust.hub:
        raise CheckpointError(
            f"The checkpoint is built on “{plain(name)}”, which is not fetched here: upload a"
            f" whole checkpoint, or one built on a model of this list: {model_names()}."
        )
    return hub_spec(name)


def _base_of(info: CheckpointInfo, trust: Trust, progress: Progress | None) -> CheckpointInfo:
    """Return what an adapter's base is: as it is named, or the folder of its name beside it."""
    if not info.base:
        raise CheckpointError(
            f"{info.path.name} is an adapter that does not name its base: add "
            "base_model_name_or_path to adapter_config.json."
        )
    try:
        folder = folder_of(spec_of_base(info.base, trust), trust, progress)
    except CheckpointError:
        # Only the last part of the name counts here, so an adapter cannot name a folder elsewhere.
        name, adapter = PurePath(info.base.partition("@")[0]).name, info.path.absolute()
        around = (place / name for place in _places_beside(adapter))
        found = next((folder for folder in around if _is_beside(folder, adapter)), None)
        if found is None:
            raise
        folder = found
    base = inspect_checkpoint(folder)
    if base.layout == "adapter":
        raise CheckpointError(f"The base of {info.path.name} is an adapter itself, not a model.")
    return base


def _places_beside(adapter: Path) -> Iterator[Path]:
    """Yield the folder around an adapter, and the one around the run that it is a part of."""
    yield adapter.parent
    # "RUN/adapter", and "RUN/checkpoints/epoch-2".
    for run in (adapter.parent, adapter.parent.parent):
        if (run / RUN_FILE).is_file():
            yield run.parent
            return


def _is_beside(folder: Path, adapter: Path) -> bool:
    """Say whether a folder that an adapter names lies beside it and holds a model."""
    try:
        inside = folder.name not in ("", "..") and folder != adapter
        return inside and (folder / "config.json").is_file()
    except (OSError, ValueError):  # a name that no file system takes
        return False


@dataclass(frozen=True)
class _Elsewhere:
    """Give folders that may have a model's tokenizer, the one that may be a download at last."""

    info: CheckpointInfo
    trust: Trust
    progress: Progress | None

    def __iter__(self) -> Iterator[Path]:
        """Yield the folders beside it where they may be looked into, then its base's."""
        if self.trust.folders:
            yield from _beside(self.info.path)
        if self.info.base:
            try:
                base = spec_of_base(self.info.base, self.trust)
                yield folder_of(base, self.trust, self.progress)
            except DownloadStopped:
                raise
            except CheckpointError as exc:
                log.info("no tokenizer from the base of %s: %s", self.info.path.name, exc)


def _beside(folder: Path) -> list[Path]:
    """Return the folder around a checkpoint and those in it: a run keeps its tokenizer there."""
    around = folder.absolute().parent
    try:
        inner = [path for path in islice(around.iterdir(), MAX_BESIDE) if path.is_dir()]
    except OSError:
        inner = []
    return [around, *sorted(path for path in inner if path.name != folder.name)]
