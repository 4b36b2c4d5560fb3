"""Fetch a model's files from the Hugging Face hub, and say in a sentence why that failed.

Knows the hub's client and its errors. Does not know what the files hold.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from florence_demo.errors import CheckpointError
from florence_demo.memory import in_bytes

log = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
"""Takes the fraction done in 0..1 and what is being done."""


def download(
    source: str, revision: str | None, title: str, progress: Progress | None = None
) -> Path:
    """Fetch a model's files from the hub into its cache and return their folder.

    Args:
        source: Its id: "owner/name".
        revision: Commit of its repository, None for the newest.
        title: What a person calls it.
        progress: Called while files arrive.

    Raises:
        CheckpointError: The hub cannot be reached or has no such model.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if progress:
        progress(0.0, f"Asking the hub for {title}")
    try:
        return Path(
            snapshot_download(
                source,
                revision=revision,
                # Data only: Python files of a repository are neither fetched nor run.
                allow_patterns=["*.json", "*.safetensors", "*.txt"],
                tqdm_class=_progress_class(progress) if progress else None,
            )
        )
    except GatedRepoError as exc:
        raise CheckpointError(
            f"{source} asks for permission: accept its terms on the hub and log in with"
            " `hf auth login`."
        ) from exc
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as exc:
        raise CheckpointError(
            f"The hub has no model “{source}”: check the spelling, or log in with"
            " `hf auth login` if it is private."
        ) from exc
    except Exception as exc:  # whatever the client and the network between raise
        log.info("%s could not be fetched", source, exc_info=True)
        raise CheckpointError(
            f"{title} is not on this machine and the Hugging Face hub cannot be reached: check"
            " the connection, or go on with “nano”, which is embedded."
        ) from exc


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
