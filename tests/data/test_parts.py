"""Sets as the field's tools write them: what they are, which part is what, and back again."""

from __future__ import annotations

import codecs
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from florence_demo.commands.data import DataConfig, run
from florence_demo.data.annotated import learnable
from florence_demo.data.folders import list_data, take_data
from florence_demo.data.formats import READERS
from florence_demo.data.parts import part_called
from florence_demo.data.reading import open_data, parse_source, part_of, part_to_measure, parts_of
from florence_demo.errors import DatasetError

SIZE = (80, 60)
BOX = [8, 6, 40, 36]
APPLE = "äpple<loc_100><loc_100><loc_500><loc_600>"
README = {
    "README.roboflow.txt": "Fruit - v1\n==========\nThis dataset was exported via roboflow.com\n",
    "README.dataset.txt": "# Fruit > 2026\nhttps://universe.roboflow.com\n",
}


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise(SIZE, 60).convert("RGB").save(path)


def text(path: Path, words: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(words.encode(encoding))


def readme(root: Path) -> None:
    for name, words in README.items():
        text(root / name, words)


def coco_table(names: list[str]) -> str:
    images = [{"id": i, "file_name": n, "width": 80, "height": 60} for i, n in enumerate(names)]
    x1, y1, x2, y2 = BOX
    things = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1],
         "area": 1, "segmentation": [], "iscrowd": 0}
        for i in range(len(names))
    ]  # fmt: skip
    kinds = [{"id": 0, "name": "fruit"}, {"id": 1, "name": "äpple"}]
    return json.dumps({"info": {}, "images": images, "annotations": things, "categories": kinds})


def roboflow_coco(root: Path) -> None:
    readme(root)
    for part in ("test", "train", "valid"):
        picture(root / part / "a b.rf.1.jpg")
        text(root / part / "_annotations.coco.json", coco_table(["a b.rf.1.jpg"]))


def shouted(root: Path) -> None:
    for part in ("TEST", "TRAIN", "VALID"):
        picture(root / part / "A.PNG")
        text(root / part / "LABELS.JSON", coco_table(["A.PNG"]))


def coco_2017(root: Path) -> None:
    for part in ("train2017", "val2017"):
        picture(root / part / "000001.jpg")
        text(root / f"annotations/instances_{part}.json", coco_table(["000001.jpg"]))
        captions = {"images": [], "annotations": [], "categories": []}
        text(root / f"annotations/captions_{part}.json", json.dumps(captions))


def line(box: list[int], kind: int = 1) -> str:
    x1, y1, x2, y2 = (v / s for v, s in zip(box, SIZE * 2, strict=True))
    return f"{kind} {(x1 + x2) / 2} {(y1 + y2) / 2} {x2 - x1} {y2 - y1}\n"


YAML = "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['fruit', 'äpple']\n"


def roboflow_yolo(root: Path) -> None:
    readme(root)
    text(root / "data.yaml", YAML)
    for part in ("test", "train", "valid"):
        picture(root / part / "images/å 🙂.JPG")
        text(root / part / "labels/å 🙂.txt", line(BOX))


def ultralytics(root: Path) -> None:
    text(
        root / "data.yaml",
        "path: /content/x\ntrain: images/train\nnames:\n  0: fruit\n  1: äpple\n",
    )
    for part in ("train", "val"):
        picture(root / f"images/{part}/a.png")
        text(root / f"labels/{part}/a.txt", line(BOX))


def darknet(root: Path) -> None:
    text(root / "classes.txt", "fruit\r\näpple\r\n", "cp1252")
    picture(root / "a.png")
    text(root / "a.txt", line(BOX))
    picture(root / "empty.png")


def roboflow_jsonl(root: Path) -> None:
    readme(root)
    row = {
        "image": "a.jpg",
        "prefix": "<OD>",
        "suffix": "äpple<loc_100><loc_100><loc_500><loc_600>",
    }
    for part in ("test", "train", "valid"):
        picture(root / part / "a.jpg")
        text(root / part / "annotations.jsonl", json.dumps(row), "utf-8-sig")


def captions(root: Path) -> None:
    for part, encoding in (("train", "utf-16"), ("valid", "utf-8-sig"), ("test", "cp1252")):
        picture(root / part / "a.png")
        text(root / part / "a.txt", "Ein Äpfelchen.\r\n", encoding)


TEXTS, BOXES = ("captions", "llava"), ("coco", "voc", "labelme", "yolo")
THREE, TWO, ONE = ("train", "validation", "test"), ("train", "validation"), ()
FORMS: dict[str, tuple[Callable[[Path], None], str, tuple[str, ...], str]] = {
    "Roboflow COCO": (roboflow_coco, "coco", THREE, "od"),
    "COCO in capitals": (shouted, "coco", THREE, "od"),
    "COCO 2017": (coco_2017, "coco", TWO, "od"),
    "Roboflow YOLO": (roboflow_yolo, "yolo", THREE, "od"),
    "Ultralytics YOLO": (ultralytics, "yolo", TWO, "od"),
    "YOLO beside pictures": (darknet, "yolo", ONE, "od"),
    "Roboflow Florence-2": (roboflow_jsonl, "jsonl", THREE, "od"),
    "captions": (captions, "captions", THREE, "caption"),
}
each_form = pytest.mark.parametrize(
    ("make", "form", "parts", "task"), FORMS.values(), ids=FORMS.keys()
)


