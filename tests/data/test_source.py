"""Where rows come from, as a value that travels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from florence_demo.data.source import DataLimits, DataSource


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(DataSource("jsonl", "/a#b"), id="plain"),
        pytest.param(DataSource("hub", "owner/name", "validation"), id="a part"),
        pytest.param(DataSource("coco", "/u", root="/u", limits=DataLimits(rows=3)), id="confined"),
    ],
)
def test_a_source_travels_as_json(source: DataSource) -> None:
    assert DataSource.from_json(json.loads(json.dumps(source.to_json()))) == source


ODD: dict[str, Any] = {
    "nothing": {},
    "a text": "jsonl",
    "a list": [["format", "jsonl"], ["location", "/"]],
    "no location": {"format": "jsonl"},
    "one word too many": {"format": "jsonl", "location": "/", "colour": "red"},
    "a number": {"format": "jsonl", "location": 7},
    "a zero byte": {"format": "jsonl", "location": "/a\0"},
    "limits that are none": {"format": "jsonl", "location": "/", "limits": 5},
    "limits without an end": {"format": "jsonl", "location": "/", "limits": {"rows": 1e300}},
    "limits below nothing": {"format": "jsonl", "location": "/", "limits": {"rows": -1}},
    "limits of another kind": {"format": "jsonl", "location": "/", "limits": {"colour": 1}},
}


@pytest.mark.parametrize("values", ODD.values(), ids=ODD)
def test_what_is_no_source_is_refused(values: Any) -> None:
    with pytest.raises(ValueError):
        DataSource.from_json(values)


def test_files_elsewhere_are_not_held_even_by_a_link(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a.png").write_text("")
    (inside / "link.png").symlink_to(outside / "a.png")
    source = DataSource("jsonl", str(inside), root=str(inside))
    assert source.holds(inside / "a.png")
    assert not source.holds(inside / "link.png")
    assert not source.holds(outside / "a.png")
    assert DataSource("jsonl", str(inside)).holds(outside / "a.png")


def test_a_copy_keeps_to_its_new_folder(tmp_path: Path) -> None:
    limits = DataLimits(rows=3)
    moved = DataSource("jsonl", "/old", root="/old", limits=limits).moved(tmp_path)
    assert moved == DataSource(
        "jsonl", str(tmp_path), "", str(tmp_path), DataLimits(rows=3, seconds=1200)
    )
