"""Parts become rows once, whoever wrote them how often; a worker's share needs no cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest

from florence_demo.batch import share as share_module
from florence_demo.batch.done import Done
from florence_demo.batch.parts import PARTS_FOLDER, Parts
from florence_demo.batch.rows import RowFile
from florence_demo.batch.run import Model, Watch, run
from florence_demo.batch.share import Work, Worker, shares
from florence_demo.batch.sources import Item, all_items
from florence_demo.data.batches import ROWS_FILE, rows_in
from florence_demo.data.places import Place
from florence_demo.errors import InputError
from tests.batch.job import Answers, draw, job, model


@pytest.fixture
def file(tmp_path):
    """The file of rows of a job, open."""
    found = RowFile(tmp_path / "out")
    found.begin()
    yield found
    found.end()


def _row(name: str, content: str = "1", **more) -> dict:
    return {"source": name, "sha256": content, "answers": {}, **more}


def test_a_part_is_taken_once(file):
    parts = Parts.of(file.folder, {"tasks": ["od"]})
    parts.begin("a")
    parts.write("a", [_row("1.png"), _row("2.png")])
    assert len(parts.take("a", file)) == 2
    parts.write("a", [_row("1.png"), _row("2.png")])  # by one that was thought lost
    assert parts.take("a", file) == []
    assert parts.take("a", file) == [], "nor is one that is not there"
    parts.write("b", [_row("2.png", "changed"), _row("3.png"), _row("3.png")])
    assert [row["source"] for row in parts.gather(file)] == ["2.png", "3.png"]
    assert not (file.folder / PARTS_FOLDER).exists()
    assert file.done == 3


def test_parts_of_other_settings_are_not_taken_in(tmp_path, file):
    other = Parts.of(file.folder, {"tasks": ["caption"]})
    other.begin("a")
    other.write("a", [_row("1.png")])
    parts = Parts.of(file.folder, {"tasks": ["od"]})
    assert parts.gather(file) == []
    assert other.folder.exists()
    parts.remove_all()
    assert not other.folder.exists()


def test_what_failed_is_left_out_where_it_is_asked_again(file):
    parts = Parts.of(file.folder, {})
    parts.begin("a")
    parts.write("a", [_row("1.png"), _row("2.png", error="No."), _row("3.png")])
    assert [row["source"] for row in parts.gather(file, failed=False)] == ["1.png", "3.png"]


def test_a_name_tells_pictures_apart_and_workers_not():
    assert Parts.name_of(["a", "b"]) == Parts.name_of(["a", "b"])
    assert len({Parts.name_of(keys) for keys in (["a", "b"], ["b", "a"], ["a"], ["\udcff"])}) == 4


def test_done_knows_what_the_file_knows(tmp_path, file):
    file.append([_row(f"{i}.png", str(i)) for i in range(50)])
    file.append([_row("bad.png", "", error="No."), _row("cut.png", "cut", error="No.")])
    done = Done.of(file)
    for name in (*(f"{i}.png" for i in range(52)), "bad.png", "cut.png", "\udcff.png"):
        item = Item(name, Place("file", name))
        for content in ("", "7", "cut", name.removesuffix(".png")):
            assert done.has(item, content) == file.has(item.key, content), (name, content)
    moved = Item("moved.png", Place("file", "moved.png"))
    assert done.knows_like(moved, "7")
    assert not done.knows_like(moved, "cut"), "what failed is no answer"
    assert not Done.of(RowFile(tmp_path / "empty")).has(moved, "")


def _work(config, opened: Answers) -> Work:
    return Work(config, lambda config: model(opened), "weights", ".", 2, 16)


def _nothing(tmp_path) -> Done:
    return Done.of(RowFile(tmp_path / "nothing"))


def test_shares_end_where_they_grow_heavy():
    items = [Item(str(i), Place("file", "")) for i in range(10)]
    assert [len(share) for share in shares(items, 4)] == [4, 4, 2]
    heavy = [replace(item, given=bytes(40_000_000)) for item in items[:5]]
    assert [len(share) for share in shares(heavy, 4)] == [2, 2, 1]


def test_a_share_says_how_long_the_model_worked_on_it(tmp_path):
    draw(tmp_path / "in", 8)
    config = job(tmp_path / "in", tmp_path / "out")
    items = list(all_items(config))
    worker = Worker(_work(config, Answers(full=3, seconds=7.0)), _nothing(tmp_path))
    told = [worker.do(items[:6]), worker.do(items[6:])]
    assert [each.worked for each in told] == [42.0, 14.0]
    assert [each.room for each in told] == [2, 2]
    assert all(0 < each.waited <= each.seconds for each in told)


def test_a_share_makes_the_rows_of_a_job(tmp_path):
    draw(tmp_path / "in", 7)
    (tmp_path / "in" / "bad.png").write_bytes(b"no")
    config = job(tmp_path / "in", tmp_path / "out")
    told = Worker(_work(config, Answers()), _nothing(tmp_path)).do(list(all_items(config)))
    assert (told.problem, told.skipped, told.batch_size) == ("", 0, 4)
    engine = Answers()
    outcome = run(config, model(engine), Watch(stop=lambda: False))
    assert (outcome.answered, outcome.skipped, engine.batches) == (0, 8, []), "taken in"
    run(replace(config, out=tmp_path / "alone"), model())
    assert (tmp_path / "out" / ROWS_FILE).read_bytes() == (
        tmp_path / "alone" / ROWS_FILE
    ).read_bytes()


def test_a_share_that_ended_its_worker_is_done_picture_by_picture(tmp_path):
    draw(tmp_path / "in", 5)
    config = job(tmp_path / "in", tmp_path / "out")
    work, items = _work(config, Answers()), list(all_items(config))
    name = Parts.name_of([item.key for item in items])
    for _ in range(share_module._WHOLE):
        work.parts.begin(name)
    for _ in range(share_module._ALONE):
        work.parts.begin(f"{name}-3")
    engine = Answers()
    Worker(_work(config, engine), _nothing(tmp_path)).do(items)
    assert engine.batches == [1] * 4
    run(config, model())
    failed = [row for row in rows_in(tmp_path / "out" / ROWS_FILE) if "error" in row]
    assert [row["source"] for row in failed] == ["00003.png"]
    assert len(failed[0]["sha256"]) == 64


def _other(config) -> Model:
    return Model("other weights", Answers)


def _none(config) -> Model:
    raise InputError("There is none.")


@pytest.mark.parametrize(
    ("found", "said"),
    [(_other, "its files differ"), (_none, "There is none")],
)
def test_a_worker_without_the_model_tells_it(tmp_path, found, said):
    draw(tmp_path / "in", 1)
    config = job(tmp_path / "in", tmp_path / "out")
    worker = Worker(replace(_work(config, Answers()), model=found), _nothing(tmp_path))
    told = worker.do(list(all_items(config)))
    assert said in told.problem
    assert (told.part, told.model) == ("", "")


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    draw(tmp_path / "in", 1)
    config = job(tmp_path / "in", tmp_path / "out")
    (tmp_path / "out").write_text("in the way")
    told = Worker(_work(config, Answers()), _nothing(tmp_path)).do(list(all_items(config)))
    assert "cannot write" in told.problem
