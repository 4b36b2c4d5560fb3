from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from florence_demo.__main__ import main
from florence_demo.errors import CheckpointError, InputError
from florence_demo.nano import command
from florence_demo.nano.learning import config as settings
from florence_demo.nano.learning.config import TrainConfig
from florence_demo.nano.learning.loop import train


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch):
    monkeypatch.setattr(settings, "usable_cores", lambda: 16)


def parsed(*words: str) -> command.Command:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.config_from_args(parser.parse_args(words))


def by_device(config: TrainConfig) -> tuple[int, int, int, int, str]:
    return config.processes, config.batch, config.group, config.workers, config.shipped


def test_each_device_has_its_own_defaults():
    assert by_device(TrainConfig()) == (2, 8, 8, 0, "average")
    assert by_device(TrainConfig(device="cuda")) == (1, 128, 128, 12, "last")


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (4, 3), (8, 6), (16, 12)])
def test_a_gpu_has_most_cores_draw_for_it(monkeypatch, cores, workers):
    monkeypatch.setattr(settings, "usable_cores", lambda: cores)
    assert TrainConfig(device="cuda").workers == workers


def test_what_is_said_counts_more_than_the_device():
    config = TrainConfig(device="cuda", batch=64, group=16, workers=0, weights="average")
    assert by_device(config) == (1, 64, 16, 0, "average")


def test_steps_that_fell_to_nothing_leave_the_last_weights():
    assert TrainConfig(cooldown=True, minutes=3).shipped == "last"
    assert TrainConfig(cooldown=True, minutes=3, weights="average").shipped == "average"


def test_hours_and_minutes_add_up():
    assert TrainConfig(hours=1, minutes=2.5).seconds == 3750


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"device": "tpu"}, "cpu or cuda"),
        ({"batch": 0}, "--batch is at least 1"),
        ({"group": -8}, "--group is at least 1"),
        ({"workers": -1}, "--workers is at least 0"),
        ({"batch": 8, "processes": 3}, "multiple of --processes"),
        ({"device": "cuda", "processes": 2}, "one process"),
        ({"cooldown": True}, "--hours or --minutes"),
        ({"hours": float("nan")}, "--hours is at least 0"),
        ({"minutes": float("inf")}, "--minutes is at least 0"),
        ({"muon_lr": 0.0}, "--muon-lr is more than 0"),
        ({"adam_lr": float("nan")}, "--adam-lr is more than 0"),
        ({"ema": 1.0}, "--ema"),
        ({"weights": "best"}, "average or last"),
        ({"styles": ("fluent", "twemoji")}, "twemoji"),
        ({"styles": ()}, "fluent"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_refused_in_a_sentence(wrong, said):
    with pytest.raises(InputError, match=said) as caught:
        TrainConfig(**wrong)
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="no GPU"):
        train(TrainConfig(out=tmp_path / "run", device="cuda"))
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_there_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(CheckpointError, match="no model to go on from"):
        train(TrainConfig(out=tmp_path / "run", start=tmp_path / "none"))
    assert list(tmp_path.iterdir()) == []


def test_the_command_lines_defaults_are_the_configs():
    assert parsed() == command.Command(TrainConfig(), None, 0.0)
    assert parsed("--device", "cuda").config == TrainConfig(device="cuda")


def test_the_recipe_of_the_card_needs_no_other_word():
    words = "--device cuda --start assets/nano --styles fluent flat noto noto1 fx"
    config = parsed(*words.split(), "--cooldown", "--minutes", "8.267").config
    assert by_device(config) == (1, 128, 128, 12, "last")
    assert config.start == Path("assets/nano")
    assert config.styles == ("fluent", "flat", "noto", "noto1", "fx")
    assert (config.muon_lr, config.adam_lr, config.questions) == (2e-3, 2e-3, 4)
    assert round(config.seconds) == 496


def test_the_command_says_its_defaults_on_each_device(capsys):
    with pytest.raises(SystemExit):
        main(["train-embedded", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "--group GROUP default: 8 on cpu, 128 on cuda" in said
    assert "--questions QUESTIONS default: 4" in said
    assert "default: average on cpu, last on cuda" in said


def test_the_command_refuses_in_one_line(capsys):
    assert main(["train-embedded", "--batch", "7"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
