"""Data that a person chose, and what may be said of it to others.

Knows a source and its title. Does not know how it is chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from florence_demo.data.folders import for_visitors
from florence_demo.data.source import DataSource


@dataclass(frozen=True)
class Data:
    """Hold chosen data.

    Attributes:
        source: Where its rows come from.
        title: What a person reads; no path.
        held: What to measure on where it is known.
        rows: How many rows there are, None where that must be counted.
    """

    source: DataSource
    title: str
    held: DataSource | None = None
    rows: int | None = None

    @property
    def remote(self) -> bool:
        """Whether it is on the hub."""
        return self.source.format == "hub"

    @property
    def upload(self) -> Path | None:
        """The visitor's own folder, None for other data."""
        return Path(self.source.location) if self.source.limits else None

    def safe(self, text: str) -> str:
        """Return a message about it without its path on this machine."""
        return text if self.remote else for_visitors(text, self.source)


@dataclass(frozen=True)
class Upload:
    """Hold what a visitor sent, as the page's state keeps it.

    Attributes:
        source: Where its rows come from.
        rows: How many there are, all of them usable.
    """

    source: DataSource
    rows: int
