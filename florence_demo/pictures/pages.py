"""Pages of a PDF as pictures, one at a time.

Knows which pages are wanted and what they may cost. The file is opened in a process apart
(``worker`` and ``page_renderer``), which ends with the last page. Does not know tasks or models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from florence_demo.errors import InputError, plain
from florence_demo.pictures.process import TooSlow, Unavailable
from florence_demo.pictures.worker import Ceilings, Worker, checked_file, name_of


@dataclass(frozen=True)
class PageLimits:
    """Hold what a stranger's PDF may cost.

    Attributes:
        pages: Most pages that are taken where nobody chose some.
        chosen: Most pages that a choice may name.
        pixels: Most pixels of a page; one that would have more is rendered smaller.
        bytes: Largest file.
        seconds: What one page may take.
        memory: Bytes that the process may take beside its libraries: a scanned page is decoded
            whole, at 600 dots an inch about 200 MB.
    """

    pages: int = 500
    chosen: int = 1_000_000
    pixels: int = 40_000_000
    bytes: int = 2_000_000_000
    seconds: float = 30.0
    memory: int = 1 << 30


PAGE_LIMITS = PageLimits()

_DPI = (18, 1200)


@dataclass(frozen=True, eq=False)
class Page:
    """Hold one page.

    Attributes:
        number: Its place in the document, counted from 1.
        picture: RGB, upright as a reader shows it.
        points: (width, height) of the page, upright, in points of 1/72 inch.
        notice: A sentence where it was rendered smaller than was asked for, or "".
    """

    number: int
    picture: Image.Image
    points: tuple[float, float]
    notice: str = ""


def count_pages(path: Path, *, limits: PageLimits = PAGE_LIMITS) -> int:
    """Return how many pages a PDF has.

    Raises:
        InputError: It is none, is broken or locked, or has no pages.
    """
    path = checked_file(path, limits.bytes)
    with _told(path), _worker(path, limits) as worker:
        return _count(worker, path, limits)


def open_pages(
    path: Path, wanted: str = "", dpi: int = 144, *, limits: PageLimits = PAGE_LIMITS
) -> Iterator[Page]:
    """Yield pages of a PDF, each rendered when it is asked for.

    Close the iterator, or come to its end, and the process that renders is gone.

    Args:
        path: The file.
        wanted: Such as "1-5,8" or "20-"; "" for all pages. They come in the document's order.
        dpi: Pixels an inch, 18 to 1200.
        limits: What the file may cost.

    Raises:
        InputError: The file is no PDF, is broken or locked, has no pages or too many, or no such
            page; or a page is damaged or takes too long.
    """
    path = checked_file(path, limits.bytes)
    check_wanted(wanted)
    if not _DPI[0] <= dpi <= _DPI[1]:
        raise InputError(f"{dpi} dots an inch is not possible: choose {_DPI[0]} to {_DPI[1]:,}.")
    return _pages(path, wanted, dpi, limits)


def _pages(path: Path, wanted: str, dpi: int, limits: PageLimits) -> Iterator[Page]:
    with _told(path), _worker(path, limits) as worker:
        count = _count(worker, path, limits)
        for number in _numbers(wanted, count, path, limits):
            head, picture = _ask(worker, path, (number, count), limits.seconds, dpi)
            width, height = (float(side) for side in head["points"])
            smaller = head["dpi"] < 0.99 * dpi
            notice = _notice(number, (width, height), head["dpi"]) if smaller else ""
            yield Page(number, picture, (width, height), notice)


def _ask(
    worker: Worker, path: Path, page: tuple[int, int], seconds: float, dpi: int
) -> tuple[dict[str, Any], Image.Image]:
    """Return a page's picture and what is told of it; the way out of a bad page leads around it."""
    number, count = page
    around = ((1, number - 1), (number + 1, count))
    others = ",".join(f"{a}-{b}" if a < b else f"{a}" for a, b in around if a <= b)
    way = f"choose the others with --pages {others}" if others else "print it anew as PDF"
    try:
        head, picture = worker.ask(seconds, page=number, dpi=dpi)
        what = "is damaged"
    except TooSlow:
        picture, what = None, "takes too long to draw"
    except ValueError:
        picture, what = None, "is damaged or takes too much memory"
    if picture is None:
        raise InputError(f"Page {number} of {name_of(path)} {what}: {way}.")
    return head, picture


