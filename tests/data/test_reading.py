from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from florence_demo.__main__ import main
from florence_demo.data.example import Example
from florence_demo.data.folders import list_data, take_data
from florence_demo.data.formats import READERS, Reader
from florence_demo.data.jsonl import write_jsonl
from florence_demo.data.parts import whole
from florence_demo.data.reading import open_data, parse_source, source_in, tell_problems
from florence_demo.data.rows import distinct_pictures, split_rows
from florence_demo.data.source import DATA_LIMITS, DataSource
from florence_demo.errors import DatasetError
from florence_demo.prediction import Detections
from florence_demo.serving.asking import Service
from florence_demo.serving.config import AppConfig
from florence_demo.ui.pickers import UPLOAD, build_data_picker
from tests.fakes import FakeEngines

SIZE = (60, 40)


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE, "teal").save(path)
    return path


def lines(path: Path, rows: list[object]) -> Path:
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
    return path


def make_jsonl(folder: Path) -> str:
    picture(folder / "a.png")
    rows: list[object] = [
        {"image": "a.png", "prefix": "<OD>", "suffix": "cat<loc_1><loc_2><loc_300><loc_400>"},
        {"image": "a.png", "prefix": "<DocVQA>Who?", "suffix": ["Ada", "Ada L."]},
    ]
    return str(lines(folder / "annotations.jsonl", rows))


def make_heldout(folder: Path) -> str:
    picture(folder / "images/0.webp")
    box = {"label": "cat", "box": [1, 2, 30, 30], "polygons": [[1, 2, 30, 2, 30, 30]]}
    truths = [
        {"task": "od", "detections": [box]},
        {"task": "region_to_category", "region": [1, 2, 30, 30], "answer": "cat"},
    ]
    row = {"image": "images/0.webp", "kind": "objects", "style": "known", "truths": truths}
    lines(folder / "truth.jsonl", [row])
    return str(folder)


def make_coco(folder: Path) -> str:
    picture(folder / "images/b.png")
    thing = {"image_id": 1, "category_id": 7, "iscrowd": 0}
    table = {
        "images": [{"id": 1, "file_name": "b.png", "width": 60, "height": 40}],
        "categories": [{"id": 7, "name": "dog"}],
        "annotations": [
            {**thing, "id": 1, "bbox": [30, 5, 20, 20]},
            {**thing, "id": 2, "bbox": [5, 5, 20, 20], "segmentation": [[5, 5, 25, 5, 25, 25]]},
            {**thing, "id": 3, "bbox": [0, 0, 60, 40], "iscrowd": 1},
        ],
    }
    (folder / "instances.json").write_text(json.dumps(table))
    return str(folder)


def make_captions(folder: Path) -> str:
    for name in "ab":
        picture(folder / f"{name}.jpg").with_suffix(".txt").write_text(f"A {name}.\n")
    return str(folder)


def make_datasets(folder: Path) -> str:
    datasets = pytest.importorskip("datasets")
    rows = {
        "image": [str(picture(folder / "c.png"))] * 2,
        "question": ["Who?", "When?"],
        "answers": [["Ada", "ada"], ["1843"]],
    }
    table = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    datasets.DatasetDict({"train": table, "validation": table.select([1])}).save_to_disk(
        str(folder / "saved")
    )
    return str(folder / "saved")


MAKERS = {
    "jsonl": (make_jsonl, ["od", "docvqa"]),
    "heldout": (make_heldout, ["od", "region_to_category"]),
    "coco": (make_coco, ["od", "region_to_segmentation"]),
    "captions": (make_captions, ["caption", "caption"]),
    "datasets": (make_datasets, ["docvqa", "docvqa"]),
}


@pytest.mark.parametrize("name", [n for n in READERS if n in MAKERS])
def test_every_format_is_read_and_written_as_jsonl(name: str, tmp_path: Path) -> None:
    make, tasks = MAKERS[name]
    examples = open_data(make(tmp_path / "in" if (tmp_path / "in").mkdir() is None else tmp_path))
    assert [e.task for e in examples] == tasks
    again = open_data(str(write_jsonl(examples, tmp_path / "out")))
    for one, two in zip(examples, again, strict=True):
        assert (one.task, one.text, one.answer) == (two.task, two.text, two.answer)
        assert one.accepted == two.accepted
        assert one.detections.labels == two.detections.labels
        np.testing.assert_allclose(one.detections.xyxy, two.detections.xyxy, atol=0.06)
        assert one.load().size == two.load().size == SIZE


