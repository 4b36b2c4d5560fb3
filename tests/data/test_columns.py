"""What columns mean: guessed by their names, told by a person, said in a note."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from florence_demo.commands import data as data_command
from florence_demo.commands import evaluate, train
from florence_demo.data.columns import ROLES, columns_of, pairs_of
from florence_demo.data.reading import open_data, parse_source, parts_of, with_columns
from florence_demo.data.source import DataSource
from florence_demo.errors import DatasetError

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what the package copies out of Parquet away from a person's own cache."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), "teal").save(buffer, "PNG")
    return buffer.getvalue()


GUESSED = {
    "image question answers": {"image": "image", "question": "question", "answer": "answers"},
    "Img Query Response id": {"image": "Img", "question": "Query", "answer": "Response"},
    "file_name text": {"image": "file_name", "answer": "text"},
    "picture text label": {"image": "picture", "question": "text", "answer": "label"},
    "path prompt text": {"image": "path", "question": "prompt", "answer": "text"},
    "image image_path caption": {"image": "image", "answer": "caption"},
    "image prefix suffix": {"image": "image", "prefix": "prefix", "suffix": "suffix"},
    "image objects text": {"image": "image", "objects": "objects"},
    "image objects question caption": {
        "image": "image",
        "objects": "objects",
        "answer": "caption",
    },
    "image task caption": {"image": "image", "answer": "caption", "task": "task"},
}


@pytest.mark.parametrize(("names", "taken"), GUESSED.items(), ids=GUESSED)
def test_columns_are_guessed_by_their_names(names: str, taken: dict[str, str]) -> None:
    assert columns_of("x", names.split(), ()).taken == taken


def test_what_a_person_says_comes_first() -> None:
    names = ["image", "foto", "question", "answer", "reply"]
    given = (("image", "foto"), ("answer", "reply"), ("task", "VQA"))
    found = columns_of("x", names, given)
    assert found.taken == {"image": "foto", "question": "question", "answer": "reply"}
    assert (found.task, found.others) == ("vqa", ("image", "answer"))
    assert str(found.note("x")) == (
        "x: columns taken: image = foto, question = question, answer = reply, task = vqa; left"
        " alone: image, answer."
    )
    assert columns_of("x", [*names, "kind"], (("task", "kind"),)).taken["task"] == "kind"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((("image", "foto"),), "no column “foto”, only image, caption"),
        ((("task", "dance"),), "“dance” is neither a task nor a column"),
    ],
)
def test_a_column_that_is_not_there_is_told_with_those_that_are(
    given: tuple[tuple[str, str], ...], says: str
) -> None:
    with pytest.raises(DatasetError, match=says):
        columns_of("x", ["image", "caption"], given)
    with pytest.raises(DatasetError, match="has the columns red, blue: one for the picture"):
        columns_of("x", ["red", "blue"], ())


SAID = {
    "a role that is none": ("colour=red", "is no “colour”: choose of image"),
    "no sign": ("image", "write it as image=img"),
    "no column": ("image=", "needs a name of 1 to 200 letters"),
    "a long column": (f"image={'a' * 300}", "needs a name of 1 to 200 letters"),
    "a zero byte": ("image=a\0", "needs a name of"),
}


@pytest.mark.parametrize(("text", "says"), SAID.values(), ids=SAID)
def test_what_cannot_be_said_of_columns(text: str, says: str) -> None:
    with pytest.raises(DatasetError, match=says):
        with_columns(DataSource("tables", "a.csv"), pairs_of([text]))


def test_a_role_is_named_once() -> None:
    with pytest.raises(DatasetError, match="one role"):
        with_columns(DataSource("hub", "a/b"), (("image", "a"), ("image", "b")))
    assert with_columns(DataSource("hub", "a/b"), ()).columns == ()


def test_a_format_without_columns_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"images": [], "annotations": []}')
    with pytest.raises(DatasetError, match="which has no columns"):
        with_columns(DataSource("coco", str(tmp_path / "a.json")), (("image", "a"),))


@pytest.mark.parametrize("name", ["ROWS.CSV", "A B.TSV", "ä.Parquet"])
def test_endings_are_known_in_any_case(name: str, tmp_path: Path) -> None:
    (tmp_path / "A.PNG").write_bytes(png())
    path = tmp_path / name
    if name.endswith("Parquet"):
        datasets.Dataset.from_dict({"image": ["A.PNG"], "text": ["A cat."]}).to_parquet(str(path))
    else:
        path.write_text('sep=|\n"image"|text\nA.PNG|A cat.\n')
    for place in (path, tmp_path):
        assert [r.answer for r in open_data(str(place))] == ["A cat."]


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "train.jsonl", "rows.parquet", "saved"])
def test_columns_that_nobody_can_guess_are_told(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    row = {"foto": "a.png", "frage": "Wer?", "antwort": "Käthe", "art": "vqa"}
    path = tmp_path / name
    if name.endswith(".csv"):
        path.write_text(";".join(row) + "\n" + ";".join(row.values()) + "\n", "cp1252")
    elif name.endswith(".jsonl"):
        path.write_text(json.dumps(row) + "\n")
    else:
        rows = datasets.Dataset.from_list([{**row, "foto": {"bytes": png(), "path": "a.png"}}])
        (rows.to_parquet if name.endswith(".parquet") else rows.save_to_disk)(str(path))
    source = parse_source(str(path))
    pairs = pairs_of(["image=foto", "question=frage", "answer=antwort", "task=art"])
    (row_read,) = open_data(with_columns(source, pairs))
    assert (row_read.task, row_read.text, row_read.answer) == ("vqa", "Wer?", "Käthe")
    assert row_read.load().size == (60, 40)


def saved(folder: Path, features: Any, **cells: Any) -> DataSource:
    rows = {"image": [{"bytes": png(), "path": None}] * 2, **cells}
    features = {"image": datasets.Image(), **features}
    table = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    table.save_to_disk(str(folder))
    return parse_source(str(folder))


def test_captions_of_a_set(tmp_path: Path) -> None:
    source = saved(tmp_path, {"text": datasets.Value("string")}, text=["A cat.", "A bear."])
    notes: list[str] = []
    rows = open_data(source, notes=notes)
    assert [(r.task, r.answer) for r in rows] == [("caption", "A cat."), ("caption", "A bear.")]
    assert notes == [f"“{tmp_path}”: columns taken: image = image, answer = text."]


def test_what_holds_pictures_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    text = datasets.Value("string")
    rows = {"path": ["x.png"], "screenshot": [{"bytes": png(), "path": None}], "text": ["A page."]}
    form = datasets.Features({"path": text, "screenshot": datasets.Image(), "text": text})
    table = datasets.Dataset.from_dict(rows, features=form)
    for number, one in enumerate((table, datasets.Dataset(table.data))):
        one.save_to_disk(str(tmp_path / str(number)))
        (row,) = open_data(str(tmp_path / str(number)))
        assert row.load().size == (60, 40)
    named = with_columns(parse_source(str(tmp_path / "0")), (("image", "path"),))
    with pytest.raises(DatasetError, match="holds no picture here"):
        open_data(named)


def test_classes_are_no_answers_unless_a_person_says_so(tmp_path: Path) -> None:
    source = saved(tmp_path, {"label": datasets.ClassLabel(names=["cat", "dog"])}, label=[1, 0])
    with pytest.raises(DatasetError, match="has the columns image, label"):
        open_data(source)
    rows = open_data(with_columns(source, (("answer", "label"),)))
    assert [r.answer for r in rows] == ["dog", "cat"]


@pytest.mark.parametrize("several", ["lists", "things"])
def test_objects_of_a_set_have_the_names_of_their_classes(several: str, tmp_path: Path) -> None:
    category = datasets.ClassLabel(names=["cat", "dog"])
    box = datasets.List(datasets.Value("float32"), 4)
    if several == "lists":
        form: Any = {"bbox": datasets.List(box), "categories": datasets.List(category)}
        cell: Any = {"bbox": [[30, 2, 10, 20], [1, 2, 10, 20]], "categories": [1, 0]}
    else:
        form = datasets.List({"bbox": box, "category": category})
        cell = [{"bbox": [30, 2, 10, 20], "category": 1}, {"bbox": [1, 2, 10, 20], "category": 0}]
    source = saved(tmp_path, {"objects": form}, objects=[cell, cell])
    rows = open_data(source)
    assert [r.task for r in rows] == ["od", "od"]
    assert rows[0].detections.labels == ("cat", "dog")
    assert rows[0].detections.xyxy.tolist() == [[1, 2, 11, 22], [30, 2, 40, 22]]


def test_a_caption_beside_objects_is_learned_too(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    found = {"bbox": [[1, 2, 10, 20]], "categories": ["cat"]}
    rows = [
        {"file_name": "a.png", "objects": found, "caption": "A cat."},
        {"file_name": "a.png", "objects": {"bbox": [], "categories": []}},
        {"file_name": "a.png"},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    problems: list[str] = []
    read = open_data(str(tmp_path), problems=problems)
    assert [(r.task, r.answer, len(r.detections)) for r in read] == [
        ("od", "", 1), ("caption", "A cat.", 0), ("od", "", 0),
    ]  # fmt: skip
    assert "the row has no objects: write an empty list" in problems[0]


def test_what_is_not_there_is_asked_for_by_the_names_of_the_classes(tmp_path: Path) -> None:
    category = datasets.ClassLabel(names=["cat", "dog"])
    form = datasets.List({"bbox": datasets.List(datasets.Value("float32")), "category": category})
    cell = [{"bbox": [30, 2, 10, 20], "category": 1}]
    source = saved(tmp_path, {"objects": form}, objects=[cell, cell])
    rows = open_data(source, tasks=["open_vocabulary_detection"])
    assert [(r.text, len(r.detections)) for r in rows] == [("dog", 1), ("cat", 0)] * 2


def test_prefix_and_suffix_of_a_set(tmp_path: Path) -> None:
    text = datasets.Value("string")
    places = "cat<loc_0><loc_0><loc_500><loc_500>"
    cells = {"prefix": ["<OD>", "<VQA>Who?"], "suffix": [places, "Ada"]}
    rows = open_data(saved(tmp_path, {"prefix": text, "suffix": text}, **cells))
    assert [(r.task, r.detections.labels) for r in rows] == [("od", ("cat",)), ("vqa", ())]


def test_numbers_that_nothing_names_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    row = {"file_name": "a.png", "objects": {"bbox": [[1, 2, 10, 20]], "categories": [3]}}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row))
    notes: list[str] = []
    (only,) = open_data(str(tmp_path), notes=notes)
    assert only.detections.labels == ("3",)
    assert "categories are numbers that nothing names" in notes[-1]


def test_parquet_is_read_with_all_its_shards_and_parts(tmp_path: Path) -> None:
    for name, word in (("train-00000-of-00002", "a"), ("train-00001-of-00002", "b"), ("test", "c")):
        rows = {"image": [{"bytes": png(), "path": "x.png"}], "caption": [word]}
        path = tmp_path / f"data/{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        datasets.Dataset.from_dict(rows).to_parquet(str(path))
    (tmp_path / "README.md").write_text("# A set\n")
    assert parts_of(parse_source(str(tmp_path))) == ("train", "test")
    assert [r.answer for r in open_data(str(tmp_path))] == ["a", "b"]
    assert [r.answer for r in open_data(f"{tmp_path}#test")] == ["c"]


def test_a_cell_of_parquet_opens_no_file_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png())
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(png())
    rows = {"image": ["../secret.png", str(tmp_path / "secret.png"), "a.png"], "caption": ["a"] * 3}
    datasets.Dataset.from_dict(rows).to_parquet(str(tmp_path / "in/a.parquet"))
    problems: list[str] = []
    (row,) = open_data(str(tmp_path / "in/a.parquet"), problems=problems)
    assert row.image() == tmp_path / "in/a.png"
    assert len(problems) == 2


def test_columns_travel_with_a_source() -> None:
    source = with_columns(DataSource("hub", "a/b"), (("image", "foto"), ("task", "vqa")))
    assert DataSource.from_json(json.loads(json.dumps(source.to_json()))) == source
    old = {"format": "hub", "location": "a/b", "part": "", "root": "", "limits": None}
    assert DataSource.from_json(old).columns == ()


ODD: list[Any] = [5, "image", [5], [["image"]], [["image", 5]], [["image", ""]], [["a", "b"]] * 99]


@pytest.mark.parametrize("columns", [*ODD, [["image", "a\0"]], [["image", "a" * 999]]])
def test_columns_that_are_none_are_refused(columns: Any) -> None:
    with pytest.raises(ValueError, match="columns are pairs"):
        DataSource.from_json({"format": "hub", "location": "a/b", "columns": columns})


@pytest.mark.parametrize("module", [data_command, train, evaluate], ids=lambda m: m.__name__)
def test_each_command_takes_columns(module: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("foto,frage,antwort\n")
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    named = [str(tmp_path / "a.csv")] if module is data_command else ["--data", f"{tmp_path}/a.csv"]
    args = parser.parse_args([*named, "--columns", "image=foto", "answer=antwort"])
    config = module.config_from_args(args)
    assert config.data.columns == (("image", "foto"), ("answer", "antwort"))
    assert not config.data.limits
    plain = module.config_from_args(parser.parse_args(named))
    assert plain.data == f"{tmp_path}/a.csv"


def test_the_data_command_says_which_columns_it_took(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "a.csv").write_text("img,text\na.png,A cat.\n")
    lines = data_command.run(data_command.DataConfig(str(tmp_path / "a.csv")))
    assert lines[0] == "tables: 1 row: 1 caption"
    assert lines[-1] == "a.csv: columns taken: image = img, answer = text."


def test_no_name_is_known_for_two_roles() -> None:
    names = [name for known in ROLES.values() for name in known]
    assert len(set(names)) == len(names)
