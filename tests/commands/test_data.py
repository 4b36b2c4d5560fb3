from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from PIL import Image

from florence_demo.commands.data import (
    DataConfig,
    add_arguments,
    config_from_args,
    run,
)
from florence_demo.data.reading import open_data
from florence_demo.data.showing import contact_sheet
from florence_demo.errors import DatasetError
from florence_demo.nano.scenes.rows import offer_scenes


def test_a_set_is_counted_converted_and_drawn(tmp_path: Path) -> None:
    config = DataConfig("forms:0:7", limit=12, out=tmp_path / "out", sheet=tmp_path / "a/s.png")
    lines = run(config)
    assert lines[0] == "forms: 12 rows: 12 custom"
    assert lines[1].startswith("  ")
    assert len(open_data(str(tmp_path / "out"))) == 12
    with Image.open(tmp_path / "a/s.png") as sheet:
        assert sheet.size == (5 * 360, 2 * 456)


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (3, 3, 1), (40, 5, 2)])
def test_the_sheet_has_at_most_ten_rows(count: int, columns: int, rows: int) -> None:
    examples = open_data(f"forms:0:{-(-count // 2)}")[:count]
    assert contact_sheet(examples).size == (columns * 360, rows * 456)


def test_every_task_can_be_drawn() -> None:
    offer_scenes()
    rows = {r.task: r for r in open_data("scenes:drawn:0:12", problems=[])}
    assert len(rows) > 10
    contact_sheet(list(rows.values()), most=len(rows))


def test_unusable_rows_are_told(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("A thing.")
    Image.new("RGB", (9, 9)).save(tmp_path / "b.png")
    lines = run(DataConfig(str(tmp_path)))
    assert any("1 row is not usable" in line for line in lines)
    (tmp_path / "a.txt").write_text(" ")
    with pytest.raises(DatasetError, match="no usable row"):
        run(DataConfig(str(tmp_path)))


def test_command_line() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(["a.jsonl", "--task", "OD", "--limit", "3"])
    assert config_from_args(args) == DataConfig("a.jsonl", ("od",), 3)
