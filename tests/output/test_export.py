"""Every format, for every kind of answer: it parses back, and to what went in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pypdfium2
import pytest
from PIL import Image

from florence_demo.errors import InputError
from florence_demo.output.export import EXPORTERS, Parcel, words_of, write_json
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
LINES = Detections.from_polygons(
    [[np.array([[10, y], [90, y], [90, y + 20], [10, y + 20]], np.float32)] for y in (40, 10)],
    ["* below", "Größe 猫"],
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
    "lines": answer(LINES),
    "sentence": answer(boxes("cat"), text="A cat."),
    "no area": answer(Detections(np.array([[50, 50, 50, 50]], np.float32), ("dot",))),
}


def read_mask(data: bytes) -> np.ndarray:
    mask = Image.open(io.BytesIO(data))
    assert (mask.mode, mask.size, mask.format) == ("P", SIZE, "PNG")
    return np.asarray(mask)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def pages(data: bytes) -> str:
    document = pypdfium2.PdfDocument(data)
    return document[0].get_textpage().get_text_range()


def table(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


READERS: dict[str, Callable[[bytes], Any]] = {
    "annotated": opened,
    "text": bytes.decode,
    "markdown": bytes.decode,
    "pdf": pages,
    "json": json.loads,
    "csv": table,
    "cutouts": opened,
    "mask": read_mask,
}
PICTURE = Image.new("RGB", SIZE, "teal")


def export(kind: str, prediction: Prediction) -> Any:
    """Return what a format's own reader finds in its file; of several files, by their names."""
    exporter = EXPORTERS[kind]
    read = {
        name: READERS[kind](data)
        for name, data in exporter.files(Parcel(prediction, PICTURE, "a b"))
    }
    return read if exporter.packed else read[f"a b{exporter.ending}"]


CONTENT = {
    "empty": {"json"},
    "text only": {"json", "text", "markdown"},
    "lines": {"json", "text", "markdown", "pdf", "csv", "annotated", "cutouts", "mask"},
    "parts": {"json", "csv", "annotated", "cutouts", "mask"},
    "no area": {"json", "csv", "annotated"},
    "sentence": {"json", "csv", "annotated", "cutouts", "text", "markdown"},
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_format_is_offered_where_there_is_something_for_it(name: str) -> None:
    has = {kind for kind, exporter in EXPORTERS.items() if exporter.has(ANSWERS[name])}
    assert has == CONTENT.get(name, has)
    assert "csv" in has or not len(ANSWERS[name].detections)
    for kind in has:
        assert export(kind, ANSWERS[name]) is not None


@pytest.mark.parametrize("name", ANSWERS)
def test_as_many_things_come_back(name: str) -> None:
    count = len(ANSWERS[name].detections)
    assert len(export("json", ANSWERS[name])["detections"]) == count
    assert len(export("csv", ANSWERS[name])) == count


@pytest.mark.parametrize("kind", EXPORTERS)
def test_twice_gives_the_same(kind: str) -> None:
    parcel = Parcel(ANSWERS["lines"], PICTURE, "a")
    assert dict(EXPORTERS[kind].files(parcel)) == dict(EXPORTERS[kind].files(parcel))


def test_too_much_is_not_offered() -> None:
    whole = np.array([[0, 0, *SIZE]] * 10, np.float32)
    found = replace(answer(Detections(whole, ("a",) * 10)), size=(6300, 6300))
    assert EXPORTERS["cutouts"].has(found)
    large = replace(found, detections=Detections(whole * 31, ("a",) * 10))
    assert not EXPORTERS["cutouts"].has(large)
    many = Detections.from_polygons([[square(0, 0, 9)]] * 256, ["a"] * 256)
    assert not EXPORTERS["mask"].has(answer(many))


def test_text_is_in_reading_order_and_names_are_no_text() -> None:
    assert export("text", ANSWERS["lines"]) == "Größe 猫\n* below\n"
    assert export("markdown", ANSWERS["lines"]) == "Größe 猫 \\* below\n"
    assert export("text", ANSWERS["sentence"]) == "A cat.\n"
    assert words_of(ANSWERS["boxes"]) == ""


def test_the_pdf_holds_the_words() -> None:
    assert [line.strip() for line in export("pdf", ANSWERS["lines"]).splitlines()] == [
        "Größe 猫",
        "* below",
    ]


def test_a_cut_out_is_transparent_outside_of_its_outline() -> None:
    read = export("cutouts", ANSWERS["parts"])
    assert list(read) == ["001-cat.png", "002-dog.png"]
    cat = read["001-cat.png"]
    assert (cat.mode, cat.size) == ("RGBA", (60, 60))
    assert cat.getpixel((30, 30)) == (0, 128, 128, 255)
    assert cat.getpixel((55, 5))[3] == 0
    boxed = export("cutouts", ANSWERS["scores"])["002-box.png"]
    assert (boxed.mode, boxed.size) == ("RGB", (80, 70))


def test_a_cut_out_has_a_name_that_every_disk_takes() -> None:
    things = answer(boxes("../../etc", "", "猫" * 400, "a/b\\c:*?\x00"))
    assert list(export("cutouts", things)) == [
        "001-------etc.png",
        "002-thing.png",
        f"003-{'猫' * 40}.png",
        "004-a-b-c----.png",
    ]


def test_endings_and_titles_differ() -> None:
    assert len({e.ending for e in EXPORTERS.values()}) == len(EXPORTERS)
    assert len({e.title for e in EXPORTERS.values()}) == len(EXPORTERS)
    assert all(e.ending[0] in ".-" for e in EXPORTERS.values())


def test_json_is_the_whole_answer() -> None:
    prediction = ANSWERS["unicode"]
    data = write_json(prediction)
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