def test_coco_goes_left_to_right_and_leaves_crowds_out(tmp_path: Path) -> None:
    first, outline = open_data(make_coco(tmp_path))
    assert first.detections.xyxy.tolist() == [[5, 5, 25, 25], [30, 5, 50, 25]]
    assert outline.region == (5, 5, 25, 25)


def test_a_part_is_named_after_a_hash(tmp_path: Path) -> None:
    spec = make_datasets(tmp_path)
    assert [e.text for e in open_data(spec + "#validation")] == ["When?"]
    with pytest.raises(DatasetError, match="no part “test”"):
        open_data(spec + "#test")


@pytest.mark.parametrize("name", [n for n in MAKERS if n != "datasets"])
def test_a_part_of_what_has_none_is_refused(name: str, tmp_path: Path) -> None:
    spec = MAKERS[name][0](tmp_path)
    with pytest.raises(DatasetError, match="has no parts"):
        open_data(spec + "#validation")


def test_a_part_of_a_set_that_was_saved_alone_is_refused(tmp_path: Path) -> None:
    spec = make_datasets(tmp_path)
    with pytest.raises(DatasetError, match="has no parts"):
        open_data(f"{spec}/train#validation")


def test_what_a_set_does_not_hold_is_no_answer(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    path = str(picture(tmp_path / "c.png"))
    rows = {
        "image": [path, path, None, path],
        "question": ["Who?", "When?", "Where?", None],
        "answers": [["Ada", None], None, ["here"], ["there"]],
    }
    table = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    table.save_to_disk(str(tmp_path / "saved"))
    problems: list[str] = []
    (only,) = open_data(str(tmp_path / "saved"), problems=problems)
    assert only.accepted == ("Ada",)
    says = sorted(problem.rpartition(": ")[2] for problem in problems)
    assert len(says) == 3
    assert "the row has no picture." in says


def changed(make, file: str, change):
    """Return a maker whose file, one JSON object, is changed after it was written."""

    def make_changed(folder: Path) -> str:
        make(folder)
        values = json.loads((folder / file).read_text())
        change(values)
        (folder / file).write_text(json.dumps(values))
        return str(folder)

    return make_changed


coco = partial(changed, make_coco, "instances.json")
heldout = partial(changed, make_heldout, "truth.jsonl")
MALFORMED = {
    "annotation without a box": coco(lambda t: t["annotations"][0].pop("bbox")),
    "annotation with an empty box": coco(lambda t: t["annotations"][0].update(bbox=[])),
    "annotation of no picture": coco(lambda t: t["annotations"][0].pop("image_id")),
    "picture without a file": coco(lambda t: t["images"][0].pop("file_name")),
    "picture that is text": coco(lambda t: t["images"].__setitem__(0, "b.png")),
    "category without a name": coco(lambda t: t["categories"][0].pop("name")),
    "scene without truths": heldout(lambda r: r.pop("truths")),
    "truth without a task": heldout(lambda r: r["truths"][0].pop("task")),
    "truth with half a box": heldout(lambda r: r["truths"][1].update(region=[1, 2])),
}


@pytest.mark.parametrize("make", MALFORMED.values(), ids=MALFORMED)
def test_a_file_of_another_form_is_told_in_a_sentence(make, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="form"):
        open_data(make(tmp_path))


def test_tasks_and_limit(tmp_path: Path) -> None:
    spec = make_jsonl(tmp_path)
    assert [e.task for e in open_data(spec, tasks=["docvqa"])] == ["docvqa"]
    assert len(open_data(spec, limit=1)) == 1


BAD = [
    ("{", "no JSON"),
    ("[1]", "no object"),
    ('{"image": "a.png", "prefix": "<OD>"}', "no suffix"),
    ('{"image": "a.png", "prefix": "<CAPTION>", "suffix": null}', "no suffix"),
    ('{"image": "gone.png", "prefix": "<OD>", "suffix": ""}', "no picture"),
    ('{"image": "a.png", "prefix": "<CAPTION>", "suffix": ""}', "answer is empty"),
    ('{"image": "a.png", "prefix": "<OD>", "suffix": "a<loc_1000>"}', "no location"),
]


def test_bad_rows_are_counted_with_file_and_line(tmp_path: Path) -> None:
    spec = make_jsonl(tmp_path)
    lines(Path(spec), [*(row for row, _ in BAD), Path(spec).read_text()])
    problems: list[str] = []
    assert len(open_data(spec, problems=problems)) == 2
    assert len(problems) == len(BAD)
    for number, (problem, (_, says)) in enumerate(zip(problems, BAD, strict=True), 1):
        assert problem.startswith(f"{spec}:{number}: ")
        assert says in problem
    with pytest.raises(DatasetError, match="7 rows are not usable"):
        open_data(spec)


@pytest.mark.parametrize("spec", ["nowhere", "gone.jsonl", "a/b/c"])
def test_a_source_that_is_none(spec: str) -> None:
    with pytest.raises(DatasetError):
        open_data(spec)


def test_no_usable_row_is_an_error(tmp_path: Path) -> None:
    spec = lines(tmp_path / "x.jsonl", ["{"])
    with pytest.raises(DatasetError, match="no usable row"):
        open_data(str(spec), problems=[])


def test_confined_data_keeps_to_its_folder(tmp_path: Path) -> None:
    picture(tmp_path / "secret.png")
    (tmp_path / "in").mkdir()
    row = {"image": "../secret.png", "prefix": "<CAPTION>", "suffix": "x"}
    spec = str(lines(tmp_path / "in/annotations.jsonl", [row]))
    assert len(open_data(spec)) == 1
    confined = source_in(tmp_path / "in", tmp_path / "in", DATA_LIMITS)
    assert confined is not None
    with pytest.raises(DatasetError, match="leads out of the data's own folder"):
        open_data(confined)


def test_questions_about_one_picture_of_a_set_share_its_source(tmp_path: Path) -> None:
    first, second = open_data(make_datasets(tmp_path))
    assert distinct_pictures([first, second])[1] == [0, 0]
    with pytest.raises(DatasetError, match="One picture"):
        split_rows([first, second], seed=0)


SQUARE = [85, 10, *[30, 10] * 9, 305]
"""Runs down the columns of 60 x 40 pixels: a square of 10 pixels from (2, 5)."""


@pytest.mark.parametrize(
    ("counts", "ring"),
    [
        pytest.param([*SQUARE[:-1], 2400 - sum(SQUARE[:-1])], [2, 5, 12, 15], id="whole runs"),
        pytest.param("Q2:n0000000000000000R1", None, id="damaged"),
        pytest.param([1, 2], None, id="too short"),
        pytest.param([-1, 2401], None, id="negative"),
        pytest.param({"a": 1}, None, id="no runs"),
    ],
)
def test_a_run_length_mask_is_an_outline_and_a_damaged_one_leaves_its_box(
    counts: object, ring: list[float] | None, tmp_path: Path
) -> None:
    folder = Path(make_coco(tmp_path))
    table = json.loads((folder / "instances.json").read_text())
    table["annotations"][1]["segmentation"] = {"counts": counts, "size": [40, 60]}
    (folder / "instances.json").write_text(json.dumps(table))
    notes: list[str] = []
    boxes, *outlines = open_data(str(folder), notes=notes)
    assert boxes.detections.labels == ("dog", "dog")
    if ring:
        np.testing.assert_allclose(outlines[0].detections.xyxy[0], ring, atol=0.51)
        assert notes == []
    else:
        assert outlines == []
        assert "a run-length mask is damaged" in notes[0]


def test_rows_about_one_picture_share_its_file(tmp_path: Path) -> None:
    image = Image.new("RGB", SIZE)
    box = Detections(np.array([[1, 1, 9, 9]], np.float32), ("cat",))
    rows = [Example(image, "caption", answer="x"), Example(image, "od", detections=box)]
    write_jsonl(rows, tmp_path)
    assert len(list((tmp_path / "images").iterdir())) == 1


@pytest.mark.parametrize("name", ["a#b", "#", "a#b#c"])
def test_an_operators_text_names_a_folder_with_a_hash(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    make_jsonl(tmp_path / name)
    source = parse_source(str(tmp_path / name))
    assert (source.format, source.location, source.part) == ("jsonl", str(tmp_path / name), "")
    assert len(open_data(source)) == 2
    saved = make_datasets(tmp_path / name)
    assert parse_source(f"{saved}#validation").part == "validation"


@pytest.mark.parametrize("text", ["", "#", "#x", "a\0b", "x" * 5_000, "\ud800"])
def test_a_text_that_names_nothing_is_told(text: str) -> None:
    with pytest.raises(DatasetError, match="no data that can be read"):
        parse_source(text)


# -- a new format ---------------------------------------------------------------------------------


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Reader:
    """A format that nobody knew of: lines of a picture, a tab and its caption."""

    def read(source):
        folder = Path(source.location)
        for line in (folder / "rows.tsv").read_text().splitlines():
            name, caption = line.split("\t")
            yield Example(folder / name, "caption", answer=caption)

    reader = Reader(
        "tsv",
        whole(lambda location: (Path(location) / "rows.tsv").is_file()),
        read,
        "a folder with rows.tsv",
        upload="lines of a `rows.tsv`",
        suffixes=(".tsv",),
    )
    monkeypatch.setitem(READERS, reader.name, reader)
    return reader


def tsv(folder: Path) -> list[Path]:
    """Return the files of a set in the new format."""
    image = picture(folder / "a.png")
    rows = folder / "rows.tsv"
    rows.write_text("a.png\tA thing.")
    return [rows, image]


def test_a_new_format_is_read_listed_and_taken_as_an_upload(added: Reader, tmp_path: Path) -> None:
    files = tsv(tmp_path / "data" / "mine")
    assert list_data(tmp_path / "data") == ["mine"]
    assert [e.answer for e in open_data(str(tmp_path / "data" / "mine"))] == ["A thing."]
    source, rows = take_data(files, tmp_path / "new")
    assert (source.format, [e.answer for e in rows]) == ("tsv", ["A thing."])


def test_a_new_format_is_in_what_is_said_of_uploads(added: Reader, tmp_path: Path) -> None:
    config = AppConfig(checkpoints=tmp_path / "checkpoints", data=tmp_path / "data")
    with gr.Blocks() as app:
        build_data_picker(Service(config, FakeEngines()), (UPLOAD,), api="upload", seen="")
    notes = [str(b.value) for b in app.blocks.values() if isinstance(b, gr.HTML)]
    assert any("<li>Lines of a rows.tsv</li>" in note for note in notes)
    with pytest.raises(DatasetError, match=r"Upload lines of a rows\.tsv, "):
        take_data([picture(tmp_path / "a.png")], tmp_path / "new")
    with pytest.raises(DatasetError, match=r"Known are: .*a folder with rows\.tsv"):
        open_data("nowhere")


@pytest.mark.parametrize("command", ["data", "train", "evaluate"])
def test_a_new_format_is_in_the_help_of_each_command_that_takes_data(
    added: Reader, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    missing = [reader.help for reader in READERS.values() if reader.help not in said]
    assert missing == []


def test_a_strangers_rows_are_read_within_their_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(0, 10_000, 25))
    monkeypatch.setattr("florence_demo.data.reading.monotonic", lambda: next(now))
    picture = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(picture)
    row = '{"image": "a.png", "prefix": "<CAPTION>", "suffix": "a"}\n'
    (tmp_path / "annotations.jsonl").write_text(row * 9)
    source = DataSource("jsonl", str(tmp_path), root=str(tmp_path), limits=DATA_LIMITS)
    with pytest.raises(DatasetError, match="takes more than 60 s"):
        open_data(source)
    assert len(open_data(replace(source, limits=None))) == 9
    # A training's process has the time that it needs.
    assert source.moved(tmp_path).limits.seconds == 1200


@pytest.mark.parametrize(
    ("box", "taken", "said"),
    [
        ([80, 50, 22, 32], [80, 50, 100, 80], "1 place reaches over"),
        ([-2, -2, 20, 30], [0, 0, 18, 28], "1 place reaches over"),
        ([10, 10, 90.5, 20], [10, 10, 100.5, 30], None),
        ([95, 10, 30, 20], None, "outside the picture"),
        ([200, 10, 30, 20], None, "outside the picture"),
    ],
    ids=["right and bottom", "left and top", "a pixel", "mostly outside", "wholly outside"],
)
def test_what_reaches_over_the_edge_is_cut_and_told(tmp_path, box, taken, said):
    Image.new("RGB", (100, 80)).save(tmp_path / "a.png")
    table = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": box}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(table))
    notes: list[str] = []
    if taken is None:
        with pytest.raises(DatasetError, match=said):
            open_data(str(tmp_path / "boxes.json"), notes=notes)
        return
    (row,) = open_data(str(tmp_path / "boxes.json"), notes=notes)
    assert row.detections.xyxy.tolist() == [taken]
    assert [said in note for note in notes] == ([True] if said else [])


@pytest.mark.parametrize(
    ("lengths", "told", "rest"),
    [
        ([100, 100], 2, ""),
        ([100] * 7, 4, "\nand 3 more."),
        ([10] * 7, 5, "\nand 2 more."),
        ([200, 200, 200], 2, "\nand 1 more."),
        ([900, 10], 1, "\nand 1 more."),
    ],
    ids=str,
)
def test_what_is_told_of_problems_is_told_to_its_end(lengths, told, rest):
    problems = [str(n) * length for n, length in enumerate(lengths)]
    said = tell_problems(problems)
    assert said.endswith("\n" + "\n".join(problems[:told]) + rest)
    assert said.startswith(f"{len(problems)} rows are not usable:")