@each_form
@pytest.mark.parametrize("where", ["", "My Project.v1"], ids=["at the top", "in a folder"])
def test_a_set_is_known_by_what_is_in_it_and_its_parts_are_what_they_are(
    make, form, parts, task, where, tmp_path: Path
) -> None:
    make(tmp_path / "set")
    source = parse_source(str(tmp_path / "set"))
    assert (source.format, parts_of(source)) == (form, parts)
    rows = open_data(source)
    assert {row.task for row in rows} == {task}
    if task == "od":
        assert rows[0].detections.labels == ("äpple",)
        np.testing.assert_allclose(rows[0].detections.xyxy, [BOX], atol=0.6)
    else:
        assert rows[0].answer == "Ein Äpfelchen."
    for part in parts:
        assert len(open_data(part_of(source, part))) == 1
    measured = part_to_measure(source, "test", "validation")
    assert (measured.part if measured else "") == (
        "test" if "test" in parts else "".join(parts[1:])
    )
    upload = tmp_path / "set.zip"
    with zipfile.ZipFile(upload, "w") as archive:
        for file in sorted((tmp_path / "set").rglob("*")):
            archive.write(file, Path(where) / file.relative_to(tmp_path / "set"))
    taken, learned = take_data([upload], tmp_path / "taken")
    assert (taken.format, len(learned)) == (form, len(rows))
    assert not parts or open_data(taken)[0].where == open_data(part_of(taken, "train"))[0].where
    assert list_data(tmp_path) == ["set", *(["taken"] if not where else [f"taken/{where}"])]


@pytest.mark.parametrize("to", ["jsonl", "webdataset"])
def test_a_row_of_places_has_one_answer_and_keeps_it(to: str, tmp_path: Path) -> None:
    roboflow_coco(tmp_path / "set")
    run(DataConfig(f"{tmp_path / 'set'}#train", out=tmp_path / "out", to=to))
    (row,) = open_data(str(tmp_path / "out"))
    assert row.references == ()


def test_rows_without_a_caption_are_not_written_as_captions(tmp_path: Path) -> None:
    picture(tmp_path / "set/a.png")
    row = {"image": "a.png", "prefix": "<DocVQA>Who?", "suffix": "Ada"}
    text(tmp_path / "set/annotations.jsonl", json.dumps(row))
    with pytest.raises(DatasetError, match="holds captions, and there are none"):
        run(DataConfig(str(tmp_path / "set"), out=tmp_path / "out", to="captions"))
    assert not (tmp_path / "out").exists()


@each_form
@pytest.mark.parametrize("to", [name for name, reader in READERS.items() if reader.write])
def test_a_set_is_written_in_every_format_and_means_the_same(
    make, form, parts, task, to, tmp_path: Path
) -> None:
    make(tmp_path / "set")
    config = DataConfig(str(tmp_path / "set"), out=tmp_path / "out", to=to)
    if (to in TEXTS and task == "od") or (to in BOXES and task == "caption"):
        with pytest.raises(DatasetError, match="Nothing was written: this format holds"):
            run(config)
        assert not (tmp_path / "out").exists()
        return
    run(config)
    first = open_data(parse_source(str(tmp_path / "set")))
    again = open_data(str(tmp_path / "out" / (parts[0] if parts else "")))
    if to == "llava":  # its caption is a question's answer there
        assert again[0].answer == first[0].answer
        return
    assert [row.answer for row in again] == [row.answer for row in first]
    for one, two in zip(first, again, strict=True):
        assert one.detections.labels == two.detections.labels
        np.testing.assert_allclose(one.detections.xyxy, two.detections.xyxy, atol=0.6)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train", "train"), ("Training", "train"), ("val2017", "validation"),
        ("valid", "validation"),
        ("instances_test-dev", "test"), ("dev", "validation"), ("contest", ""), ("images", ""),
        ("trainer", ""), ("fold_1_train", "train"),
    ],
)  # fmt: skip
def test_a_part_is_known_by_its_name(name: str, part: str) -> None:
    assert part_called(name) == part


def test_a_set_is_told_part_by_part_with_rows_and_uses(tmp_path: Path) -> None:
    roboflow_yolo(tmp_path)
    said = run(DataConfig(str(tmp_path)))
    assert said[0] == (
        "yolo, in 3 parts: train is learned from; validation is measured on while learning;"
        " test is kept for evaluate."
    )
    assert said[1:3] == [
        "train: 1 row: 1 od",
        "  å 🙂.JPG: <OD> → äpple<loc_100><loc_100><loc_500><loc_600>",
    ]


