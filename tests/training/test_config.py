"""The bounds of a run's settings, and the file they travel in."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from florence_demo.data.source import DataLimits, DataSource
from florence_demo.errors import DatasetError
from florence_demo.files import write_json
from florence_demo.training.config import BOUNDS, CONFIG_FILE, TrainConfig, read_settings

NUMBERS = [f.name for f in fields(TrainConfig) if type(f.default) in (int, float)]
# Of "keep", None is every checkpoint, which is not its default.
LEFT_OUT = ["keep", *(f.name for f in fields(TrainConfig) if f.default is None)]
ABSURD: dict[str, Any] = {
    "1e300": 1e300,
    "10^400": 10**400,
    "below nothing": -1,
    "NaN": math.nan,
    "infinite": math.inf,
    "text": "5",
    "True": True,
    "a list": [5],
}


def test_every_number_has_bounds() -> None:
    assert set(BOUNDS) == {*NUMBERS, *LEFT_OUT}
    TrainConfig().check()


@pytest.mark.parametrize("value", ABSURD.values(), ids=ABSURD)
@pytest.mark.parametrize("name", BOUNDS)
def test_an_absurd_number_is_refused_with_its_range(name: str, value: Any) -> None:
    with pytest.raises(DatasetError, match=rf"^{name} must be .* and at most [\d,]+") as caught:
        replace(TrainConfig(), **{name: value}).check()
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("name", BOUNDS)
def test_only_what_may_be_left_out_is_left_out(name: str) -> None:
    config = replace(TrainConfig(), **{name: None})
    if name in LEFT_OUT:
        config.check()
    else:
        with pytest.raises(DatasetError, match=name):
            config.check()


@pytest.mark.parametrize("name", [n for n, b in BOUNDS.items() if b.whole])
def test_what_is_counted_is_whole(name: str) -> None:
    with pytest.raises(DatasetError, match="a whole number"):
        replace(TrainConfig(), **{name: 1.5}).check()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"model": None}, id="no model"),
        pytest.param({"model": "a\0"}, id="a zero byte"),
        pytest.param({"model": "a" * 9_999}, id="a long name"),
        pytest.param({"data": 5}, id="data that is a number"),
        pytest.param({"tasks": "od"}, id="tasks that are a text"),
        pytest.param({"tasks": (1,)}, id="a task that is a number"),
        pytest.param({"cache": "yes"}, id="a text for yes"),
        pytest.param({"out": "runs"}, id="a text for a folder"),
        pytest.param({"mode": ["lora"]}, id="a list of modes"),
        pytest.param({"precision": {}}, id="no precision"),
    ],
)
def test_a_setting_of_another_kind_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(DatasetError, match=next(iter(changes))):
        replace(TrainConfig(), **changes).check()


def test_settings_travel_in_a_file_and_data_as_a_value(tmp_path: Path) -> None:
    source = DataSource("coco", "/a#b", root="/a#b", limits=DataLimits(rows=9))
    config = TrainConfig(data=source, tasks=("od",), steps=5, out=tmp_path)
    write_json(tmp_path / CONFIG_FILE, config.to_json())
    assert read_settings(tmp_path) == config


SETTINGS = {
    "a number": "5",
    "a list": "[]",
    "a deep list": "[" * 100_000,
    "no JSON": "{",
    "another word": '{"colour": "green"}',
    "NaN": '{"steps": NaN}',
    "absurd steps": '{"steps": 1e300}',
    "a source of another kind": '{"data": {"format": "jsonl"}}',
    "a large file": '{"model": "' + "x" * 2_000_000 + '"}',
}


@pytest.mark.parametrize("text", SETTINGS.values(), ids=SETTINGS)
def test_settings_that_cannot_be_read_are_told(tmp_path: Path, text: str) -> None:
    (tmp_path / CONFIG_FILE).write_text(text)
    with pytest.raises(DatasetError, match=r"cannot be read|steps must be") as caught:
        read_settings(tmp_path)
    assert len(str(caught.value)) < 200


def test_the_settings_of_before_are_read_still(tmp_path: Path) -> None:
    values = {"model": "nano", "data": "forms:0:8", "eval_data": "", "steps": 3, "tasks": []}
    (tmp_path / CONFIG_FILE).write_text(json.dumps(values))
    assert read_settings(tmp_path).data == "forms:0:8"
