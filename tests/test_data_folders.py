from __future__ import annotations

import io
import json
import stat
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from florence_demo.data_folders import (
    data_under,
    list_data,
    open_upload,
    take_data,
    unpack_data,
    without_paths,
)
from florence_demo.data_source import DataLimits
from florence_demo.errors import DatasetError, FlorenceDemoError

ROW = {"image": "images/a.png", "prefix": "<VQA>What?", "suffix": "red"}


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(buffer, "PNG")
    return buffer.getvalue()


def pack(target: Path, files: dict[str, bytes | str]) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target


def jsonl(*rows: dict[str, object]) -> str:
    return "\n".join(json.dumps(row) for row in rows)


def test_a_zip_becomes_rows_wherever_its_folder_lies(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "my set/annotations.jsonl": jsonl(ROW),
        "my set/images/a.png": png(),
        "my set/run_me.py": "boom",
        "__MACOSX/my set/._a.png": "rubbish",
    }
    found = unpack_data([pack(tmp_path / "a.zip", files)], tmp_path / "new")
    assert found.location == str(tmp_path / "new" / "my set")
    (row,) = open_upload(found)
    assert (row.task, row.answer) == ("vqa", "red")
    names = {p.name for p in (tmp_path / "new").rglob("*") if p.is_file()}
    assert names == {"annotations.jsonl", "a.png"}


def test_loose_files_become_rows(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "a.txt").write_text("A red thing.")
    files = [tmp_path / "a.png", tmp_path / "a.txt"]
    (row,) = open_upload(unpack_data(files, tmp_path / "new"))
    assert (row.task, row.answer) == ("caption", "A red thing.")


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "a/../../b.png", "a\\..\\b.png"])
@pytest.mark.parametrize("listing", ["jsonl", "coco", "behind an odd line end", "beside a list"])
def test_a_row_may_name_no_picture_elsewhere(tmp_path: Path, name: str, listing: str) -> None:
    row = {**ROW, "image": name}
    coco = {
        "images": [{"id": 1, "file_name": name}],
        "annotations": [],
        "categories": [],
    }
    odd = json.dumps({**row, "prefix": "<VQA>What\u2028now?"}, ensure_ascii=False)
    files = {
        "jsonl": ("annotations.jsonl", jsonl(ROW, row)),
        "coco": ("annotations.json", json.dumps(coco)),
        "behind an odd line end": ("annotations.jsonl", odd),
        "beside a list": ("annotations.jsonl", jsonl({**row, "images": []})),
    }
    file, content = files[listing]
    upload = pack(tmp_path / "a.zip", {file: content, "images/a.png": png()})
    with pytest.raises(DatasetError, match="leads out of the data's own folder"):
        take_data([upload], tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["../a.txt", "/a.txt", "a\\b.txt", "c:a.txt"])
def test_a_zip_writes_nowhere_else(tmp_path: Path, name: str) -> None:
    upload = pack(tmp_path / "a.zip", {name: "x", "annotations.jsonl": jsonl(ROW)})
    with pytest.raises(FlorenceDemoError, match="lead out"):
        unpack_data([upload], tmp_path / "in" / "new")
    assert {p.name for p in tmp_path.rglob("*")} == {"a.zip", "in"}


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("images/a.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(FlorenceDemoError, match="holds a link"):
        unpack_data([tmp_path / "a.zip"], tmp_path / "new")


@pytest.mark.parametrize(
    ("limits", "words"),
    [(DataLimits(files=1), "more than 1"), (DataLimits(unpacked=90), "larger than")],
)
def test_an_upload_has_limits(tmp_path: Path, limits: DataLimits, words: str) -> None:
    files: dict[str, bytes | str] = {"annotations.jsonl": jsonl(ROW), "images/a.png": png()}
    with pytest.raises(FlorenceDemoError, match=words):
        unpack_data([pack(tmp_path / "a.zip", files)], tmp_path / "new", limits)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        pytest.param({"readme.md": "x"}, "no data that can be read", id="nothing in it"),
        # Such a set may name any file of this machine as its picture.
        pytest.param({"dataset_info.json": "{}"}, "no data that can be read", id="datasets"),
    ],
)
def test_what_is_no_data_is_refused(tmp_path: Path, files: dict[str, str], words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        unpack_data([pack(tmp_path / "a.zip", dict(files))], tmp_path / "new")


def test_a_damaged_zip_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK no zip")
    with pytest.raises(DatasetError, match="no zip file"):
        unpack_data([tmp_path / "a.zip"], tmp_path / "new")


def test_a_bad_row_is_told_without_a_path_of_this_machine(tmp_path: Path) -> None:
    files = {"annotations.jsonl": jsonl(ROW)}
    found = unpack_data([pack(tmp_path / "a.zip", dict(files))], tmp_path / "new")
    with pytest.raises(DatasetError, match="there is no picture images") as caught:
        open_upload(found)
    assert str(tmp_path) not in str(caught.value)


def test_sets_under_a_root_are_listed_and_found(tmp_path: Path) -> None:
    for folder in ("one", "deep/two"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "annotations.jsonl").write_text(jsonl(ROW))
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "one")
    assert list_data(tmp_path) == ["deep/two", "one"]
    found = data_under(tmp_path, "deep/two")
    assert (found.format, found.location) == ("jsonl", str(tmp_path / "deep" / "two"))
    assert list_data(tmp_path / "none") == []


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc", "a\0b", "a\\b", "none", "out"])
def test_no_name_leads_out_of_the_root(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to("/etc")
    with pytest.raises(DatasetError, match="There is no data"):
        data_under(root, name)


def test_messages_lose_the_folders_paths(tmp_path: Path) -> None:
    text = f"{tmp_path}/a.jsonl:3: no picture {tmp_path}/b.png in {tmp_path}"
    assert without_paths(text, tmp_path) == f"a.jsonl:3: no picture b.png in {tmp_path.name}"
