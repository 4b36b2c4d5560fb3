from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from florence_demo.run_files import (
    RunFiles,
    ask_to_stop,
    process_memory,
    read_log,
    read_status,
    write_json,
)


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
