"""Where checkpoints may lie: the folders under an allowed root, and what a visitor uploads.

Knows paths and archives. Does not look into weights; that is the work of ``inspection``.
Everything a path or an archive says is a stranger's word here.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from florence_demo.checkpoints.info import listed
from florence_demo.checkpoints.inspection import PICKLES, has_model
from florence_demo.checkpoints.reading import LIMITS, MAX_MERGES, MERGES
from florence_demo.errors import CheckpointError, plain
from florence_demo.files import copy_at_most, folders_under, leads_out, opened_zip, stays

_SEARCHED = {"depth": 5, "most": 5_000}

_KEPT = (".safetensors", ".json", ".txt")
_WEIGHTS = re.compile(r"\w[\w.-]{0,100}\.safetensors", re.ASCII)
_MOST = {
    **{name: limits.max_bytes for name, limits in LIMITS.items()},
    MERGES: MAX_MERGES,
    "familiarity.safetensors": 64 << 20,
    "confidence.json": 16 << 10,
}
"""Bytes of the files that have a size of their own; the weights share what an upload may be."""
_ENTRIES = 20_000
"""Entries that a zip may have; a checkpoint has a dozen files."""
_RATIO, _SLACK = 50, 64 << 20
"""What a zip may unpack to: so many times its own size, and so many bytes more."""


@dataclass(frozen=True)
class UploadLimits:
    """Hold what an upload may be.

    Attributes:
        unpacked: Bytes of all its files, unpacked.
        files: Number of files.
    """

    unpacked: int = 4 << 30
    files: int = 200


def list_checkpoints(root: Path) -> list[Path]:
    """Return the folders under an allowed root that hold a model or an adapter, sorted.

    Args:
        root: The allowed root; a root that does not exist holds none.
    """
    root = Path(root)
    return sorted(f for f in folders_under(root, **_SEARCHED) if _holds_model(f, root))


def checkpoint_names(root: Path) -> list[str]:
    """Return the names that ``checkpoint_under`` takes: paths within the allowed root, sorted."""
    return [str(folder.relative_to(root)) for folder in list_checkpoints(root)]


def checkpoint_under(root: Path, name: str) -> Path:
    """Return a folder under the allowed root by the name that ``checkpoint_names`` gave.

    Args:
        root: The allowed root.
        name: The folder's path within it, from a browser, so not to be believed.

    Raises:
        CheckpointError: If it is not there, or leads out of the root.
    """
    refused = CheckpointError(
        f"There is no checkpoint “{plain(name)}” here: press “Look again” and choose one."
    )
    folder = Path(root, name)
    if folder == Path(root) or leads_out(name):
        raise refused
    try:
        if not folder.is_dir():
            raise refused
        if not stays(folder, root) or not all(stays(file, root) for file in folder.iterdir()):
            raise CheckpointError(
                f"“{plain(name)}” holds a link that leads out of the allowed folder."
            )
    except OSError as exc:
        raise refused from exc
    return folder


def unpack_upload(files: Sequence[Path], dst: Path, limits: UploadLimits | None = None) -> Path:
    """Put an uploaded zip, or uploaded loose files, into a new folder.

    Only the files a checkpoint is read from are kept, each within the size of its kind. Names
    within a zip lose their folders, so nothing in it decides where a file goes.

    Args:
        files: One zip, or the loose files of one checkpoint.
        dst: The folder to make; it must not exist.
        limits: How much is taken.

    Raises:
        CheckpointError: If the upload is too large, damaged, or no checkpoint.
    """
    limits = limits or UploadLimits()
    dst.parent.mkdir(parents=True, exist_ok=True)
    if dst.exists():
        raise CheckpointError(f"{dst.name} is already there.")
    # Everything goes into a private neighbour first, so that dst is whole or not there.
    private = Path(tempfile.mkdtemp(prefix=".upload-", dir=dst.parent))
    try:
        if len(files) == 1 and files[0].suffix.lower() == ".zip":
            _unpack_zip(files[0], private, limits)
        else:
            _copy_loose(files, private, limits)
        names = {file.name for file in private.iterdir()}
        if not has_model(names) and "adapter_config.json" not in names:
            raise CheckpointError(
                "The upload is no checkpoint: it needs config.json and model.safetensors, or "
                "adapter_config.json and adapter_model.safetensors; "
                f"it has {listed(sorted(names))}."
            )
        private.rename(dst)
    except OSError as exc:
        raise CheckpointError(f"The upload could not be stored ({exc.strerror}).") from exc
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return dst


def _holds_model(folder: Path, root: Path) -> bool:
    try:
        files = [path for path in folder.iterdir() if path.is_file()]
    except OSError:
        return False
    names = {path.name for path in files}
    if folder == root or not (has_model(names) or "adapter_config.json" in names):
        return False
    return all(stays(path, root) for path in files)


def _unpack_zip(file: Path, folder: Path, limits: UploadLimits) -> None:
    with opened_zip(file, _ENTRIES, CheckpointError) as (archive, entries):
        inside = _one_checkpoint(entries)
        chosen = _taken({name: entry.file_size for name, entry in inside.items()}, limits)
        unpacked = sum(inside[name].file_size for name in chosen)
        if unpacked > _RATIO * file.stat().st_size + _SLACK:
            raise CheckpointError(
                f"The zip would unpack to {unpacked // file.stat().st_size} times its size; "
                "weights never do, so it was not opened."
            )
        _store({name: partial(archive.open, inside[name]) for name in chosen}, folder, limits)


def _one_checkpoint(entries: Sequence[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """Return the files of the one folder of a zip that holds a checkpoint, by their names."""
    paths = {PurePosixPath(entry.filename): entry for entry in entries}
    folders = {path.parent for path in paths if path.name in ("config.json", "adapter_config.json")}
    if not folders:
        raise CheckpointError("The zip holds no config.json and no adapter_config.json.")
    shallowest = min(len(folder.parts) for folder in folders)
    top = sorted(folder for folder in folders if len(folder.parts) == shallowest)
    if len(top) > 1:
        raise CheckpointError(f"The zip holds several checkpoints ({listed(top)}): pack one.")
    return {path.name: entry for path, entry in paths.items() if path.parent == top[0]}


def _copy_loose(files: Sequence[Path], folder: Path, limits: UploadLimits) -> None:
    named = {file.name: file for file in files}
    if len(named) < len(files):
        raise CheckpointError("Two of the files have the same name: upload one checkpoint.")
    chosen = _taken({name: file.stat().st_size for name, file in named.items()}, limits)
    _store({name: partial(named[name].open, "rb") for name in chosen}, folder, limits)


def _taken(sizes: Mapping[str, int], limits: UploadLimits) -> list[str]:
    """Return the names of the files that a checkpoint is read from.

    Args:
        sizes: Bytes of the uploaded files.
        limits: How much is taken.

    Raises:
        CheckpointError: The weights are a pickle, or there is too much of anything.
    """
    kept = [n for n in sizes if n.lower().endswith(_KEPT) and not n.startswith(".")]
    if not any(name.endswith(".safetensors") for name in kept):
        pickles = [name for name in sizes if name.lower().endswith(PICKLES)]
        if pickles:
            raise CheckpointError(
                f"The weights ({listed(pickles)}) are a pickle, which is not opened from an "
                "upload: save them as safetensors."
            )
    if len(kept) > limits.files:
        raise CheckpointError(f"The upload has {len(kept):,} files, more than {limits.files}.")
    read = [name for name in kept if name in _MOST or _WEIGHTS.fullmatch(name)]
    for name in read:
        if sizes[name] > _MOST.get(name, limits.unpacked):
            raise _too_large(name)
    if sum(sizes[name] for name in read) > limits.unpacked:
        raise _too_large()
    return read


def _store(sources: Mapping[str, Callable[[], Any]], folder: Path, limits: UploadLimits) -> None:
    left = limits.unpacked
    for name, opened in sources.items():
        with opened() as source:
            most = min(left, _MOST.get(name, left))
            left -= copy_at_most(source, folder / name, most, _too_large(name))


def _too_large(name: str = "") -> CheckpointError:
    if name in _MOST:
        return CheckpointError(
            f"{name} in the upload is larger than {_MOST[name] / (1 << 20):g} MB, which that of no "
            "Florence-2 is."
        )
    return CheckpointError("The upload is larger than this page takes; copy the folder instead.")
