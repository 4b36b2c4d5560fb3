from __future__ import annotations

import json

import pytest
from PIL import Image

from florence_demo.__main__ import main
from florence_demo.tasks import TASKS
from tests.fakes import FakeEngine


@pytest.fixture
def picture(tmp_path):
    target = tmp_path / "picture.png"
    Image.new("RGB", (40, 30), "teal").save(target)
    return str(target)


@pytest.fixture(autouse=True)
def engine(monkeypatch):
    fake = FakeEngine()
    monkeypatch.setattr("florence_demo.models.loading.load_model", lambda name, **_: name)
    monkeypatch.setattr("florence_demo.engine.engine.Engine", lambda loaded: fake)
    return fake


def test_predict_prints_one_json_object_a_picture(picture, capsys):
    assert main(["predict", picture, picture, "--task", "od", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 2
    keys = {"image", "task", "prompt", "text", "detections", "parsed", "raw", "size", "model"}
    assert keys | {"device", "seconds", "tokens", "truncated"} <= rows[0].keys()
    assert rows[0]["detections"][0].keys() >= {"label", "box", "polygons", "score"}


def test_predict_takes_a_page_of_a_pdf(tmp_path, capsys, engine):
    target = tmp_path / "Scan.PDF"
    pages = [Image.new("RGB", (40 * i, 30), "teal") for i in (1, 2, 3)]
    pages[0].save(target, save_all=True, append_images=pages[1:])
    assert main(["predict", str(target), "--page", "3", "--task", "od", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["size"] == [240, 60]  # 144 dots an inch
    assert main(["predict", str(target), "--page", "4", "--task", "od"]) == 2
    assert "has 3 pages, no page 4" in capsys.readouterr().err


def test_predict_prints_a_sentence(picture, capsys):
    assert main(["predict", picture, "--task", "od"]) == 0
    assert capsys.readouterr().out == "3 objects: 2 × cat, car\n"


def test_predict_looks_closely(picture, engine, capsys):
    assert main(["predict", picture, "--task", "od", "--tiles", "1x2", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert engine.batches == [3]
    assert row["size"] == [40, 30]
    assert row["notices"] == ["Looked at in 2 overlapping tiles."]
    assert main(["predict", picture, "--task", "od", "--tiles", "auto"]) == 0
    assert capsys.readouterr().out == "3 objects: 2 × cat, car\n"
    assert engine.batches == [3, 1], "a small picture is asked about as ever"


def test_predict_asks_for_names_boxes_and_merges(picture, engine, capsys):
    asked = ["predict", picture, "--json", "--task"]
    assert main([*asked, "open_vocabulary_detection", "--text", "cat, dog"]) == 0
    assert main([*asked, "region_to_ocr", "--region", "1,1,9,9", "--region", "2,2,30,20"]) == 0
    names, boxes = map(json.loads, capsys.readouterr().out.splitlines())
    assert engine.batches == [2, 2]
    assert names["names"] == ["cat", "dog"]
    assert [d["label"] for d in names["detections"]] == ["cat", "dog"]
    assert [d["box"] for d in boxes["detections"]] == [[1, 1, 9, 9], [2, 2, 30, 20]]
    twice = "<loc_100><loc_100><loc_500><loc_500>"
    engine.raw["BOXES"] = f"cat{twice}cat{twice}dog{twice}"
    assert main(["predict", picture, "--task", "od", "--merge", "0.7"]) == 0
    told = capsys.readouterr()
    assert told.out == "2 objects: cat, dog\n"
    assert told.err == "1 overlapping box merged at IoU 0.7.\n"


def test_predict_saves_the_annotated_picture(picture, tmp_path):
    target = tmp_path / "out.png"
    assert main(["predict", picture, "--task", "od", "--save", str(target)]) == 0
    with Image.open(target) as saved:
        assert saved.size == (40, 30)


def test_a_failed_picture_does_not_stop_the_others(picture, tmp_path, capsys):
    broken = tmp_path / "broken.png"
    broken.write_text("no picture")
    assert main(["predict", str(broken), picture, "--task", "od", "--json"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[0].keys() == {"image", "error"}
    assert rows[1]["task"] == "od"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--task", "nope"], "no task", id="unknown task"),
        pytest.param(["--task", "docvqa"], "needs words", id="no text"),
        pytest.param(["--task", "od", "--text", "x"], "takes no text", id="text not wanted"),
        pytest.param(["--task", "region_to_ocr"], "draw a box", id="no region"),
        pytest.param(["--beams", "99"], "between", id="too many beams"),
        pytest.param(["--tiles", "auto"], "by tiles", id="a caption of tiles"),
        pytest.param(["--tiles", "9x9", "--task", "od"], "81 tiles", id="too many tiles"),
        pytest.param(["--tiles", "", "--task", "od"], "says no tiles", id="no tiles"),
        pytest.param(["--tiles", "3x1", "--task", "od"], "too small", id="tiles too small"),
        pytest.param(
            ["--tiles", "auto", "--task", "od", "--region", "1,2,3,4"], "--region goes", id="both"
        ),
        pytest.param(["--merge", "70", "--task", "od"], "above 0 and at most 1", id="percent"),
        pytest.param(
            ["--task", "open_vocabulary_detection", "--text", ",".join(map(str, range(99)))],
            "99 names, 50 are allowed",
            id="too many names",
        ),
        pytest.param(
            ["--task", "region_to_ocr", *["--region", "1,1,9,9"] * 21], "21 boxes", id="boxes"
        ),
        pytest.param(["--save", "/nowhere/x.png"], "cannot be written", id="no such folder"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_status_2(picture, arguments, words, capsys):
    assert main(["predict", picture, *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""


def test_a_place_that_cannot_be_written_is_told_before_any_question(tmp_path, capsys):
    taken = tmp_path / "report"
    taken.write_text("not a folder")
    assert main(["evaluate", "--data", str(tmp_path), "--out", str(taken)]) == 2
    captured = capsys.readouterr()
    assert str(taken) in captured.err
    assert len(captured.err.splitlines()) == 1


def test_a_missing_picture_is_told(tmp_path, capsys):
    assert main(["predict", str(tmp_path / "none.png")]) == 2
    assert "none.png" in capsys.readouterr().err


@pytest.mark.parametrize("region", ["1,2,3", "a,b,c,d", ""])
def test_a_region_that_is_none_is_refused_by_the_parser(picture, region):
    with pytest.raises(SystemExit) as caught:
        main(["predict", picture, "--task", "region_to_ocr", "--region", region])
    assert caught.value.code == 2


def test_tasks_lists_all(capsys):
    assert main(["tasks", "--json"]) == 0
    assert [json.loads(r)["name"] for r in capsys.readouterr().out.splitlines()] == list(TASKS)


def test_models_lists_the_five(capsys):
    assert main(["models", "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_models_tells_the_memory_in_use(capsys, monkeypatch):
    memory = {"main memory": (6_000_000_000, 24_000_000_000)}
    monkeypatch.setattr("florence_demo.commands.models.machine_memory", lambda: memory)
    assert main(["models"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "main memory  [#####...............] 6.0 GB of 24.0 GB in use"
