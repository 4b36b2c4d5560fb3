from __future__ import annotations

import pytest

from florence_demo.data.forms import GROUPS, TASK_WORD, make_form
from florence_demo.data.reading import open_data
from florence_demo.errors import DatasetError


def test_a_form_is_its_seed() -> None:
    one, two = make_form(7), make_form(7)
    assert one.image.tobytes() == two.image.tobytes()
    assert one.answers == two.answers
    assert make_form(8).image.tobytes() != one.image.tobytes()


def test_a_forms_answers_are_choices_of_its_groups() -> None:
    choices = {choice for group in GROUPS.values() for choice in group}
    for seed in range(20):
        answers = make_form(seed).answers
        assert len({question for question, _ in answers}) == 2
        assert {answer for _, answer in answers} <= choices


def test_forms_are_rows_with_a_task_word_of_their_own() -> None:
    rows = open_data("forms:5:3")
    assert len(rows) == 6
    assert rows[0].image is rows[1].image
    assert rows[0].task == "custom"
    assert rows[0].prompt(rows[0].size()).startswith(TASK_WORD)


@pytest.mark.parametrize("spec", ["forms:1", "forms:a:b"])
def test_a_source_that_is_none(spec: str) -> None:
    with pytest.raises(DatasetError):
        open_data(spec)
