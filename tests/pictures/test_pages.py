"""Pages of a PDF: which, how large, how they lie; and what becomes of hostile ones."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from florence_demo.errors import InputError
from florence_demo.pictures.pages import PAGE_LIMITS, check_wanted, count_pages, open_pages
from tests import document_makers as make

CORNER = make.filled((1, 0, 0), (0, 0, 200, 100))
"""A red box at the lower left of a page as it lies in the file."""


def saved(folder: Path, data: bytes) -> Path:
    path = folder / "a.pdf"
    path.write_bytes(data)
    return path


def many(count: int) -> bytes:
    """A PDF whose pages tell their number by their shade."""
    return make.document(
        [make.filled((i / 10, 0, 0), (0, 0, 99, 99)) for i in range(1, count + 1)], (72, 36)
    )


def test_a_page_is_a_picture_of_its_size(tmp_path: Path) -> None:
    (page,) = open_pages(saved(tmp_path, make.document([CORNER])))
    assert (page.number, page.points, page.picture.size) == (1, (595, 842), (1190, 1684))
    assert (page.picture.mode, page.notice) == ("RGB", "")
    assert page.picture.getpixel((390, 1674)) == (255, 0, 0)
    assert page.picture.getpixel((410, 1674)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("turn", "at"), [(0, (10, 1674)), (90, (10, 10)), (180, (1180, 10)), (270, (1674, 1180))]
)
def test_a_turned_page_is_upright(tmp_path: Path, turn: int, at: tuple[int, int]) -> None:
    (page,) = open_pages(saved(tmp_path, make.document([CORNER], page=b"/Rotate %d" % turn)))
    lying = turn in (90, 270)
    assert page.points == ((842, 595) if lying else (595, 842))
    assert page.picture.getpixel(at) == (255, 0, 0)


@pytest.mark.parametrize(("dpi", "size"), [(72, (72, 36)), (144, (144, 72)), (300, (300, 150))])
def test_dots_an_inch(tmp_path: Path, dpi: int, size: tuple[int, int]) -> None:
    (page,) = open_pages(saved(tmp_path, many(1)), dpi=dpi)
    assert page.picture.size == size


@pytest.mark.parametrize("dpi", [0, 17, 1201, -5])
def test_dots_an_inch_have_a_range(tmp_path: Path, dpi: int) -> None:
    with pytest.raises(InputError, match="choose 18 to 1,200"):
        open_pages(saved(tmp_path, many(1)), dpi=dpi)


WANTED = {
    "": [1, 2, 3, 4, 5], "2": [2], "1-3": [1, 2, 3], "4-": [4, 5], "1-2,5": [1, 2, 5],
    "5,1-2,2": [1, 2, 5], " 1, 3 ": [1, 3], "1 3": [1, 3], "5-5": [5],
}  # fmt: skip


@pytest.mark.parametrize("wanted", WANTED)
def test_pages_are_chosen(tmp_path: Path, wanted: str) -> None:
    pages = list(open_pages(saved(tmp_path, many(5)), wanted))
    assert [page.number for page in pages] == WANTED[wanted]
    shades = [round(page.picture.getpixel((9, 60))[0] / 25.5) for page in pages]
    assert shades == WANTED[wanted]


REFUSED = {
    "a word": ("two", "names no pages"),
    "nothing between": ("1-5,,x", "names no pages"),
    "half a range": ("-5", "names no pages"),
    "other digits": ("١", "names no pages"),
    "endless": ("9" * 5000, "names no pages"),
    "markup": ("<b>1", "‹b›1"),
    "page 0": ("0-3", "counted from 1"),
    "backwards": ("3-1", "write 1-3"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_choice_that_is_none_is_told(name: str) -> None:
    wanted, told = REFUSED[name]
    with pytest.raises(InputError, match=told) as caught:
        check_wanted(wanted)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("wanted", ["6", "1-6", "9-", "1,7-9"])
def test_a_page_that_is_not_there_is_told(tmp_path: Path, wanted: str) -> None:
    with pytest.raises(InputError, match="has 5 pages, no page"):
        next(open_pages(saved(tmp_path, many(5)), wanted))


def test_too_many_pages_are_chosen_from(tmp_path: Path) -> None:
    few = replace(PAGE_LIMITS, pages=3, chosen=4)
    path = saved(tmp_path, many(5))
    with pytest.raises(InputError, match=r"has 5 pages; 3 are taken: .* --pages 1-3\."):
        next(open_pages(path, limits=few))
    assert [page.number for page in open_pages(path, "2-5", limits=few)] == [2, 3, 4, 5]
    with pytest.raises(InputError, match="more than 4 pages"):
        next(open_pages(path, "1-", limits=few))


def test_pages_are_counted(tmp_path: Path) -> None:
    assert count_pages(saved(tmp_path, many(5))) == 5


@pytest.mark.parametrize("size", [(13_000, 13_000), (14_400, 0.5), (0.5, 14_400)], ids=str)
def test_a_large_page_is_drawn_smaller_and_that_is_told(
    tmp_path: Path, size: tuple[float, float]
) -> None:
    few = replace(PAGE_LIMITS, pixels=10_000)
    (page,) = open_pages(saved(tmp_path, make.document([b"0 g"], size)), limits=few)
    assert 0 < page.picture.width * page.picture.height <= 10_000
    assert page.points == size
    assert "was drawn with" in page.notice


def test_what_was_filled_into_a_form_is_drawn(tmp_path: Path) -> None:
    look = make.stream(
        make.filled((0, 0, 1), (0, 0, 50, 50)), b"/Type/XObject/Subtype/Form/BBox[0 0 50 50]"
    )
    path = saved(
        tmp_path,
        make.pdf([
            b"<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[5 0 R]>>>>",
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R/Annots[5 0 R]>>",
            make.stream(b"0 g"),
            b"<</Type/Annot/Subtype/Widget/FT/Tx/T(a)/F 4/Rect[0 0 50 50]/AP<</N 6 0 R>>>>",
            look,
        ]),
    )  # fmt: skip
    (page,) = open_pages(path, dpi=72)
    red, green, blue = page.picture.getpixel((20, 80))
    assert blue > 200 > red == green


BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "locked": (lambda: make.LOCKED, "locked with a password"),
    "nothing": (lambda: b"", "is empty"),
    "text": (lambda: b"hello", "is no PDF that can be read"),
    "cut off": (lambda: many(3)[:200], "is no PDF that can be read"),
    "no pages": (lambda: make.document([]), "no pages|is no PDF"),
    "a tree in a circle": (make.in_a_circle, "is damaged"),
    "a million pages": (lambda: make.document([b"0 g"], count=10**6), "500 are taken"),
    "a tower of forms": (
        lambda: make.tower(12, 20),
        "takes too (long to draw|much memory): print it",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_hostile_file_is_a_sentence(tmp_path: Path, name: str) -> None:
    data, told = BROKEN[name]
    path = saved(tmp_path, data())
    strict = replace(PAGE_LIMITS, seconds=2.0, memory=1 << 28)
    with pytest.raises(InputError, match=told):
        list(open_pages(path, limits=strict))


def test_a_bad_page_keeps_those_before_it_and_tells_the_way_around(tmp_path: Path) -> None:
    data = many(3).replace(b"/Type/Page/Parent 2 0 R", b"/Type/Pear/Parent 2 0 R", 2)
    data = data.replace(b"/Type/Pear", b"/Type/Page", 1)
    data = data.replace(b"/Kids[3 0 R 5 0 R 7 0 R]", b"/Kids[3 0 R 9 9 R 7 0 R]")
    pages = open_pages(saved(tmp_path, data))
    assert next(pages).number == 1
    with pytest.raises(InputError, match=r"Page 2 of .* is damaged.*: .* --pages 1,3\."):
        next(pages)
    assert [page.number for page in open_pages(tmp_path / "a.pdf", "1,3")] == [1, 3]


@pytest.mark.parametrize(
    ("name", "told"),
    [("missing.pdf", "does not exist"), (".", "is a folder"), ("a\0b", "not exist|read")],
)
def test_a_file_that_is_none_is_told(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        open_pages(tmp_path / name)


def test_a_large_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"larger than 0\.001 MB"):
        open_pages(saved(tmp_path, bytes(2000)), limits=replace(PAGE_LIMITS, bytes=1000))


def test_the_process_ends_with_the_pages(tmp_path: Path) -> None:
    def programs() -> set[int]:
        return {child.pid for child in psutil.Process().children()}

    before = programs()
    pages = open_pages(saved(tmp_path, many(3)))
    assert programs() == before  # nothing is opened before the first page is asked for
    next(pages)
    assert len(programs() - before) == 1
    pages.close()
    assert programs() == before
    kept = open_pages(saved(tmp_path, many(3)))
    next(kept)
    del kept
    gc.collect()
    assert programs() == before


def test_pdfium_stays_out_of_the_app() -> None:
    code = "import sys, florence_demo.pictures.pages; print('pypdfium2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
