"""Sets as the tools of the field write them: read, found by part, written and read back."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from florence_demo.data.example import Example
from florence_demo.data.folders import take_data
from florence_demo.data.formats import READERS
from florence_demo.data.reading import open_data, parse_source, parts_of
from florence_demo.errors import DatasetError

SIZE = (60, 40)
BOXES = [[5.0, 6.0, 25.0, 26.0], [30.0, 8.0, 50.0, 30.0]]
LABELS = ("große Katze", "dog")
NAMES = ["a", "zwei Wörter", "größer 🐈"]
"""Of pictures, as people give them."""


def png(color: str = "teal") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", SIZE, color).save(buffer, "PNG")
    return buffer.getvalue()


def picture(path: Path, color: str = "teal") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(color))
    return path


def text(path: Path, words: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(words.encode(encoding))
    return path


def voc_xml(name: str, boxes: list[list[float]] = BOXES) -> str:
    """Return what LabelImg writes, its box of "difficult" things among them."""
    things = "".join(
        f"<object><name>{label}</name><pose>Unspecified</pose><truncated>0</truncated>"
        f"<difficult>{i}</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax>"
        f"<ymax>{y2}</ymax></bndbox></object>"
        for i, (label, (x1, y1, x2, y2)) in enumerate(zip(LABELS, boxes, strict=True))
    )
    return (
        f"<annotation><folder>VOC</folder><filename>{name}</filename>"
        f"<path>C:\\data\\{name}</path><size><width>60</width><height>40</height>"
        f"<depth>3</depth></size><segmented>0</segmented>{things}</annotation>"
    )


def voc(folder: Path) -> None:
    for name in NAMES:
        picture(folder / f"JPEGImages/{name}.png")
        text(folder / f"Annotations/{name}.xml", voc_xml(f"{name}.png"))
    # As the original has them: of each class a list with marks, and one of both parts.
    for part, names in (("train", NAMES[:2]), ("val", NAMES[2:]), ("trainval", NAMES)):
        text(folder / f"ImageSets/Main/{part}.txt", "\r\n".join(names) + "\r\n")
        text(folder / f"ImageSets/Main/dog_{part}.txt", "a  1\n")


def roboflow_voc(folder: Path) -> None:
    for part, name in zip(("train", "valid", "test"), NAMES, strict=True):
        picture(folder / part / f"{name}.PNG")
        text(folder / part / f"{name}.xml", voc_xml(f"{name}.PNG"), "utf-8-sig")
    text(folder / "README.roboflow.txt", "Exported.")


def labelimg_voc(folder: Path) -> None:
    """Write files that give the names of another machine, in Windows' alphabet."""
    for name in NAMES[:2]:
        picture(folder / f"images/{name}.JPG")
        words = '<?xml version="1.0"?>' + voc_xml(name)
        text(folder / f"annotations/{name}.XML", words, "cp1252")


def labelme_json(name: str, **changes: Any) -> str:
    first, second = BOXES
    x1, y1, x2, y2 = second
    shapes = [
        {"label": LABELS[0], "points": [first[2:], first[:2]], "shape_type": "rectangle"},
        {
            "label": LABELS[1],
            "points": [[x1, y1], [x2, y1], [x2, y2], [x1, y2]],
            "group_id": None,
            "shape_type": "polygon",
            "flags": {},
        },
        {"label": "nose", "points": [[9, 9]], "shape_type": "point"},
    ]
    table = {
        "version": "5.4.1",
        "flags": {},
        "shapes": shapes,
        "imagePath": f"..\\images\\{name}",
        "imageData": None,
        "imageHeight": 40,
        "imageWidth": 60,
    }
    return json.dumps({**table, **changes}, ensure_ascii=False, indent=2)


def labelme(folder: Path) -> None:
    for part, name in zip(("train", "val", "test"), NAMES, strict=True):
        picture(folder / part / f"{name}.PNG")
        text(folder / part / f"{name}.json", labelme_json(f"{name}.PNG"), "utf-8-sig")
        text(folder / part / "README.txt", "Drawn by hand.")


def labelme_with_pictures(folder: Path) -> None:
    for name in NAMES:
        data = base64.b64encode(png()).decode()
        text(folder / f"{name}.json", labelme_json(f"{name}.png", imageData=data))


