"""A row of the benchmark: how it is taken, judged and shown.

Knows seconds and ratios. Does not know what is measured; imports nothing heavy.
"""

from __future__ import annotations

import statistics
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from florence_demo.errors import InputError
from florence_demo.machine import keep_heap

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
    taken = [in_turn(usual, ours, warm=True) for _ in range(times)]
    first, second, same = zip(*taken, strict=True)
    return statistics.median(first), statistics.median(second), all(same)


def in_turn(usual: Work, ours: Work, *, warm: bool = False) -> tuple[float, float, bool]:
    """Return the seconds of two ways, and whether they said the same; each with its own heap.

    Args:
        usual: With the heap as glibc manages it.
        ours: With the heap that our programs keep.
        warm: Let each run once before, as in a program that has answered before.
    """
    keep_heap(False)
    if warm:
        usual()
    first, expected = seconds_of(usual)
    keep_heap()
    if warm:
        ours()
    second, got = seconds_of(ours)
    return first, second, expected == got


def against(name: str, at_least: float, taken: tuple[float, float, bool], *, exact: bool) -> Row:
    """Return a row; where tokens must be identical and are not, speed counts nothing."""
    usual, ours, same = taken
    note = f"{_seconds(usual)} -> {_seconds(ours)}"
    if exact:
        note += ", identical tokens" if same else ", TOKENS DIFFER"
    return Row(name, 0.0 if exact and not same else usual / ours, at_least, note)


def at_most(name: str, limit: float, taken: float) -> Row:
    """Return a row of a limit in seconds."""
    return Row(name, limit / taken, 1.0, f"{_seconds(taken)}, {_seconds(limit)} at most")


def _seconds(value: float) -> str:
    if value >= 1:
        return f"{value:.2f} s"
    return f"{value * 1000:.{1 if value >= 0.01 else 2}f} ms"


def markdown(rows: list[Row]) -> str:
    """Return the table of the rows."""
    lines = ["| | ratio | at least | measured |", "|---|---|---|---|"]
    for row in rows:
        ratio = "not run" if row.ratio is None else f"{row.ratio:.2f}x"
        kept = "" if row.kept else " (missed)"
        lines.append(f"| {row.name} | {ratio}{kept} | {row.at_least:g}x | {row.note} |")
    return "\n".join(lines)


def draw(rows: list[Row], path: Path) -> None:
    """Write the ratios as a picture, what must be reached as a dark line on each bar.

    Args:
        rows: Those that were run are drawn.
        path: Its suffix says which format: .svg, .png, .pdf.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise InputError("The plot needs matplotlib: pip install matplotlib.") from exc
    shown = [row for row in rows if row.ratio is not None][::-1]
    figure = Figure(figsize=(8, 0.9 + 0.5 * len(shown)), layout="constrained")
    axes = figure.subplots()
    ratios = [row.ratio or 0.0 for row in shown]
    colors = ["#0f766e" if row.kept else "#b91c1c" for row in shown]
    axes.barh(range(len(shown)), ratios, height=0.55, color=colors)
    for at, row in enumerate(shown):
        axes.plot([row.at_least] * 2, [at - 0.4, at + 0.4], color="#0f172a", linewidth=2)
        axes.annotate(
            f"{row.ratio:.1f}x", (max(row.ratio or 0.0, row.at_least), at), xytext=(6, 0),
            textcoords="offset points", va="center", fontsize=9,
        )  # fmt: skip
    # A name is text, not mathematics.
    names = [textwrap.fill(row.name, 46).replace("$", "\\$") for row in shown]
    axes.set_yticks(range(len(shown)), names, fontsize=9)
    axes.set_xscale("log")
    right = 1.6 * max([*ratios, *(row.at_least for row in shown), 1.0])
    axes.set_xlim(0.5, right)
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if tick < right]
    axes.set_xticks(ticks, [f"{tick}x" for tick in ticks], fontsize=9)
    axes.minorticks_off()
    axes.set_xlabel("times the usual way; the line is what must be reached", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
