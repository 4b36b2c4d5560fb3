"""Where data may lie: the sets under an allowed root, and what a visitor uploads.

Knows paths and archives. Everything that an upload says is a stranger's word: its names lead
nowhere but into its own folder, and what it holds is counted before it is unpacked or read.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from florence_demo.data.example import Example
from florence_demo.data.formats import upload_help, upload_suffixes
from florence_demo.data.listings import looked_at
from florence_demo.data.parts import TRAIN
from florence_demo.data.reading import lone_table, open_data, parts_of, source_in
from florence_demo.data.source import DATA_LIMITS, DataLimits, DataSource
from florence_demo.errors import DatasetError
from florence_demo.files import (
    copy_at_most,
    folders_under,
    leads_out,
    opened_zip,
    stays,
    without_paths,
)

MAX_DEPTH = 4
MAX_FOLDERS = 2_000
_MAX_LINE = 110


def list_data(root: Path) -> list[str]:
    """Return the names of the sets under an allowed root: their paths within it, sorted.

    Args:
        root: The allowed root; one that does not exist holds none.
    """
    found: list[Path] = []
    for folder in _folders(root):
        # The shallow ones come first: what lies in a set is a part of it.
        if folder != root and not any(folder.is_relative_to(known) for known in found):
            found += [folder] if source_in(folder, root) else []
    return sorted(str(folder.relative_to(root)) for folder in found)


def data_under(root: Path, name: object) -> DataSource:
    """Return a set by the name that ``list_data`` gave.

    Args:
        root: The allowed root.
        name: From a browser, so not to be believed.

    Raises:
        DatasetError: There is no such set, or it leads out of the root.
    """
    found = None
    if isinstance(name, str):
        folder = Path(root, name)
        try:
            if folder != root and not leads_out(name) and stays(folder, root):
                found = source_in(folder, root)
        except (OSError, ValueError):  # no name at all
            found = None
    if found is None:
        shown = str(name)[:60]
        raise DatasetError(f"There is no data “{shown}” here: press “Look again” and choose one.")
    return found


def take_data(
    files: Sequence[Path], dst: Path, limits: DataLimits = DATA_LIMITS
) -> tuple[DataSource, list[Example]]:
    """Put an upload into a new folder and return the set in it with its rows, each of them usable.

    Args:
        files: One zip, or the loose files of one set.
        dst: The folder to make; it must not exist, and is not there after an error.
        limits: How much is taken.

    Raises:
        FlorenceDemoError: As for ``unpack_data`` and ``open_upload``.
    """
    source = unpack_data(files, dst, limits)
    try:
        return source, open_upload(source)
    except BaseException:
        shutil.rmtree(dst, ignore_errors=True)
        raise


def unpack_data(files: Sequence[Path], dst: Path, limits: DataLimits = DATA_LIMITS) -> DataSource:
    """Put an uploaded zip, or uploaded loose files, into a new folder and return the set in it.

    Only pictures, JSON and text are kept. Whether its rows are usable is the matter of
    ``open_upload``.

    Args:
        files: One zip, or the loose files of one set.
        dst: The folder to make; it must not exist.
        limits: How much is taken.

    Raises:
        FlorenceDemoError: The upload is too large, damaged, leads out of its folder, or no set.
    """
    dst.mkdir(parents=True)
    try:
        if len(files) == 1 and files[0].suffix.lower() == ".zip":
            _unpack(files[0], dst, limits)
        else:
            _copy_loose(files, dst, limits)
        found = next(filter(None, (source_in(p, p, limits) for p in _folders(dst))), None)
        if found is None:
            table = next(filter(None, map(lone_table, _folders(dst))), None)
            if table:  # which says of its columns why it is none
                open_upload(DataSource("tables", str(table), "", str(dst), limits))
            raise DatasetError(
                f"The upload is no data that can be read{looked_at(dst)}. Upload"
                f" {upload_help().replace('`', '')};"
                " with the pictures, as a zip or as loose files."
            )
    except BaseException as exc:
        shutil.rmtree(dst, ignore_errors=True)
        if isinstance(exc, OSError):
            raise DatasetError(f"The upload could not be stored ({exc.strerror}).") from exc
        raise
    return found


def open_upload(source: DataSource) -> list[Example]:
    """Return the rows of an unpacked upload; none of any part may be unusable or lead out of it.

    Returns:
        Those that one would learn from.

    Raises:
        DatasetError: With the first problems, told without the paths of this machine.
    """
    try:
        rows = open_data(source)
        for part in parts_of(source):
            if part != TRAIN:  # which those rows are
                open_data(replace(source, part=part))
        return rows
    except DatasetError as exc:
        raise DatasetError(for_visitors(str(exc), source)) from exc


def for_visitors(text: str, source: DataSource) -> str:
    """Return a message about a source in short lines and without paths of this machine."""
    plain = without_paths(text, *(Path(p) for p in (source.location, source.root) if p))
    lines = plain.split("\n")
    return "\n".join(x if len(x) <= _MAX_LINE else f"{x[: _MAX_LINE - 1]}…" for x in lines)


def _folders(root: Path) -> Iterator[Path]:
    return folders_under(root, depth=MAX_DEPTH, most=MAX_FOLDERS)


def _unpack(file: Path, dst: Path, limits: DataLimits) -> None:
    # A system's own hidden files come on top, at most one for each.
    with opened_zip(file, 2 * limits.files + 100, DatasetError) as (archive, entries):
        chosen = [e for e in entries if _wanted(PurePosixPath(e.filename))]
        _check_amount([e.file_size for e in chosen], limits)
        unpacked, packed = (
            sum(getattr(e, size) for e in chosen) for size in ("file_size", "compress_size")
        )
        if unpacked > max(limits.listing_bytes, limits.ratio * packed):
            raise DatasetError("The zip unpacks to far more than it holds; it was not opened.")
        left = limits.unpacked
        for entry in chosen:
            target = dst.joinpath(*PurePosixPath(entry.filename).parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source:
                left -= copy_at_most(source, target, left, _too_large())


def _copy_loose(files: Sequence[Path], dst: Path, limits: DataLimits) -> None:
    chosen = [f for f in files if _wanted(PurePosixPath(f.name))]
    if len({f.name for f in chosen}) < len(chosen):
        raise DatasetError("Two of the files have the same name: rename one, or upload a zip.")
    _check_amount([f.stat().st_size for f in chosen], limits)
    for file in chosen:
        shutil.copyfile(file, dst / file.name)


def _wanted(path: PurePosixPath) -> bool:
    hidden = any(part.startswith((".", "__")) for part in path.parts)
    return (
        not hidden and len(path.parts) <= MAX_DEPTH + 1 and path.suffix.lower() in upload_suffixes()
    )


def _check_amount(sizes: Sequence[int], limits: DataLimits) -> None:
    if len(sizes) > limits.files:
        raise DatasetError(f"The upload has {len(sizes):,} files, more than {limits.files:,}.")
    if sum(sizes) > limits.unpacked:
        raise _too_large()


def _too_large() -> DatasetError:
    return DatasetError("The upload is larger than this page takes; copy the folder instead.")
