"""Sets as strangers have them: other machines' names, odd folders, each tool's own ways."""

from __future__ import annotations

import base64
import csv
import errno
import io
import json
import shutil
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from florence_demo.commands.data import DataConfig, run
from florence_demo.commands.options import with_named_columns
from florence_demo.data.annotated import rows_about
from florence_demo.data.example import as_strings
from florence_demo.data.folders import take_data
from florence_demo.data.formats import READERS
from florence_demo.data.reading import open_data, parse_source, parts_of
from florence_demo.errors import DatasetError, InputError
from florence_demo.training.config import TrainConfig
from florence_demo.training.splits import open_rows

SIZE = (100, 50)
LABEL = "0 0.5 0.5 0.2 0.4\n"
BOX = "<loc_400><loc_300><loc_600><loc_700>"
YAML = "names:\n  0: Tür\n"
GREEN = {form: unicodedata.normalize(form, "grün") for form in ("NFC", "NFD")}


def png(size: tuple[int, int] = SIZE, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, 1 if mode == "1" else "teal").save(buffer, "PNG")
    return buffer.getvalue()


def files(contents: dict[str, str | bytes], encoding: str = "utf-8") -> Callable[[Path], None]:
    """Return what writes a set: names with their text; those of pictures are made where empty."""

    def make(root: Path) -> None:
        for name, content in contents.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not content and path.suffix.lower() in (".jpg", ".png"):
                content = png()
            path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))

    return make


def coco(name: str, **more: Any) -> str:
    table = {
        "images": [{"id": 1, "file_name": name, "width": 100, "height": 50}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 0, "bbox": [40, 15, 20, 20]}],
        "categories": [{"id": 0, "name": "Tür"}],
    }
    return json.dumps({**table, **more}, ensure_ascii=False)


def caption_csv(name: str) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([("image", "text"), (name, "Tür")])
    return buffer.getvalue()


def painted(root: Path) -> None:
    mask = base64.b64encode(png((20, 20), "1")).decode()
    shape = {"label": "Tür", "points": [[40, 15], [59, 34]], "shape_type": "mask", "mask": mask}
    table = {"version": "5.4.1", "shapes": [shape], "imagePath": "a.png", "imageData": None}
    files({"a.png": "", "a.json": json.dumps(table)})(root)


def talk(content: Any) -> str:
    said = [{"role": "user", "content": content}, {"role": "assistant", "content": "Tür"}]
    return json.dumps({"images": ["a.png"], "messages": said}) + "\n"


MARK = {"x": 40.0, "y": 30.0, "width": 20.0, "height": 40.0, "rotation": 0,
        "original_width": 100, "original_height": 50, "rectanglelabels": ["Tür"]}  # fmt: skip
SEEN = {"result": [{"type": "rectanglelabels", **{k: MARK[k] for k in list(MARK)[5:7]},
                    "value": {k: v for k, v in MARK.items() if "original" not in k}}]}  # fmt: skip
TASKS = [{"id": 1, "data": {"image": "/data/upload/1/a.png"}, "annotations": [SEEN]}]
SHORT = [{"image": "/data/local-files/?d=photos/a.png", "id": 1, "label": [MARK], "annotator": 1}]


def shards(root: Path) -> None:
    """Write what img2dataset writes: an archive and a table of where its pictures came from."""
    root.mkdir(exist_ok=True)
    with tarfile.open(root / "00000.tar", "w") as archive:
        for name, data in {"0.png": png(), "0.txt": "Tür".encode()}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    (root / "00000.parquet").write_bytes(b"PAR1")