def imagefolder(folder: Path) -> None:
    objects = {
        "bbox": [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in BOXES],
        "categories": list(LABELS),
    }
    for part, name in zip(("train", "validation", "test"), NAMES, strict=True):
        picture(folder / part / f"{name}.PNG")
        row = {"file_name": f"{name}.PNG", "id": 1, "objects": objects}
        text(folder / part / "metadata.jsonl", json.dumps(row) + "\n", "utf-8-sig")
    text(folder / "README.md", "---\nlicense: mit\n---\n")


MARKED: dict[str, tuple[Callable[[Path], None], str, tuple[str, ...]]] = {
    "VOC": (voc, "voc", ("train", "validation")),
    "Roboflow's VOC": (roboflow_voc, "voc", ("train", "validation", "test")),
    "LabelImg's VOC": (labelimg_voc, "voc", ()),
    "LabelMe": (labelme, "labelme", ("train", "validation", "test")),
    "LabelMe with pictures within": (labelme_with_pictures, "labelme", ()),
    "the hub's folder of pictures": (imagefolder, "tables", ("train", "validation", "test")),
}
"""Makers of marked pictures, with the format and its parts."""


def boxes_of(rows: list[Example]) -> list[list[float]]:
    return [box for row in rows for box in row.detections.xyxy.tolist()]


@pytest.mark.parametrize(("make", "format", "parts"), MARKED.values(), ids=MARKED)
def test_marked_pictures_are_read_by_part(
    make: Callable[[Path], None], format: str, parts: tuple[str, ...], tmp_path: Path
) -> None:
    make(tmp_path)
    source = parse_source(str(tmp_path))
    assert (source.format, parts_of(source)) == (format, parts)
    count = 0
    for part in parts or ("",):
        rows = open_data(f"{tmp_path}#{part}" if part else str(tmp_path), tasks=["od"])
        count += len(rows)
        for row in rows:
            assert row.load().size == SIZE
            np.testing.assert_allclose(row.detections.xyxy, BOXES)
            assert row.detections.labels == LABELS
    assert count == (2 if make is labelimg_voc else 3)


WRITTEN = ["coco", "voc", "labelme", "yolo"]


@pytest.mark.parametrize("format", WRITTEN)
@pytest.mark.parametrize(("make", "read", "parts"), MARKED.values(), ids=MARKED)
def test_marked_pictures_go_into_every_format_and_back_to_coco(
    make: Callable[[Path], None], read: str, parts: tuple[str, ...], format: str, tmp_path: Path
) -> None:
    make(tmp_path / "in")
    rows = open_data(str(tmp_path / "in"))
    for number, name in enumerate((format, "coco")):
        write = READERS[name].write
        assert write is not None
        place = str(write(rows, tmp_path / str(number)))
        assert parse_source(place).format == name
        again = open_data(place)
        first, second = ([r for r in some if r.task == "od"] for some in (rows, again))
        np.testing.assert_allclose(boxes_of(first), boxes_of(second), atol=0.6)
        assert [r.detections.labels for r in first] == [r.detections.labels for r in second]
        rows = again


def test_outlines_are_kept_by_labelme(tmp_path: Path) -> None:
    labelme(tmp_path / "in")
    rows = open_data(str(tmp_path / "in"), tasks=["od", "region_to_segmentation"])
    write = READERS["labelme"].write
    assert write is not None
    again = open_data(str(write(rows, tmp_path / "out")), tasks=["region_to_segmentation"])
    (row,) = again
    np.testing.assert_allclose(row.region, BOXES[1], atol=0.1)


def test_a_circle_is_its_box_within_the_picture(tmp_path: Path) -> None:
    circle = {"label": "sun", "points": [[10, 10], [10, 25]], "shape_type": "circle"}
    picture(tmp_path / "a.png")
    text(tmp_path / "a.json", labelme_json("a.png", shapes=[circle]))
    (row,) = open_data(str(tmp_path), tasks=["od"])
    assert row.detections.xyxy.tolist() == [[0, 0, 25, 25]]


def test_shapes_that_are_no_place_are_told(tmp_path: Path) -> None:
    labelme(tmp_path)
    notes: list[str] = []
    open_data(str(tmp_path), notes=notes)
    assert notes == ["train: shapes of the kind point are left out, in 1 file."]


def test_labelmes_outlines_of_one_group_are_one_thing(tmp_path: Path) -> None:
    ring = [[5, 5], [15, 5], [15, 15]]
    shapes = [
        {"label": "pair", "points": [[x + d, y] for x, y in ring], "group_id": 4} for d in (0, 20)
    ]
    picture(tmp_path / "a.png")
    text(tmp_path / "a.json", labelme_json("a.png", shapes=shapes))
    boxes, outline = open_data(str(tmp_path))
    assert boxes.detections.xyxy.tolist() == [[5, 5, 35, 15]]
    assert len(outline.detections.polygons[0]) == 2