def check_wanted(wanted: str) -> list[tuple[int, int | None]]:
    """Return the ranges that a choice of pages names; a range without an end is open.

    Raises:
        InputError: It is no choice of pages.
    """
    ranges: list[tuple[int, int | None]] = []
    for part in re.split(r"[,\s]+", wanted.strip()) if wanted.strip() else []:
        found = re.fullmatch(r"(\d{1,9})(?:(-)(\d{1,9})?)?", part, re.ASCII)
        if not found:
            raise InputError(
                f"“{plain(wanted, 40)}” names no pages: write them as 1-5,8 or 20- for the rest."
            )
        first = int(found[1])
        last = int(found[3]) if found[3] else None if found[2] else first
        if first < 1:
            raise InputError("Pages are counted from 1: there is no page 0.")
        if last is not None and last < first:
            raise InputError(f"The pages {first}-{last} run backwards: write {last}-{first}.")
        ranges.append((first, last))
    return ranges


def _numbers(wanted: str, count: int, path: Path, limits: PageLimits) -> list[int]:
    """Return the pages that are wanted, in the document's order, each once."""
    name, ranges = name_of(path), check_wanted(wanted)
    if not ranges:
        if count > limits.pages:
            raise InputError(
                f"{name} has {count:,} pages; {limits.pages:,} are taken: choose some with"
                f" --pages 1-{limits.pages}."
            )
        return list(range(1, count + 1))
    highest = max(last or first for first, last in ranges)
    if highest > count:
        pages = f"{count:,} page{'s' if count > 1 else ''}"
        raise InputError(f"{name} has {pages}, no page {highest:,}: choose others with --pages.")
    numbers: set[int] = set()
    for first, last in ranges:
        numbers.update(range(first, min(last or count, first + limits.chosen) + 1))
    if len(numbers) > limits.chosen:
        raise InputError(
            f"These are more than {limits.chosen:,} pages of {name}: choose fewer with --pages."
        )
    return sorted(numbers)


def _count(worker: Worker, path: Path, limits: PageLimits) -> int:
    """Open the file, and return how many pages it has."""
    name = name_of(path)
    head, _ = worker.ask(limits.seconds)
    if head.get("wrong") == "locked":
        raise InputError(f"{name} is locked with a password: save a copy without one.")
    if "pages" not in head:
        raise InputError(_broken(path))
    if not head["pages"]:
        raise InputError(f"{name} has no pages: choose another file.")
    return int(head["pages"])


def _worker(path: Path, limits: PageLimits) -> Worker:
    ceilings = Ceilings(limits.pixels, limits.memory)
    return Worker("page_renderer", ceilings, path=str(path), pixels=limits.pixels)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn the end of the process into a sentence."""
    try:
        yield
    except TooSlow as exc:
        raise InputError(f"{name_of(path)} takes too long to open: print it anew as PDF.") from exc
    except Unavailable as exc:
        raise InputError("No PDF can be opened at this moment: try again.") from exc
    except ValueError as exc:
        raise InputError(_broken(path)) from exc


def _broken(path: Path) -> str:
    return f"{name_of(path)} is no PDF that can be read, or is damaged: print it anew as PDF."


def _notice(number: int, points: tuple[float, float], dpi: float) -> str:
    inches = " x ".join(f"{side / 72:,.1f}" for side in points)
    return f"Page {number} is {inches} inches large and was drawn with {dpi:.0f} dots an inch only."
