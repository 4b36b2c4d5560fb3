"""How a job is measured beside asking one by one: few pictures, and both ways answer."""

from __future__ import annotations

import json

from florence_demo.benchmark import gain
from florence_demo.errors import CheckpointError


def test_both_ways_answer_the_same_pictures(tmp_path, capsys):
    given = ["--folder", str(tmp_path / "in"), "--pictures", "4", "--rounds", "2", "--part", "2"]
    assert gain.main(given) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pictures"] == 4
    assert len(told["ratios"]) == 2
    assert min(told["ratio"], told["one_by_one_a_second"], told["job_a_second"]) > 0
    assert 0 < told["utilisation"] <= 1
    assert 0 <= told["waiting"] < 1
    before = {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    assert len(before) == 4
    assert gain.draw(tmp_path / "in", 4) == sorted((tmp_path / "in").iterdir())
    assert {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()} == before


def test_the_row_tells_what_a_job_gains_and_whether_it_answered_alike():
    (row,) = gain.gain_rows(2, count=3)
    assert row.name == "3 pictures, one caption each, against the same engine one by one"
    assert (row.ratio > 0, row.at_least) == (True, 1.5)
    assert row.note.endswith("6 of 6 answers the same")
    assert "utilisation" in row.note


def test_without_the_embedded_model_the_row_says_so(monkeypatch):
    def gone(name):
        raise CheckpointError("It is not here.")

    monkeypatch.setattr(gain, "_opened", gone)
    (row,) = gain.gain_rows(1)
    assert (row.ratio, row.kept) == (None, True)
    assert row.note == "not run here: It is not here."
