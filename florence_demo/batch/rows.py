"""The file of rows: a line a picture, added to, never half there; and who writes it.

Knows lines, the lock of a folder, and which pictures have their row. Does not know what is asked.
A file of rows is read line by line and never held: of each row stay its place and two digests.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from florence_demo.data.batches import (
    ROWS_FILE,
    RUN_FILE,
    Row,
    errors_of,
    key_of,
    short_digest,
    whole_lines,
)
from florence_demo.errors import InputError, plain
from florence_demo.files import is_disk_full

LOCK_FILE = ".batch.lock"

NO_ROOM = (
    "The disk is full. The answers so far are whole: make room, and give the same command again to"
    " go on."
)


def line_of(row: Row) -> bytes:
    """Return a row as its line."""
    try:
        return json.dumps(row, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # a name that is no UTF-8: written so, it comes back as it was
        return json.dumps(row).encode() + b"\n"


@dataclass(frozen=True)
class _Known:
    """What is remembered of a row: where it begins, its content, and whether it failed."""

    at: int
    content: bytes
    failed: bool


class RowFile:
    """Hold the one writer of a job's rows, and know which pictures have theirs."""

    def __init__(self, folder: Path):
        """Take the folder, and keep every other job out of it.

        Raises:
            InputError: Another job writes here, a line is no row, or nothing can be written.
        """
        self.folder, self.path = folder, folder / ROWS_FILE
        self._lock = FileLock(folder / LOCK_FILE, timeout=0)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise InputError(
                f"Another job writes into {plain(folder)} at this moment: wait for its end, or"
                " name another --out."
            ) from None
        except OSError as exc:
            raise InputError(
                f"{plain(folder)} cannot be written to ({exc.strerror}): name another --out."
            ) from exc
        self._known: dict[bytes, _Known] = {}
        self._contents: dict[bytes, int] = {}
        self._replaced = False
        self._file: BinaryIO | None = None

    def begin(self, *, anew: bool = False, retry: bool = False) -> None:
        """Open the file: a torn last line is cut off, and what is there is looked through once.

        Args:
            anew: Leave nothing of what is there.
            retry: Leave no row that failed.

        Raises:
            InputError: A line is no row.
        """
        if anew:
            for name in (ROWS_FILE, RUN_FILE):
                (self.folder / name).unlink(missing_ok=True)
        if self.path.exists():
            with self.path.open("rb+") as file:
                end = _whole_end(file)
                file.truncate(end)
                file.seek(0)
                for at, row in whole_lines(file, self.path):
                    self._remember(row, at)
        if retry and any(known.failed for known in self._known.values()):
            self._keep([known for known in self._known.values() if not known.failed])
        self._file = self.path.open("ab")

    @property
    def done(self) -> int:
        """How many pictures have their row."""
        return len(self._known)

    @property
    def failures(self) -> int:
        """How many of those lack an answer."""
        return sum(known.failed for known in self._known.values())

    def has(self, key: str, content: str) -> bool:
        """Say whether a picture has its row, and is still the same; "" is any content."""
        known = self._known.get(short_digest(key))
        if known is None:
            return False
        return known.content == short_digest(content) or (not content and not known.failed)

    def same(self, content: str) -> Row | None:
        """Return a row about equal content, wherever that is; None where there is none."""
        at = self._contents.get(short_digest(content))
        if at is None:
            return None
        with self.path.open("rb") as file:
            file.seek(at)
            row: Row = json.loads(file.readline())
        return row

    def marks(self) -> Iterator[tuple[bytes, bytes, bool]]:
        """Yield of each row the digests of its key and its content, and whether it failed."""
        return ((key, known.content, known.failed) for key, known in self._known.items())

    def answered(self) -> Iterator[bytes]:
        """Yield digests of the contents that ``same`` knows."""
        return iter(self._contents)

    def append(self, rows: Sequence[Row]) -> None:
        """Add rows; they are in the file when this returns, or none is.

        Raises:
            InputError: The disk is full.
        """
        assert self._file is not None
        at = start = self._file.seek(0, os.SEEK_END)
        lines = [line_of(row) for row in rows]
        try:
            self._file.write(b"".join(lines))
            self._file.flush()
        except OSError as exc:
            self._give_up(start)
            if is_disk_full(exc):
                raise InputError(NO_ROOM) from exc
            raise
        for row, line in zip(rows, lines, strict=True):
            self._remember(row, at)
            at += len(line)

    def end(self) -> None:
        """Close the file, without rows that later ones replaced, and let others in."""
        if self._file is not None:
            with suppress(OSError):
                os.fsync(self._file.fileno())
                self._file.close()
            self._file = None
            if self._replaced:
                self._keep(list(self._known.values()))
        self._lock.release()

    def _give_up(self, start: int) -> None:
        """Take back what was written of some rows, and write no more."""
        with suppress(OSError):
            os.truncate(self.path, start)
        file, self._file = self._file, None
        with suppress(OSError):  # what is left in its buffer finds no room either
            if file is not None:
                file.close()
        with suppress(OSError):
            os.truncate(self.path, start)

    def _remember(self, row: Row, at: int) -> None:
        key, content = short_digest(key_of(row)), content_of(row)
        self._replaced |= key in self._known
        known = self._known[key] = _Known(at, short_digest(content), bool(errors_of(row)))
        if content and not known.failed:
            self._contents.setdefault(short_digest(_within(row, content)), at)

    def _keep(self, kept: Iterable[_Known]) -> None:
        """Write the file anew with some of its rows; a reader sees the old one or the new one."""
        new = self.path.with_suffix(".new")
        places = sorted(known.at for known in kept)
        with self.path.open("rb") as old, new.open("wb") as out:
            for at in places:
                old.seek(at)
                out.write(old.readline())
            out.flush()
            os.fsync(out.fileno())
        new.replace(self.path)
        self._known, self._contents, self._replaced = {}, {}, False
        with self.path.open("rb") as file:
            for at, row in whole_lines(file, self.path):
                self._remember(row, at)


def content_of(row: Row) -> str:
    """Return the digest of what a row is about; "" where nothing could be read."""
    return str(row.get("sha256", ""))


def _within(row: Row, content: str) -> str:
    return within(content, row.get("page", 0), row.get("frame"))


def within(content: str, page: int, frame: int | None) -> str:
    """Return what tells a picture by its content alone: of a document or a film, which one."""
    return f"{content} {page} {frame}"


def _whole_end(file: BinaryIO, block: int = 1 << 16) -> int:
    """Return where the last whole line of a file ends."""
    at = file.seek(0, os.SEEK_END)
    while at > 0:
        start = max(0, at - block)
        file.seek(start)
        found = file.read(at - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        at = start
    return 0


class RowStream:
    """Hand rows on as they come, to a pipe: nothing is remembered."""

    done = failures = 0

    def __init__(self, out: BinaryIO):
        """Take where to."""
        self._out = out

    def has(self, key: str, content: str) -> bool:
        """Say no: what went down a pipe is not known here any more."""
        return False

    def same(self, content: str) -> Row | None:
        """Return no row."""
        return None

    def append(self, rows: Sequence[Row]) -> None:
        """Hand rows on."""
        self._out.write(b"".join(map(line_of, rows)))
        self._out.flush()

    def end(self) -> None:
        """Leave the pipe to whom it belongs."""
