"""From what a person names to pictures, by names and in order."""

from __future__ import annotations

import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from florence_demo.batch.config import BatchConfig, Which
from florence_demo.batch.plan import count
from florence_demo.batch.sources import all_items, check_sources, page_numbers
from florence_demo.data.batches import ROWS_FILE, RUN_FILE
from florence_demo.errors import FlorenceDemoError, InputError
from tests.batch.job import draw


def _names(*sources, out: Path | None = None, **which) -> list[str]:
    config = BatchConfig(tuple(map(str, sources)), out=out, which=Which(**which))
    check_sources(config)
    return [item.source for item in all_items(config)]


@pytest.fixture
def tree(tmp_path) -> Path:
    """A folder with pictures, one of the same stem, a hidden one, a note and folders."""
    root = tmp_path / "tree"
    draw(root, 2)
    draw(root, 1, ".jpg")
    draw(root / "sub" / "deep", 1)
    for hidden in (".hidden", "__MACOSX", "sub/.cache"):
        draw(root / hidden, 1)
    (root / ".dot.png").write_bytes(b"")
    (root / "notes.md").write_text("no picture")
    return root


def test_a_folder_gives_its_pictures_by_name(tree):
    assert _names(tree) == ["00000.jpg", "00000.png", "00001.png"]
    assert _names(tree, recursive=True)[-1] == "sub/deep/00000.png"
    assert len(_names(tree, recursive=True)) == 4, "nothing hidden"
    assert _names(tree, limit=2) == ["00000.jpg", "00000.png"]


def test_the_answers_own_folder_is_left_out(tree):
    draw(tree / "answers", 3)
    assert len(_names(tree, out=tree / "answers", recursive=True)) == 4
    with pytest.raises(InputError, match="among the pictures"):
        _names(tree, out=tree)


def test_links_lead_round_no_circle_and_a_broken_one_is_an_item(tree):
    (tree / "sub" / "up").symlink_to(tree)
    (tree / "lost.png").symlink_to(tree / "nowhere.png")
    for name in ("itself", "itself.png"):
        (tree / name).symlink_to(name)
    names = _names(tree, recursive=True)
    assert {"lost.png", "itself.png"} <= set(names)
    assert len(names) == 6


def test_another_jobs_answers_are_no_pictures_to_ask_about(tree):
    draw(tree / "answers" / "coco", 3)
    (tree / "answers" / ROWS_FILE).touch()
    assert len(_names(tree, recursive=True)) == 7, "rows alone may be anything"
    (tree / "answers" / RUN_FILE).touch()
    assert len(_names(tree, recursive=True)) == 4
    assert len(_names(tree / "answers", recursive=True)) == 3, "asked for by name they are"


def test_several_sources_keep_their_names_apart(tree, tmp_path):
    draw(tmp_path / "other" / "tree", 1)
    names = _names(tree, tmp_path / "other" / "tree")
    assert names == ["tree/00000.jpg", "tree/00000.png", "tree/00001.png", "tree-2/00000.png"]


def test_files_and_globs_are_called_as_they_were_named(tree, monkeypatch):
    monkeypatch.chdir(tree.parent)
    assert _names("tree/00001.png") == ["tree/00001.png"]
    assert _names("tree/*.png") == ["tree/00000.png", "tree/00001.png"]
    assert _names("tree/**/*.png")[-1] == "tree/sub/deep/00000.png"
    assert _names("./tree/../tree/00000.jpg") == ["tree/_up/tree/00000.jpg"]


@pytest.mark.parametrize(
    ("name", "text", "column", "expected"),
    [
        ("a.txt", "00000.png\n\n sub/deep/00000.png \ngone.png\n", "", 3),
        ("a.csv", "id,file_name,label\n1,00000.png,cat\n2,00001.png,dog\n", "", 2),
        ("a.csv", "id,where\n1,00000.png\n", "where", 1),
        ("a.tsv", "image\tx\n00000.png\t1\n", "", 1),
        ("utf16.txt", "00000.png\n", "", 1),
        ("web.txt", "https://example.org/a.jpg?b=1\n", "", 1),
    ],
    ids=["lines", "csv", "column", "tsv", "utf-16", "addresses"],
)
def test_lists_name_pictures_beside_them(tree, name, text, column, expected):
    data = text.encode("utf-16" if name.startswith("utf16") else "utf-8")
    (tree / name).write_bytes(data)
    assert len(_names(tree / name, column=column)) == expected
    items = list(all_items(BatchConfig((str(tree / name),), which=Which(column=column))))
    assert items[0].place.path in (str(tree / "00000.png"), "https://example.org/a.jpg?b=1")


def test_a_zip_gives_its_pictures(tree):
    with zipfile.ZipFile(tree / "a.zip", "w") as archive:
        for name in ("b/1.png", "b/2.PNG", "__MACOSX/._1.png", ".x.png", "read.me"):
            archive.writestr(name, (tree / "00000.png").read_bytes())
    items = list(all_items(BatchConfig((str(tree / "a.zip"),))))
    assert [item.source for item in items] == ["b/1.png", "b/2.PNG"]
    assert items[1].place.read() == (tree / "00000.png").read_bytes()


