"""All temporary files of the app in one folder: swept by age, emptied at the end.

Knows folders and clocks. Does not know what the files are. Two parts: ``served`` may be handed out
to browsers (gradio keeps uploads and pictures there), ``private`` never is (unpacked uploads).
"""

from __future__ import annotations

import functools
import hashlib
import logging
import math
import os
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

log = logging.getLogger(__name__)

AGE = 3600.0
"""Seconds after its last use when a file goes."""

_STALE = 5.0
_PREFIX = "florence-demo-"


class Scratch:
    """Own one folder, made at first use, until the process ends."""

    def __init__(self, base: Path | None = None) -> None:
        """Say where the folder will be.

        Args:
            base: The folder around it; the system's for temporary files where None.
        """
        self._base = base or Path(tempfile.gettempdir())
        served = os.environ.get("GRADIO_TEMP_DIR")
        self._served = Path(served) if served and base is None else None
        self._closing = threading.Event()
        self._measured = (-math.inf, 0)

    @functools.cached_property
    def root(self) -> Path:
        """The folder, for this user alone."""
        self._base.mkdir(parents=True, exist_ok=True)
        _remove_left_behind(self._base)
        made = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=self._base)
        # Also where nobody closes it: at the end of the process at the latest.
        self._remove = weakref.finalize(self, shutil.rmtree, made, ignore_errors=True)
        return Path(made).resolve()

    @functools.cached_property
    def served(self) -> Path:
        """The part whose files may be handed out to browsers."""
        return _made(self._served or self.root / "served")

    @functools.cached_property
    def private(self) -> Path:
        """The part that stays here."""
        return _made(self.root / "private")

    def new_folder(self) -> Path:
        """Return a new private folder."""
        return Path(tempfile.mkdtemp(dir=self.private))

    def new_served_folder(self) -> Path:
        """Return a new folder whose files the page may hand out."""
        return Path(tempfile.mkdtemp(dir=self.served))

    def keep(self, data: bytes, name: str) -> Path:
        """Write a file that the page may hand out, and return it; equal bytes are kept once.

        Args:
            data: Its bytes.
            name: Its name, which a download has.
        """
        folder = self.served / hashlib.blake2b(data, digest_size=32).hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        return folder / name

    def touch(self, path: Path) -> None:
        """Say that something here is still used; whatever lies elsewhere is left alone."""
        path = path.resolve()
        if path.is_relative_to(self.private) and path != self.private:
            # An upload is used as a whole.
            path = self.private / path.relative_to(self.private).parts[0]
        elif not path.is_relative_to(self.served):
            return
        with suppress(OSError):
            os.utime(path)

    def size(self) -> int:
        """Return the bytes of all files here, as some seconds ago."""
        if time.monotonic() - self._measured[0] > _STALE:
            self._measured = time.monotonic(), self._size()
        return self._measured[1]

    def _size(self) -> int:
        return sum(_bytes_of(file) for part in self._parts for file in _files(part))

    @property
    def _parts(self) -> tuple[Path, Path]:
        return self.served, self.private

    def sweep(self, now: float | None = None, age: float = AGE) -> int:
        """Delete what nobody used for a while and return how many files went.

        Args:
            now: Seconds since 1970; the clock's where None.
            age: Seconds after its last use when a file goes.
        """
        oldest = (time.time() if now is None else now) - age
        gone = 0
        for upload in _entries(self.private):
            # Files keep the times of their archive, so the folder's own is what counts.
            if _used(upload) < oldest:
                gone += sum(1 for _ in _files(upload))
                shutil.rmtree(upload, ignore_errors=True)
        for file in list(_files(self.served)):
            if _used(file) < oldest:
                with suppress(OSError):
                    file.unlink()
                    gone += 1
        for folder in sorted((p for p in self.served.rglob("*") if p.is_dir()), reverse=True):
            if _used(folder) < oldest:
                with suppress(OSError):  # not empty
                    folder.rmdir()
        return gone

    def keep_swept(self, every: float = 300.0) -> None:
        """Sweep in the background until the end.

        Args:
            every: Seconds between two sweeps.
        """

        def work() -> None:
            while not self._closing.wait(every):
                with suppress(OSError):
                    if gone := self.sweep():
                        log.info("%d temporary files deleted", gone)

        threading.Thread(target=work, name="sweeper", daemon=True).start()

    def close(self) -> None:
        """Delete everything; the folder is of no use afterwards."""
        self._closing.set()
        if "root" in vars(self):
            self._remove()


def _remove_left_behind(base: Path) -> None:
    """Delete the folders of processes that were killed before they could."""
    for folder in base.glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        with suppress(OSError):
            ours = not hasattr(os, "getuid") or folder.lstat().st_uid == os.getuid()
            if ours and pid.isdecimal() and not psutil.pid_exists(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _files(folder: Path) -> Iterator[Path]:
    for where, _, names in os.walk(folder):
        yield from (Path(where, name) for name in names)


def _bytes_of(file: Path) -> int:
    with suppress(OSError):
        return file.lstat().st_size
    return 0


def _used(path: Path) -> float:
    """Return when something was made or last touched; what is gone was never used."""
    with suppress(OSError):
        found = path.lstat()
        return max(found.st_mtime, found.st_ctime)
    return 0.0