def test_any_name_of_a_part_names_it_and_others_are_refused(tmp_path: Path) -> None:
    roboflow_coco(tmp_path)
    assert parse_source(f"{tmp_path}#val").part == "validation"
    with pytest.raises(DatasetError, match="no part “later”, only train, validation, test"):
        parse_source(f"{tmp_path}#later")


@pytest.mark.parametrize("task", learnable())
def test_from_boxes_every_task_of_places_is_learned(task: str, tmp_path: Path) -> None:
    roboflow_coco(tmp_path)
    outlined = "segmentation" in task
    if outlined:
        file = tmp_path / "train/_annotations.coco.json"
        table = json.loads(file.read_text())
        table["annotations"][0]["segmentation"] = [[8, 6, 40, 6, 40, 36]]
        file.write_text(json.dumps(table))
    if "caption" in task and task not in ("dense_region_caption", "caption_to_phrase_grounding"):
        with pytest.raises(DatasetError, match="no usable row"):
            open_data(str(tmp_path), tasks=(task,))
        return
    rows = open_data(str(tmp_path), tasks=(task,))
    assert {row.task for row in rows} == {task}
    if task == "open_vocabulary_detection":
        present, absent = rows
        assert (present.text, len(present.detections)) == ("äpple", 1)
        assert (absent.text, len(absent.detections)) == ("fruit", 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param("1 0.5 0.5 0.1\n", "neither a box", id="three numbers"),
        pytest.param("7 .5 .5 .1 .1\n", "the class 7", id="a class without a name"),
        pytest.param(
            "1 .5 .5 .1 .1 .1 .1\n1 a b c d\n", "line 2, “1 a b c d”, is no class", id="words"
        ),
        pytest.param("1 .9 .5 .9 .9\n", "outside the picture", id="outside"),
        pytest.param("1 50 50 9 9\n", "places in pixels: divide .* 80 x 60", id="pixels"),
        pytest.param("1 0,5 0,5 0,9 0,9\n", "write numbers with a point", id="decimal commas"),
        pytest.param("1 .5 .5 .1 .1 .2 .2 .3\n", "neither a box", id="half a point"),
    ],
)
def test_labels_that_are_none_are_told(words: str, said: str, tmp_path: Path) -> None:
    darknet(tmp_path)
    text(tmp_path / "a.txt", words)
    with pytest.raises(DatasetError, match=said):
        open_data(str(tmp_path))


@pytest.mark.parametrize(
    "names",
    [
        pytest.param("names: [*a]", id="an alias of nothing"),
        pytest.param("a: &a [x,x]\nb: &b [*a,*a]\nnames: [*b, *b]", id="lists of lists"),
        pytest.param("names: !!python/object/apply:os.system [true]", id="a call"),
        pytest.param("[" * 5000, id="deep"),
        pytest.param("nc: 2", id="no names"),
    ],
)
def test_a_strangers_yaml_is_read_as_names_or_not_at_all(names: str, tmp_path: Path) -> None:
    roboflow_yolo(tmp_path)
    text(tmp_path / "data.yaml", names)
    with pytest.raises(DatasetError, match=r"data\.yaml"):
        open_data(str(tmp_path))


def test_pictures_that_parts_share_are_told(tmp_path: Path, caplog) -> None:
    from florence_demo.training.config import TrainConfig
    from florence_demo.training.splits import open_rows

    roboflow_coco(tmp_path)
    same = (tmp_path / "train/a b.rf.1.jpg").read_bytes()
    (tmp_path / "valid/a b.rf.1.jpg").write_bytes(same)
    split = open_rows(TrainConfig(data=str(tmp_path), out=tmp_path / "run"), lambda row: "")
    assert (len(split.learned), len(split.measured)) == (1, 1)
    assert "1 pictures to measure on are learned from as well" in caplog.text
    said = "1 picture of validation is in train, too, byte for byte"
    assert [line for line in run(DataConfig(str(tmp_path))) if said in line]
    # Only what is equal to the last bit is found, and that is said.
    Image.open(tmp_path / "train/a b.rf.1.jpg").save(tmp_path / "valid/a b.rf.1.jpg", quality=50)
    assert not [line for line in run(DataConfig(str(tmp_path))) if said in line]


def test_utf16_rows_are_read(tmp_path: Path) -> None:
    roboflow_jsonl(tmp_path)
    file = tmp_path / "train/annotations.jsonl"
    words = file.read_text(encoding="utf-8-sig")
    file.write_bytes(codecs.BOM_UTF16_LE + words.encode("utf-16-le"))
    assert open_data(str(tmp_path))[0].detections.labels == ("äpple",)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        pytest.param([], "it holds nothing", id="empty"),
        pytest.param(["a.JPG", "b.jpg", "x.doc"], "it holds 2 .jpg, 1 .doc", id="no labels"),
        pytest.param(["images/a.png", "README"], "1 without an ending, the folders images",
                     id="a folder"),
    ],
)  # fmt: skip
def test_what_is_no_set_is_told_with_what_was_looked_at(
    files: list[str], said: str, tmp_path: Path
) -> None:
    for name in files:
        text(tmp_path / name, "x")
    with pytest.raises(DatasetError, match=said):
        open_data(str(tmp_path))
