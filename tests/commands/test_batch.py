"""The command ``batch``: what it prints where, its status, and how it is asked to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from florence_demo.__main__ import main
from florence_demo.batch import models, on_ray
from florence_demo.batch.plan import Plan
from florence_demo.batch.run import Outcome, run
from florence_demo.commands.batch import _said
from florence_demo.data.batches import ROWS_FILE, rows_in
from tests.batch.job import Answers, draw, model


@pytest.fixture
def engine(monkeypatch) -> Answers:
    """The engine that every job gets."""
    found = Answers()
    monkeypatch.setattr(models, "model_of", lambda config: model(found))
    return found


def test_a_job_and_its_status(tmp_path, engine, capsys):
    draw(tmp_path / "in", 3)
    arguments = ["batch", str(tmp_path / "in"), "--task", "od,caption", "--out"]
    out = str(tmp_path / "out")
    assert main([*arguments, out, "--to", "coco", "csv"]) == 0
    told = capsys.readouterr()
    assert told.out.split() == [f"{out}/coco", f"{out}/csv"]
    assert "3 answered" in told.err
    assert "pictures" not in told.err.replace("batch", ""), "no bar where there is no terminal"
    (tmp_path / "in" / "bad.png").write_bytes(b"no")
    assert main([*arguments, out]) == 1
    told = capsys.readouterr()
    assert "bad.png: This file is not a picture" in told.err
    assert "1 failed: --retry-failed" in told.err
    assert main(["batch", "export", out, "--to", "yolo", "--min-score", "0.5"]) == 0
    assert (tmp_path / "out" / "yolo" / "data.yaml").is_file()


def test_a_format_that_cannot_be_written_ends_no_other(tmp_path, engine, capsys):
    draw(tmp_path / "in", 2)
    out = str(tmp_path / "out")
    arguments = ["batch", str(tmp_path / "in"), "--task", "od", "--out", out]
    assert main([*arguments, "--to", "film", "csv"]) == 1
    told = capsys.readouterr()
    assert "film: Nothing was written" in told.err
    assert told.out.split() == [f"{out}/csv"]
    assert main(["batch", "export", out, "--to", "film", "csv"]) == 1
    assert main(["batch", "export", out, "--to", "film"]) == 2


def test_rows_go_to_stdout_and_nothing_else_does(tmp_path, engine, capfdbinary):
    draw(tmp_path / "in", 3)
    assert main(["batch", str(tmp_path / "in"), "--task", "caption", "--out", "-"]) == 0
    told = capfdbinary.readouterr().out.splitlines()
    assert [json.loads(line)["source"] for line in told] == [f"{i:05}.png" for i in range(3)]


def test_more_answers_than_room_are_told():
    told = Plan(1_000_000, 0, {"picture": 1_000_000}, 0.1, 1_000, 10_000_000).sentences()
    assert "10 MB of disk are free there" in told[-2]
    assert "make room" in told[-1]


def test_a_dry_run_writes_nothing(tmp_path, engine, capsys):
    draw(tmp_path / "in", 20)
    out = tmp_path / "out"
    assert main(["batch", str(tmp_path / "in"), "--out", str(out), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "20 pictures" in told
    assert "of disk are free there" in told
    assert "Nothing was written" in told
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["IN"], "--out DIR"),
        (["IN", "--out", ""], "--out DIR"),
        (["", "--out", "OUT"], "has no name"),
        (["gone", "--out", "OUT"], "There is no “gone”"),
        (["IN", "--out", "OUT", "--task", "nonsense"], "nonsense"),
        (["IN", "--out", "OUT", "--batch-size", "many"], "--batch-size"),
        (["IN", "--out", "OUT", "--to", "excel"], "excel"),
        (["IN", "--out", "-", "--to", "coco"], "--to writes into"),
        (["IN", "--out", "IN"], "among the pictures"),
        (["export", "IN", "--to", "coco"], "holds no results"),
        (["export"], "Say which job"),
        (["IN", "--out", "FILE/x"], "cannot be written to"),
        (["IN", "--out", "OUT", "--concurrency", "2"], "--engine ray"),
        (["IN", "--out", "-", "--engine", "ray"], "a folder"),
        (["IN", "--out", "OUT", "--engine", "ray", "--cpus-per-worker", "0"], "--cpus-per-worker"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_start_is_a_sentence_and_status_two(tmp_path, engine, capsys, arguments, said):
    draw(tmp_path / "in", 1)
    (tmp_path / "file").touch()
    places = {"IN": "in", "OUT": "out", "FILE/x": "file/x"}
    given = [str(tmp_path / places[a]) if a in places else a for a in arguments]
    assert main(["batch", *given]) == 2
    told = capsys.readouterr().err.strip()
    assert said in told
    assert "\n" not in told
    assert not (tmp_path / "out" / ROWS_FILE).exists()


def test_a_job_on_a_cluster_is_given_on_and_leaves_a_table(tmp_path, engine, monkeypatch, capsys):
    draw(tmp_path / "in", 3)
    given = []

    def run_on_ray(config, cluster, found, watch):
        given.append(cluster)
        return run(config, found(config), watch)

    monkeypatch.setattr(on_ray, "run_on_ray", run_on_ray)
    arguments = ["batch", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--engine", "ray"]
    assert main(arguments) == 0
    flags = ["--ray-address", "head:6379", "--gpus-per-worker", "0.5", "--concurrency", "3"]
    assert main([*arguments, *flags, "--to", "csv"]) == 0
    assert given == [on_ray.Cluster(), on_ray.Cluster("head:6379", 0.5, None, 3)]
    told = capsys.readouterr().out.split()
    assert [Path(line).name for line in told] == ["parquet", "csv", "parquet"]


ASKED = """
import os, signal, sys
from florence_demo.__main__ import main
from florence_demo.batch import models
from florence_demo.batch.exporting import FORMATS
from tests.batch.job import Answers, model

