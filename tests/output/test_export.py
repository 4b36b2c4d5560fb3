"""Every format, for every kind of answer: it parses back, and to what went in."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from florence_demo.errors import InputError
from florence_demo.output.export import EXPORTERS
from florence_demo.prediction import Detections, Prediction

SIZE = (200, 100)


def answer(found: Detections | None = None, text: str = "") -> Prediction:
    found = found or Detections.empty()
    parsed = {"<OD>": {"bboxes": found.xyxy.tolist(), "labels": list(found.labels)}}
    return Prediction("od", "Locate", "cat<loc_1>", text, SIZE, found, parsed, model="nano")


def boxes(*labels: str) -> Detections:
    rows = [(10.5 + i, 20, 60 + i, 80.25) for i in range(len(labels))]
    return Detections(np.array(rows, np.float32).reshape(-1, 4), labels)


def square(x: float, y: float, side: float) -> np.ndarray:
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]], np.float32)


PARTS = Detections.from_polygons(
    [[square(0, 0, 40), square(20, 20, 40)], [square(100, 10, 50)]], ["cat", "dog"]
)
MIXED = Detections(
    np.array([[0, 0, 60, 60], [100, 20, 180, 90]], np.float32),
    ("cat", "box"),
    ((square(0, 0, 60),), ()),
    np.array([0.9, 0.25], np.float32),
    np.array([0.8, 1.0], np.float32),
)
ANSWERS = {
    "empty": answer(),
    "text only": answer(text="a caption, with “quotes” & <tags>\nand a line"),
    "boxes": answer(boxes("cat", "dog", "cat")),
    "no names": answer(boxes("", "")),
    "unicode": answer(boxes("猫", "Größe", "жук 🐞", "قطة")),
    "markup": answer(boxes("<b>&\"'</b>", "]]>", "&amp;", "a,b;c")),
    "control": answer(boxes("one\ntwo\x00\x1b", "\ud800", "  ")),
    "formulas": answer(
        boxes("=1+1", "+a", "-b", "@c", " =d", "\t=e", "\x00=f", "\ufeff=g", "\uff1dh")
    ),
    "returns": answer(boxes("one\rtwo", "\r", "three\r\nfour\n\rfive")),
    "parts": answer(PARTS),
    "scores": answer(MIXED),
    "outside": answer(Detections(np.array([[-5, -5, 250, 130]], np.float32), ("far",))),
    "no area": answer(Detections(np.array([[50, 50, 50, 50]], np.float32), ("dot",))),
}


def read_zip(data: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode("utf-8") for name in archive.namelist()}


def read_mask(data: bytes) -> np.ndarray:
    mask = Image.open(io.BytesIO(data))
    assert (mask.mode, mask.size, mask.format) == ("P", SIZE, "PNG")
    return np.asarray(mask)


READERS: dict[str, Callable[[bytes], Any]] = {
    "json": json.loads,
    "csv": lambda data: list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))),
    "coco": json.loads,
    "yolo": read_zip,
    "voc": ElementTree.fromstring,
    "mask": read_mask,
}
COUNTS: dict[str, Callable[[Any], int]] = {
    "json": lambda read: len(read["detections"]),
    "csv": len,
    "coco": lambda read: len(read["annotations"]),
    "yolo": lambda read: len(read["labels/a b.txt"].splitlines()),
    "voc": lambda read: len(read.findall("object")),
}


def export(kind: str, prediction: Prediction) -> Any:
    return READERS[kind](EXPORTERS[kind].write(prediction, None, "a b"))


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("kind", EXPORTERS)
def test_it_parses_back_with_as_many_things(kind: str, name: str) -> None:
    read = export(kind, ANSWERS[name])
    if kind in COUNTS:
        assert COUNTS[kind](read) == len(ANSWERS[name].detections)


@pytest.mark.parametrize("kind", EXPORTERS)
def test_the_picture_changes_nothing_and_twice_gives_the_same(kind: str) -> None:
    write = EXPORTERS[kind].write
    with_picture = write(ANSWERS["scores"], Image.new("RGB", SIZE), "a")
    assert with_picture == write(ANSWERS["scores"], None, "a")


def test_suffixes_and_titles_differ() -> None:
    assert len({e.suffix for e in EXPORTERS.values()}) == len(EXPORTERS)
    assert len({e.title for e in EXPORTERS.values()}) == len(EXPORTERS)
    assert all(e.suffix.startswith(".") for e in EXPORTERS.values())


def test_json_is_the_whole_answer() -> None:
    prediction = ANSWERS["unicode"]
    data = EXPORTERS["json"].write(prediction, None, "a")
    assert json.loads(data) == prediction.to_json()
    assert "猫".encode() in data


def test_csv_keeps_numbers_and_leaves_what_is_not_there_empty() -> None:
    first, second = export("csv", ANSWERS["scores"])
    assert (float(first["score"]), float(first["x2"])) == (pytest.approx(0.9), 60)
    assert json.loads(first["polygons"]) == [[0, 0, 60, 0, 60, 60, 0, 60]]
    assert second["polygons"] == ""
    assert export("csv", ANSWERS["boxes"])[0]["score"] == ""


def test_csv_labels_are_never_formulas() -> None:
    labels = [row["label"] for row in export("csv", ANSWERS["formulas"])]
    assert labels[:6] == ["'=1+1", "'+a", "'-b", "'@c", "' =d", "'\t'=e"]
    assert labels[6:] == ["'\x00=f", "'\ufeff=g", "'\uff1dh"]
    kept = [row["label"] for row in export("csv", ANSWERS["markup"])]
    assert kept == list(ANSWERS["markup"].detections.labels)


@pytest.mark.parametrize(
    ("label", "written"),
    [
        pytest.param("a;=1+1", "a;'=1+1", id="semicolon"),
        pytest.param("a\t @SUM(1)", "a\t '@SUM(1)", id="tab"),
        pytest.param("a\r\n=1", "a\r\n'=1", id="line"),
        pytest.param("a, -1; b", "a, -1; b", id="ordinary text"),
    ],
)
def test_csv_labels_begin_no_formula_in_a_cell_of_their_own(label: str, written: str) -> None:
    """A spreadsheet that expects another separator cuts a cell where ours does not end."""
    assert [row["label"] for row in export("csv", answer(boxes(label)))] == [written]


def test_csv_keeps_a_lone_carriage_return_in_its_cell() -> None:
    rows = export("csv", ANSWERS["returns"])
    assert [row["label"] for row in rows] == ["one\rtwo", "'\r", "three\r\nfour\n\rfive"]
    assert [row["index"] for row in rows] == ["0", "1", "2"]


def test_coco_is_consistent() -> None:
    read = export("coco", ANSWERS["parts"])
    cat, dog = read["annotations"]
    assert read["images"] == [{"id": 1, "file_name": "a b.png", "width": 200, "height": 100}]
    assert read["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert (cat["category_id"], dog["category_id"]) == (1, 2)
    assert cat["bbox"] == [0, 0, 60, 60]
    assert [len(ring) for ring in cat["segmentation"]] == [8, 8]
    assert cat["area"] == pytest.approx(40 * 40 * 2 - 20 * 20, rel=0.06)  # the union, counted once
    assert dog["area"] == 2500


def test_coco_boxes_have_an_outline_and_their_score() -> None:
    cat, box = export("coco", ANSWERS["scores"])["annotations"]
    assert box["segmentation"] == [[100, 20, 180, 20, 180, 90, 100, 90]]
    assert box["area"] == 80 * 70
    assert (cat["score"], box["score"]) == (pytest.approx(0.9), 0.25)
    assert "score" not in export("coco", ANSWERS["boxes"])["annotations"][0]


def test_yolo_numbers_are_shares_of_the_picture() -> None:
    read = export("yolo", ANSWERS["scores"])
    assert read["classes.txt"].splitlines() == ["cat", "box"]
    assert read["labels/a b.txt"].splitlines() == [
        "0 0.150000 0.300000 0.300000 0.600000",
        "1 0.700000 0.550000 0.400000 0.700000",
    ]
    box = read["segments/a b.txt"].splitlines()[1].split()
    assert [float(v) for v in box] == [1, 0.5, 0.2, 0.9, 0.2, 0.9, 0.9, 0.5, 0.9]
    assert set(export("yolo", ANSWERS["boxes"])) == {"classes.txt", "labels/a b.txt"}


def test_yolo_joins_parts_by_a_seam_of_no_area() -> None:
    apart = Detections.from_polygons(
        [[square(0, 0, 20), square(50, 50, 20), square(100, 0, 20)]], "a"
    )
    line = export("yolo", answer(apart))["segments/a b.txt"].split()
    x, y = np.array(line[1:], float).reshape(-1, 2).T * np.array([SIZE]).T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    assert area == pytest.approx(3 * 20 * 20, abs=0.1)


@pytest.mark.parametrize("name", ["outside", "no area", "boxes"])
def test_yolo_stays_within_the_picture(name: str) -> None:
    values = export("yolo", ANSWERS[name])["labels/a b.txt"].split()[1:5]
    assert all(0 <= float(v) <= 1 for v in values)


def test_voc_has_whole_pixels_counted_from_one() -> None:
    root = export("voc", ANSWERS["boxes"])
    assert [root.findtext(f"size/{n}") for n in ("width", "height", "depth")] == ["200", "100", "3"]
    box = root.find("object/bndbox")
    assert [int(e.text) for e in box] == [11, 21, 60, 81]
    far = export("voc", ANSWERS["outside"]).find("object/bndbox")
    assert [int(e.text) for e in far] == [1, 1, 200, 100]


@pytest.mark.parametrize("name", ["unicode", "markup"])
def test_voc_names_come_back_as_they_were(name: str) -> None:
    names = [e.text for e in export("voc", ANSWERS[name]).iterfind("object/name")]
    assert names == list(ANSWERS[name].detections.labels)


def test_things_without_a_name_get_one_where_the_format_needs_it() -> None:
    assert export("voc", ANSWERS["no names"]).findtext("object/name") == "object"
    assert export("coco", ANSWERS["no names"])["categories"] == [{"id": 1, "name": "object"}]
    assert export("yolo", ANSWERS["no names"])["classes.txt"] == "object\n"


def test_the_mask_holds_the_union_of_parts() -> None:
    mask = export("mask", ANSWERS["parts"])
    assert mask[30, 30] == mask[5, 5] == mask[55, 55] == 1
    assert mask[30, 120] == 2
    assert mask[5, 55] == mask[90, 190] == 0


def test_small_things_lie_over_large_ones_in_the_mask() -> None:
    both = Detections(np.array([[50, 20, 60, 30], [0, 0, 200, 100]], np.float32), ("a", "b"))
    mask = export("mask", answer(both))
    assert mask[25, 55] == 1
    assert (mask == 1).sum() == 100  # a box of ten by ten covers ten by ten pixels
    assert mask[99, 199] == 2


def test_more_instances_than_a_mask_can_number_are_refused() -> None:
    many = answer(boxes(*["a"] * 256))
    with pytest.raises(InputError, match="255"):
        export("mask", many)
    assert len(export("coco", many)["annotations"]) == 256


def test_voc_is_xml_whatever_the_model_is_called() -> None:
    odd = replace(answer(), model="¼E\x14f\x00\ud800<b>&")
    tree = ElementTree.fromstring(EXPORTERS["voc"].write(odd, None, "a\x01b"))
    assert tree.findtext("source/database") == "¼E f <b>&"
    assert tree.findtext("filename") == "a b.png"
