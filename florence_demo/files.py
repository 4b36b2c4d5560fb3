"""Strangers' folders and zips, and files that are whole or not there.

Knows paths, archives and disks. Does not know what is in the files: whoever takes a zip says by
which of our errors it is refused.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import shutil
import stat
import zipfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any

from florence_demo.errors import FlorenceDemoError, InputError, plain

Refusal = type[FlorenceDemoError]

_BLOCK = 1 << 20
_ENTRY = b"PK\x01\x02"  # begins each entry of a zip's table of contents


def folders_under(root: Path, *, depth: int, most: int) -> Iterator[Path]:
    """Yield a root and the folders under it, the shallow ones first; none hidden, no links.

    Args:
        root: Where to begin.
        depth: Floors below it that are looked at.
        most: Folders after which the search ends: a root may be a whole disk.
    """
    waiting = deque([(root, 0)])
    for _ in range(most):
        if not waiting:
            return
        folder, floor = waiting.popleft()
        yield folder
        if floor < depth:
            try:
                inner = sorted(folder.iterdir())
            except OSError:
                continue  # gone or forbidden: it holds nothing for us
            waiting += [
                (path, floor + 1)
                for path in inner
                if not path.name.startswith((".", "__")) and not path.is_symlink() and path.is_dir()
            ]


def stays(path: Path, *roots: Path) -> bool:
    """Say whether a path lies under one of some roots, wherever links lead."""
    try:
        found = path.resolve()
        return any(found.is_relative_to(root.resolve()) for root in roots)
    except (OSError, ValueError, RuntimeError):  # no path at all, or links in a circle
        return False


def leads_out(name: str) -> bool:
    """Say whether a stranger's name could lead out of a folder it is put under, on any system."""
    return name.startswith("/") or "\\" in name or "\0" in name or ".." in PurePosixPath(name).parts


def without_paths(text: str, *folders: Path) -> str:
    """Return a message without the folders' own paths, which are nobody else's business."""
    for folder in folders:
        for path in {str(folder.absolute()), str(folder.resolve()), str(folder)}:
            if path not in (".", "/"):
                text = text.replace(f"{path}/", "").replace(path, folder.name)
    return text


@contextmanager
def opened_zip(
    file: Path, most: int, refusal: Refusal
) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """Open a stranger's zip, and give its files: none leads out of its folder or is a link.

    Args:
        file: The zip.
        most: Entries that it may have, folders included.
        refusal: By which error it is refused.

    Raises:
        FlorenceDemoError: It is none, is damaged, or holds what is not taken; also where the block
            finds it damaged only then.
    """
    try:
        with _Archive(file, most, refusal) as raw, zipfile.ZipFile(raw) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            for entry in entries:
                entry.filename = _spelled(entry)
                _check_entry(entry, refusal)
            yield archive, entries
    except FileExistsError as exc:
        raise refusal("The zip holds the same name twice: pack it again.") from exc
    except (FlorenceDemoError, OSError):
        raise
    # A hostile archive makes the zip reader raise whatever it met; all of it means the same.
    except Exception as exc:
        raise refusal(
            f"{plain(file.name)} is no zip file that can be unpacked: pack it again."
        ) from exc


def _spelled(entry: zipfile.ZipInfo) -> str:
    """Return an entry's name as it was meant: a Mac writes UTF-8 and does not say so."""
    if entry.flag_bits & 0x800:
        return entry.filename
    try:
        return entry.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return entry.filename


class _Archive(io.FileIO):
    """Give a zip's bytes piece by piece, and no table of contents with too many entries.

    ``zipfile`` reads the table in one piece and makes an object of each entry, however many there
    are and whatever number the archive tells.
    """

    _MAX_PIECE = 16 << 20

    def __init__(self, file: Path, most: int, refusal: Refusal):
        super().__init__(file)
        self._most, self._refusal = most, refusal

    def read(self, size: int | None = -1, /) -> bytes:
        """Return so many bytes, or refuse."""
        size = self._MAX_PIECE if size is None or size < 0 else size
        found = super().read(min(size, self._MAX_PIECE)) or b""
        if size > self._MAX_PIECE or found.count(_ENTRY) > self._most:
            raise self._refusal("The zip holds more files than this page takes: pack fewer.")
        return found


