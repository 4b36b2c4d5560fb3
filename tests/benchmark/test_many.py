"""The benchmark of jobs: what it draws and how it reckons; the measuring is not run here."""

from __future__ import annotations

import hashlib

from PIL import Image

from florence_demo.batch.config import BatchConfig
from florence_demo.batch.run import Outcome
from florence_demo.benchmark import many


def test_no_picture_is_drawn_twice(tmp_path):
    (tmp_path / "scenes").mkdir()
    for number in range(2):
        Image.linear_gradient("L").rotate(90 * number).save(tmp_path / "scenes" / f"{number}.webp")
    many.draw(tmp_path / "scenes", tmp_path / "drawn", 9)
    files = list((tmp_path / "drawn").iterdir())
    assert len({hashlib.sha256(file.read_bytes()).digest() for file in files}) == 9


def test_what_a_further_picture_costs_leaves_the_start_out(tmp_path, monkeypatch):
    clock = iter([0.0, 10 + 100 * 0.05, 100.0, 110 + 1000 * 0.05])
    monkeypatch.setattr(many.time, "perf_counter", lambda: next(clock))
    folders = [tmp_path / "100", tmp_path / "1000"]
    told = many.measured(
        BatchConfig(()), folders, tmp_path, lambda job: Outcome(rows=int(job.out.name))
    )
    assert told == {"seconds": {"100": 15.0, "1000": 60.0}, "ms_each_further": 50.0}
