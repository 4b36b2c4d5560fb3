"""Where rows come from, as a value, and what a stranger's may cost.

A ``DataSource`` is made once, where it comes in: from an operator's text, an upload, a folder under
the allowed root or an id of the hub. It travels as it is, into another process too, and is never
parsed again: a folder called ``a#b`` is a folder. Knows no format.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from florence_demo.files import stays


@dataclass(frozen=True)
class DataLimits:
    """Hold what a stranger's data may cost.

    Attributes:
        unpacked: Bytes of all its files, unpacked.
        files: Number of files.
        ratio: How many bytes a packed one may become, of an upload that is larger than a listing.
        listing_bytes: Bytes of a file of rows.
        line_bytes: Bytes of one of its lines.
        values: Names, numbers and texts in a file of rows.
        rows: Number of rows.
        seconds: Time of reading and checking them.
    """

    unpacked: int = 1 << 30
    files: int = 50_000
    ratio: int = 100
    listing_bytes: int = 20 << 20
    line_bytes: int = 1 << 20
    values: int = 2_000_000
    rows: int = 50_000
    seconds: int = 60


DATA_LIMITS = DataLimits()


@dataclass(frozen=True)
class DataSource:
    """Hold where rows come from.

    Attributes:
        format: Name of the reader.
        location: A file, a folder, an id of the hub, or what is to be drawn.
        part: Which of its parts, "" for the first.
        root: Folder in which its files must lie; "" where the operator may name any.
        limits: What it may cost; None where the operator vouches for it.
        columns: Pairs of a role ("image", "question") and the column that has it, as
            ``reading.with_columns`` checked them; those that are not named are guessed.
    """

    format: str
    location: str
    part: str = ""
    root: str = ""
    limits: DataLimits | None = None
    columns: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.location}#{self.part}" if self.part else self.location

    @property
    def identity(self) -> tuple[str, str, str]:
        """What two sources of the same rows have in common."""
        return self.format, self.location, self.part

    def holds(self, path: Path) -> bool:
        """Whether a file lies where this source's files may lie, wherever links lead."""
        return not self.root or stays(path, Path(self.root))

    def moved(self, folder: Path) -> DataSource:
        """Return the source after its files were copied; they may lie nowhere else then."""
        limits = self.limits
        if limits:
            # They were read within their time once; a machine that trains takes longer.
            limits = replace(limits, seconds=20 * limits.seconds)
        return replace(self, location=str(folder), root=str(folder), limits=limits)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> DataSource:
        """Return the source that ``to_json`` wrote.

        Raises:
            ValueError: The values are not those of a source.
        """
        given = dict(values) if isinstance(values, dict) else {}
        limits, columns = given.pop("limits", None), _columns(given.pop("columns", ()))
        named = {f.name for f in fields(cls)}
        if not {"format", "location"} <= set(given) <= named:
            raise ValueError(f"a source has {', '.join(sorted(named))}, not {sorted(given)[:9]}")
        if not all(isinstance(v, str) and "\0" not in v for v in given.values()):
            raise ValueError("a source is made of texts")
        return cls(**given, limits=None if limits is None else _limits(limits), columns=columns)


MAX_COLUMNS, MAX_COLUMN = 16, 200
"""Most pairs of a role and a column, and letters of a column's name."""


def _columns(values: Any) -> tuple[tuple[str, str], ...]:
    pairs = values if isinstance(values, list | tuple) and len(values) <= MAX_COLUMNS else ((),)
    for pair in pairs:
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and all(map(_is_name, pair))):
            raise ValueError("columns are pairs of a role and a column's name")
    return tuple((role, column) for role, column in pairs)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_COLUMN and "\0" not in value


def _limits(values: Any) -> DataLimits:
    names = {f.name for f in fields(DataLimits)}
    if not isinstance(values, dict) or not set(values) <= names:
        raise ValueError(f"limits have {', '.join(sorted(names))}")
    if not all(type(v) is int and 0 < v < 1 << 60 for v in values.values()):
        raise ValueError("limits are whole numbers")
    return DataLimits(**values)


Spec = str | DataSource
"""What an operator or a program names data by: a text, which ``parse_source`` reads, or a value."""