def test_a_saved_set_gives_its_rows(tree):
    import datasets

    rows = {"img": [{"bytes": (tree / f"0000{i}.png").read_bytes()} for i in (0, 1)], "n": [1, 2]}
    features = datasets.Features({"img": datasets.Image(), "n": datasets.Value("int64")})
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tree / "saved")
    items = list(all_items(BatchConfig((str(tree / "saved"),))))
    assert [item.source for item in items] == ["saved/0", "saved/1"]
    assert items[1].place.read() == (tree / "00001.png").read_bytes()


def test_a_part_of_a_saved_set_is_named_after_a_sign(tree):
    import datasets

    features = datasets.Features({"image": datasets.Image()})
    parts = {
        part: datasets.Dataset.from_dict(
            {"image": [{"bytes": (tree / f"{name}.png").read_bytes()}]}, features=features
        )
        for part, name in (("train", "00000"), ("test", "00001"))
    }
    datasets.DatasetDict(parts).save_to_disk(tree / "two")
    items = list(all_items(BatchConfig((f"{tree / 'two'}#test",))))
    assert [item.place.read() for item in items] == [(tree / "00001.png").read_bytes()]
    with pytest.raises(FlorenceDemoError, match="only train, test"):
        _names(f"{tree / 'two'}#other")


STRANGE = ["with space.png", "new\nline.png", "😀 ünï.png", "x" * 251 + ".png", "bad\udcff.png"]


@pytest.mark.parametrize("name", STRANGE, ids=["space", "newline", "emoji", "255", "no UTF-8"])
def test_strange_names_are_names(tmp_path, name):
    draw(tmp_path / "in", 1)
    os.rename(tmp_path / "in" / "00000.png", tmp_path / "in" / name)  # noqa: PTH104
    assert _names(tmp_path / "in") == [name]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: "gone.png", "There is no “gone.png”"),
        (lambda root: root / "*.jpeg", "names no pictures"),
        (lambda root: _made(root / "empty"), "holds no pictures: name"),
        (lambda root: _made(root / "outer" / "inner").parent, "add --recursive"),
        (lambda root: _written(root / "a.csv", "x,y\n1,2\n"), "no column of pictures"),
        (lambda root: _written(root / "a.txt", "\n"), "names no pictures"),
        (lambda root: "a\0b", "There is no"),
    ],
    ids=["gone", "glob", "empty", "only folders", "no column", "empty list", "no path"],
)
def test_what_names_no_pictures_is_told(tmp_path, make, said):
    with pytest.raises(FlorenceDemoError, match=said):
        _names(make(tmp_path))


def test_every_source_is_looked_at_before_the_first_answer(tree):
    with pytest.raises(InputError, match="There is no"):
        _names(tree, "gone.png")


def test_nothing_is_opened_before_its_turn(tree):
    config = BatchConfig((str(tree),))
    items = all_items(config)
    next(items)
    (tree / "00001.png").unlink()
    assert len(list(items)) == 2, "names were listed, no file was looked into"


@pytest.mark.parametrize(
    ("wanted", "count", "numbers"),
    [
        ("", 3, [1, 2, 3]),
        ("2", 3, [2]),
        ("1-2,9", 9, [1, 2, 9]),
        ("8-", 9, [8, 9]),
        ("-2", 9, [1, 2]),
        ("3,1,3", 9, [3, 1]),
        ("5-99", 6, [5, 6]),
    ],
)
def test_pages(wanted, count, numbers):
    assert page_numbers(wanted, count) == numbers


@pytest.mark.parametrize("wanted", ["x", "-", "1-2-3", "0", "99"])
def test_pages_that_are_none(wanted):
    with pytest.raises(InputError):
        page_numbers(wanted, 9)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _written(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


def test_an_item_is_a_value_that_travels(tree):
    import pickle

    item = next(all_items(BatchConfig((str(tree),))))
    assert pickle.loads(pickle.dumps(item)) == item
    assert replace(item.place) == type(item.place).from_json(item.place.to_json())


def test_what_a_zip_holds_and_is_not_opened_is_told(tree):
    with zipfile.ZipFile(tree / "a.zip", "w") as file:
        file.write(tree / "00000.png", "one.png")
        file.writestr("notes.txt", "no picture")
        file.writestr("scan.pdf", b"%PDF")
        file.writestr("film.mp4", b"film")
    config = BatchConfig((str(tree / "a.zip"),))
    told = {item.source: item.error for item in all_items(config)}
    assert told.pop("one.png") == ""
    assert list(told) == ["scan.pdf", "film.mp4"]
    assert all("unpack it" in error for error in told.values())
    assert count(config) == 3
