"""The editor's value on its way in: a text of the browser's, read within bounds."""

from __future__ import annotations

import json

import pytest

from florence_demo.errors import InputError
from florence_demo.ui.answer_editor import AnswerEditor


def test_what_was_edited_is_read():
    things = [{"label": "cat", "box": [1.5, 2, 3, 4]}]
    value = {"id": 1, "edited": json.dumps({"text": "", "things": things})}
    assert AnswerEditor("x").preprocess(value) == {"text": "", "things": things}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "Put it right"),
        ([], "Put it right"),
        ({"edited": {"things": []}}, "Put it right"),
        ({"edited": "{"}, "not valid JSON"),
        ({"edited": "[" * 50 + "]" * 50}, "deeper"),
        ({"edited": f"[{'0,' * 60_000}0]"}, "50,000 values"),
        ({"edited": f'"{"a" * (1 << 20)}"'}, "larger than"),
        ({"edited": "[1e999]"}, "no number"),
        ({"edited": '["\ud800"]'}, None),
    ],
    ids=["none", "list", "not a text", "cut off", "deep", "many", "long", "no number", "surrogate"],
)
def test_what_is_no_edited_answer_is_refused(value, problem):
    if problem is None:
        assert AnswerEditor("x").preprocess(value) == ["?"]
        return
    with pytest.raises(InputError, match=problem):
        AnswerEditor("x").preprocess(value)
