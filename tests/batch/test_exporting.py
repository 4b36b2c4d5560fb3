"""A job's rows in the formats of others: read back, one list of classes, no name twice."""

from __future__ import annotations

import csv
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from florence_demo.batch.exporting import FORMATS, export, mirrored
from florence_demo.batch.run import read_run, run
from florence_demo.data.batches import ROWS_FILE, rows_in
from florence_demo.data.reading import open_data, parse_source
from florence_demo.errors import FlorenceDemoError, InputError
from florence_demo.pictures.images import open_image
from florence_demo.prediction import Detections, Prediction
from tests.batch.job import Answers, draw, job, model


class Marks(Answers):
    """Find a thing of its own name in each picture, and say a sentence."""

    @staticmethod
    def _answer(request, text: str) -> Prediction:
        width, height = request.image.size
        if request.task.name == "caption":
            return Prediction("caption", "?", "A sentence.", "A sentence.", (width, height),
                              Detections.empty(), {"<CAPTION>": "A sentence."})  # fmt: skip
        red = request.image.getpixel((0, 0))[0]
        names = (f"thing {red % 2}", "=dog")
        boxes = np.array([[2, 2, 12, 10], [4, 4, 20, 16]], np.float32)
        ring = np.array([[2, 2], [12, 2], [12, 10]], np.float32)
        scores = np.array([0.9, 0.3], np.float32)
        found = Detections(boxes, names, ((ring,), ()), scores)
        raw = "".join(f"{name}<loc_1><loc_2><loc_300><loc_400>" for name in names)
        return Prediction("od", "?", raw, "", (width, height), found, {"<OD>": {}}, "fake")


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """A job of four pictures, two of one stem, one of which failed."""
    root = tmp_path_factory.mktemp("batch")
    draw(root / "in", 2)
    draw(root / "in", 1, ".jpg")
    (root / "in" / "bad.png").write_bytes(b"none")
    run(job(root / "in", root / "out", tasks=("od", "caption")), model(Marks()))
    return root / "out"


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("pdf", "film")])
def test_every_format_writes_something_and_tells_of_failures(done, name):
    folder, problems = export(done, name)
    assert folder == done / name
    assert any(folder.rglob("*.*"))
    assert problems == ["1 pictures have no answer, and are left out."]
    assert not list(done.glob("*.new"))
    assert export(done, name)[0] == folder, "written again, the earlier one goes"


@pytest.mark.parametrize("name", ["coco", "yolo", "voc", "labelme"])
def test_sets_are_read_back_with_one_list_of_classes(done, name):
    folder, _ = export(done, name)
    rows = open_data(str(folder), tasks=("od",))
    assert len(rows) == 3, "a.jpg and a.png are two"
    assert {label for row in rows for label in row.detections.labels} == {
        "thing 0",
        "thing 1",
        "=dog",
    }
    assert all(abs(row.detections.xyxy.max(axis=0) - [4, 4, 20, 16]).max() <= 1 for row in rows)


class Reads(Marks):
    """Find a cat in the first picture alone, and read a word on each."""

    @staticmethod
    def _answer(request, text: str) -> Prediction:
        read = request.task.name == "ocr_with_region"
        found = Detections.empty()
        if read or request.image.getpixel((0, 0))[0] == 0:
            ring = np.array([[2, 2], [12, 2], [12, 10], [2, 10]], np.float32)
            found = Detections.from_polygons([[ring]], ("Total" if read else "cat",))
        return Prediction(request.task.name, "?", "", "", request.image.size, found, {})


@pytest.mark.parametrize(
    ("tasks", "classes"),
    [(("ocr_with_region", "od"), {"cat"}), (("ocr_with_region",), {"Total"})],
)
def test_what_was_read_is_no_class_where_things_were_asked(tmp_path, tasks, classes):
    draw(tmp_path / "in", 2)
    run(job(tmp_path / "in", tmp_path / "out", tasks=tasks), model(Reads()))
    folder, _ = export(tmp_path / "out", "coco")
    rows = open_data(str(folder), tasks=("od",))
    assert {label for row in rows for label in row.detections.labels} == classes


def test_a_folder_whose_name_is_no_utf8(tmp_path):
    draw(tmp_path / "in", 1)
    out = tmp_path / "out\udcff"
    run(job(tmp_path / "in", out, tasks=("od", "caption")), model(Marks()))
    assert read_run(out)["job"]["out"] == str(out)
    for name in FORMATS:
        if name not in ("pdf", "film"):
            assert any(export(out, name)[0].rglob("*.*")), name


def test_coco_has_scores(done):
    folder, _ = export(done, "coco", min_score=0.5)
    table = json.loads((folder / "_annotations.coco.json").read_text())
    assert [round(a["score"], 3) for a in table["annotations"]] == [0.9] * 3
    assert [c["id"] for c in table["categories"]] == [1, 2]


