from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from florence_demo.__main__ import main
from florence_demo.commands.forgetting_demo import (
    ForgettingConfig,
    add_arguments,
    config_from_args,
    summary,
    table,
)
from florence_demo.nano.heldout import FIRST_SEED
from florence_demo.training import recipes, splits
from florence_demo.training.config import Result
from tests.micro_florence import micro_model, micro_processor


def result(after: dict[str, float]) -> Result:
    before = {"custom/anls": 0.0, "other od/accuracy": 0.9, "other ocr/anls": 0.7}
    return Result(Path("x"), before, after, 2.0, 10, 1.0, 1, 5, 9)


FOUND = {
    "alone": result({"custom/anls": 0.95, "other od/accuracy": 0.1, "other ocr/anls": 0.3}),
    "mixed": result({"custom/anls": 0.92, "other od/accuracy": 0.8, "other ocr/anls": 0.6}),
}


def test_both_are_told_beside_each_other() -> None:
    assert summary(FOUND) == {
        "forms": {"before": 0.0, "alone": 0.95, "mixed": 0.92},
        "scenes": {"before": 0.8, "alone": 0.2, "mixed": 0.7},
        "minutes": 4.0,
    }
    lines = table(FOUND, 0.2).splitlines()
    assert lines[0] == "| | before | forms alone | with 20% scenes |"
    assert lines[2] == "| custom/anls | 0.000 | 0.950 | 0.920 |"
    assert lines[-1] == "| scenes, the mean of all other | 0.800 | 0.200 | 0.700 |"


def test_the_last_line_is_the_outcome(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "DEMO_FORMS", "forms:0:8")
    monkeypatch.setattr(recipes, "DEMO_FORMS_HELD", "forms:1000000:1")
    monkeypatch.setattr(splits, "asks_scenes", lambda _: True)
    monkeypatch.setattr(splits, "SCENE_TASKS", ("region_to_category",))
    monkeypatch.setattr(splits, "SCENES_A_TASK", 2)
    processor = micro_processor()
    micro_model(processor).save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    words = ["forgetting-demo", "--model", str(tmp_path / "base")]
    words += ["--out", str(tmp_path), "--steps", "1"]
    assert main([*words, "--scenes", "scenes:drawn:0:1", "--share", "0.5"]) == 0
    out = capsys.readouterr().out.splitlines()
    told = json.loads(out[-1])
    assert set(told) == {"forms", "scenes", "minutes"}
    assert set(told["forms"]) == set(told["scenes"]) == {"before", "alone", "mixed"}
    assert all(0 <= number <= 1 for number in told["scenes"].values())
    assert "| | before | forms alone | with 50% scenes |" in out
    mixes = [
        json.loads((tmp_path / name / "train_config.json").read_text())["mix"]
        for name in ("alone", "mixed")
    ]
    assert mixes == [[], ["scenes:drawn:0:1:0.5"]]


def test_no_scene_is_learned_from_and_measured_on() -> None:
    kind, _, first, count = ForgettingConfig().scenes.split(":")
    assert kind == "scenes"
    assert int(first) + int(count) < FIRST_SEED


def test_command_line_defaults_are_the_configs() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert config_from_args(parser.parse_args([])) == ForgettingConfig()
