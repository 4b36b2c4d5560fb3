"""Scenes as rows, drawn as they are read."""

from __future__ import annotations

import pytest

from florence_demo.data.formats import READERS
from florence_demo.data.reading import open_data
from florence_demo.errors import DatasetError
from florence_demo.nano.scenes.rows import offer_scenes


@pytest.fixture(autouse=True)
def offered():
    offer_scenes()
    yield
    del READERS["scenes"]


def test_scenes_are_rows_of_many_tasks() -> None:
    rows = open_data("scenes:drawn:0:4", problems=[])
    assert {"caption"} < {r.task for r in rows}
    assert len({id(r.image) for r in rows}) == 4


@pytest.mark.parametrize("spec", ["scenes:drawn:5", "scenes:nowhere:0:1", "scenes:"])
def test_a_wrong_name_is_a_sentence(spec: str) -> None:
    with pytest.raises(DatasetError):
        open_data(spec)