def test_captions_lie_beside_their_pictures(done):
    folder, _ = export(done, "txt")
    texts = sorted(p.name for p in folder.glob("*.txt"))
    pictures = sorted(p.name for p in folder.iterdir() if p.suffix != ".txt")
    assert [Path(t).stem for t in texts] == [Path(p).stem for p in pictures]
    assert {(folder / t).read_text().strip() for t in texts} == {"A sentence."}


def test_json_mirrors_the_names(done):
    folder, _ = export(done, "json")
    assert sorted(p.name for p in folder.iterdir()) == [
        "00000.jpg.json",
        "00000.png.json",
        "00001.png.json",
    ]


def test_the_table_runs_no_formula(done):
    folder, _ = export(done, "csv")
    with (folder / "answers.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    assert {row["label"] for row in rows} == {"", "thing 0", "thing 1", "'=dog"}


def test_parquet_is_read_back(done):
    import pyarrow.parquet as pq

    folder, _ = export(done, "parquet")
    table = pq.read_table(folder / "answers.parquet").to_pylist()
    assert [row["task"] for row in table] == ["od", "caption"] * 3
    assert table[0]["labels"] == ["thing 0", "=dog"]
    assert table[0]["boxes"][0] == [2.0, 2.0, 12.0, 10.0]
    assert table[1]["text"] == "A sentence."


def test_metadata_is_what_the_hub_reads(done):
    import datasets

    folder, _ = export(done, "metadata")
    loaded = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train")
    loaded = loaded.cast_column("image", datasets.Image(decode=False))
    assert sorted(loaded["text"]) == ["A sentence."] * 3
    assert loaded[0]["objects"]["bbox"][0] == [2.0, 2.0, 10.0, 8.0]


def test_webdataset_holds_pictures_and_rows(done):
    folder, _ = export(done, "webdataset")
    with tarfile.open(next(folder.glob("*.tar"))) as archive:
        assert len(archive.getnames()) == 6
    assert {row.task for row in open_data(str(folder))} == {"od", "caption"}


def test_drawn_pictures_cutouts_and_masks(done):
    folder, _ = export(done, "annotated")
    assert open_image(folder / "00000.png.od.jpg").size == (24, 16)
    folder, _ = export(done, "cutouts")
    cut = folder / "00000.jpg" / "od-000-thing-0.png"
    assert open_image(cut).size == (10, 8)
    folder, _ = export(done, "masks")
    mask = Image.open(folder / "00000.png.od.mask.png")
    assert sorted(set(mask.tobytes())) == [0, 1, 2]


def test_a_picture_that_is_gone_is_told_and_the_others_are_written(tmp_path):
    draw(tmp_path / "in", 3)
    run(job(tmp_path / "in", tmp_path / "out", tasks=("od",)), model(Marks()))
    (tmp_path / "in" / "00001.png").unlink()
    folder, problems = export(tmp_path / "out", "coco")
    assert problems == ["00001.png is not there any more."]
    assert len(open_data(str(folder), tasks=("od",))) == 2


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"source": "sub/a.jpg"}, "sub/a.jpg"),
        ({"source": "/../../etc/passwd"}, "etc/passwd"),
        ({"source": "a.pdf", "page": 3}, "a.pdf.page-0003"),
        ({"source": "a.mp4", "frame": 0}, "a.mp4.frame-000000"),
        ({"source": "https://example.org/x/a.jpg"}, "example.org/x/a.jpg"),
        ({"source": ".."}, "picture"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_mirrored_names(row, expected):
    assert str(mirrored(row)) == expected


def test_long_names_leave_room_for_an_ending():
    one, two = (mirrored({"source": "x" * 240 + end}).name for end in ("a.png", "b.png"))
    assert one != two
    assert len(f"{one}.od.mask.png".encode()) <= 255


def test_what_cannot_be_written_is_told(tmp_path):
    with pytest.raises(InputError, match="choose of json, csv"):
        export(tmp_path, "excel")
    with pytest.raises(InputError, match=r"holds no results\.jsonl"):
        export(tmp_path, "coco")
    draw(tmp_path / "in", 1)
    run(job(tmp_path / "in", tmp_path / "out", tasks=("caption",)), model(Marks()))
    with pytest.raises(FlorenceDemoError, match="Nothing was written"):
        export(tmp_path / "out", "coco")
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.name[0] != ".") == [
        "results.jsonl",
        "run.json",
    ]


def test_answers_are_data(done):
    source = parse_source(str(done))
    assert source.format == "batch"
    notes: list[str] = []
    rows = open_data(source, notes=notes)
    assert [row.task for row in rows] == ["od", "caption"] * 3
    assert rows[0].image == Path(next(_paths(done)))
    assert rows[1].answer == "A sentence."
    assert "without an answer are left out: 1." in notes[0]


def _paths(done: Path) -> Iterator[str]:
    return (row["place"]["path"] for row in rows_in(done / ROWS_FILE))


def test_the_reader_reads_no_picture_outside_its_root(done):
    from florence_demo.data.reading import source_in

    source = source_in(done, done.parent / "elsewhere")
    with pytest.raises(FlorenceDemoError, match="lies outside"):
        open_data(source)
    assert open_data(source_in(done, done.parent))
