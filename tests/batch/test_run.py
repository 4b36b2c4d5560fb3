"""The loop: no picture ends a job or takes others with it, and little is held at a time."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from florence_demo.batch.answering import Answering, rows_of
from florence_demo.batch.rows import RowFile, RowStream
from florence_demo.batch.run import Watch, run
from florence_demo.batch.sources import all_items
from florence_demo.data.batches import ROWS_FILE, RUN_FILE, rows_in
from florence_demo.engine.feature_cache import fingerprint
from florence_demo.engine.many import reading_ahead
from florence_demo.errors import InputError
from florence_demo.pictures.images import open_image
from tests.batch.job import Answers, draw, job, model


def _rows(out: Path) -> list[dict]:
    return list(rows_in(out / ROWS_FILE))


def test_a_row_says_what_and_where(tmp_path):
    draw(tmp_path / "in", 1)
    run(job(tmp_path / "in", tmp_path / "out", tasks=("od", "caption"), min_score=0.5), model())
    (row,) = _rows(tmp_path / "out")
    assert row["source"] == "00000.png"
    assert row["size"] == [24, 16]
    assert len(row["sha256"]) == 64
    assert row["place"] == {"kind": "file", "path": str(tmp_path / "in" / "00000.png")}
    assert list(row["answers"]) == ["od", "caption"]
    assert [d["label"] for d in row["answers"]["od"]["detections"]] == ["cat"], "0.2 is too unsure"
    told = json.loads((tmp_path / "out" / RUN_FILE).read_text())
    assert (told["state"], told["counts"]) == ("done", {"rows": 1, "failed": 0})
    assert told["settings"]["tasks"] == ["od", "caption"]


def test_a_text_goes_to_the_tasks_that_take_one(tmp_path):
    draw(tmp_path / "in", 1)
    tasks = ("caption", "docvqa")
    run(job(tmp_path / "in", tmp_path / "out", tasks=tasks, text="How many?"), model())
    answers = _rows(tmp_path / "out")[0]["answers"]
    assert answers["docvqa"]["prompt"] == "How many?"
    assert answers["caption"]["prompt"] != "How many?"


BAD = {
    "empty.png": b"",
    "text.png": b"hello",
    "cut.jpg": b"\xff\xd8\xff\xe0" + bytes(9),
    "page.png": b"<!doctype html><html>",
}


def test_bad_pictures_are_rows_with_a_sentence_and_the_others_are_answered(tmp_path):
    draw(tmp_path / "in", 6)
    for name, data in BAD.items():
        (tmp_path / "in" / name).write_bytes(data)
    (tmp_path / "in" / "lost.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "in" / "pipe.png")
    outcome = run(job(tmp_path / "in", tmp_path / "out"), model())
    rows = {row["source"]: row for row in _rows(tmp_path / "out")}
    assert (outcome.rows, outcome.failed) == (12, 6)
    for name in (*BAD, "lost.png", "pipe.png"):
        assert rows[name]["error"].endswith("."), name
        assert "answers" not in rows[name]


def test_a_list_with_missing_files_is_a_row_each(tmp_path):
    draw(tmp_path, 1)
    (tmp_path / "list.txt").write_text("00000.png\ngone.png\nfolder\n")
    (tmp_path / "folder").mkdir()
    outcome = run(job(tmp_path / "list.txt", tmp_path / "out"), model())
    assert (outcome.rows, outcome.failed) == (3, 2)


def test_a_picture_that_the_model_stumbles_over_takes_no_other_with_it(tmp_path):
    draw(tmp_path / "in", 8)
    bad = fingerprint(open_image(tmp_path / "in" / "00002.png"))
    engine = Answers(refuses=bad)
    outcome = run(job(tmp_path / "in", tmp_path / "out"), model(engine))
    assert (outcome.rows, outcome.failed) == (8, 1)
    (row,) = [r for r in _rows(tmp_path / "out") if "error" in r["answers"]["caption"]]
    assert row["source"] == "00002.png"
    assert "ValueError" in row["answers"]["caption"]["error"]


@pytest.mark.parametrize(("full", "lost"), [(3, 0), (1, 0), (0, 8)])
def test_too_little_memory_makes_smaller_batches_and_then_a_sentence(tmp_path, full, lost):
    draw(tmp_path / "in", 8)
    engine = Answers(full=full)
    outcome = run(job(tmp_path / "in", tmp_path / "out"), model(engine))
    assert outcome.failed == lost
    assert all(size <= full for size in engine.batches)
    if lost:
        assert "too little memory" in _rows(tmp_path / "out")[0]["answers"]["caption"]["error"]


def test_a_batch_that_was_too_large_stays_smaller_for_the_job(tmp_path):
    class Once(Answers):
        """Has too little memory for the first batch, and never again."""

        def predict_batch(self, requests, options=None):
            tried.append(len(requests))
            self.full = 3 if len(tried) == 1 else 10**9
            return super().predict_batch(requests, options)

    tried: list[int] = []
    draw(tmp_path / "in", 10)
    outcome = run(job(tmp_path / "in", tmp_path / "out"), model(Once()))
    assert (tried, outcome.room, outcome.failed) == ([4, 2, 2, 2, 2, 2], 2, 0)
    told = json.loads((tmp_path / "out" / RUN_FILE).read_text())
    assert (told["batch_size"], told["room"]) == (4, 2)


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 0.0), (60.0, 1.0)])
def test_a_job_says_how_much_of_its_time_the_model_worked(tmp_path, seconds, expected):
    draw(tmp_path / "in", 6)
    outcome = run(job(tmp_path / "in", tmp_path / "out"), model(Answers(seconds=seconds)))
    told = json.loads((tmp_path / "out" / RUN_FILE).read_text())
    assert (outcome.utilisation, told["utilisation"]) == (expected, expected)
    assert 0 < outcome.waiting <= 1
    assert 0 < told["waiting"] <= 1
    assert "room" not in told, "memory was never too little"


def test_five_thousand_pictures_are_not_held(tmp_path):
    draw(tmp_path / "in", 5_000, size=(4, 4))
    engine = Answers()
    outcome = run(job(tmp_path / "in", tmp_path / "out", batch_size=8), model(engine))
    assert outcome.rows == 5_000
    assert engine.most_held <= reading_ahead(8, 2).most + 8


def test_rows_come_in_the_order_of_the_pictures(tmp_path):
    draw(tmp_path / "in", 40)
    run(job(tmp_path / "in", tmp_path / "out", workers=8), model())
    assert [r["source"] for r in _rows(tmp_path / "out")] == [f"{i:05}.png" for i in range(40)]


def test_a_full_disk_leaves_whole_rows_and_says_so(tmp_path, monkeypatch):
    draw(tmp_path / "in", 12)

    class Full:
        """A file with room for so many bytes."""

        def __init__(self, file, room):
            self.file, self.room = file, room

        def write(self, data):
            self.file.write(data[: self.room])
            self.file.flush()
            if len(data) > self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.room -= len(data)

        def __getattr__(self, name):
            return getattr(self.file, name)

    begin = RowFile.begin

    def small(self, **how):
        begin(self, **how)
        self._file = Full(self._file, 7_000)

    monkeypatch.setattr(RowFile, "begin", small)
    outcome = run(job(tmp_path / "in", tmp_path / "out"), model())
    assert "disk is full" in outcome.stopped
    monkeypatch.undo()
    kept = (tmp_path / "out" / ROWS_FILE).read_bytes()
    assert kept.endswith(b"\n")
    assert kept.count(b"\n") == outcome.answered == 4
    assert run(job(tmp_path / "in", tmp_path / "out"), model()).answered == 8


def test_a_second_job_in_one_folder_is_refused(tmp_path):
    draw(tmp_path / "in", 8)
    refused = []

    def second(outcome, rows) -> None:
        with pytest.raises(InputError, match="Another job"):
            run(job(tmp_path / "in", tmp_path / "out"), model())
        refused.append(True)

    run(job(tmp_path / "in", tmp_path / "out"), model(), Watch(second))
    assert refused == [True, True]


def test_a_folder_that_is_a_file_is_told(tmp_path):
    draw(tmp_path / "in", 1)
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written to"):
        run(job(tmp_path / "in", tmp_path / "out"), model())


def test_rows_go_down_a_pipe(tmp_path, capfdbinary):
    draw(tmp_path / "in", 3)
    with (tmp_path / "pipe").open("wb") as out:
        outcome = run(job(tmp_path / "in", None), model(), Watch(out=RowStream(out)))
    assert outcome.rows == 3
    assert [r["source"] for r in rows_in(tmp_path / "pipe")] == [f"{i:05}.png" for i in range(3)]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tasks": ()}, "Nothing is asked"),
        ({"tasks": ("nonsense",)}, "nonsense"),
        ({"tasks": ("region_to_ocr",)}, "region"),
        ({"tasks": ("docvqa",)}, "needs words"),
        ({"tasks": ("od",), "text": "a cat"}, "takes no text"),
        ({"batch_size": 0}, "--batch-size"),
        ({"workers": 999}, "--workers"),
        ({"min_score": 7.0}, "--min-score"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_settings_that_mean_nothing_are_refused(tmp_path, settings, said):
    draw(tmp_path / "in", 1)
    with pytest.raises(InputError, match=said):
        run(job(tmp_path / "in", tmp_path / "out", **settings), model())


def test_a_share_of_a_job_is_done_anywhere(tmp_path):
    draw(tmp_path / "in", 3)
    config = job(tmp_path / "in", None)
    rows = rows_of(list(all_items(config)), Answering.of(Answers(), config))
    run(job(tmp_path / "in", tmp_path / "out"), model())
    assert rows == _rows(tmp_path / "out")


def test_strange_names_come_back_from_the_rows(tmp_path):
    draw(tmp_path / "in", 1)
    name = "new\nline 😀\udcff.png"
    os.rename(tmp_path / "in" / "00000.png", tmp_path / "in" / name)  # noqa: PTH104
    config = job(tmp_path / "in", tmp_path / "out")
    run(config, model())
    assert _rows(tmp_path / "out")[0]["source"] == name
    assert run(config, model()).skipped == 1


def test_a_source_that_is_named_twice_is_answered_once(tmp_path):
    from dataclasses import replace

    draw(tmp_path / "in", 3)
    file = str(tmp_path / "in" / "00000.png")
    config = replace(job("", tmp_path / "out"), sources=(file, file))
    assert run(config, model()).rows == 1
