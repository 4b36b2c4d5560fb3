"""The demonstration of a job: killed, gone on with, and its figures on the last line."""

from __future__ import annotations

import json

from florence_demo.__main__ import main


def test_the_last_line_is_the_outcome(tmp_path, capfd):
    assert main(["batch-demo", "--out", str(tmp_path / "demo"), "--count", "9"]) == 0
    outcome = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (outcome["pictures"], outcome["pages"], outcome["frames"]) == (9, 3, 5)
    assert outcome["rows"] == 9 + 3 + 5
    assert 5 <= outcome["rows_kept_by_the_kill"] <= 17
    written = {path.name: path for path in (tmp_path / "demo" / "answers").rglob("pa*.*")}
    assert {"pages.pdf", "pages.pdf.md", "pan.mp4"} <= set(written)
    assert written["pages.pdf.md"].read_text().count("\n---\n") == 2
    assert outcome["yolo_boxes"] > 9
    assert outcome["map_50"] > 0.5
