"""Files of rows, and the names of pictures in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from florence_demo.data.listings import MAX_CAPTION, caption_of, json_lines, json_of
from florence_demo.data.named_pictures import Pictures
from florence_demo.data.source import DataLimits, DataSource
from florence_demo.errors import DatasetError

SMALL = DataLimits(listing_bytes=2_000, line_bytes=100, values=60)


def confined(folder: Path) -> DataSource:
    return DataSource("jsonl", str(folder), root=str(folder), limits=DataLimits())


# -- pictures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "images/a.png", "ä b.png", "a#b.png", "~root"])
def test_a_name_leads_to_its_place_in_the_folder(tmp_path: Path, name: str) -> None:
    assert Pictures(confined(tmp_path), tmp_path).path(name) == tmp_path / name


OUT = ["../a.png", "/etc/a.png", "a/../../b.png", "a\\..\\b.png", "..", "link.png", "links/a.png"]


@pytest.mark.parametrize("there", [True, False], ids=["there", "not there"])
@pytest.mark.parametrize("name", OUT)
def test_no_name_leads_out_and_none_tells_what_is_there(
    tmp_path: Path, name: str, there: bool
) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    if there:
        (outside / "a.png").write_text("")
        (tmp_path / "a.png").write_text("")
    (inside / "link.png").symlink_to(outside / "a.png")
    (inside / "links").symlink_to(outside)
    with pytest.raises(DatasetError, match="leads out of the data's own folder"):
        Pictures(confined(inside), inside).path(name)


NO_NAMES: dict[str, Any] = {
    "a zero byte": "a\0.png",
    "too long": "a" * 300,
    "too deep": "a/" * 600,
    "empty": "",
    "half a character": "\ud800.png",
    "a number": 7,
    "a list": ["a.png"],
    "nothing": None,
}


@pytest.mark.parametrize("root", ["", "/"], ids=["anywhere", "confined"])
@pytest.mark.parametrize("name", NO_NAMES.values(), ids=NO_NAMES)
def test_what_is_no_name_is_told_in_a_short_sentence(tmp_path: Path, name: Any, root: str) -> None:
    source = DataSource("jsonl", str(tmp_path), root=root)
    with pytest.raises(DatasetError, match=r"no name of a picture|must be text") as caught:
        Pictures(source, tmp_path).path(name)
    assert len(str(caught.value)) < 200


def test_a_folder_around_the_data_is_no_place_of_its_pictures(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "a.png").write_text("")
    assert Pictures(confined(inside), inside, tmp_path).path("a.png") == inside / "a.png"
    free = DataSource("coco", str(inside))
    assert Pictures(free, inside, tmp_path).path("a.png") == tmp_path / "a.png"


def test_a_name_is_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = Pictures(confined(tmp_path), tmp_path)
    looked: list[str] = []
    look = pictures._look
    monkeypatch.setattr(pictures, "_look", lambda name: looked.append(name) or look(name))
    for _ in range(3):
        pictures.path("a.png")
        with pytest.raises(DatasetError):
            pictures.path("../a.png")
    assert looked == ["a.png", "../a.png"]


# -- JSON ------------------------------------------------------------------------------------------


def told(path: Path, limits: DataLimits | None) -> list[str]:
    return [str(row) for _, row in json_lines(path, limits)]


LINES = {
    "a long line": ('{"a": "' + "x" * 200 + '"}', "larger than 100 bytes"),
    "a deep line": ("[" * 40 + "]" * 40, "nested deeper than 16"),
    "no number": ('{"a": NaN}', "no number"),
    "an infinite number": ('{"a": 1e999}', "no number"),
    "half a character": ('{"a": "\\ud800"}', "half of a character"),
    "no JSON": ("{", "not valid JSON"),
}


@pytest.mark.parametrize(("line", "says"), LINES.values(), ids=LINES)
def test_a_line_over_the_limits_is_told_and_the_next_is_read(
    tmp_path: Path, line: str, says: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{line}\n{{"b": 1}}\n')
    first, second = told(path, SMALL)
    assert says in first
    assert ":1: the line" in first
    assert second == "{'b': 1}"


FILES = {
    "too many bytes": ("x" * 3_000, "larger than"),
    "too many values": ("[" + "0," * 80 + "0]", "more than 60 values"),
    "too deep": ("[" * 40 + "]" * 40, "nested deeper"),
}


@pytest.mark.parametrize(("text", "says"), FILES.values(), ids=FILES)
def test_a_listing_over_the_limits_is_told(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DatasetError, match=says):
        json_of(path, SMALL)


def test_the_values_of_all_lines_count_together(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": [1, 2, 3, 4]}\n' * 20)
    with pytest.raises(DatasetError, match="more than 60 values"):
        told(path, SMALL)
    assert len(told(path, None)) == 20


def test_a_listing_of_the_operators_may_be_of_any_size(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" + "0," * 80_000 + "0]")
    assert len(json_of(path)) == 80_001
    path.write_text("[" * 100_000)
    with pytest.raises(DatasetError, match="is no JSON"):
        json_of(path)


def test_a_mark_of_the_byte_order_is_no_part_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n{"a": 2}')
    for limits in (None, DataLimits()):
        assert told(path, limits) == ["{'a': 1}", "{'a': 2}"]


def test_a_caption_has_an_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a" * (MAX_CAPTION + 1))
    with pytest.raises(DatasetError, match="longer than 64 KB"):
        caption_of(path)
    path.write_text(" A cat.\n")
    assert caption_of(path) == "A cat."
