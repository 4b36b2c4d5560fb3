"""The bytes of the hub's files, into the places where its client looks for them.

huggingface_hub writes each try into a file of its own and throws it away where it fails: half a
gigabyte that broke off would begin anew. Here what has arrived stays and goes on, every chunk is
told, and whoever is told may stop it. Knows HTTP's ranges and how the hub's cache names what it
holds. Does not know models.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from florence_demo.errors import CheckpointError
from florence_demo.files import is_disk_full
from florence_demo.machine import in_bytes

log = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
"""Takes the fraction done in 0..1 and what is being done; what it raises ends the download."""

PAUSES = (1.0, 3.0)
"""Seconds before a further try, after one that brought nothing."""

_WINDOW = 5.0
"""Seconds over which the speed is measured."""

_SETTLED = 0.5
"""Seconds before a speed is told: the first chunks come at once, or late."""

_CHUNK = 1 << 16


class DownloadStopped(CheckpointError):
    """Say that whoever waited for a download stopped it."""


class BrokenOff(CheckpointError):
    """Say that the hub's end came in the middle."""


@dataclass(frozen=True)
class Wanted:
    """Hold one file of a repository that is to be fetched.

    Attributes:
        name: Its path in the repository.
        size: Its bytes.
        digest: What the hub's cache calls it: the SHA-256 of a large file, git's of a small one.
    """

    name: str
    size: int
    digest: str


@dataclass(frozen=True)
class Amount:
    """Hold how far a download is.

    Attributes:
        done: Bytes that are here.
        whole: Bytes in all.
        speed: Bytes a second, 0 while nobody knows.
    """

    done: int
    whole: int
    speed: float = 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long it takes still, None while nobody knows."""
        return (self.whole - self.done) / self.speed if self.speed else None

    @property
    def share(self) -> float:
        """The fraction that is here, 0..1."""
        return self.done / self.whole if self.whole else 1.0

    def __str__(self) -> str:
        words = f"Downloading {in_bytes(self.done)} of {in_bytes(self.whole)}"
        left = self.seconds_left
        if left is None:
            return words
        time_left = f"{max(1, round(left))} s" if left < 90 else f"{round(left / 60)} min"
        return f"{words}, {self.speed / 1e6:.1f} MB a second, {time_left} left"


def fetch(
    source: str, commit: str, files: Sequence[Wanted], title: str, progress: Progress | None = None
) -> None:
    """Put the files of a repository that are missing into the hub's cache, as blobs.

    Args:
        source: Its id: "owner/name".
        commit: What of it.
        files: Those to fetch; what is there already is left alone.
        title: What a person calls it.
        progress: Told of every chunk.

    Raises:
        BrokenOff: The connection ended; what has arrived is kept.
        CheckpointError: A file arrived damaged, or the disk is full.
        Exception: What the hub's client and ``progress`` raise.
    """
    if not files:
        return
    blobs = _repository(source) / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    count = _Count(title, sum(file.size for file in files), progress)
    try:
        for file in files:
            with _lock(source, file.digest, count):
                _fetch_one(source, commit, file, blobs / file.digest, count)
    except OSError as exc:
        if is_disk_full(exc):
            raise CheckpointError(
                f"The disk is full: {title} takes {in_bytes(count.whole)}. Make room and choose"
                " the model again; what has arrived is kept."
            ) from exc
        raise
    finally:
        count.close()


def _fetch_one(source: str, commit: str, file: Wanted, blob: Path, count: _Count) -> None:
    """Fetch one file, going on where an earlier try ended, as long as something comes."""
    from huggingface_hub import hf_hub_url

    if blob.exists():
        count.add(file.size, moved=False)
        return
    part = blob.with_name(f"{blob.name}.incomplete")
    sums = _Sums(file)
    at = _kept(part, file, sums)
    count.add(at, moved=False)
    url = hf_hub_url(source, file.name, revision=commit)
    barren = 0
    while at < file.size:
        before = at
        try:
            at = _try_once(url, part, at, file, sums, count)
            failed: Exception | None = None
        except Exception as exc:
            if not _passes(exc):
                raise
            at, failed = part.stat().st_size if part.exists() else 0, exc
        barren = barren + 1 if at <= before else 0
        if at < file.size and barren > len(PAUSES):
            log.debug("%s broke off", url, exc_info=failed)
            raise count.broken_off() from failed
        if at < file.size and barren:
            count.tell("The connection broke off: trying again")
            time.sleep(PAUSES[barren - 1])
    if not sums.right():
        part.unlink(missing_ok=True)
        raise CheckpointError(
            f"{file.name} of {count.title} arrived damaged and was thrown away: choose the model"
            " again to fetch it anew."
        )
    part.replace(blob)


def _try_once(url: str, part: Path, at: int, file: Wanted, sums: _Sums, count: _Count) -> int:
    """Fetch what is missing of a file from one connection, and return how much is there then."""
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    # Packed on the way, its bytes would be other bytes than those that are there already.
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if at:
        headers["Range"] = f"bytes={at}-"
    with get_session().stream(
        "GET",
        url,
        headers=headers,
        follow_redirects=True,
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
    ) as response:
        hf_raise_for_status(response)
        if at and response.status_code != 206:  # it begins anew, whatever was asked
            count.add(-at, moved=False)
            at = 0
            sums.begin()
        with part.open("ab" if at else "wb") as target:
            for chunk in response.iter_bytes(_CHUNK):
                kept = chunk[: file.size - at]
                target.write(kept)
                sums.take(kept)
                at += len(kept)
                count.add(len(kept))
    return at


def _passes(exc: Exception) -> bool:
    """Say whether an error is of the way to the hub, so that a further try may do."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(exc, HfHubHTTPError):
        return exc.response is not None and exc.response.status_code in (408, 429, *range(500, 600))
    # The client's own, which is httpx or its successor; both have a parent of this name.
    return any(kind.__name__ == "TransportError" for kind in type(exc).__mro__)


