from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from florence_demo.__main__ import main
from florence_demo.commands.finetune_demo import add_arguments, config_from_args
from florence_demo.data.forms import DEMO_FORMS, DEMO_FORMS_HELD
from florence_demo.training import recipes as finetune_demo
from florence_demo.training.recipes import DemoConfig, train_config
from tests.micro_florence import micro_model, micro_processor


@pytest.mark.parametrize("lora", [False, True], ids=["whole", "lora"])
def test_the_last_line_is_the_outcome(
    lora: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processor = micro_processor()
    micro_model(processor).save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    monkeypatch.setattr(finetune_demo, "DEMO_FORMS", "forms:0:8")
    monkeypatch.setattr(finetune_demo, "DEMO_FORMS_HELD", "forms:1000000:2")
    words = ["finetune-demo", "--model", str(tmp_path / "base"), "--out", str(tmp_path / "run")]
    assert main([*words, "--steps", "2", *["--lora"] * lora]) == 0
    *before, last = capsys.readouterr().out.splitlines()
    assert set(json.loads(last)) == {"before", "after", "minutes"}
    assert last not in before
    assert (tmp_path / "run/adapter/adapter_config.json").is_file() is lora


def test_no_form_is_learned_from_and_measured_on() -> None:
    (a, n), (b, m) = (map(int, s.location.split(":")[1:]) for s in (DEMO_FORMS, DEMO_FORMS_HELD))
    assert not set(range(a, a + n)) & set(range(b, b + m))


def test_command_line_defaults_are_the_configs() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert config_from_args(parser.parse_args([])) == DemoConfig()
    train_config(DemoConfig(lora=True)).check()