def _check_entry(entry: zipfile.ZipInfo, refusal: Refusal) -> None:
    parts = PurePosixPath(entry.filename).parts
    # ``orig_filename`` still has what zipfile cuts off at a NUL or turns from a backslash.
    odd = "\\" in entry.orig_filename or "\0" in entry.orig_filename or ":" in entry.filename
    if odd or ".." in parts or entry.filename.startswith("/"):
        raise refusal("The zip holds names that lead out of its folder; it was not opened.")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise refusal("The zip holds a link; pack the files themselves.")
    if entry.flag_bits & 1:
        raise refusal("The zip is encrypted; pack it without a password.")
    # The other methods may ask for gigabytes of memory to unpack one byte.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise refusal("The zip is packed in an unusual way; pack it with “deflate”.")


def copy_at_most(source: IO[bytes], target: Path, most: int, too_large: FlorenceDemoError) -> int:
    """Copy a file block by block and return its bytes: an archive's own word is not believed.

    Raises:
        FlorenceDemoError: ``too_large``, where it has more bytes than ``most``.
    """
    copied = 0
    with target.open("xb") as out:
        while block := source.read(_BLOCK):
            copied += len(block)
            if copied > most:
                raise too_large
            out.write(block)
    return copied


def write_json(path: Path, values: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one; NaN becomes null."""
    told = finite(values)
    said = json.dumps(told, ensure_ascii=False, indent=1)
    try:
        said.encode()
    except UnicodeEncodeError:  # a name that is no UTF-8: written so, it comes back as it was
        said = json.dumps(told, indent=1)
    write_text(path, said)


def write_text(path: Path, content: str) -> None:
    """Write a text so that a reader sees the old file or the new one."""
    new = path.with_suffix(f".{os.getpid()}.new")
    try:
        new.write_text(content, encoding="utf-8")
        new.replace(path)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise


def finite(value: Any) -> Any:
    """Return the value with every NaN and infinity as None, which JSON can hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Lend the path of a file beside a target, which takes the target's place when the block ends.

    Where the block fails, the target is as it was before and nothing stays beside it.

    Raises:
        InputError: The disk is full.
        OSError: It cannot be written for another reason.
    """
    new = target.with_name(f".{target.name[:100]}.{os.getpid()}.new{target.suffix}")
    try:
        with disk_full_told():
            yield new
            new.replace(target)
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def write_whole(target: Path, data: bytes) -> None:
    """Write a file wholly or not at all.

    Raises:
        InputError: The disk is full.
        OSError: It cannot be written for another reason.
    """
    with disk_full_told(), target.open("wb") as file:
        try:
            file.write(data)
            file.flush()
        except OSError:
            if target.is_file():  # not a device
                target.unlink()
            raise


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give a folder to write into, which gets its name once all is written and goes after an error.

    Raises:
        InputError: There is something of this name, or the disk is full.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise InputError(f"There is something in {target} already: name a new folder.")
    new = target.with_name(f"{target.name}.{os.getpid()}.new")
    try:
        with disk_full_told():
            new.mkdir(parents=True)
            yield new
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if target.exists():
        target.rmdir()
    new.rename(target)


DISK_FULL = "The disk is full, so this could not be saved: make room and try again."

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No room on the disk, of a person's share, or of what one file may have."""


@contextmanager
def disk_full_told() -> Iterator[None]:
    """Turn a full disk into a sentence for the person who waits for the file.

    Raises:
        InputError: The disk is full.
    """
    try:
        yield
    except Exception as exc:
        if not is_disk_full(exc):
            raise
        raise InputError(DISK_FULL) from exc


def is_disk_full(exc: BaseException) -> bool:
    """Say whether an error is of a disk without room, whichever library tells it."""
    if isinstance(exc, OSError):
        return exc.errno in _FULL
    # safetensors and tokenizers tell of it in words of Rust's, torch in words of its own.
    told = str(exc)
    return any(f"(os error {number})" in told for number in _FULL) or (
        isinstance(exc, RuntimeError) and "PytorchStreamWriter failed writing" in told
    )
