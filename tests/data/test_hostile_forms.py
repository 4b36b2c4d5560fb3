"""What a stranger's file of each form may say: refused, or left out, in one sentence."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from florence_demo.data.folders import open_upload
from florence_demo.data.reading import open_data, source_in
from florence_demo.data.source import DataLimits, DataSource
from florence_demo.errors import DatasetError
from tests.data.test_tools_forms import labelme_json, picture, png, tar, text, voc_xml

LIMITS = DataLimits(files=20, values=20_000, rows=100)


def xml(words: str, encoding: str = "utf-8") -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        picture(folder / "a.png")
        text(folder / "a.xml", words, encoding)

    return make


def listed(line: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        picture(folder / "JPEGImages/a.png")
        text(folder / "Annotations/a.xml", voc_xml("a.png"))
        text(folder / "ImageSets/Main/train.txt", line)

    return make


def shape(**changes: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        picture(folder / "a.png")
        one = {"label": "cat", "points": [[1, 1], [9, 9]], "shape_type": "rectangle"}
        text(folder / "a.json", labelme_json("a.png", shapes=[{**one, **changes}]))

    return make


def labelme(**changes: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        text(folder / "a.json", labelme_json("a.png", **changes))

    return make


def cells(*lines: str, name: str = "rows.csv") -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        picture(folder / "a.png")
        text(folder / name, "\n".join(lines))

    return make


def row(**values: Any) -> Callable[[Path], None]:
    return cells(json.dumps({"file_name": "a.png", **values}), name="metadata.jsonl")


def talk(**changes: Any) -> Callable[[Path], None]:
    turns = [{"from": "human", "value": "<image>Who?"}, {"from": "gpt", "value": "Ada"}]
    one = {"id": "1", "image": "a.png", "conversations": turns, **changes}
    return cells(json.dumps([one]), name="train.json")


def packed(files: dict[str, bytes], *odd: tarfile.TarInfo) -> Callable[[Path], None]:
    return lambda folder: tar(folder / "a.tar", files, *odd) and None


def bytes_of(data: bytes) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / "a.tar").write_bytes(data)

    return make


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def long_header() -> bytes:
    """Return an archive with a name of 200 MB, of which nothing is there."""
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 200 << 20
    return entry.tobuf(tarfile.GNU_FORMAT) + bytes(10_240)


def cut_off() -> bytes:
    entry = tarfile.TarInfo("a.png")
    entry.size = 10 << 20
    return entry.tobuf() + png() + bytes(2_000)


def backwards() -> bytes:
    """Return an archive, one member of which says that it has fewer bytes than none."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("a.txt", "b.txt"):
            entry = tarfile.TarInfo(name)
            entry.pax_headers = {"size": "-1024"}
            archive.addfile(entry)
    return buffer.getvalue()


LAUGHS = (
    '<!DOCTYPE a [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(12))
    + "]><annotation><filename>&m;</filename></annotation>"
)
SECRET = '<!DOCTYPE a [<!ENTITY s SYSTEM "file:///etc/hostname">]><annotation>&s;</annotation>'
THING = "<object><name>{}</name><bndbox>{}</bndbox></object>"
SIDES = "<xmin>{}</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
MARKED = "<annotation><filename>a.png</filename>{}</annotation>"
CAPTION = "image,caption"

BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "voc: a billion laughs": (xml(LAUGHS), "a DOCTYPE"),
    "voc: a billion laughs in UTF-16": (xml(LAUGHS, "utf-16"), "a DOCTYPE"),
    "voc: a file of this machine": (xml(SECRET), "a DOCTYPE"),
    "voc: no XML": (xml("<annotation"), "no XML"),
    "voc: an unknown alphabet": (xml('<?xml version="1.0" encoding="x"?><annotation/>'), "no XML"),
    "voc: 60,000 elements": (xml(MARKED.format("<a/>" * 60_000)), "more than 50,000"),
    "voc: deep elements": (xml(MARKED.format("<a>" * 99 + "</a>" * 99)), "deep ones"),
    "voc: many values": (xml(MARKED.format("<a/>" * 30_000)), "more than 20,000 values"),
    "voc: a large file": (xml(MARKED.format(" " * (5 << 20))), "larger than 4 MB"),
    "voc: 1,001 things": (
        xml(MARKED.format(THING.format("a", SIDES.format(1)) * 1_001)),
        "1,001 places",
    ),
    "voc: no box": (xml(MARKED.format("<object><name>a</name></object>")), "has no bndbox"),
    "voc: no name": (xml(MARKED.format(THING.format("", SIDES.format(1)))), "has no name"),
    "voc: no number": (xml(MARKED.format(THING.format("a", SIDES.format("x")))), "no number"),
    "voc: NaN": (xml(MARKED.format(THING.format("a", SIDES.format("nan")))), "outside"),
    "voc: beyond any number": (xml(MARKED.format(THING.format("a", SIDES.format("1e999")))), "out"),
    "voc: a list that leads out": (listed("../../../etc/passwd"), "no such file"),
    "voc: a list with a zero byte": (listed("a\0b"), "no such file"),
    "voc: a list of a long name": (listed("a" * 5_000), "no such file"),
    "labelme: an unknown form": (shape(points=5), "form"),
    "labelme: points that are none": (shape(points=[["a", "b"]]), "form"),
    "labelme: one point": (shape(points=[[1, 1]]), "too few points"),
    "labelme: a place beyond any number": (shape(points=[[0, 0], [1e300, 1]]), "outside"),
    "labelme: a label that is none": (shape(label=["a"]), "has no name"),
    "labelme: many points": (shape(points=[[1, 1]] * 30_000, shape_type="polygon"), "values"),
    "labelme: no shapes": (labelme(shapes=5), "no shapes"),
    "labelme: damaged picture": (labelme(imageData="!!!!"), "cannot be read"),
    "labelme: a picture that is a program": (
        labelme(imageData=base64.b64encode(b"%!PS-Adobe-3.0 EPSF-3.0\n").decode()),
        "cannot be read",
    ),
    "labelme: no picture": (labelme(imagePath="/etc/passwd"), "leads out"),
    "csv: a picture elsewhere": (cells(CAPTION, "../b.png,A cat."), "leads out"),
    "csv: an absolute path": (cells(CAPTION, "/etc/passwd,A cat."), "leads out"),
    "csv: too many cells": (cells(CAPTION, "a.png,A cat, a dog"), "3 cells for 2 columns"),
    "csv: a long cell": (cells(CAPTION, f"a.png,{'a' * 200_000}"), "cannot be split"),
    "csv: many cells": (cells("," * 999 + CAPTION, *["a.png" + "," * 999] * 30), "values"),
    "csv: no answer": (cells(CAPTION, "a.png,"), "answer is empty"),
    "csv: no picture": (cells(CAPTION, ",A cat."), "must be text"),
    "csv: objects that are none": (cells("image,objects", 'a.png,"{["'), "not valid JSON"),
    "csv: an unknown task": (cells(CAPTION + ",task", "a.png,A cat.,dance"), "no task"),
    "jsonl: objects of another form": (row(objects={"bbox": 5, "categories": ["a"]}), "hub's form"),
    "jsonl: more boxes than names": (row(objects={"bbox": [[1, 1, 2, 2]]}), "hub's form"),
    "jsonl: a box of 400 digits": (
        row(objects={"bbox": [[1, 1, 10**400, 2]], "categories": ["a"]}),
        "hub's form",
    ),
    "jsonl: a category that is a list": (
        row(objects={"bbox": [[1, 1, 2, 2]], "categories": [["a"]]}),
        "hub's form",
    ),
    "jsonl: a task that is a table": (row(text="a", task={"a": 1}), "no task"),
    "jsonl: places of a task that are none": (row(text="cat<loc_5>", task="od"), "not one for"),
    "jsonl: columns of nothing": (row(colour="red"), "has the columns file_name, colour"),
    "jsonl: no columns": (cells("{}", "5", "{", name="metadata.jsonl"), "has a column"),
    "csv: nothing": (cells("", name="metadata.csv"), "has a column"),
    "llava: a picture elsewhere": (talk(image="../b.png"), "leads out"),
    "llava: turns that are none": (talk(conversations=["from"]), "form"),
    "llava: one turn": (talk(conversations=[{"from": "human", "value": "a"}]), "without an answer"),
    "llava: two questions": (
        talk(conversations=[{"from": "human", "value": "a"}] * 2),
        "do not take turns",
    ),
    "llava: words that are a list": (
        talk(conversations=[{"from": "human", "value": ["a"]}, {"from": "gpt", "value": "a"}]),
        "must be text",
    ),
    "llava: no conversation": (cells('["conversations", "from"]', name="a.json"), "no object"),
    "llava: an object": (cells('{"conversations": {"from": 1}}', name="a.json"), "must be a list"),
    "tar: no archive": (bytes_of(b"no archive" * 100), "no tar archive"),
    "tar: packed": (bytes_of(b"\x1f\x8b\x08" + bytes(600)), "no tar archive"),
    "tar: a name of 200 MB": (bytes_of(long_header()), "too long"),
    "tar: cut off": (bytes_of(cut_off()), "cut off"),
    "tar: a size below nothing": (bytes_of(backwards()), "tar"),
    "tar: many files": (packed({f"{i}.txt": b"a" for i in range(30)}), "more files than"),
    "tar: a link": (packed({"a.txt": b"a"}, link("a.png", "/etc/passwd")), "links and devices"),
    "tar: a hard link": (
        packed({"a.txt": b"a"}, link("a.png", "../a", tarfile.LNKTYPE)),
        "no usable row",
    ),
    "tar: a device": (
        packed({"a.txt": b"a"}, link("a.png", "", tarfile.CHRTYPE)),
        "no usable row",
    ),
    "tar: no picture": (packed({"a.json": b'{"caption": "a"}'}), "no picture of this name"),
    "tar: no words": (packed({"a.png": png()}), "no .txt and no .json"),
    "tar: a long caption": (packed({"a.png": png(), "a.txt": b"a" * 70_000}), "longer than 64 KB"),
    "tar: long JSON": (
        packed({"a.png": png(), "a.json": b"[" * 2_000_000}),
        "longer than 1,024 KB",
    ),
    "tar: deep JSON": (packed({"a.png": png(), "a.json": b"[" * 900}), "nested deeper"),
    "tar: JSON of numbers": (packed({"a.png": png(), "a.json": b"5"}), "no object"),
    "tar: JSON of nothing": (packed({"a.png": png(), "a.json": b"{}"}), "has no caption"),
    "tar: a picture that is none": (
        packed({"a.png": b"%!PS-Adobe-3.0 EPSF", "a.txt": b"a"}),
        "cannot be read",
    ),
}