def objects(*rows: tuple[str, list[float]]) -> str:
    lines = [
        {"file_name": name, "objects": {"bbox": [box], "category": ["Tür"]}} for name, box in rows
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


ROWS = (
    "filename,width,height,class,xmin,ymin,xmax,ymax\n"
    "a.png,100,50,Tür,40,15,60,35\nb.png,100,50,,,,,\na.png,100,50,Wand,70,15,90,35\n"
)
MAC = b"\0\5\x16\7\0\2\0\0Mac OS X"
PAIRS: dict[str, str | bytes] = {"images/a.png": "", "labels/a.txt": LABEL}
OD = ("od", f"Tür{BOX}")
CAPTION = ("caption", "Tür")
FORMS: dict[str, tuple[Callable[[Path], None], str, tuple[str, str]]] = {
    "a list with backslashes": (
        files({"images/a.png": "", "r.csv": caption_csv("images\\a.png")}),
        "tables",
        CAPTION,
    ),
    "paths of Windows": (
        files({"images/a.png": "", "r.csv": caption_csv("C:\\me\\images\\a.png")}),
        "tables",
        CAPTION,
    ),
    "paths of a home": (files({"a.png": "", "r.json": coco("/home/me/x/a.png")}), "coco", OD),
    "other capitals": (files({"IMG.PNG": "", "r.csv": caption_csv("img.png")}), "tables", CAPTION),
    "the folder's own name": (
        files({"images/a.png": "", "images/annotations.json": coco("images/a.png")}),
        "coco",
        OD,
    ),
    **{
        f"names of a Mac in {kind}": (maker, kind, task)
        for kind, maker, task in (
            ("coco", files({f"{GREEN['NFD']}.png": "", "r.json": coco(f"{GREEN['NFC']}.png")}), OD),
            (
                "tables",
                files({f"{GREEN['NFD']}/a.png": "", "r.csv": caption_csv(f"{GREEN['NFC']}/a.png")}),
                CAPTION,
            ),
            (
                "yolo",
                files(
                    {
                        f"images/{GREEN['NFD']}.png": "",
                        f"labels/{GREEN['NFC']}.txt": LABEL,
                        "data.yaml": YAML,
                    }
                ),
                OD,
            ),
            ("captions", files({f"{GREEN['NFC']}.png": "", f"{GREEN['NFD']}.TXT": "Tür"}), CAPTION),
        )
    },
    "a Mac's shadows of files": (
        files({"data.yaml": YAML, **PAIRS, "images/._a.png": MAC, "labels/._a.txt": MAC}),
        "yolo",
        OD,
    ),
    "shadows beside captions": (
        files({"a.png": "", "a.txt": "Tür", "._a.png": MAC, "._a.txt": MAC, ".DS_Store": MAC}),
        "captions",
        CAPTION,
    ),
    "a folder in a folder": (
        files({f"export/fruit v1/{n}": c for n, c in {"data.yaml": YAML, **PAIRS}.items()}),
        "yolo",
        OD,
    ),
    "Windows' alphabet in COCO": (
        files({"a.png": "", "r.json": coco("a.png")}, "cp1252"),
        "coco",
        OD,
    ),
    "UTF-16 without a mark": (
        files({"a.png": png(), "r.csv": caption_csv("a.png")}, "utf-16-le"),
        "tables",
        CAPTION,
    ),
    "a yaml of another name": (files({"coco8.yaml": YAML, **PAIRS}), "yolo", OD),
    "labels in capitals": (
        files({"classes.txt": "Tür", "A.JPG": png(), "A.TXT": LABEL}),
        "yolo",
        OD,
    ),
    "a set under a folder of pictures": (
        files({"images/set/a.png": "", "images/set/a.txt": LABEL, "images/set/classes.txt": "Tür"}),
        "yolo",
        OD,
    ),
    "key points of three": (
        files(
            {
                "data.yaml": f"kpt_shape: [2, 3]\n{YAML}",
                "images/a.png": "",
                "labels/a.txt": f"{LABEL.strip()} .1 .1 2 .2 .2 2",
            }
        ),
        "yolo",
        OD,
    ),
    "key points of two": (
        files(
            {
                "data.yaml": f"kpt_shape: [3, 2]\n{YAML}",
                "images/a.png": "",
                "labels/a.txt": f"{LABEL.strip()} .1 .1 .2 .2 .3 .3",
            }
        ),
        "yolo",
        OD,
    ),
    "captions of another ending": (
        files({"10_sks dog/a.png": "", "10_sks dog/a.caption": "Tür"}),
        "captions",
        CAPTION,
    ),
    "masks of LabelMe": (painted, "labelme", OD),
    "messages": (files({"a.png": "", "train.jsonl": talk("<image>Was?")}), "llava", ("vqa", "Tür")),
    "messages in parts": (
        files(
            {
                "a.png": "",
                "train.jsonl": talk([{"type": "image"}, {"type": "text", "text": "Was?"}]),
            }
        ),
        "llava",
        ("vqa", "Tür"),
    ),
    "Label Studio": (
        files({"upload/1/a.png": "", "export.json": json.dumps(TASKS)}),
        "labelstudio",
        OD,
    ),
    "Label Studio in short": (
        files({"photos/a.png": "", "min.json": json.dumps(SHORT)}),
        "labelstudio",
        OD,
    ),
    "a list as JSON": (
        files({"a.png": "", "rows.json": json.dumps([{"image": "a.png", "text": "Tür"}])}),
        "tables",
        CAPTION,
    ),
    "DocVQA": (
        files(
            {
                "documents/a.png": "",
                "train_v1.0.json": json.dumps(
                    {
                        "dataset_name": "x",
                        "data": [
                            {
                                "questionId": 1,
                                "question": "Was?",
                                "image": "documents/a.png",
                                "answers": ["Tür"],
                            }
                        ],
                    }
                ),
            }
        ),
        "tables",
        ("docvqa", "Tür"),
    ),
    "archives with their table": (shards, "webdataset", CAPTION),
    "a box a row": (
        files({"a.png": "", "b.png": "", "_annotations.csv": ROWS}),
        "tables",
        ("od", f"Tür{BOX}Wand<loc_700><loc_300><loc_900><loc_700>"),
    ),
    "objects with corners": (
        files(
            {
                "a.png": "",
                "b.png": "",
                "metadata.jsonl": objects(("a.png", [40, 15, 60, 35]), ("b.png", [80, 40, 90, 45])),
            }
        ),
        "tables",
        OD,
    ),
    "objects with sides": (
        files(
            {
                "a.png": "",
                "b.png": "",
                "metadata.jsonl": objects(("a.png", [40, 15, 20, 20]), ("b.png", [80, 40, 10, 5])),
            }
        ),
        "tables",
        OD,
    ),
}


@pytest.mark.parametrize(("make", "form", "said"), FORMS.values(), ids=FORMS)
def test_a_set_from_elsewhere_is_read(
    make: Callable[[Path], None], form: str, said: tuple[str, str], tmp_path: Path
) -> None:
    make(tmp_path / "in")
    assert parse_source(str(tmp_path / "in")).format == form
    row = open_data(str(tmp_path / "in"))[0]
    assert (row.task, as_strings(row, row.size())[1]) == said


@pytest.mark.parametrize(("make", "form", "said"), FORMS.values(), ids=FORMS)
def test_a_set_from_elsewhere_is_taken_as_an_upload(
    make: Callable[[Path], None], form: str, said: tuple[str, str], tmp_path: Path
) -> None:
    make(tmp_path / "in")
    packed = tmp_path / "a.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted((tmp_path / "in").rglob("*")):
            archive.write(path, f"My Set/{path.relative_to(tmp_path / 'in')}")
    source, rows = take_data([packed], tmp_path / "out")
    assert source.format == form
    assert (rows[0].task, as_strings(rows[0], rows[0].size())[1]) == said


def test_a_macs_zip_has_names_in_utf8_and_does_not_say_so(tmp_path: Path) -> None:
    packed = tmp_path / "a.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in {"grün.png": png(), "grün.txt": b"T\xc3\xbcr"}.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    data = packed.read_bytes()
    # The mark of UTF-8, in both places in which a zip has it.
    for sign, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        parts = data.split(sign)
        data = sign.join([parts[0], *(p[: at - 4] + b"\0\0" + p[at - 2 :] for p in parts[1:])])
    packed.write_bytes(data)
    _, (row,) = take_data([packed], tmp_path / "out")
    assert (row.image, row.answer) == (tmp_path / "out/grün.png", "Tür")


def test_lists_of_pictures_are_parts(tmp_path: Path) -> None:
    names = {f"images/{i}.png": "" for i in range(3)} | {f"labels/{i}.txt": LABEL for i in range(3)}
    lists = {"train.txt": "./images/0.png\r\n/me/x/images/1.png\n", "val.txt": "data/images/2.png"}
    files({**names, **lists, "data.yaml": f"path: ../x\ntrain: train.txt\n{YAML}"})(tmp_path)
    assert parts_of(parse_source(str(tmp_path))) == ("train", "validation")
    for part, wanted in (("train", ["0.png", "1.png"]), ("val", ["2.png"])):
        rows = open_data(f"{tmp_path}#{part}")
        assert [Path(str(row.image)).name for row in rows] == wanted


def test_an_upload_of_an_unknown_table_tells_its_columns(tmp_path: Path) -> None:
    files({"a.png": "", "x.csv": "Bild;Wort\na.png;b\n"})(tmp_path)
    with pytest.raises(DatasetError, match=r"x\.csv has the columns Bild, Wort"):
        take_data([tmp_path / "a.png", tmp_path / "x.csv"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_several_sets_are_named(tmp_path: Path) -> None:
    for year in ("VOC2007", "VOC2012"):
        files({"a.png": "", "a.txt": "Tür"})(tmp_path / "kit" / year)
    with pytest.raises(DatasetError, match="2 sets, kit/VOC2007, kit/VOC2012: name one"):
        parse_source(str(tmp_path))


TROUBLES: dict[str, tuple[Callable[[Path], None], str]] = {
    "an unknown table in a folder": (
        files({"a.png": "", "x.csv": "Bild;Wort\na.png;b\n"}),
        "has the columns Bild, Wort",
    ),
    "an unknown list in a folder": (
        files({"a.png": "", "x.json": '[{"Bild": "a.png"}]'}),
        "has the columns Bild",
    ),
    "shares as pixels": (
        files(
            {
                "a.png": "",
                "r.json": coco(
                    "a.png",
                    annotations=[{"image_id": 1, "category_id": 0, "bbox": [0.1, 0.1, 0.5, 0.5]}],
                ),
            }
        ),
        "r.json: a.png: its places lie between 0 and 1",
    ),
    "panoptic": (
        files(
            {
                "a.png": "",
                "r.json": coco("a.png", annotations=[{"image_id": 1, "segments_info": []}]),
            }
        ),
        "take the file of instances",
    ),
    "no names of categories": (
        files({"a.png": "", "r.json": coco("a.png", categories=[])}),
        "add it to “categories”",
    ),
    "CVAT's own form": (
        files(
            {"a.png": "", "annotations.xml": "<annotations><version>1.1</version></annotations>"}
        ),
        "export the set as COCO or YOLO",
    ),
    "only a number of classes": (
        files({"data.yaml": "nc: 1\n", **PAIRS}),
        "data.yaml lists no names of classes under “names:”: write them there",
    ),
    "a damaged mask": (
        files(
            {
                "a.png": "",
                "a.json": json.dumps(
                    {
                        "shapes": [
                            {
                                "label": "x",
                                "points": [[1, 1], [2, 2]],
                                "shape_type": "mask",
                                "mask": "x",
                            }
                        ],
                        "imagePath": "a.png",
                    }
                ),
            }
        ),
        "a.json: the mask of “x” is damaged",
    ),
    "a task that nobody marked": (
        files(
            {
                "a.png": "",
                "x.json": json.dumps([{"data": {"image": "a.png"}, "annotations": []}, *TASKS]),
            }
        ),
        "x.json: task 1: nobody has marked it yet",
    ),
}


@pytest.mark.parametrize(("make", "said"), TROUBLES.values(), ids=TROUBLES)
def test_what_cannot_be_read_is_told_with_a_way_out(
    make: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    make(tmp_path)
    with pytest.raises(DatasetError) as caught:
        open_data(str(tmp_path))
    assert said in str(caught.value)


def test_what_was_taken_of_boxes_is_told_and_a_person_knows_better(tmp_path: Path) -> None:
    files({"a.png": "", "r.jsonl": objects(("a.png", [40, 15, 90, 35]))})(tmp_path)
    for said, told, wanted in (
        ([], "boxes as corners", [40, 15, 90, 35]),
        (["box_format=xyxy"], "boxes as corners", [40, 15, 90, 35]),
        (["box_format=xywh"], "boxes as x, y, width, height", None),
    ):
        notes: list[str] = []
        problems: list[str] = []
        data = with_named_columns(str(tmp_path), said)
        if wanted is None:
            with pytest.raises(DatasetError, match="outside the picture"):
                open_data(data, notes=notes, problems=problems)
        else:
            (row,) = open_data(data, notes=notes)
            assert row.detections.xyxy.tolist() == [wanted]
        assert any(told in note for note in notes)
    with pytest.raises(DatasetError, match="xywh or xyxy, not “cxcywh”"):
        with_named_columns(str(tmp_path), ["box_format=cxcywh"])


def test_the_names_of_all_pictures_are_known_of_the_first(tmp_path: Path) -> None:
    for name, label in (("a", "cat"), ("b", "dog")):
        shape = {"label": label, "points": [[1, 1], [9, 9]], "shape_type": "rectangle"}
        table = {"shapes": [shape], "imagePath": f"{name}.png"}
        files({f"{name}.png": "", f"{name}.json": json.dumps(table)})(tmp_path)
    first = next(iter(READERS["labelme"].read(parse_source(str(tmp_path)))))
    asked = [row.text for row in rows_about(first, ["open_vocabulary_detection"])]  # type: ignore[arg-type]
    assert asked == ["cat", "dog"]


def test_a_set_in_which_nothing_is_marked_is_told_and_not_learned_from(tmp_path: Path) -> None:
    files({"data.yaml": YAML, "images/a.png": "", "labels/a.txt": ""})(tmp_path)
    assert any(
        "nothing is marked in any picture" in line for line in run(DataConfig(str(tmp_path)))
    )
    with pytest.raises(DatasetError, match=r"nothing is marked .* nothing to learn"):
        open_rows(TrainConfig(data=str(tmp_path)), lambda row: "")


def test_a_painted_mask_lies_where_it_was_painted(tmp_path: Path) -> None:
    painted(tmp_path)
    row = open_data(str(tmp_path), tasks=["region_to_segmentation"])[0]
    ring = row.detections.polygons[0][0]
    np.testing.assert_allclose([ring.min(axis=0), ring.max(axis=0)], [[40, 15], [60, 35]])


@pytest.mark.parametrize("to", [name for name, reader in READERS.items() if reader.write])
def test_a_full_disk_leaves_nothing_half_written(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = files(
        {
            "a.png": "",
            "b.png": "",
            "r.jsonl": objects(("a.png", [1, 1, 5, 5]), ("b.png", [1, 1, 9, 9])),
        }
    )
    if to in ("captions", "llava"):
        make = files({"a.png": "", "a.txt": "Tür", "b.png": "", "b.txt": "Wand"})
    make(tmp_path / "in")
    copy, copied = shutil.copyfile, []

    def full(source: Any, target: Any) -> None:
        copied.append(copy(source, target))
        if len(copied) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(InputError, match="The disk is full"):
        run(DataConfig(str(tmp_path / "in"), out=tmp_path / "out", to=to))
    assert len(copied) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    monkeypatch.undo()
    run(DataConfig(str(tmp_path / "in"), out=tmp_path / "out", to=to))
    with pytest.raises(InputError, match="name a new folder"):
        run(DataConfig(str(tmp_path / "in"), out=tmp_path / "out", to=to))
