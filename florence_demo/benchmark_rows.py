"""A row of the benchmark: how it is taken, judged and shown.

Knows seconds and ratios. Does not know what is measured; imports nothing heavy.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

Work = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """Hold one comparison.

    Attributes:
        name: What was compared.
        ratio: How many times better ours is; a limit divided by what was measured where there is
            nothing to compare with; None where it was not run.
        at_least: What the ratio must reach.
        note: The measured values, or why it was not run.
    """

    name: str
    ratio: float | None
    at_least: float
    note: str

    @property
    def kept(self) -> bool:
        """Return whether the row was not run or reached what it must."""
        return self.ratio is None or self.ratio >= self.at_least


def seconds_of(work: Work) -> tuple[float, Any]:
    """Return how long work takes and what it returns."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def compare(usual: Work, ours: Work, times: int) -> tuple[float, float, bool]:
    """Return the median seconds of two ways, run in turn, and whether they said the same."""
    spent: tuple[list[float], list[float]] = ([], [])
    same = True
    for _ in range(times):
        first, expected = seconds_of(usual)
        second, got = seconds_of(ours)
        spent[0].append(first)
        spent[1].append(second)
        same = same and expected == got
    return statistics.median(spent[0]), statistics.median(spent[1]), same


def against(name: str, at_least: float, taken: tuple[float, float, bool], *, exact: bool) -> Row:
    """Return a row; where tokens must be identical and are not, speed counts nothing."""
    usual, ours, same = taken
    note = f"{_seconds(usual)} -> {_seconds(ours)}"
    if exact:
        note += ", identical tokens" if same else ", TOKENS DIFFER"
    return Row(name, 0.0 if exact and not same else usual / ours, at_least, note)


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.1f} ms"


def markdown(rows: list[Row]) -> str:
    """Return the table of the rows."""
    lines = ["| | ratio | at least | measured |", "|---|---|---|---|"]
    for row in rows:
        ratio = "not run" if row.ratio is None else f"{row.ratio:.2f}x"
        kept = "" if row.kept else " (missed)"
        lines.append(f"| {row.name} | {ratio}{kept} | {row.at_least:g}x | {row.note} |")
    return "\n".join(lines)


def bars(rows: list[Row]) -> str:
    """Return the ratios as an SVG picture, the part that must be reached drawn darker."""
    shown = [row for row in rows if row.ratio is not None]
    widest = max([row.ratio or 0 for row in shown], default=1.0)
    parts = []
    for at, row in enumerate(shown):
        top, scale = 34 * at, 330 / widest
        full, least = (row.ratio or 0) * scale, min(row.ratio or 0, row.at_least) * scale
        parts.append(
            f'<text x="0" y="{top + 12}">{escape(row.name)}</text>'
            f'<rect y="{top + 16}" width="{full:.1f}" height="10" fill="#7aa6d8"/>'
            f'<rect y="{top + 16}" width="{least:.1f}" height="10" fill="#2b5f9e"/>'
            f'<text x="{full + 6:.1f}" y="{top + 25}">{row.ratio:.1f}x</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 {34 * len(shown) + 4}" '
        f'font-family="sans-serif" font-size="11">{"".join(parts)}</svg>\n'
    )