def sent(folder: Path, make: Callable[[Path], None]) -> DataSource:
    folder.mkdir(exist_ok=True)
    make(folder)
    source = source_in(folder, folder, LIMITS)
    if source is None:
        raise DatasetError("no data")
    return source


@pytest.mark.parametrize(("make", "says"), BAD.values(), ids=BAD)
def test_an_odd_file_is_refused_in_a_sentence(
    make: Callable[[Path], None], says: str, tmp_path: Path
) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError) as caught:
            open_upload(sent(tmp_path / "in", make))
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()
    said = str(caught.value)
    assert says in said
    assert len(said) < 500
    assert said.replace("\n", "").isprintable()
    assert str(tmp_path) not in said


def test_a_name_in_an_archive_is_no_path(tmp_path: Path) -> None:
    files = {"../../out/a.png": png(), "../../out/a.txt": b"a", "/etc/b.png": png()}
    (row,) = open_data(sent(tmp_path / "in", packed({**files, "/etc/b.txt": b""})), problems=[])
    assert row.answer == "a"
    assert [p.name for p in tmp_path.rglob("*")] == ["in", "a.tar"]


def test_links_in_an_archive_are_told(tmp_path: Path) -> None:
    make = packed({"a.png": png(), "a.txt": b"a"}, link("b.png", "/etc/passwd"))
    notes: list[str] = []
    open_data(sent(tmp_path / "in", make), notes=notes)
    assert notes == ["a.tar: links and devices in it are left out: 1."]


@pytest.mark.parametrize("name", ["a.xml", "a.json", "a.tar"])
def test_a_file_that_is_a_link_is_not_read(name: str, tmp_path: Path) -> None:
    makers = {"a.xml": xml(voc_xml("a.png")), "a.json": shape(), "a.tar": packed({"a.txt": b"a"})}
    source = sent(tmp_path / "in", makers[name])
    outside = tmp_path / name
    (tmp_path / "in" / name).rename(outside)
    (tmp_path / "in" / name).symlink_to(outside)
    with pytest.raises(DatasetError, match=r"lies outside|no such file"):
        open_data(source)


def test_parquet_is_no_upload(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = {"image": [png()], "caption": ["a"]}
    datasets.Dataset.from_dict(rows).to_parquet(str(tmp_path / "a.parquet"))
    forged = DataSource("tables", str(tmp_path / "a.parquet"), "", str(tmp_path), LIMITS)
    with pytest.raises(DatasetError, match="not taken as an upload"):
        open_data(forged)


def test_pictures_of_an_archive_are_not_kept_in_memory(tmp_path: Path) -> None:
    noise = io.BytesIO()
    Image.effect_noise((1_000, 1_000), 90).save(noise, "PNG")
    files = {}
    for i in range(9):
        files |= {f"{i}.png": noise.getvalue(), f"{i}.txt": b"a"}
    source = sent(tmp_path / "in", packed(files))
    tracemalloc.start()
    try:
        rows = open_data(source)
        assert tracemalloc.get_traced_memory()[0] < len(noise.getvalue())
    finally:
        tracemalloc.stop()
    assert len(rows) == 9
