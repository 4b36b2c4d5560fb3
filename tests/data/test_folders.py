from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from PIL import Image

from florence_demo.data import example as data
from florence_demo.data.folders import data_under, list_data, open_upload, take_data, unpack_data
from florence_demo.data.named_pictures import Pictures
from florence_demo.data.reading import open_data, source_in
from florence_demo.data.source import DataLimits, DataSource
from florence_demo.errors import DatasetError, FlorenceDemoError
from florence_demo.files import without_paths

ROW = {"image": "images/a.png", "prefix": "<VQA>What?", "suffix": "red"}


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(buffer, "PNG")
    return buffer.getvalue()


def pack(target: Path, files: dict[str, bytes | str], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(target, "w", method) as archive:
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


@pytest.mark.parametrize("name", ["../b.png", "/etc/b.png", "a/../../b.png", "a\\..\\b.png"])
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


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "/etc", "a\0b", "a\\b", "none", "out", "circle"]
)
def test_no_name_leads_out_of_the_root(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to("/etc")
    (root / "circle").symlink_to("circle")
    with pytest.raises(DatasetError, match="There is no data"):
        data_under(root, name)


def test_messages_lose_the_folders_paths(tmp_path: Path) -> None:
    text = f"{tmp_path}/a.jsonl:3: no picture {tmp_path}/b.png in {tmp_path}"
    assert without_paths(text, tmp_path) == f"a.jsonl:3: no picture b.png in {tmp_path.name}"


# -- a folder's name is a name ---------------------------------------------------------------------


def saved_set(folder: Path, cell: str) -> dict[str, bytes | str]:
    """Return the files of a set of ``datasets``, its table under a name that an upload keeps."""
    datasets = pytest.importorskip("datasets")
    rows = {"image": [cell], "question": ["Who?"], "answers": [["Ada"]]}
    datasets.Dataset.from_dict(rows).save_to_disk(str(folder))
    (arrow,) = folder.glob("*.arrow")
    state = (folder / "state.json").read_text().replace(arrow.name, "rows.txt")
    info = (folder / "dataset_info.json").read_text()
    return {"state.json": state, "dataset_info.json": info, "rows.txt": arrow.read_bytes()}


@pytest.mark.parametrize("name", ["a#b", "a#", "a#b#c", "x.json", "owner#name"])
def test_a_folder_with_a_sign_in_its_name_is_a_folder(tmp_path: Path, name: str) -> None:
    files = {f"{name}/annotations.jsonl": jsonl(ROW), f"{name}/images/a.png": png()}
    source, (row,) = take_data([pack(tmp_path / "a.zip", dict(files))], tmp_path / "new")
    assert (source.format, source.part) == ("jsonl", "")
    assert row.image == tmp_path / "new" / name / "images/a.png"
    # The same under the allowed root.
    assert list_data(tmp_path / "new") == [name]
    assert open_data(data_under(tmp_path / "new", name))[0].image == row.image


def test_a_zip_opens_no_picture_of_this_machine(tmp_path: Path) -> None:
    """A folder "a#b" led to the folder "a", whose cells name any file."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(png())
    inner = {f"a/{k}": v for k, v in saved_set(tmp_path / "set", str(secret)).items()}
    files = {**inner, "a#b/annotations.jsonl": jsonl(ROW), "a#b/images/a.png": png()}
    try:
        rows = take_data([pack(tmp_path / "a.zip", files)], tmp_path / "new")[1]
    except DatasetError:
        rows = []
    assert all(Path(str(row.image)).is_relative_to(tmp_path / "new") for row in rows)


def test_a_strangers_data_is_in_a_format_for_strangers(tmp_path: Path) -> None:
    saved_set(tmp_path / "set", "/etc/passwd")
    assert source_in(tmp_path / "set", tmp_path).format == "datasets"
    assert source_in(tmp_path / "set", tmp_path, DataLimits()) is None
    forged = DataSource("datasets", str(tmp_path / "set"), limits=DataLimits())
    with pytest.raises(DatasetError, match="in no format that is read here"):
        open_data(forged)


def test_a_picture_under_the_root_may_be_no_link_out_of_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "set/images").mkdir(parents=True)
    (root / "set/annotations.jsonl").write_text(jsonl(ROW))
    (root / "shared.png").write_bytes(png())
    (tmp_path / "secret.png").write_bytes(png())
    picture = root / "set/images/a.png"
    picture.symlink_to(root / "shared.png")
    assert len(open_data(data_under(root, "set"))) == 1
    # The owner's rows may name what lies beside the set, but nothing around the root.
    (root / "set/annotations.jsonl").write_text(jsonl({**ROW, "image": "../shared.png"}))
    assert len(open_data(data_under(root, "set"))) == 1
    (root / "set/annotations.jsonl").write_text(jsonl({**ROW, "image": "../../secret.png"}))
    with pytest.raises(DatasetError, match="leads out of the data's own folder"):
        open_data(data_under(root, "set"))
    (root / "set/annotations.jsonl").write_text(jsonl(ROW))
    picture.unlink()
    picture.symlink_to(tmp_path / "secret.png")
    with pytest.raises(DatasetError, match="leads out of the data's own folder"):
        open_data(data_under(root, "set"))


@pytest.mark.parametrize("name", [None, 7, ["set"], "x" * 5_000, "\ud800"])
def test_what_is_no_name_is_no_set(tmp_path: Path, name: object) -> None:
    with pytest.raises(DatasetError, match="There is no data") as caught:
        data_under(tmp_path, name)
    assert len(str(caught.value)) < 200


# -- what an upload may cost -----------------------------------------------------------------------


def with_directory(target: Path, directory: bytes, entries: int) -> Path:
    """Write a zip that is nothing but a table of contents."""
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, entries, entries, len(directory), 0, 0)
    target.write_bytes(directory + end)
    return target


def test_a_zip_of_many_names_is_refused_before_they_become_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    init = zipfile.ZipInfo.__init__
    monkeypatch.setattr(
        zipfile.ZipInfo, "__init__", lambda self, *a, **k: (made.append(a), init(self, *a, **k))[1]
    )
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, *(0,) * 8, 1, *(0,) * 6) + b"a"
    for told in (1, 0xFFFF):
        upload = with_directory(tmp_path / "a.zip", entry * 300_000, told)
        with pytest.raises(DatasetError, match="more files than this page takes"):
            unpack_data([upload], tmp_path / "new")
    assert made == []


def bomb(name: str, byte: bytes = b" ", size: int = 30 << 20) -> dict[str, bytes | str]:
    return {name: byte * size, "images/a.png": png()}


@pytest.mark.parametrize(
    ("files", "method", "words"),
    [
        pytest.param(bomb("annotations.json"), zipfile.ZIP_DEFLATED, "far more", id="ratio"),
        pytest.param(bomb("a.bmp"), zipfile.ZIP_DEFLATED, "far more", id="ratio of a picture"),
        pytest.param(bomb("annotations.json"), zipfile.ZIP_STORED, "larger than", id="listing"),
        pytest.param(bomb("annotations.jsonl"), zipfile.ZIP_STORED, "larger than", id="lines"),
        pytest.param(bomb("a.txt", size=9), zipfile.ZIP_BZIP2, "unusual way", id="bzip2"),
        pytest.param(bomb("a.txt", size=9), zipfile.ZIP_LZMA, "unusual way", id="lzma"),
    ],
)
def test_a_bomb_is_refused(
    tmp_path: Path, files: dict[str, bytes | str], method: int, words: str
) -> None:
    upload = pack(tmp_path / "a.zip", files, method)
    with pytest.raises(FlorenceDemoError, match=words):
        take_data([upload], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_rows_about_one_picture_look_at_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "monotonic", lambda: 0.0)
    looked: list[object] = []
    size = data.upright_size
    monkeypatch.setattr(data, "upright_size", lambda image: looked.append(image) or size(image))
    box = {"image": "images/a.png", "prefix": "<OD>", "suffix": "a<loc_1><loc_2><loc_3><loc_4>"}
    broken = {**ROW, "image": "images/broken.png"}
    for rows in ([box, ROW] * 50, [broken] * 50):
        files = {"annotations.jsonl": jsonl(*rows), "images/a.png": png(), "images/broken.png": ""}
        with contextlib.suppress(DatasetError):
            take_data([pack(tmp_path / "a.zip", dict(files))], tmp_path / "new")
        shutil.rmtree(tmp_path / "new", ignore_errors=True)
    assert [path.name for path in looked] == ["a.png", "broken.png"]


def test_a_picture_larger_than_any_is_opened_by_nobody(tmp_path: Path) -> None:
    header = struct.pack(">2L5B", 17_000, 10_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    huge = b"\x89PNG\r\n\x1a\n" + struct.pack(">L", 13) + chunk
    huge += struct.pack(">L", zlib.crc32(chunk)) + struct.pack(">L4s", 0, b"IDAT") + b"\0" * 4
    files = {"annotations.jsonl": jsonl(ROW), "images/a.png": huge}
    with pytest.raises(DatasetError, match="17000 x 10000"):
        take_data([pack(tmp_path / "a.zip", dict(files))], tmp_path / "new")


def test_damaged_zips_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    files = {"annotations.jsonl": jsonl(ROW), "images/a.png": png()}
    whole = pack(tmp_path / "whole.zip", dict(files)).read_bytes()
    rng = random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole[: rng.randrange(1, len(whole) + 1)])
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        (tmp_path / "a.zip").write_bytes(damaged)
        # Any other error is a bug.
        with contextlib.suppress(FlorenceDemoError):
            take_data([tmp_path / "a.zip"], tmp_path / "new")
            shutil.rmtree(tmp_path / "new")
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("beside", "folder"), [("a.png", "images"), ("a.txt", "annotations")])
def test_a_missing_picture_is_told_beside_the_others(
    tmp_path: Path, beside: str, folder: str
) -> None:
    places = [tmp_path / name for name in ("annotations", "images")]
    for place in places:
        place.mkdir()
    (places[1] / beside).write_bytes(png())
    found = Pictures(DataSource("jsonl", str(tmp_path)), *places)
    assert found.path("gone.png") == tmp_path / folder / "gone.png"
