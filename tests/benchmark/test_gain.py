"""How a job is measured beside asking one by one: few pictures, and both ways answer."""

from __future__ import annotations

import json

from florence_demo.benchmark import gain


def test_both_ways_answer_the_same_pictures(tmp_path, capsys):
    given = ["--folder", str(tmp_path / "in"), "--pictures", "4", "--rounds", "2", "--part", "2"]
    assert gain.main(given) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pictures"] == 4
    assert len(told["ratios"]) == 2
    assert min(told["ratio"], told["one_by_one_a_second"], told["job_a_second"]) > 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    assert len(before) == 4
    assert gain.draw(tmp_path / "in", 4) == sorted((tmp_path / "in").iterdir())
    assert {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()} == before