def _kept(part: Path, file: Wanted, sums: _Sums) -> int:
    """Return how much of a file an earlier try left, and take it into the sums."""
    if not part.is_file():
        return 0
    if part.stat().st_size > file.size:
        part.unlink()
        return 0
    with part.open("rb") as source:
        while chunk := source.read(1 << 20):
            sums.take(chunk)
    return part.stat().st_size


def _repository(source: str) -> Path:
    """Return the folder of a model's repository in the hub's cache."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=source, repo_type="model"))


def _lock(source: str, digest: str, count: _Count) -> Any:
    """Return the lock that the hub's client takes for this file too, held."""
    from filelock import FileLock, Timeout

    folder = _repository(source)
    locks = folder.parent / ".locks" / folder.name
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / f"{digest}.lock")
    while True:
        with suppress(Timeout):
            return lock.acquire(timeout=0.5)
        count.tell(f"Another program downloads {count.title}: waiting for it")


class _Sums:
    """Sum up a file's bytes as its name in the cache does."""

    def __init__(self, file: Wanted) -> None:
        self.file = file
        self.begin()

    def begin(self) -> None:
        """Forget what was taken."""
        if len(self.file.digest) == 64:
            self._sum = hashlib.sha256()
        else:
            # What git calls a file; the hub's cache calls its small ones so.
            self._sum = hashlib.sha1(f"blob {self.file.size}\0".encode(), usedforsecurity=False)

    def take(self, data: bytes) -> None:
        """Take the next bytes."""
        self._sum.update(data)

    def right(self) -> bool:
        """Say whether the bytes are those of the file."""
        return self._sum.hexdigest() == self.file.digest


class _Count:
    """Count the bytes of all files together, and tell: who asked, and the terminal or the log."""

    def __init__(self, title: str, whole: int, progress: Progress | None) -> None:
        from tqdm import tqdm

        self.title, self.whole, self.done = title, whole, 0
        self._progress = progress
        self._seen: deque[tuple[float, int]] = deque()
        self._logged = 0
        # A bar where somebody looks at it, lines where stderr is a log.
        self._bar = tqdm(
            total=whole, unit="B", unit_scale=True, desc=title, disable=None, file=sys.stderr
        )

    def add(self, count: int, moved: bool = True) -> None:
        """Count bytes that are here now; those that have not moved tell nothing of the speed."""
        self.done += count
        if not moved:
            self._seen.clear()
        self._bar.update(count)
        amount = Amount(self.done, self.whole, self._speed())
        if self._bar.disable and int(10 * amount.share) > self._logged:
            self._logged = int(10 * amount.share)
            log.info("%s: %s", self.title, amount)
        self.tell(str(amount))

    def tell(self, words: str) -> None:
        """Tell whoever asked."""
        if self._progress:
            self._progress(self.done / self.whole if self.whole else 1.0, words)

    def broken_off(self) -> BrokenOff:
        """Return what a person is told where the connection ended."""
        return BrokenOff(
            f"The connection to the Hugging Face hub ended after {in_bytes(self.done)} of"
            f" {in_bytes(self.whole)}. What has arrived is kept: choose {self.title} again and it"
            " goes on from there, or go on with “nano”, which is embedded."
        )

    def close(self) -> None:
        """Leave the terminal."""
        self._bar.close()

    def _speed(self) -> float:
        now = time.monotonic()
        self._seen.append((now, self.done))
        while now - self._seen[0][0] > _WINDOW and len(self._seen) > 2:
            self._seen.popleft()
        began, first = self._seen[0]
        return (self.done - first) / (now - began) if now - began >= _SETTLED else 0.0
