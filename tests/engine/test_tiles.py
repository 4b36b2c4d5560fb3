"""Where pictures of odd sizes are cut."""

from __future__ import annotations

import itertools

import pytest

from florence_demo.engine.tiles import MAX_TILES, OVERLAP, check_tiles, plan, squeezed
from florence_demo.errors import InputError

SIZES = {
    "as the model sees": ((768, 768), (1, 1)),
    "a little larger": ((960, 900), (1, 1)),
    "smaller": ((200, 100), (1, 1)),
    "one pixel": ((1, 1), (1, 1)),
    "a photograph": ((4000, 3000), (4, 5)),
    "a thread": ((1, 5000), (7, 1)),
    "a panorama": ((20_000, 300), (1, 26)),
    "too large for as many as it would take": ((40_000, 30_000), (7, 9)),
    "just too wide for one": ((961, 768), (1, 2)),
}


@pytest.mark.parametrize(("size", "grid"), SIZES.values(), ids=SIZES)
def test_auto_goes_by_the_size(size, grid):
    found = plan(size)
    assert (found.rows, found.columns) == grid
    assert found.whole == (grid == (1, 1))
    assert len(found.tiles) == grid[0] * grid[1] <= MAX_TILES


@pytest.mark.parametrize("how", ["1x1", "3x4", "8X8", " 2 × 3 ", "1x64"])
@pytest.mark.parametrize("size", [(2000, 1545), (1999, 1024), (3001, 977)])
def test_tiles_cover_the_picture_and_overlap(size, how):
    found = plan(size, how=how)
    xs = sorted({(x1, x2) for x1, _, x2, _ in found.tiles})
    ys = sorted({(y1, y2) for _, y1, _, y2 in found.tiles})
    assert (len(ys), len(xs)) == (found.rows, found.columns)
    for cuts, extent in ((xs, size[0]), (ys, size[1])):
        assert (cuts[0][0], cuts[-1][1]) == (0, extent)
        for (start, end), (following, _) in itertools.pairwise(cuts):
            assert end - following >= OVERLAP * (end - start) - 1.5
    assert found.tiles[0][:2] == (0, 0)
    assert list(found.tiles) == sorted(found.tiles, key=lambda t: (t[1], t[0]))


@pytest.mark.parametrize(
    ("size", "how", "words"),
    [
        pytest.param((4000, 3000), "5x13", "65 tiles, 64 are allowed", id="65 tiles"),
        pytest.param((4000, 3000), "9999x9999", "64 are allowed", id="far too many"),
        pytest.param((4000, 3000), "", "auto, or rows by columns", id="nothing"),
        pytest.param((4000, 3000), "0x3", "auto, or rows by columns", id="no rows"),
        pytest.param((4000, 3000), "3x", "auto, or rows by columns", id="no columns"),
        pytest.param((4000, 3000), "-1x3", "auto, or rows by columns", id="less than none"),
        pytest.param((4000, 3000), "<b>" * 99, "‹b›", id="markup"),
        pytest.param((4000, 10), "2x1", "too small", id="tiles of no height"),
    ],
)
def test_what_cannot_be_cut_so_is_a_sentence(size, how, words):
    with pytest.raises(InputError, match=words):
        plan(size, how=how)


def test_what_no_picture_can_be_cut_into_is_told_without_one():
    check_tiles("auto")
    check_tiles("8x8")
    with pytest.raises(InputError, match="65 tiles"):
        check_tiles("65x1")


def test_what_fits_into_the_shared_part_lies_whole_in_a_tile():
    found = plan((2000, 1500), 256)
    wide, high = (int(v) - 1 for v in found.shared)
    for x in range(0, 2000 - wide, 7):
        assert any(x1 <= x and x + wide <= x2 for x1, _, x2, _ in found.tiles), x
    for y in range(0, 1500 - high, 7):
        assert any(y1 <= y and y + high <= y2 for _, y1, _, y2 in found.tiles), y


@pytest.mark.parametrize(
    ("size", "side", "told"),
    [
        ((1535, 1000), 768, False),
        ((1536, 10), 768, True),
        ((300, 600), 256, True),
        ((256, 256), 256, False),
    ],
)
def test_a_picture_far_larger_than_what_the_model_sees_is_told(size, side, told):
    sentence = squeezed(size, side)
    assert (sentence is not None) == told
    assert not told or f"{side} × {side} pixels" in sentence
