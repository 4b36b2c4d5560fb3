"""Zip files written by hand, so that each of their words can be a lie (PKWARE APPNOTE 6.3.10)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.mutations import NAMES, Draw, bent_bytes

STORED, DEFLATED = 0, 8
LOOSE = b"loose files"
"""The comment of a zip that is handed in as the loose files within it."""


@dataclass(frozen=True)
class Entry:
    """Hold one file of a zip, and the lies about it.

    Attributes:
        name: Its name.
        data: What it holds, ``times`` over.
        times: How often; a bomb is a small thing said a million times.
        method: How it is said to be packed; only 0 and 8 are done.
        size: Bytes unpacked as the directory says, None for the truth.
        packed: Bytes packed as the directory says, None for the truth.
        crc: The checksum, None for the true one.
        flags: Bit 0 is "encrypted", 3 "sizes follow", 11 "the name is UTF-8".
        mode: The Unix mode: a link is 0o120777, a pipe 0o010666.
        inner: The name in front of the data, None for the same.
        extra: Extra fields.
        at: Number of the entry whose data this one is said to have, None for its own.
    """

    name: str
    data: bytes = b""
    times: int = 1
    method: int = DEFLATED
    size: int | None = None
    packed: int | None = None
    crc: int | None = None
    flags: int = 0x800
    mode: int = 0o100644
    inner: str | None = None
    extra: bytes = b""
    at: int | None = None


def zipped(
    entries: Iterable[Entry], *, comment: bytes = b"", before: bytes = b"", count: int | None = None
) -> bytes:
    """Return a zip of some entries.

    Args:
        entries: They.
        comment: Of the whole.
        before: What lies in front of it.
        count: How many entries there are said to be.
    """
    body, places, directory = bytearray(before), [], bytearray()
    entries = list(entries)
    for entry in entries:
        packed, size, crc = _packed(entry)
        method = entry.method % (1 << 16)
        places.append((len(body), len(packed), size, crc))
        inner = _name(entry.name if entry.inner is None else entry.inner)
        sizes = (_u32(crc), _u32(len(packed)), _u32(size))
        body += struct.pack(
            "<IHHHHHIIIHH", 0x04034B50, 20, entry.flags, method, 0, 33, *sizes, len(inner), 0
        )
        body += inner + packed
    for entry, own in zip(entries, places, strict=True):
        place, packed_size, size, crc = own if entry.at is None else places[entry.at % len(places)]
        name = _name(entry.name)
        said = (
            _u32(crc if entry.crc is None else entry.crc),
            _u32(packed_size if entry.packed is None else entry.packed),
            _u32(size if entry.size is None else entry.size),
        )
        directory += struct.pack(
            "<IHHHHHHIIIHHHHHII", 0x02014B50, 0x031E, 20, entry.flags, entry.method % (1 << 16), 0,
            33,
            *said, len(name), len(entry.extra), 0, 0, 0, entry.mode << 16 & 0xFFFFFFFF, _u32(place),
        )  # fmt: skip
        directory += name + entry.extra
    number = min(len(entries) if count is None else count, 0xFFFF)
    end = (0, 0, number, number, _u32(len(directory)), _u32(len(body)), len(comment))
    return bytes(body + directory) + struct.pack("<IHHHHIIH", 0x06054B50, *end) + comment


def of_files(files: Mapping[str, bytes], *, loose: bool = False) -> bytes:
    """Return an honest zip of some files."""
    return zipped(entries_of(files), comment=LOOSE if loose else b"")


def entries_of(files: Mapping[str, bytes]) -> list[Entry]:
    """Return the honest entries of some files; weights stay as they are, to save time."""
    return [
        Entry(name, data, method=STORED if name.endswith(".safetensors") else DEFLATED)
        for name, data in files.items()
    ]


def _packed(entry: Entry) -> tuple[bytes, int, int]:
    crc = entry.crc or 0
    for _ in range(entry.times if entry.crc is None else 0):
        crc = zlib.crc32(entry.data, crc)
    size = len(entry.data) * entry.times
    if entry.method != DEFLATED:
        return entry.data * entry.times, size, crc
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    if entry.times == 1:
        return packer.compress(entry.data) + packer.flush(), size, crc
    # Each block ends where a byte does and knows nothing of the one before: it can be repeated.
    block = packer.compress(entry.data) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * entry.times + packer.flush(), size, crc


def _name(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")[:0xFFFF]


def _u32(number: int) -> int:
    return number % (1 << 32)


_SIZES = (0, 1, 2**31, 2**32 - 1)
_METHODS = (0, 1, 6, 8, 9, 12, 14, 93, 95, 96, 97, 98, 99, 65_535)
_MODES = (0o120777, 0o010666, 0o020666, 0o060666, 0o140777, 0o040755, 0, 0o100000, 0o104777)
_EXTRAS = (
    struct.pack("<HH", 1, 0), struct.pack("<HHQQQ", 1, 24, 2**63, 2**63, 2**63), b"\1\0\xff\xff",
    struct.pack("<HHBI", 0x7075, 5, 1, 0), b"x" * 3, struct.pack("<HHQ", 1, 8, 2**62),
)  # fmt: skip


@st.composite
def bent_zip(draw: Draw, honest: st.SearchStrategy[dict[str, bytes]]) -> bytes:
    """A zip of honest files with other names, sizes, methods, kinds and places."""
    entries = entries_of(draw(honest))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(entries) - 1)))
        if not entries:
            break
        lies = {
            "name": st.sampled_from(NAMES) | st.sampled_from(NAMES).map(lambda n: f"images/{n}"),
            "size": st.sampled_from(_SIZES), "packed": st.sampled_from(_SIZES),
            "crc": st.sampled_from(_SIZES), "method": st.sampled_from(_METHODS),
            "flags": st.integers(0, 0xFFFF), "mode": st.sampled_from(_MODES),
            "inner": st.sampled_from(NAMES), "extra": st.sampled_from(_EXTRAS),
            "at": st.integers(0, 9), "times": st.sampled_from([0, 2, 1000]),
        }  # fmt: skip
        lie = draw(st.sampled_from([*lies, "twice", "none", "twice in capitals", "as a folder"]))
        entry = entries[at]
        if lie in lies:
            entries[at] = replace(entry, **{lie: draw(lies[lie])})
        elif lie == "none":
            del entries[at]
        else:
            names = {
                "twice": entry.name,
                "twice in capitals": entry.name.upper(),
                "as a folder": f"{entry.name}/a.png",
            }
            entries.append(replace(entry, name=names[lie]))
    count = draw(st.sampled_from([None, None, None, 0, 1, 0xFFFF]))
    before = draw(st.sampled_from([b"", b"", b"", b"MZ" * 40, b"PK\5\6" + bytes(18)]))
    return zipped(entries, before=before, count=count)


def bent_zips(honest: st.SearchStrategy[dict[str, bytes]]) -> st.SearchStrategy[bytes]:
    """Zips of honest files, bent in their words or in their bytes."""
    return st.one_of(bent_zip(honest), bent_bytes(honest.map(of_files)))


def hostile_zips(
    files: Mapping[str, bytes], listing: str, filler: str
) -> dict[str, Callable[[], bytes]]:
    """Makers of zips that are hostile as zips, whatever they are a zip of.

    Args:
        files: The honest files.
        listing: Name of the file that is read as text.
        filler: Name of a further file that is kept.
    """
    honest = entries_of(files)
    megabyte, listed = bytes(1 << 20), next(e for e in honest if e.name == listing)

    def plus(*more: Entry) -> Callable[[], bytes]:
        return lambda: zipped([*honest, *more])

    def many(count: int, name: str, **values: Any) -> Callable[[], bytes]:
        return lambda: zipped([*honest, *(Entry(name % i, **values) for i in range(count))])

    def instead(**lies: Any) -> Callable[[], bytes]:
        return lambda: zipped([replace(e, **lies) if e is listed else e for e in honest])

    def filled(unit: bytes, megabytes: int) -> Callable[[], bytes]:
        return instead(data=unit * ((1 << 20) // len(unit)), times=megabytes)

    end = zipped([])[-22:]
    found = {
        "no zip": lambda: b"PK no zip",
        "an empty zip": lambda: zipped([]),
        "only an end": lambda: b"PK\5\6" + bytes(18),
        "honest": plus(),
        "honest and loose": lambda: of_files(files, loose=True),
        "cut off": lambda: zipped(honest)[:-30],
        "ends too often": lambda: zipped(honest) + end * 3000,
        "a zip of 5 GB": plus(Entry(filler, megabyte, 5000, crc=0)),
        "a zip of 5 GB that says 2 bytes": plus(Entry(filler, megabyte, 5000, crc=0, size=2)),
        "a listing of 300 MB of NUL": filled(b"\0", 300),
        "a listing of 300 MB of spaces": filled(b" ", 300),
        "a listing of 100 MB of line ends": filled(b"\n", 100),
        "a listing of 200 MB of brackets": filled(b"[", 200),
        "a listing of 200 MB of lists": filled(b"[],", 200),
        "a listing of 200 MB of objects": filled(b'{"a":{}},', 200),
        "a listing of 200 MB of lines": filled(b"{}\n", 200),
        "a listing of 15 MB of lines": filled(b"{}\n", 15),
        "a listing of 15 MB of lists": filled(b"[],", 15),
        "a size of 4 GB": plus(Entry(filler, b"x", size=2**32 - 2)),
        "60,000 files": many(60_000, f"%d-{filler}"),
        "5,000 folders": many(5000, f"%d/{filler}"),
        "3,000 times one file": many(3000, f"%d-{filler}", at=0),
        "overlapping bombs": lambda: zipped(
            [*honest, Entry(f"x-{filler}", megabyte, 50)]
            + [Entry(f"{i}-{filler}", at=len(honest)) for i in range(150)]
        ),
        "a name of 60,000 signs": plus(Entry("x" * 60_000 + filler)),
        "a deep name": plus(Entry("x/" * 20_000 + filler)),
        "a link": plus(Entry(filler, b"/etc/passwd", mode=0o120777)),
        "a pipe": plus(Entry(filler, mode=0o010666)),
        "a device": plus(Entry(filler, mode=0o020666)),
        "encrypted": instead(flags=1),
        "strongly encrypted": instead(flags=65),
        "a patch": instead(flags=32),
        "sizes that follow": instead(flags=8),
        "another name within": instead(inner="other.txt"),
        "a wrong checksum": instead(crc=1),
        "a prefix": lambda: zipped(honest, before=b"MZ" * 500),
        "a zip in a zip": plus(Entry(filler, zipped(honest))),
        "a long comment": lambda: zipped(honest, comment=b"PK\5\6" * 16_000),
        "a file as a folder": plus(Entry(f"{listing}/{filler}", b"x")),
        "twice": plus(honest[0]),
        "twice in capitals": plus(replace(honest[0], name=honest[0].name.upper())),
        "64-bit sizes": instead(
            size=0xFFFFFFFF, packed=0xFFFFFFFF, extra=struct.pack("<HHQQ", 1, 16, 2**62, 2**62)
        ),
    }
    found |= {f"the method {m}": instead(method=m) for m in _METHODS if m not in (0, 8)}
    found |= {f"the name {i}": plus(Entry(name, b"x")) for i, name in enumerate(NAMES)}
    return found
