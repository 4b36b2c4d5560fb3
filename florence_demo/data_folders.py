"""Where data may lie: the sets under an allowed root, and what a visitor uploads.

Knows paths and archives, and which of the ``readers`` takes a folder. Everything that an upload
says is a stranger's word: its names lead nowhere but into its own folder.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from florence_demo.checkpoint_folders import check_entry, copy_at_most, folders_under
from florence_demo.data import Example
from florence_demo.errors import DatasetError
from florence_demo.readers import IMAGE_SUFFIXES, READERS, open_data

MAX_DEPTH = 4
MAX_FOLDERS = 2_000

_TEXTS = (".jsonl", ".json", ".txt")
_KEPT = (*IMAGE_SUFFIXES, *_TEXTS)
# Sets of the package ``datasets`` may name any file of this machine as their picture.
_UPLOADED = ("heldout", "jsonl", "coco", "captions")
_NAMES = ("image", "file_name")
HELP = (
    "a zip with annotations.jsonl (lines of image, prefix, suffix), a COCO .json, or pictures with"
    " .txt captions, and the pictures"
)


@dataclass(frozen=True)
class DataLimits:
    """Hold what an upload may be.

    Attributes:
        unpacked: Bytes of all its files, unpacked.
        files: Number of files.
    """

    unpacked: int = 4 << 30
    files: int = 50_000


def list_data(root: Path) -> list[str]:
    """Return the names of the sets under an allowed root: their paths within it, sorted.

    Args:
        root: The allowed root; one that does not exist holds none.
    """
    return sorted(str(p.relative_to(root)) for p in _folders(root) if p != root and _format(p))


def data_under(root: Path, name: str) -> Path:
    """Return the folder of a set by the name that ``list_data`` gave.

    Args:
        root: The allowed root.
        name: From a browser, so not to be believed.

    Raises:
        DatasetError: There is no such set, or it leads out of the root.
    """
    parts = PurePosixPath(name or "").parts
    odd = not parts or "\0" in name or "\\" in name or name.startswith("/") or ".." in parts
    folder = root if odd else Path(root, *parts)
    if odd or not folder.is_dir() or not folder.resolve().is_relative_to(root.resolve()):
        raise DatasetError(f"There is no data “{name}” here: press “Look again” and choose one.")
    return folder


def unpack_data(files: Sequence[Path], dst: Path, limits: DataLimits | None = None) -> Path:
    """Put an uploaded zip, or uploaded loose files, into a new folder and return the set in it.

    Only pictures, JSON and text are kept. Whether its rows are usable is the matter of
    ``open_data``, to be called with ``confined``.

    Args:
        files: One zip, or the loose files of one set.
        dst: The folder to make; it must not exist.
        limits: How much is taken.

    Raises:
        FlorenceDemoError: The upload is too large, damaged, leads out of its folder, or no set.
    """
    limits = limits or DataLimits()
    dst.mkdir(parents=True)
    try:
        if len(files) == 1 and files[0].suffix.lower() == ".zip":
            _unpack(files[0], dst, limits)
        else:
            _copy_loose(files, dst, limits)
        found = next((p for p in _folders(dst) if _format(p) in _UPLOADED), None)
        if found is None:
            raise DatasetError(f"The upload is no data that can be read: upload {HELP}.")
        _check_names(found)
    except BaseException as exc:
        shutil.rmtree(dst, ignore_errors=True)
        if isinstance(exc, OSError):
            raise DatasetError(f"The upload could not be stored ({exc.strerror}).") from exc
        raise
    return found


def open_upload(folder: Path) -> list[Example]:
    """Return the rows of an unpacked upload; not one may be unusable or lead out of it.

    Raises:
        DatasetError: With the first problems, told without the paths of this machine.
    """
    try:
        return open_data(str(folder), confined=True)
    except DatasetError as exc:
        raise DatasetError(without_paths(str(exc), folder)) from exc


def without_paths(text: str, *folders: Path) -> str:
    """Return a message without the folders' own paths, which are nobody else's business."""
    for folder in folders:
        for path in {str(folder.absolute()), str(folder.resolve()), str(folder)}:
            if path not in (".", "/"):
                text = text.replace(f"{path}/", "").replace(path, folder.name)
    return text


def _folders(root: Path) -> Iterator[Path]:
    return folders_under(root, depth=MAX_DEPTH, most=MAX_FOLDERS)


def _format(folder: Path) -> str:
    """Return the name of the reader that takes a folder, or ""."""
    if not folder.is_dir():
        return ""
    return next((name for name, r in READERS.items() if r.accepts(str(folder))), "")


def _unpack(file: Path, dst: Path, limits: DataLimits) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = [e for e in archive.infolist() if not e.is_dir()]
            for entry in entries:
                check_entry(entry)
            chosen = [e for e in entries if _wanted(PurePosixPath(e.filename))]
            _check_amount([e.file_size for e in chosen], limits)
            left = limits.unpacked
            for entry in chosen:
                target = dst.joinpath(*PurePosixPath(entry.filename).parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source:
                    left -= copy_at_most(source, target, left)
    # A hostile archive makes the zip reader raise many things; all of them mean the same.
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as exc:
        raise DatasetError(f"{file.name} is no zip file that can be unpacked.") from exc
    except FileExistsError as exc:
        raise DatasetError("The zip holds the same name twice: pack it again.") from exc
    except Exception as exc:
        if type(exc).__module__ in ("zlib", "_lzma", "lzma", "bz2"):
            raise DatasetError(f"{file.name} is a damaged zip file.") from exc
        raise


def _copy_loose(files: Sequence[Path], dst: Path, limits: DataLimits) -> None:
    chosen = [f for f in files if _wanted(PurePosixPath(f.name))]
    if len({f.name for f in chosen}) < len(chosen):
        raise DatasetError("Two of the files have the same name: rename one, or upload a zip.")
    _check_amount([f.stat().st_size for f in chosen], limits)
    for file in chosen:
        shutil.copyfile(file, dst / file.name)


def _wanted(path: PurePosixPath) -> bool:
    hidden = any(part.startswith((".", "__")) for part in path.parts)
    return not hidden and len(path.parts) <= MAX_DEPTH + 1 and path.suffix.lower() in _KEPT


def _check_amount(sizes: Sequence[int], limits: DataLimits) -> None:
    if len(sizes) > limits.files:
        raise DatasetError(f"The upload has {len(sizes):,} files, more than {limits.files:,}.")
    if sum(sizes) > limits.unpacked:
        raise DatasetError("The upload is larger than this page takes; copy the folder instead.")


def _check_names(folder: Path) -> None:
    """Refuse a listing that names a picture elsewhere, before any reader looks for it there."""
    for path in (*folder.glob("*.jsonl"), *folder.glob("*.json")):
        text = path.read_text(encoding="utf-8", errors="replace")
        # Split where the reader splits, or a row could hide behind a rarer sign for a line's end.
        for part in text.split("\n") if path.suffix == ".jsonl" else [text]:
            try:
                rows = _named(json.loads(part))
            except (ValueError, RecursionError):
                continue  # the reader will say what is wrong with it, or never look at it
            for name in rows:
                if name.startswith("/") or "\\" in name or ".." in PurePosixPath(name).parts:
                    raise DatasetError(
                        f"“{name}” in {path.name} leads out of the upload: name pictures by their"
                        " place within it."
                    )


def _named(table: Any) -> Iterator[str]:
    """Yield the names of pictures in a row, or in the list "images" of COCO."""
    listed = table.get("images") if isinstance(table, dict) else None
    for row in (table, *(listed if isinstance(listed, list) else ())):
        if isinstance(row, dict):
            yield from (str(row[key]) for key in _NAMES if key in row)


def private_folder() -> Path:
    """Return a new path for one visitor's upload."""
    return Path(tempfile.mkdtemp(prefix="florence-data-")) / "upload"
