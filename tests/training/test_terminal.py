"""What a person, or a program, sees of a run in a terminal."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from florence_demo.__main__ import main
from florence_demo.training.status import RunFiles, read_log
from florence_demo.training.terminal import Terminal
from tests.micro_florence import micro_model, micro_processor


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("terminal")
    processor = micro_processor()
    micro_model(processor).save_pretrained(folder / "base")
    processor.save_pretrained(folder / "base")
    rows = []
    for i in range(8):
        Image.new("RGB", (20, 20 + i), "red").save(folder / f"{i}.png")
        rows.append({"image": f"{i}.png", "prefix": "<FORM>What?", "suffix": "red"})
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = str(folder / "rows.jsonl")
    return [
        *("train", "--model", str(folder / "base"), "--data", data, "--eval-data", data),
        *("--epochs", "2", "--batch-size", "4", "--log-every", "1", "--device", "cpu"),
        *("--answers", "2", "--learning-rate", "0.001"),
    ]


def test_a_line_a_step_and_the_outcome(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*flags, "--out", str(tmp_path / "run")]) == 0
    out, err = capsys.readouterr()
    heads, numbers, outcome = out.splitlines()
    assert heads.split() == ["before", "after"]
    assert re.fullmatch(r"custom/anls +[\d.]+ +[\d.]+", numbers)
    assert outcome.startswith("Done after 4 steps")
    assert " with the model loaded, " in outcome
    lines = err.splitlines()
    opened = next(line for line in lines if line.startswith("Opened base"))
    assert opened.endswith("in use")
    steps = [line for line in lines if line.startswith("step ") and ", loss " in line]
    assert [line.split(",")[0] for line in steps] == [f"step {n} of 4" for n in (1, 2, 3, 4)]
    parts = r"loss [\d.]+, rate [\d.e-]+, [\d.,]+ samples/s, [\d.]+ [MG]B, about .* left$"
    assert re.search(parts, steps[1])
    # What was measured last stands beside each loss.
    assert "validation" not in steps[1]
    assert "validation" in steps[2]
    assert sum(line.startswith(("epoch 1: average", "epoch 2: average")) for line in lines) == 2
    assert "\r" not in err, "nobody looks, so no bar"


def test_json_lines_are_the_log_and_the_last_one_the_outcome(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*flags, "--out", str(tmp_path / "run"), "--json"]) == 0
    *lines, last = map(json.loads, capsys.readouterr().out.splitlines())
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert last == result
    assert result["memory_loaded"] > 0
    assert result["memory_end"] > 0
    assert [line for line in lines if "step" in line] == read_log(tmp_path / "run")
    assert {"state", "message"} == set(lines[0])
    told = [line for line in lines if "loss" in line]
    assert {"learning_rate", "samples_per_second", "memory", "seconds_left"} <= set(told[0])


def test_a_bar_where_somebody_looks(tmp_path: Path) -> None:
    screen = Screen()
    with Terminal(err=screen) as terminal:
        files = RunFiles(tmp_path, listener=terminal)
        files.tell(state="training", step=0, steps=4)
        files.stepped(1, 4)
        files.log({"step": 1, "loss": 0.5})
        files.stepped(4, 4)
    shown = screen.getvalue()
    assert "4/4" in shown
    assert "step 1 of 4, loss 0.5000" in shown


def test_other_processes_tell_nothing_and_what_was_said_is_not_said_again(tmp_path: Path) -> None:
    out = io.StringIO()
    terminal = Terminal(err=out)
    RunFiles(tmp_path, silent=True, listener=terminal).log({"step": 1, "loss": 1.0})
    assert out.getvalue() == ""
    files = RunFiles(tmp_path, listener=terminal)
    files.tell(message="Checking the data")
    files.tell(message="Checking the data")
    for done in (16, 32):
        files.tell(state="caching", message=f"Looking at pictures: {done}")
    files.log({"step": 1, "loss": float("nan")})
    lines = out.getvalue().splitlines()
    assert lines == ["Checking the data", "Looking at pictures: 16", "step 1, loss nan"]
