"""A job that is ended at any moment goes on as if it never had been."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from florence_demo.batch.run import Watch, run
from florence_demo.data.batches import ROWS_FILE
from florence_demo.errors import InputError
from tests.batch.job import Answers, draw, job, model

PICTURES, PART = 30, 4
PROJECT = Path(__file__).parents[2]


def _run(folder: Path, out: Path, moment: str) -> int:
    command = [sys.executable, "-m", "tests.batch.job", str(folder), str(out), moment]
    return subprocess.run(command, cwd=PROJECT, check=False).returncode


def _moments(count: int) -> list[str]:
    rng = random.Random(11)
    most = {"picture": PICTURES // 3, "batch": 4, "line": 3}
    kinds = [rng.choice(list(most)) for _ in range(count)]
    return [f"{kind}:{rng.randint(1, most[kind])}" for kind in kinds]


def test_killed_ten_times_the_rows_are_those_of_an_unbroken_run(tmp_path):
    draw(tmp_path / "in", PICTURES)
    (tmp_path / "in" / "00007.png").write_bytes(b"no picture")
    (tmp_path / "in" / "00029.png").write_bytes((tmp_path / "in" / "00001.png").read_bytes())
    run(job(tmp_path / "in", tmp_path / "whole", tasks=("od", "caption")), model())
    ends = [_run(tmp_path / "in", tmp_path / "out", moment) for moment in _moments(10)]
    assert ends.count(-signal.SIGKILL) >= 5, "most of them before the job was done"
    assert _run(tmp_path / "in", tmp_path / "out", "never") == 0
    whole = (tmp_path / "whole" / ROWS_FILE).read_bytes()
    assert whole.count(b"\n") == PICTURES
    assert (tmp_path / "out" / ROWS_FILE).read_bytes() == whole


def test_a_kill_costs_one_part_at_most(tmp_path):
    draw(tmp_path / "in", PICTURES)
    assert _run(tmp_path / "in", tmp_path / "out", "line:4") == -signal.SIGKILL
    whole = (tmp_path / "out" / ROWS_FILE).read_bytes().split(b"\n")[:-1]
    assert 3 * PART <= len(whole) < 4 * PART, "of the fourth part a half is there"
    engine = Answers()
    outcome = run(job(tmp_path / "in", tmp_path / "out", tasks=("od", "caption")), model(engine))
    assert outcome.answered == PICTURES - len(whole)
    assert sum(engine.batches) == 2 * (PICTURES - 3 * PART), "that part again, no other"


def test_what_is_done_is_known_by_content_not_by_time_or_place(tmp_path):
    draw(tmp_path / "in", 8)
    config = job(tmp_path / "in", tmp_path / "out")
    run(config, model())
    for file in (tmp_path / "in").iterdir():
        file.touch()
    engine = Answers()
    assert run(config, model(engine)).skipped == 8
    assert engine.batches == []
    (tmp_path / "in" / "00000.png").rename(tmp_path / "in" / "moved.png")
    (tmp_path / "in" / "00001.png").write_bytes((tmp_path / "in" / "00002.png").read_bytes())
    outcome = run(config, model(engine))
    assert (outcome.answered, engine.batches) == (2, []), "equal content is not asked again"
    assert outcome.rows == 9, "the row of a place that is no more stays"
    draw(tmp_path / "in", 1, size=(9, 9))
    assert run(config, model(engine)).answered == 1
    assert engine.batches, "other content at a known place is"


def test_equal_files_at_two_places_are_two_rows(tmp_path):
    draw(tmp_path / "in" / "a", 1)
    draw(tmp_path / "in" / "b", 1)
    config = job(tmp_path / "in", tmp_path / "out")
    config = replace(config, which=replace(config.which, recursive=True))
    assert run(config, model()).rows == 2


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"tasks": ("caption",)}, "tasks"),
        ({"tasks": ("docvqa",), "text": "What?"}, "tasks, text"),
        ({"min_score": 0.5}, "min-score"),
        ({"dtype": "bf16"}, "dtype"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_other_settings_in_the_same_folder_are_refused(tmp_path, other, said):
    draw(tmp_path / "in", 2)
    run(job(tmp_path / "in", tmp_path / "out", tasks=("od",)), model())
    config = job(tmp_path / "in", tmp_path / "out", **{"tasks": ("od",), **other})
    with pytest.raises(InputError, match=rf"other settings \({said}\).*--overwrite"):
        run(config, model())
    anew = job(tmp_path / "in", tmp_path / "out", **{"tasks": ("od",), **other}, overwrite=True)
    assert run(anew, model()).answered == 2


def test_another_model_is_another_setting(tmp_path):
    draw(tmp_path / "in", 2)
    run(job(tmp_path / "in", tmp_path / "out"), model())
    other = model()
    with pytest.raises(InputError, match=r"\(model\)"):
        run(job(tmp_path / "in", tmp_path / "out"), type(other)("other", other.open))


def test_what_failed_is_asked_again_when_that_is_wanted(tmp_path):
    draw(tmp_path / "in", 6)
    good = (tmp_path / "in" / "00003.png").read_bytes()
    (tmp_path / "in" / "00003.png").write_bytes(good[:60])
    config = job(tmp_path / "in", tmp_path / "out")
    assert run(config, model()).failed == 1
    assert run(config, model()).answered == 0, "not by itself"
    again = job(tmp_path / "in", tmp_path / "out", retry_failed=True)
    outcome = run(again, model())
    assert (outcome.answered, outcome.failed) == (1, 1)
    (tmp_path / "in" / "00003.png").write_bytes(good)
    outcome = run(again, model())
    assert (outcome.answered, outcome.failed, outcome.rows) == (1, 0, 6)


def test_asked_to_stop_it_ends_after_the_part_in_work_and_goes_on_later(tmp_path):
    draw(tmp_path / "in", 12)
    config = job(tmp_path / "in", tmp_path / "out")
    parts: list[int] = []
    watch = Watch(lambda outcome, rows: parts.append(len(rows)), lambda: len(parts) == 2)
    outcome = run(config, model(), watch)
    assert outcome.stopped
    assert (outcome.answered, parts) == (8, [4, 4])
    assert run(config, model()).answered == 4
