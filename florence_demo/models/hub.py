"""Fetch a model's files from the Hugging Face hub, and say in a sentence why that failed.

Knows the hub's client and its errors. How bytes arrive is ``fetching``'s business. Does not know
what the files hold.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

from florence_demo.errors import CheckpointError, plain
from florence_demo.machine import in_bytes
from florence_demo.models.fetching import Progress, Wanted, fetch

log = logging.getLogger(__name__)

_SUFFIXES = (".json", ".safetensors", ".txt")
MAX_FILES = 300
DISK_KEPT = 5_000_000_000
"""Bytes of the disk that no visitor's wish takes."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")


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
        progress: Called while files arrive; what it raises stops the download, and what has
            arrived is kept.
        max_bytes: What the files may come to, asked of the hub before any is fetched; None is any
            amount, for an operator.

    Raises:
        CheckpointError: The hub cannot be reached or has no such model, it is too large, or the
            download ended in the middle.
    """
    from huggingface_hub import snapshot_download

    if progress:
        progress(0.0, f"Asking the hub for {title}")
    limited = max_bytes is not None
    try:
        # A commit never changes: what is here needs no hub.
        settled = not limited and bool(_COMMIT.fullmatch(revision or ""))
        info = None
        if not (settled and in_cache(source, revision)):
            info = _told_by_hub(source, revision)
            if info is not None:
                sizes = _sizes(info)
                if max_bytes is not None:
                    _check_room(source, info, sizes, max_bytes)
                fetch(source, info.sha, _missing(source, info, sizes), title, progress)
            settled = info is not None
        return Path(
            snapshot_download(
                source,
                # What was measured is fetched, though the repository may change meanwhile.
                revision=(info.sha if limited and info else None) or revision,
                local_files_only=not settled,
                # Data only: Python files of a repository are neither fetched nor run.
                allow_patterns=[f"*{suffix}" for suffix in _SUFFIXES],
                ignore_patterns=["*/*"],
                tqdm_class=_silent_bars(),
            )
        )
    except CheckpointError:
        raise
    except Exception as exc:  # whatever the client and the network between raise
        raise _in_a_sentence(exc, source, title) from exc


def in_cache(source: str, revision: str | None) -> bool:
    """Say whether a model's weights are in the hub's cache, without asking the hub."""
    from huggingface_hub import try_to_load_from_cache

    def here(name: str) -> Path | None:
        found = try_to_load_from_cache(source, name, revision=revision)
        return Path(found) if isinstance(found, str) else None

    if here("config.json") is None:
        return False
    if here("model.safetensors"):
        return True
    index = here("model.safetensors.index.json")
    try:
        parts = set(json.loads(index.read_text("utf-8"))["weight_map"].values()) if index else set()
        return bool(parts) and all(map(here, parts))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


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
    log.info("%s could not be fetched: %s", source, type(exc).__name__)
    log.debug("that was", exc_info=exc)
    return CheckpointError(
        f"{title} is not on this machine and the Hugging Face hub cannot be reached: check"
        " the connection, or go on with “nano”, which is embedded."
    )


def _told_by_hub(source: str, revision: str | None) -> Any:
    """Return what the hub tells about a repository; None where there is no hub.

    Raises:
        Exception: Whatever the hub answers where it has no such repository.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return HfApi().model_info(source, revision=revision, files_metadata=True)
    except (HfHubHTTPError, HFValidationError) as exc:
        status = getattr(getattr(exc, "response", None), "status_code", 0)
        if not isinstance(status, int) or status < 500:
            raise
        log.debug("the hub answers %d about %s", status, source)
    except Exception:  # whatever the network raises; then only what is here already counts
        log.debug("the hub was not asked about %s", source, exc_info=True)
    return None


def _sizes(info: Any) -> dict[str, int | None]:
    """Return the bytes of the files of a repository that are fetched, None where it is not told."""
    return {
        file.rfilename: None if file.size is None else int(file.size)
        for file in info.siblings or ()
        if file.rfilename.endswith(_SUFFIXES) and "/" not in file.rfilename
    }


def _missing(source: str, info: Any, sizes: dict[str, int | None]) -> list[Wanted]:
    """Return the files that are not here, small ones first; the client fetches the nameless."""
    from huggingface_hub import try_to_load_from_cache

    found = []
    for file in info.siblings or ():
        size = sizes.get(file.rfilename)
        large = getattr(file, "lfs", None)
        digest = str(large.sha256 if large else getattr(file, "blob_id", ""))
        if not size or not _DIGEST.fullmatch(digest):
            continue
        here = try_to_load_from_cache(source, file.rfilename, revision=info.sha)
        if not isinstance(here, str):
            found.append(Wanted(file.rfilename, size, digest))
    return sorted(found, key=lambda file: file.size)


def _check_room(source: str, info: Any, told: dict[str, int | None], max_bytes: int) -> None:
    """Refuse a repository whose files are too many or too large, or would fill the disk.

    Raises:
        CheckpointError: They are.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    sizes = {name: max_bytes + 1 if size is None else size for name, size in told.items()}
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


def _silent_bars() -> type[Any]:
    """Return bars for the hub's client that show nothing: what arrives is told elsewhere."""
    from tqdm import tqdm

    class Silent(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": True})

    return Silent