# -- rows of words --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """A maker of rows of words, with what they are read as."""

    make: Callable[[Path], None]
    format: str
    rows: list[tuple[str, str, tuple[str, ...]]]
    note: str = ""


def csv_of(separator: str, encoding: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        picture(folder / "images/zwei Wörter.PNG")
        cells = [
            ["Img", "Query", "id", "Response"],
            ["zwei Wörter.PNG", f'"Wer{separator} wo?"', "7", "Käthe"],
            ["images/zwei Wörter.PNG", "Was?", "8", '"Ein ""Bär""\nund mehr"'],
            [],
        ]
        text(folder / "rows.csv", "\r\n".join(separator.join(c) for c in cells), encoding)
        text(folder / "README.md", "rows")

    return make


def caption_table(folder: Path) -> None:
    picture(folder / "a.png")
    text(folder / "train/metadata.csv", "file_name,text\na.png,Ein Bär\n", "cp1252")
    picture(folder / "train/a.png")


def json_table(folder: Path) -> None:
    picture(folder / "a.png")
    rows = [
        {"image": "a.png", "question": "Who?", "answers": ["Ada", "Ada L."], "task": "vqa"},
        {"image": "a.png", "answers": "A cat.", "task": "<MORE_DETAILED_CAPTION>", "x": 1},
    ]
    text(folder / "train.jsonl", "\n".join(map(json.dumps, rows)))


TURNS = [
    {"from": "human", "value": "<image>\nDescribe it."},
    {"from": "gpt", "value": "A cat."},
    {"from": "human", "value": "Which colour?"},
    {"from": "gpt", "value": "Teal 🐈"},
]


def llava(folder: Path) -> None:
    picture(folder / "images/größer 🐈.png")
    rows = [
        {"id": "1", "image": "größer 🐈.png", "conversations": TURNS},
        {"id": "2", "conversations": TURNS},
        {"id": "3", "image": ["a.png", "b.png"], "conversations": TURNS},
    ]
    text(folder / "train.json", json.dumps(rows, ensure_ascii=False), "utf-8-sig")


def llava_lines(folder: Path) -> None:
    picture(folder / "a.png")
    row = {"id": "1", "image": ["a.png"], "conversations": TURNS}
    text(folder / "train.jsonl", json.dumps(row))


def tar(path: Path, files: dict[str, bytes], *odd: tarfile.TarInfo) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for entry in odd:
            archive.addfile(entry)
    return path


def shards(folder: Path) -> None:
    rows = [{"prefix": "<VQA>Who?", "suffix": ["Ada", "Ada L."]}]
    files = {
        "./README.md": b"rows",
        "./sub/größer 🐈.PNG": png(),
        "./sub/größer 🐈.txt": b"\xef\xbb\xbfA cat.\n",
        "./b.cls": b"3",
        "./b.png": png("red"),
        "./b.json": json.dumps(rows).encode(),
    }
    tar(folder / "train-000000.tar", files)
    more = {"c.jpg": png(), "c.json": b'{"caption": "A bear."}'}
    tar(folder / "train-000001.tar", more)
    tar(folder / "val-000000.tar", more)


DESCRIBED = ("vqa", "Describe it.", ("A cat.",)), ("vqa", "Which colour?", ("Teal 🐈",))
CELLS = [
    ("docvqa", "Wer{} wo?", ("Käthe",)),
    ("docvqa", "Was?", ('Ein "Bär"\nund mehr',)),
]
TOLD = {
    **{
        f"CSV with {name} in {encoding}": Told(
            csv_of(sign, encoding),
            "tables",
            [(task, question.format(sign), answers) for task, question, answers in CELLS],
            "rows.csv: columns taken: image = Img, question = Query, answer = Response; left"
            " alone: id.",
        )
        for name, sign, encoding in (
            ("commas", ",", "utf-8-sig"),
            ("semicolons", ";", "cp1252"),
            ("tabs", "\t", "utf-16"),
        )
    },
    "captions in a CSV of the hub": Told(
        caption_table,
        "tables",
        [("caption", "", ("Ein Bär",))],
        "metadata.csv: columns taken: image = file_name, answer = text.",
    ),
    "lines of JSON with a task": Told(
        json_table,
        "tables",
        [("vqa", "Who?", ("Ada", "Ada L.")), ("more_detailed_caption", "", ("A cat.",))],
    ),
    "LLaVA": Told(
        llava,
        "llava",
        [*DESCRIBED],
        "train.json: 1 conversation is about no picture, and left out.",
    ),
    "LLaVA as lines": Told(llava_lines, "llava", [*DESCRIBED]),
    "WebDataset": Told(
        shards,
        "webdataset",
        [
            ("caption", "", ("A cat.",)),
            ("vqa", "Who?", ("Ada", "Ada L.")),
            ("caption", "", ("A bear.",)),
        ],
    ),
}


@pytest.mark.parametrize("told", TOLD.values(), ids=TOLD)
def test_rows_of_words_are_read(told: Told, tmp_path: Path) -> None:
    told.make(tmp_path)
    source = parse_source(str(tmp_path))
    assert source.format == told.format
    notes: list[str] = []
    rows = open_data(source, notes=notes)
    assert [(r.task, r.text, r.accepted) for r in rows] == told.rows
    assert {r.load().size for r in rows} == {SIZE}
    assert not told.note or told.note in notes


def test_the_shards_of_a_part_are_its_own(tmp_path: Path) -> None:
    shards(tmp_path)
    assert parts_of(parse_source(str(tmp_path))) == ("train", "validation")
    assert [r.answer for r in open_data(f"{tmp_path}#val")] == ["A bear."]
    assert len(open_data(str(tmp_path / "train-000001.tar"))) == 1


@pytest.mark.parametrize("beside", ["images.tar", "train.tar"])
def test_an_archive_beside_a_set_is_none(beside: str, tmp_path: Path) -> None:
    roboflow_voc(tmp_path)
    tar(tmp_path / beside, {})
    assert parse_source(str(tmp_path)).format == "voc"
    picture(tmp_path / "captions/a.png")
    text(tmp_path / "captions/a.txt", "A cat.")
    tar(tmp_path / "captions" / beside, {})
    assert parse_source(str(tmp_path / "captions")).format == "captions"


@pytest.mark.parametrize("format", ["jsonl", "webdataset", "llava"])
@pytest.mark.parametrize("told", TOLD.values(), ids=TOLD)
def test_rows_of_words_are_written_and_read_back(told: Told, format: str, tmp_path: Path) -> None:
    told.make(tmp_path / "in")
    rows = open_data(str(tmp_path / "in"))
    write = READERS[format].write
    assert write is not None
    place = str(write(rows, tmp_path / "out"))
    assert parse_source(place).format == format
    again = open_data(place)
    assert sorted(r.answer for r in again) == sorted(r.answer for r in rows)
    if format != "llava":  # which knows one task
        said = [sorted((r.task, r.text, r.accepted) for r in some) for some in (rows, again)]
        assert said[0] == said[1]


def test_boxes_go_into_a_webdataset_and_back(tmp_path: Path) -> None:
    voc(tmp_path / "in")
    rows = open_data(str(tmp_path / "in"))
    write = READERS["webdataset"].write
    assert write is not None
    again = open_data(str(write(rows, tmp_path / "out")))
    np.testing.assert_allclose(boxes_of(rows), boxes_of(again), atol=0.06)


# -- uploads --------------------------------------------------------------------------------------

SENT = {
    **{name: (make, format) for name, (make, format, _) in MARKED.items()},
    **{name: (told.make, told.format) for name, told in TOLD.items()},
}


@pytest.mark.parametrize(("make", "format"), SENT.values(), ids=SENT)
def test_each_form_is_taken_as_an_upload(
    make: Callable[[Path], None], format: str, tmp_path: Path
) -> None:
    import zipfile

    make(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted((tmp_path / "in").rglob("*")):
            archive.write(path, path.relative_to(tmp_path / "in"))
    source, rows = take_data([tmp_path / "set.zip"], tmp_path / "new")
    assert source.format == format
    assert rows
    # As a training does, in another process.
    moved = source.moved(tmp_path / "new")
    assert len(open_data(moved)) == len(rows)


@pytest.mark.parametrize("make", [llava, shards, voc], ids=["llava", "webdataset", "voc"])
def test_a_stranger_learns_of_no_path(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "in")
    for path in (tmp_path / "in").rglob("*"):
        if path.suffix in (".png", ".tar"):
            path.write_bytes(b"")
    files = [p for p in (tmp_path / "in").rglob("*") if p.is_file() and p.suffix != ".txt"]
    with pytest.raises(DatasetError) as caught:
        take_data(files, tmp_path / "new")
    assert str(tmp_path) not in str(caught.value)
