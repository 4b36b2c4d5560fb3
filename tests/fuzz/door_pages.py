"""The door for documents: the pages of a PDF as pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

from hypothesis import strategies as st

from florence_demo.pictures.pages import PAGE_LIMITS, count_pages, open_pages
from tests import document_makers as make
from tests.fuzz.doors import Door, Drive
from tests.fuzz.guards import Guard
from tests.fuzz.mutations import among, bent_bytes
from tests.fuzz.oracle import Breach

_LIMITS = replace(PAGE_LIMITS, seconds=4.0, pixels=4_000_000, memory=1 << 29)
_RED = make.filled((1, 0, 0), (0, 0, 50, 50))


@contextmanager
def opened(folder: Path) -> Iterator[Drive]:
    """Take the first pages of a document, as the command line does."""
    guard, path = Guard(), folder / "a.pdf"

    def drive(data: bytes) -> None:
        path.write_bytes(data)
        with guard.watching():
            try:
                count = count_pages(path, limits=_LIMITS)
                pages = list(islice(open_pages(path, limits=_LIMITS), 3))
            finally:
                guard.check()
        if count < len(pages) or not pages:
            raise Breach(f"{len(pages)} pages of {count}")
        for page in pages:
            if page.picture.mode != "RGB" or page.picture.width * page.picture.height > 4_000_000:
                raise Breach(f"a page as {page.picture.mode}, {page.picture.size}")

    drive(make.document([_RED]))
    yield drive


def corpus() -> dict[str, Callable[[], bytes]]:
    """Hostile documents, each of a kind of its own."""
    two = make.document([_RED, _RED])
    sizes = [(1e9, 1e9), (1e-4, 1e7), (14_400, 0.01), (0, 0), (-5, -9), (1e30, 1e30)]
    return {
        "nothing": lambda: b"",
        "text": lambda: b"hello",
        "only a beginning": lambda: b"%PDF-1.7\n",
        "locked": lambda: make.LOCKED,
        "no pages": lambda: make.document([]),
        "a million pages": lambda: make.document([_RED], count=10**6),
        "less than no pages": lambda: make.document([_RED], count=-3),
        "a tree in a circle": make.in_a_circle,
        "lists in lists": lambda: make.nested(200_000),
        "entries in entries": lambda: make.nested(200_000, b"<</A ", b">>"),
        "saved states": lambda: make.document([b"q " * 2_000_000]),
        "a form in itself": make.drawing_itself,
        "a form in itself, a thousand times": lambda: make.drawing_itself(1000),
        "a tower of forms": lambda: make.tower(12, 20),
        "a low tower": lambda: make.tower(4, 20),
        "a picture of 1 GB": lambda: make.huge_picture(18_000),
        "turned by 45": lambda: make.document([_RED], page=b"/Rotate 45"),
        "a unit of a mile": lambda: make.document([_RED], page=b"/UserUnit 1000000"),
        "a table elsewhere": lambda: two.replace(b"startxref\n", b"startxref\n9"),
        "a table that is itself": lambda: two.replace(b"/Root", b"/Prev 9/Root"),
        **{f"a page of {size}": lambda size=size: make.document([_RED], size) for size in sizes},
        **{f"cut at {at}": lambda at=at: two[:at] for at in range(40, len(two), 60)},
    }


def inputs() -> st.SearchStrategy[bytes]:
    """Honest documents, bent."""
    plain = among([make.document([_RED] * n) for n in (1, 2)] + [make.tower(2, 2)])
    return st.one_of(bent_bytes(plain), bent_bytes(plain, 3))


_QUICK = (
    "text", "locked", "no pages", "a million pages", "a tree in a circle", "lists in lists",
    "a form in itself", "a page of (1000000000.0, 1000000000.0)", "cut at 160",
)  # fmt: skip

DOOR = Door("pages", corpus, inputs, opened, _QUICK)
