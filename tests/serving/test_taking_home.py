"""What is taken home of an answer: only what it has, with its own picture, read back by others."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gradio.data_classes import ImageData
from gradio.processing_utils import move_files_to_cache
from PIL import Image

from florence_demo.data.reading import open_data
from florence_demo.engine.request import Options
from florence_demo.errors import InputError
from florence_demo.output.export import Parcel
from florence_demo.pictures.images import file_of
from florence_demo.prediction import Detections, Prediction
from florence_demo.serving.asking import EXAMPLES, Service, load_examples
from florence_demo.serving.config import AppConfig
from florence_demo.serving.taking_home import (
    EVERYTHING,
    FORMATS,
    every_format,
    offered,
    stem_of,
    take_home,
)
from florence_demo.tasks import TASKS
from florence_demo.ui.components import SafeImage
from tests.fakes import FakeEngines

SIZE = (200, 100)
SETS = ("coco", "yolo", "voc", "labelme")


def square(x: float, y: float, side: float) -> np.ndarray:
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]], np.float32)


def answer(found: Detections | None = None, text: str = "") -> Prediction:
    return Prediction("od", "?", "", text, SIZE, found or Detections.empty(), {}, "nano")


def boxes(*labels: str, score: float | None = None) -> Detections:
    rows = [(10 + i, 20, 60 + i, 80) for i in range(len(labels))]
    scores = None if score is None else np.full(len(labels), score, np.float32)
    return Detections(np.array(rows, np.float32).reshape(-1, 4), labels, scores=scores)


OUTLINES = Detections.from_polygons(
    [[square(0, 0, 40), square(60, 20, 40)], [square(110, 10, 50)]], ["cat", "dog"]
)
ANSWERS = {
    "boxes": answer(boxes("cat", "dog", "cat", score=0.5)),
    "unicode": answer(boxes("猫", "Größe", "жук 🐞", "قطة")),
    "markup": answer(boxes("<b>&\"'</b>", "]]>", "a,b;c", ": - #")),
    "control": answer(boxes("one\ntwo\x00\x1b", "\ud800", "  ")),
    "outlines": answer(OUTLINES),
}
NAMES = {"control": ["one two", "object", "object"]}


@pytest.fixture
def photo(tmp_path) -> Path:
    file = tmp_path / "up" / "my cat.jpg"
    file.parent.mkdir()
    Image.new("RGB", SIZE, "teal").save(file)
    return file


def taken(found: Prediction, kind: str, file: Path | None, folder: Path) -> Path:
    picture = Image.new("RGB", found.size, "teal")
    folder.mkdir(exist_ok=True)
    return take_home(Parcel(found, picture, stem_of(file), file), kind, folder)


def unpacked(file: Path) -> Path:
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        archive.extractall(file.with_suffix(""))
    return file.with_suffix("")


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("kind", SETS)
def test_a_set_is_read_back_with_the_picture_as_it_came(kind, name, photo, tmp_path):
    found = ANSWERS[name]
    file = taken(found, kind, photo, tmp_path / "out")
    assert file.name == f"my cat.{kind}.zip"
    (row,) = open_data(str(unpacked(file)), tasks=("od",))
    assert row.image.name == "my cat.jpg"
    assert row.image.read_bytes() == photo.read_bytes()
    order = np.argsort(row.detections.xyxy[:, 0], kind="stable")
    read = row.detections.select(order.tolist())
    assert list(read.labels) == NAMES.get(name, list(found.detections.labels))
    assert np.abs(read.xyxy - found.detections.xyxy).max() <= 0.51


@pytest.mark.parametrize("name", ["set", "in", "data", "classes", "a.b", "_annotations.coco"])
@pytest.mark.parametrize("kind", SETS)
def test_no_name_of_a_picture_is_in_a_sets_way(kind, name, photo, tmp_path):
    own = photo.rename(photo.with_name(name))
    packed = taken(ANSWERS["boxes"], kind, own, tmp_path / "out")
    (row,) = open_data(str(unpacked(packed)), tasks=("od",))
    assert len(row.detections) == 3


def test_coco_is_read_by_the_fields_own_tools(photo, tmp_path):
    from faster_coco_eval import COCO

    file = taken(ANSWERS["outlines"], "coco", photo, tmp_path / "out")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(unpacked(file) / "_annotations.coco.json"))
    assert [picture["file_name"] for picture in coco.loadImgs(coco.getImgIds())] == ["my cat.jpg"]
    cat, dog = coco.loadAnns(coco.getAnnIds())
    assert coco.loadCats([cat["category_id"]])[0]["name"] == "cat"
    assert (cat["bbox"], dog["area"]) == ([0, 0, 100, 60], 2500)
    assert coco.annToMask(cat).sum() == pytest.approx(cat["area"], rel=0.06)


def test_parts_of_one_thing_are_all_in_its_line_of_yolo(photo, tmp_path):
    folder = unpacked(taken(ANSWERS["outlines"], "yolo", photo, tmp_path / "out"))
    line = (folder / "labels/train/my cat.txt").read_text().splitlines()[0]
    x, y = np.array(line.split()[1:], float).reshape(-1, 2).T * np.array([SIZE]).T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    assert area == pytest.approx(2 * 40 * 40, abs=0.1)


def test_scores_go_home(photo, tmp_path):
    folder = unpacked(taken(ANSWERS["boxes"], "coco", photo, tmp_path / "out"))
    table = json.loads((folder / "_annotations.coco.json").read_text(encoding="utf-8"))
    assert [a["score"] for a in table["annotations"]] == [0.5] * 3


@pytest.mark.parametrize("kind", SETS)
def test_a_picture_that_trainers_cannot_take_is_written_as_it_was_seen(kind, tmp_path):
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (100, 200), "teal").save(turned, exif=exif)
    scan = tmp_path / "scan.tiff"
    Image.new("RGB", SIZE, "teal").save(scan)
    for file, name in ((turned, "turned.png"), (scan, "scan.png"), (None, "picture.png")):
        packed = taken(ANSWERS["boxes"], kind, file, tmp_path / f"out {name}")
        (row,) = open_data(str(unpacked(packed)), tasks=("od",))
        assert row.image.name == name
        with Image.open(row.image) as image:
            assert image.size == SIZE


def test_what_has_no_area_is_nothing_to_learn(photo, tmp_path):
    dot = np.array([[50, 50, 50, 50]], np.float32)
    alone = answer(Detections(dot, ("dot",)))
    assert not {*SETS} & {name for _, name in offered(alone)}
    both = Detections(np.concatenate([dot, boxes("cat").xyxy]), ("dot", "cat"))
    (row,) = open_data(
        str(unpacked(taken(answer(both), "voc", photo, tmp_path / "out"))), tasks=("od",)
    )
    assert row.detections.labels == ("cat",)


@pytest.mark.parametrize(
    ("found", "kinds"),
    [
        (answer(), {"json"}),
        (answer(text="A cat."), {"json", "text", "markdown", EVERYTHING}),
        (
            ANSWERS["boxes"],
            {"annotated", "json", "csv", "cutouts", *SETS, EVERYTHING},
        ),
    ],
    ids=["nothing", "a caption", "boxes"],
)
def test_only_what_there_is_is_offered_and_given(found, kinds, tmp_path):
    assert {name for _, name in offered(found)} == kinds
    for _, name in every_format():
        if name in kinds:
            assert taken(found, name, None, tmp_path / "out").stat().st_size > 2
        else:
            with pytest.raises(InputError, match="choose another"):
                taken(found, name, None, tmp_path / "out")


@pytest.mark.parametrize("kind", ["", "exe", "../coco", None])
def test_an_unknown_format_is_refused(kind, tmp_path):
    with pytest.raises(InputError, match="choose another"):
        taken(ANSWERS["boxes"], kind, None, tmp_path / "out")


def test_everything_is_what_each_format_gives_alone(photo, tmp_path):
    found = ANSWERS["outlines"]
    folder = unpacked(taken(found, EVERYTHING, photo, tmp_path / "out"))
    assert folder.name == "my cat"
    for kind, exporter in FORMATS.items():
        if not exporter.has(found):
            continue
        alone = taken(found, kind, photo, tmp_path / "alone")
        if exporter.packed:
            alone = unpacked(alone)
            written = {p.relative_to(alone): p.read_bytes() for p in alone.rglob("*.*")}
            both = {p.relative_to(folder / kind): p.read_bytes()
                    for p in (folder / kind).rglob("*.*")}  # fmt: skip
            assert written == both
        else:
            assert (folder / alone.name).read_bytes() == alone.read_bytes()


QUADS = Detections.from_polygons([[square(10, 10, 60)], [square(10, 30, 60)]], ["KEEPER", "SECRET"])
FILTERED = {
    "annotated": ("outlines", {"off": [1]}),
    **dict.fromkeys(
        ("json", "csv", "cutouts", "mask", *SETS, EVERYTHING), ("outlines", {"off": [1]})
    ),
    **dict.fromkeys(("text", "markdown", "pdf"), ("lines", {"off": [1]})),
}
"""For each format an answer that has it, and a filter that takes a part of it away."""


def test_no_format_is_forgotten():
    assert {name for _, name in every_format()} == set(FILTERED)


@pytest.mark.parametrize("kind", FILTERED)
def test_what_is_filtered_away_is_in_no_download(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    name, told = FILTERED[kind]
    outlines = Detections.from_polygons(
        [[square(10, 10, 60)], [square(110, 10, 80)]], ["KEEPER", "SECRET"]
    )
    things = outlines if name == "outlines" else QUADS
    task = TASKS["referring_expression_segmentation" if name == "outlines" else "ocr_with_region"]
    text = "KEEPER\nSECRET" if name == "lines" else ""
    found = Prediction(
        task.name, "?", "KEEPER SECRET", text, SIZE, things,
        task.parse(task.answer.value(text, things)),
    )  # fmt: skip
    picture = Image.new("RGB", SIZE, "teal")
    given = Service(AppConfig(), FakeEngines())
    kept = replace(found, raw="", text=text.partition("\n")[0], detections=things.select([0]))
    kept = replace(kept, parsed=task.parse(task.answer.value(kept.text, kept.detections)),
                   notices=("Filtered: 1 of 2 are kept.",))  # fmt: skip
    whole, part = (Path(given.download(picture, found, kind, by)) for by in (None, told))
    # As if the answer had been no other one.
    assert part.read_bytes() == Path(given.download(picture, kept, kind)).read_bytes()
    assert part.read_bytes() != whole.read_bytes()
    packed = part.suffix == ".zip"
    files = [p.read_bytes() for p in unpacked(part).rglob("*.*")] if packed else [part.read_bytes()]
    assert not any(b"SECRET" in data for data in files)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_gives_all_that_it_offers(task, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    given = Service(AppConfig(), FakeEngines())
    image = Image.new("RGB", (400, 300), "teal")
    asks = TASKS[task].asks
    *_, (_, found) = given.ask(
        image, task, "a dog" if asks == "text" else "", (1, 1, 9, 9) if asks == "region" else None,
        "nano", Options(),
    )  # fmt: skip
    for _, kind in offered(found):
        file = Path(given.download(image, found, kind))
        assert file.is_relative_to(tmp_path)
        assert file.name.startswith("picture")
        assert file.stat().st_size > 2


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("cat.jpg", "cat"),
        ("IMG_2041 (1).HEIC", "IMG_2041 (1)"),
        ("my.scan.v2.png", "my.scan.v2"),
        ("../../x", "x"),
        ("../../.bashrc", "bashrc"),
        ("C:\\secret\\x.png", "x"),
        ("кошка 猫 🐈.webp", "кошка 猫 🐈"),
        ("a\nb\x1b[31m\u202egpj.exe.png", "a b [31m gpj.exe"),
        ('a<b>:"|?*.png', "a b"),
        ("x" * 255, "x" * 80),
        ("猫" * 85 + ".png", "猫" * 60),
        ("half \udce9.png", "half"),
        ("image.png", "picture"),
        ("webcam.png", "picture"),
        ("clipboard.png", "picture"),
        ("..", "picture"),
        ("", "picture"),
        (None, "picture"),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_downloads_are_called_as_the_picture_without_what_harms(name, stem, tmp_path):
    assert stem_of(name) == stem
    for _, kind in offered(ANSWERS["outlines"]):
        parcel = Parcel(ANSWERS["outlines"], Image.new("RGB", SIZE), stem, None)
        file = take_home(parcel, kind, tmp_path)
        assert file.parent == tmp_path
        assert file.is_file()


def test_an_uploads_own_file_and_name_reach_the_download(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    file = tmp_path / "0a1b" / "the cat.webp"
    file.parent.mkdir()
    Image.effect_noise((400, 300), 60).convert("RGB").save(file, quality=40)
    image = SafeImage().preprocess(ImageData(path=str(file)))
    assert file_of(image) == file.resolve()
    given = Service(AppConfig(), FakeEngines())
    *_, (_, found) = given.ask(image, "od", "", None, "nano", Options())
    packed = Path(given.download(image, found, "coco"))
    assert packed.name == "the cat.coco.zip"
    with zipfile.ZipFile(packed) as archive:
        assert archive.read("the cat.webp") == file.read_bytes()
    file.unlink()
    assert Path(given.download(image, found, "annotated")).name == "picture-annotated.png"


@pytest.mark.parametrize("row", load_examples(), ids=lambda row: row["file"])
def test_an_examples_name_goes_to_the_page_and_back(row, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    component = SafeImage()
    sent = component.postprocess(str(EXAMPLES / row["file"]))
    came = move_files_to_cache(sent.model_dump(), component, postprocess=True)
    image = component.preprocess(ImageData(path=came["path"]))
    assert stem_of(file_of(image)) == Path(row["file"]).stem


def test_a_word_in_a_picture_is_no_file_of_it(tmp_path):
    from PIL.PngImagePlugin import PngInfo

    words = PngInfo()
    words.add_text("florence_demo.file", "/etc/passwd")
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png", pnginfo=words)
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["florence_demo.file"]
        assert file_of(image) is None


def test_a_download_that_has_no_room_is_told(monkeypatch):
    given = Service(AppConfig(), FakeEngines())
    image = Image.new("RGB", (400, 300), "teal")
    *_, (_, found) = given.ask(image, "od", "", None, "nano", Options())
    monkeypatch.setattr(given, "room", lambda: 1000)
    with pytest.raises(InputError, match="no room"):
        given.download(image, found, "json")
