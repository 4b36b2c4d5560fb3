from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from florence_demo.files import write_json
from florence_demo.machine import process_memory
from florence_demo.training.status import RunFiles, ask_to_stop, read_log, read_status


def test_status_goes_there_and_back(tmp_path: Path) -> None:
    files = RunFiles(tmp_path / "run")
    files.tell(state="training", step=3, loss=1.5, samples=({"answer": "x"},))
    status = read_status(tmp_path / "run")
    assert status == files.status
    assert status is not None
    assert (status.state, status.step, status.pid) == ("training", 3, os.getpid())


def test_no_run_has_no_status(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    assert read_log(tmp_path) == []


@pytest.mark.parametrize(("state", "told"), [("training", "failed"), ("done", "done")])
def test_a_dead_run_is_told_as_failed(tmp_path: Path, state: str, told: str) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    files = RunFiles(tmp_path)
    files.tell(state=state, pid=ended.pid)
    status = read_status(tmp_path)
    assert status is not None
    assert status.state == told


def test_not_a_number_becomes_null(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    files.log({"step": 1, "loss": float("nan")})
    files.tell(loss=float("inf"))
    write_json(tmp_path / "x.json", {"a": [float("nan"), 1.0]})
    assert read_log(tmp_path) == [{"step": 1, "loss": None}]
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [None, 1.0]}
    status = read_status(tmp_path)
    assert status is not None
    assert status.loss is None


def test_a_half_written_line_is_passed_over_and_forgotten(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    for step in (1, 2, 3):
        files.log({"step": step})
    with (tmp_path / "log.jsonl").open("a") as out:
        out.write('{"step": 4, "lo')
    assert [e["step"] for e in read_log(tmp_path)] == [1, 2, 3]
    files.forget_after(2)
    files.log({"step": 3, "again": True})
    assert read_log(tmp_path) == [{"step": 1}, {"step": 2}, {"step": 3, "again": True}]


def test_stop_is_heard_and_forgotten_by_the_next_run(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    assert not files.stop_wanted()
    ask_to_stop(tmp_path)
    assert files.stop_wanted()
    assert not RunFiles(tmp_path).stop_wanted()


def test_a_silent_run_writes_nothing(tmp_path: Path) -> None:
    files = RunFiles(tmp_path / "run", silent=True)
    files.tell(state="training")
    files.log({"step": 1})
    assert not (tmp_path / "run").exists()


def test_memory_is_a_number_of_bytes() -> None:
    now, peak = process_memory()
    assert now > 1e6
    assert peak > 1e6


def test_a_resumed_run_knows_what_was_kept(tmp_path: Path) -> None:
    RunFiles(tmp_path).tell(before={"a": 1.0}, checkpoint="checkpoint-120", pid=0)
    RunFiles(tmp_path, resume=True).tell(message="Opening the model")
    status = read_status(tmp_path)
    assert status is not None
    assert (status.before, status.checkpoint) == ({"a": 1.0}, "checkpoint-120")


ODD: dict[str, object] = {
    "no table": [],
    "a deep list": None,
    "NaN": None,
    "a large file": None,
    "another word": {"colour": "green"},
    "a state of another kind": {"state": "odd"},
    "a list of states": {"state": ["done"]},
    "absurd steps": {"state": "done", "steps": 10**300},
    "steps that are a text": {"state": "done", "steps": "5"},
    "steps below nothing": {"state": "done", "steps": -5},
    "half a step": {"state": "done", "step": 0.5},
    "no time": {"state": "done", "seconds": None},
    "an absurd time": {"state": "done", "updated": 1e300},
    "a process that is a text": {"state": "training", "pid": "1"},
    "an absurd process": {"state": "training", "pid": 10**300},
    "a message that is a list": {"state": "done", "message": ["x"]},
    "samples that are a text": {"state": "done", "samples": "x"},
    "numbers that are a list": {"state": "done", "before": [1]},
}
TEXTS = {
    "a deep list": "[" * 100_000,
    "NaN": '{"seconds": NaN}',
    "a large file": '{"message": "' + "x" * 2_000_000 + '"}',
}


@pytest.mark.parametrize("name", ODD)
def test_a_file_that_is_no_status_counts_as_none(tmp_path: Path, name: str) -> None:
    text = TEXTS.get(name) or json.dumps(ODD[name])
    (tmp_path / "status.json").write_text(text)
    assert read_status(tmp_path) is None


def test_a_number_that_may_be_missing_is_missing_where_it_is_none(tmp_path: Path) -> None:
    values = {"loss": 10**300, "eval_loss": "x", "before": {"a": 1e300, "b": 0.5, "c": "x"}}
    (tmp_path / "status.json").write_text(json.dumps({"state": "done", **values}))
    status = read_status(tmp_path)
    assert status is not None
    assert (status.loss, status.eval_loss) == (None, None)
    assert status.before == {"a": None, "b": 0.5, "c": None}


def test_a_run_that_tells_too_much_stays_readable(tmp_path: Path) -> None:
    RunFiles(tmp_path).tell(state="failed", message="x" * 3_000_000)
    status = read_status(tmp_path)
    assert status is not None
    assert len(status.message) == 4_000


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("[" * 100_000, id="deep"),
        pytest.param('{"step": 1e400}', id="infinite"),
        pytest.param('{"step": "1"}', id="text"),
        pytest.param('{"step": ' + "9" * 3_000 + "}", id="3,000 digits"),
        pytest.param("5", id="a number"),
        pytest.param('{"loss": 1}', id="no step"),
        pytest.param('{"step": 1, "note": "' + "x" * 9_000 + '"}', id="long"),
    ],
)
def test_a_line_that_is_no_entry_is_passed_over(tmp_path: Path, line: str) -> None:
    (tmp_path / "log.jsonl").write_text(f'{line}\n{{"step": 2, "loss": 1e300, "x": []}}\n')
    assert read_log(tmp_path) == [{"step": 2}]


def test_of_a_long_log_the_newest_is_read_and_all_is_kept(tmp_path: Path) -> None:
    lines = [json.dumps({"step": n, "note": "x" * 1_000}) for n in range(3_000)]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n")
    read = read_log(tmp_path)
    assert 1_500 < len(read) < 2_500
    assert read[-1]["step"] == 2_999
    RunFiles(tmp_path).forget_after(2_998)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2_999