class Asked(Answers):
    def predict_batch(self, requests, options=None):
        if len(self.batches) == 1:
            for _ in range({times}):
                os.kill(os.getpid(), signal.{signal})
        return super().predict_batch(requests, options)

models.model_of = lambda config: model(Asked())
sys.exit(main(["batch", sys.argv[1], "--out", sys.argv[2], "--batch-size", "4"]))
"""


def _asked(folder: Path, name: str, times: int) -> subprocess.CompletedProcess[str]:
    code = ASKED.replace("{signal}", name).replace("{times}", str(times))
    command = [sys.executable, "-c", code, str(folder / "in"), str(folder / "out")]
    project = Path(__file__).parents[2]
    return subprocess.run(
        command, cwd=project, capture_output=True, text=True, check=False, env=dict(os.environ)
    )


def test_asked_twice_it_ends_at_once_without_a_traceback(tmp_path):
    draw(tmp_path / "in", 16)
    done = _asked(tmp_path, "SIGINT", times=2)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "Ended at once."
    assert "Traceback" not in done.stderr
    assert len(list(rows_in(tmp_path / "out" / ROWS_FILE))) == 4


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_asked_to_stop_it_finishes_the_part_in_work_and_says_how_to_go_on(tmp_path, name, engine):
    before = signal.getsignal(signal.SIGINT)
    draw(tmp_path / "in", 16)
    done = _asked(tmp_path, name, times=1)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("ive the same command again to go on") == 1
    assert len(list(rows_in(tmp_path / "out" / ROWS_FILE))) == 8
    again = ["batch", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--batch-size", "4"]
    assert main(again) == 0
    assert sum(engine.batches) == 8
    assert signal.getsignal(signal.SIGINT) is before


def test_the_help_lists_every_format(capsys):
    from florence_demo.batch.exporting import FORMATS

    with pytest.raises(SystemExit):
        main(["batch", "--help"])
    told = capsys.readouterr().out.replace(",", " ").split()
    assert set(FORMATS) <= set(told)


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome(9, seconds=3.0), "9 answered in 3 s (3.0 a second)."),
        (
            Outcome(9, seconds=3.0, utilisation=0.914, waiting=0.02),
            "9 answered in 3 s (3.0 a second; utilisation 91%, waiting for pictures 2%).",
        ),
        (
            Outcome(9, seconds=3.0, failed=1, room=4),
            "9 answered in 3 s (3.0 a second), at most 4 at once since memory was too little for"
            " more; 1 failed: --retry-failed asks them again.",
        ),
    ],
    ids=["plain", "utilisation", "little memory"],
)
def test_the_end_says_what_was_done_and_how_fast(outcome, said):
    assert _said(outcome, "-") == said
