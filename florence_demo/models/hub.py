"""Fetch a model's files from the Hugging Face hub, and say in a sentence why that failed.

Knows the hub's client and its errors. Does not know what the files hold.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from florence_demo.errors import CheckpointError, plain
from florence_demo.machine import in_bytes

log = logging.getLogger(__name__)

_SUFFIXES = (".json", ".safetensors", ".txt")
MAX_FILES = 300
DISK_KEPT = 5_000_000_000
"""Bytes of the disk that no visitor's wish takes."""

Progress = Callable[[float, str], None]
"""Takes the fraction done in 0..1 and what is being done."""


def download(
    source: str,
    revision: str | None,
    title: str,
    progress: Progress | None = None,
    max_bytes: int | None = None,
) -> Path:
    """Fetch a model's files from the hub into its cache and return their folder.

    Args:
        source: Its id: "owner/name".
        revision: Commit of its repository, None for the newest.
        title: What a person calls it.
        progress: Called while files arrive.
        max_bytes: What the files may come to, asked of the hub before any is fetched; None is any
            amount, for an operator.

    Raises:
        CheckpointError: The hub cannot be reached or has no such model, or it is too large.
    """
    from huggingface_hub import snapshot_download

    if progress:
        progress(0.0, f"Asking the hub for {title}")
    try:
        measured = None if max_bytes is None else _measured(source, revision, max_bytes)
        return Path(
            snapshot_download(
                source,
                # What was measured is fetched, though the repository may change meanwhile.
                revision=measured or revision,
                local_files_only=max_bytes is not None and measured is None,
                # Data only: Python files of a repository are neither fetched nor run.
                allow_patterns=[f"*{suffix}" for suffix in _SUFFIXES],
                ignore_patterns=["*/*"],
                tqdm_class=_progress_class(progress) if progress else None,
            )
        )
    except CheckpointError:
        raise
    except Exception as exc:  # whatever the client and the network between raise
        raise _in_a_sentence(exc, source, title) from exc


def _in_a_sentence(exc: Exception, source: str, title: str) -> CheckpointError:
    """Return what a person is told about what the hub's client raised."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(exc, GatedRepoError):
        return CheckpointError(
            f"{plain(source)} asks for permission: accept its terms on the hub and log in with"
            " `hf auth login`."
        )
    if isinstance(exc, RepositoryNotFoundError | RevisionNotFoundError | HFValidationError):
        return CheckpointError(
            f"The hub has no model “{plain(source)}”: check the spelling, or log in with"
            " `hf auth login` if it is private."
        )
    log.info("%s could not be fetched", source, exc_info=exc)
    return CheckpointError(
        f"{title} is not on this machine and the Hugging Face hub cannot be reached: check"
        " the connection, or go on with “nano”, which is embedded."
    )


def _measured(source: str, revision: str | None, max_bytes: int) -> str | None:
    """Return the commit of a repository whose files may be fetched; None where there is no hub.

    Raises:
        CheckpointError: They are too many or too large, or would fill the disk.
        Exception: Whatever the hub answers where it has no such repository.
    """
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        info = HfApi().model_info(source, revision=revision, files_metadata=True)
    except (HfHubHTTPError, HFValidationError):
        raise
    except Exception:  # whatever the network raises; then only what is here already counts
        log.info("the hub was not asked about %s", source, exc_info=True)
        return None
    sizes = {
        file.rfilename: max_bytes + 1 if file.size is None else int(file.size)
        for file in info.siblings or ()
        if file.rfilename.endswith(_SUFFIXES) and "/" not in file.rfilename
    }
    if len(sizes) > MAX_FILES or sum(sizes.values()) > max_bytes:
        raise CheckpointError(
            f"{plain(source)} has {len(sizes):,} files of {in_bytes(sum(sizes.values()))}; up to"
            f" {MAX_FILES} files and {in_bytes(max_bytes)} are fetched for a visitor."
        )
    new = (n for n in sizes if not try_to_load_from_cache(source, n, revision=info.sha))
    disk = Path(constants.HF_HUB_CACHE)
    while not disk.exists():
        disk = disk.parent
    if shutil.disk_usage(disk).free - sum(sizes[name] for name in new) < DISK_KEPT:
        raise CheckpointError(
            f"There is no room here for {plain(source)}: choose a model that is on this machine"
            " already."
        )
    return info.sha or revision


def _progress_class(progress: Progress) -> type[Any]:
    """Return a tqdm class that reports the bytes of all files together."""
    from tqdm.auto import tqdm

    lock = threading.Lock()
    totals: dict[int, tuple[float, float]] = {}

    class Reporter(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            # Bars of the terminal stay away from the server's log.
            kwargs["file"] = Path(os.devnull).open("w")  # noqa: SIM115
            super().__init__(*args, **kwargs)

        def update(self, n: float | None = 1) -> bool | None:
            shown = super().update(n)
            if self.unit == "B" and self.total:
                with lock:
                    totals[id(self)] = (self.n, self.total)
                    done = sum(a for a, _ in totals.values())
                    whole = sum(b for _, b in totals.values())
                progress(done / whole, f"Downloading {in_bytes(done)} of {in_bytes(whole)}")
            return shown

    return Reporter
