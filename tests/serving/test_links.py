"""Links bring a question as far as it can be asked here."""

from __future__ import annotations

import pytest

from florence_demo.errors import CheckpointError
from florence_demo.serving.links import LONGEST, read_link


def model_named(name: str) -> None:
    if name != "nano":
        raise CheckpointError(f"There is no model {name}.")


GOOD = {
    "all": (
        {"task": "od", "words": "a, b", "model": "nano", "beams": "1", "sample": "1"},
        {"task": "od", "words": "a, b", "model": "nano", "beams": 1, "sample": True},
    ),
    "numbers": ({"temperature": "0.5", "seed": "7"}, {"temperature": 0.5, "seed": 7}),
    "foreign names": ({"__theme": "dark", "path": "/etc"}, {}),
    "nothing": ({}, {}),
    "no object": (["task", "od"], {}),
}


@pytest.mark.parametrize(("query", "settings"), GOOD.values(), ids=GOOD)
def test_what_can_be_asked_is_set(query, settings):
    linked = read_link(query, model_named)
    assert (linked.settings, linked.problems) == (settings, ())


BAD = {
    "task": ({"task": "fly"}, "fly"),
    "model": ({"model": "other"}, "no model other"),
    "beams": ({"beams": "9"}, "from 1 to 5"),
    "no number": ({"beams": "nan"}, "from 1 to 5"),
    "infinite": ({"temperature": "inf"}, "from 0.1 to 2.0"),
    "long words": ({"words": "x" * (LONGEST + 1)}, "type them"),
    "an object": ({"beams": {"a": 1}}, "from 1 to 5"),
}


@pytest.mark.parametrize(("query", "told"), BAD.values(), ids=BAD)
def test_the_rest_is_told_and_loses_nothing(query, told):
    linked = read_link({"seed": "3", **query}, model_named)
    assert linked.settings == {"seed": 3}
    assert len(linked.problems) == 1
    assert told in linked.problems[0]
