"""An upload as the page has it: files in a folder of their own, and a folder to make of them."""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from pathlib import Path
from types import TracebackType

from tests.fuzz.make_zips import LOOSE
from tests.fuzz.oracle import Breach


class Upload:
    """Hold the bytes of a zip as a file, or as the loose files within it."""

    def __init__(self, folder: Path, data: bytes):
        self.home = Path(tempfile.mkdtemp(prefix="upload-", dir=folder))
        given = self.home / "given"
        given.mkdir()
        self.target = self.home / "new" / "upload"
        self.target.parent.mkdir()
        self.files = _loose(data, given) or [given / "upload.zip"]
        if self.files[0].name == "upload.zip":
            self.files[0].write_bytes(data)

    def __enter__(self) -> Upload:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _exc: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.home, ignore_errors=True)

    def check_nothing_left(self) -> None:
        """Raise Breach where a refused upload left files beside its folder."""
        left = [p.name for p in self.target.parent.iterdir() if p != self.target]
        if left:
            raise Breach(f"a refused upload left {left[:3]} behind")


def _loose(data: bytes, folder: Path) -> list[Path]:
    """Return the loose files that a zip of ours stands for, none for any other zip."""
    if not data.endswith(LOOSE):
        return []
    files: dict[str, Path] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                # The server gives uploads plain names; each lies in a folder of its own.
                plain = Path(name.replace("\0", "")).name or "file"
                path = folder / str(len(files)) / plain
                path.parent.mkdir()
                path.write_bytes(archive.read(name))
                files[name] = path
    except (zipfile.BadZipFile, OSError, ValueError):
        return []
    return list(files.values())
