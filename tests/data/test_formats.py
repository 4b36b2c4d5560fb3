"""What a stranger's rows may say, and what of it is refused in a sentence."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from florence_demo.data.example import MAX_PLACES
from florence_demo.data.folders import open_upload
from florence_demo.data.reading import open_data, source_in
from florence_demo.data.source import DataLimits, DataSource
from florence_demo.errors import DatasetError

BOX = {"label": "cat", "box": [1, 2, 9, 9]}
TRUTH = {"task": "od", "detections": [BOX]}
THING = {"image_id": 1, "category_id": 7, "bbox": [3, 3, 4, 4]}
COCO: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "categories": [{"id": 7, "name": "dog"}],
    "annotations": [THING],
}
ROW = {"image": "a.png", "prefix": "<OD>", "suffix": "cat<loc_1><loc_2><loc_300><loc_400>"}


def upload(folder: Path, name: str, text: str, limits: DataLimits | None = None) -> DataSource:
    """Return a confined source: one file of rows and one picture."""
    Image.new("RGB", (20, 10)).save(folder / "a.png")
    (folder / name).write_text(text)
    source = source_in(folder, folder, limits or DataLimits())
    assert source is not None
    return source


def refusal(source: DataSource) -> str:
    """Return what is said about the first row, or about the whole."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an overflow that nobody saw
        with pytest.raises(DatasetError) as caught:
            open_upload(source)
    said = str(caught.value)
    assert len(said) < 400
    assert said.replace("\n", "").isprintable()
    assert str(Path(source.location)) not in said
    return said


def jsonl(**changes: Any) -> tuple[str, str]:
    return "annotations.jsonl", json.dumps({**ROW, **changes})


def truth(**changes: Any) -> tuple[str, str]:
    return "truth.jsonl", json.dumps({"image": "a.png", "truths": [{**TRUTH, **changes}]})


def coco(**changes: Any) -> tuple[str, str]:
    return "annotations.json", json.dumps({**COCO, **changes})


BAD = {
    "more places than a row may have": (truth(detections=[BOX] * 1_100), "1,100 places"),
    "more points than a row may have": (
        truth(detections=[{**BOX, "polygons": [[1, 1, 2, 2, 3, 3] * 300] * 30}] * 2),
        "values",
    ),
    "a box beyond any number": (truth(detections=[{**BOX, "box": [1, 1, 1e300, 9]}]), "outside"),
    "a box of 400 digits": (truth(detections=[{**BOX, "box": [1, 1, 10**400, 9]}]), "form"),
    "a box of eight": (truth(detections=[{**BOX, "box": [1, 1, 2, 2] * 2}]), "form"),
    "a region of 400 digits": (
        truth(task="region_to_category", region=[1, 1, 10**400, 9], answer="a", detections=[]),
        "form",
    ),
    "truths that are a number": (("truth.jsonl", '{"image": "a.png", "truths": 5}'), "form"),
    "references of another kind": (
        truth(task="caption", answer="a", detections=[], references=[{}]),
        "answer must be text",
    ),
    "a long label": (truth(detections=[{**BOX, "label": "a" * 30_000}]), "30,000 letters"),
    "long labels together": (
        truth(detections=[{**BOX, "label": "a" * 900}] * 30),
        "27,000 letters",
    ),
    "an unknown task with a long name": (truth(task="o" * 90_000), "no task"),
    "a prefix that is a list": (jsonl(prefix=["<OD>"]), "prefix must be text"),
    "an answer that is a table": (jsonl(suffix={"a": 1}), "answer must be text"),
    "a long answer": (jsonl(prefix="<OCR>", suffix="a" * 30_000), "30,000 letters"),
    "a thousand answers": (jsonl(prefix="<VQA>x", suffix=["a"] * 1_000), "1,000 accepted"),
    "a location of 5,000 digits": (jsonl(suffix=f"cat<loc_{'9' * 5_000}>"), "is no location"),
    "a picture that is a number": (jsonl(image=5), "must be text"),
    "a picture with a zero byte": (jsonl(image="a\0.png"), "no name of a picture"),
    "a picture with a long name": (jsonl(image="a" * 90_000), "no name of a picture"),
    "lists that are none": (coco(images=5), "no COCO file"),
    "a picture twice": (coco(images=[COCO["images"][0]] * 2), "another picture has its id"),
    "an id that is a list": (coco(images=[{"id": [], "file_name": "a.png"}]), "form"),
    "a thing of another kind": (coco(annotations=[7]), "form"),
    "more things than a picture may have": (
        coco(annotations=[THING] * (MAX_PLACES + 1)),
        "1,001 places",
    ),
    "an outline of another kind": (coco(annotations=[{**THING, "segmentation": 5}]), "form"),
    "a place that is no number": (coco(annotations=[{**THING, "bbox": ["a"] * 4}]), "form"),
    "a place of 400 digits": (coco(annotations=[{**THING, "bbox": [0, 0, 10**400, 1]}]), "form"),
}


@pytest.mark.parametrize(("file", "says"), BAD.values(), ids=BAD)
def test_an_odd_row_is_refused_in_a_sentence(
    tmp_path: Path, file: tuple[str, str], says: str
) -> None:
    assert says in refusal(upload(tmp_path, *file))


@pytest.mark.parametrize(
    "file", [jsonl(), truth(), coco()], ids=["jsonl", "the held-out set's", "coco"]
)
def test_an_honest_row_of_each_format_is_read(tmp_path: Path, file: tuple[str, str]) -> None:
    (row,) = open_data(upload(tmp_path, *file))
    assert row.task == "od"


def test_rows_are_counted_and_the_way_on_is_told(tmp_path: Path) -> None:
    name, line = jsonl()
    lines = "\n".join([line] * 6)
    assert len(open_data(upload(tmp_path, name, lines, DataLimits(rows=6)))) == 6
    said = refusal(upload(tmp_path, name, lines, DataLimits(rows=5)))
    assert "more than 5 rows: upload a part" in said
    # A bad row counts like a good one: each of them costs time.
    said = refusal(upload(tmp_path, name, "{\n" * 6, DataLimits(rows=5)))
    assert "more than 5 rows" in said


def test_rows_of_one_picture_with_many_things_do_not_multiply(tmp_path: Path) -> None:
    """Pictures of one id would each have all of its things."""
    pictures = [{"id": 1, "file_name": "a.png"}] * 400
    problems: list[str] = []
    file = coco(images=pictures, annotations=[THING] * 400)
    (row,) = open_data(upload(tmp_path, *file), problems=problems)
    assert len(row.detections) == 400
    assert len(problems) == 399


def test_a_long_caption_is_told(tmp_path: Path) -> None:
    assert "longer than 64 KB" in refusal(upload(tmp_path, "a.txt", "a" * 70_000))


def test_a_caption_elsewhere_is_none(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (20, 10)).save(folder / "a.png")
    (folder / "a.txt").symlink_to(tmp_path / "secret.txt")
    source = source_in(folder, folder)
    assert source is not None
    assert "there is no a.txt" in refusal(source)
