from __future__ import annotations

import numpy as np
import pytest

from florence_demo.errors import InputError
from florence_demo.models.catalogue import MODELS
from florence_demo.regions import check_region
from florence_demo.tasks import TASKS, questions_of, task_named

SIZE = (200, 100)


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda t: t.name)
def test_every_task_explains_itself_and_builds_its_prompt(task):
    assert task.title
    assert task.help.endswith(".")
    text = "the dog" if task.needs == "text" else ""
    region = (10, 10, 50, 50) if task.needs == "region" else None
    prompt = task.build_prompt(text, region, SIZE)
    assert "{input}" not in prompt
    assert ("the dog" in prompt) == bool(text)
    assert ("<loc_50><loc_100><loc_250><loc_500>" in prompt) == bool(region)


@pytest.mark.parametrize("task", [t for t in TASKS.values() if t.after], ids=lambda t: t.name)
def test_a_cascade_asks_the_person_for_nothing(task):
    assert task.asks == "nothing"
    assert task.after in TASKS


@pytest.mark.parametrize("task", [t for t in TASKS.values() if t.placed], ids=lambda t: t.name)
def test_what_says_the_same_and_where_stands_in_the_menu_with_it(task):
    assert TASKS[task.placed].entry == task.name
    assert TASKS[task.placed].asks == task.asks


@pytest.mark.parametrize("task", [t for t in TASKS.values() if t.entry], ids=lambda t: t.name)
def test_an_entry_of_the_menu_takes_the_same_for_each_of_its_tasks(task):
    entry = TASKS[task.entry]
    assert not entry.entry
    assert (task.group, task.asks, task.text_label) == (entry.group, entry.asks, entry.text_label)


@pytest.mark.parametrize(
    ("learned", "asked"),
    [
        pytest.param((), (), id="nothing known"),
        pytest.param(("od", "custom"), (), id="other tasks"),
        pytest.param(("docvqa", "od"), ("docvqa",), id="pages"),
        pytest.param(("vqa",), ("vqa",), id="pictures"),
        pytest.param(MODELS["nano"].learned, ("vqa", "docvqa"), id="nano, both"),
    ],
)
def test_a_bare_question_is_asked_as_the_model_learned_it(learned, asked):
    assert questions_of(learned) == asked


@pytest.mark.parametrize("name", ["od", "OD", "<OD>", " od "])
def test_a_task_is_found_by_name_or_token(name):
    assert task_named(name).name == "od"


@pytest.mark.parametrize(
    ("task", "text", "region", "words"),
    [
        pytest.param("od", "dog", None, "takes no text", id="text not wanted"),
        pytest.param("od", "", (1, 1, 9, 9), "takes no region", id="region not wanted"),
        pytest.param("open_vocabulary_detection", " ", None, "needs words", id="no text"),
        pytest.param("region_to_ocr", "", None, "draw a box", id="no region"),
        pytest.param("region_to_ocr", "", (5, 5, 5, 50), "no area", id="empty region"),
        pytest.param("region_to_ocr", "", (300, 5, 400, 50), "outside", id="region outside"),
        pytest.param("region_to_ocr", "", (float("nan"), 5, 4, 5), "four numbers", id="nan"),
        pytest.param("region_to_ocr", "", (10**400, 5, 4, 5), "four numbers", id="400 digits"),
        pytest.param("region_to_ocr", "", ("a", 5, 4, 5), "four numbers", id="words"),
        pytest.param("region_to_ocr", "", (None, 5, 4, 5), "four numbers", id="nothing"),
        pytest.param("region_to_ocr", "", (True, 5, 40, 50), "four numbers", id="truth"),
        pytest.param("region_to_ocr", "", ((1, 2), 5, 4, 5), "four numbers", id="nested"),
        pytest.param("region_to_ocr", "", (1, 2, 3), "four numbers", id="three numbers"),
        pytest.param("region_to_ocr", "", {"x": 1}, "four numbers", id="a table"),
        pytest.param("region_to_ocr", "", "1,2,3,4", "four numbers", id="one string"),
        pytest.param("region_to_ocr", "", range(10**12), "four numbers", id="endless"),
        pytest.param("docvqa", "what \ud83d", None, "half of a character", id="surrogate"),
        pytest.param("custom", "\udfff", None, "half of a character", id="surrogate alone"),
        pytest.param("od", "\ud800", None, "half of a character", id="surrogate not wanted"),
        pytest.param("docvqa", 5, None, "must be words", id="a number as text"),
        pytest.param("docvqa", "<OD> what", None, "task word <OD>", id="task word in the text"),
        pytest.param("docvqa", "x" * 5000, None, "shorten", id="very long text"),
    ],
)
def test_input_that_does_not_fit_is_told_in_words(task, text, region, words):
    with pytest.raises(InputError, match=words):
        TASKS[task].build_prompt(text, region, SIZE)


def test_an_unknown_task_names_the_known_ones():
    with pytest.raises(InputError, match="od, "):
        task_named("detect")


def test_a_tasks_name_is_shown_shortened():
    with pytest.raises(InputError, match="no task “xx") as caught:
        task_named("x" * 1_000_000 + "\ud800")
    assert len(str(caught.value)) < 600


def test_a_region_may_come_from_numpy():
    numbers = np.array([10, 20, 30, 40], np.float32)
    assert check_region(numbers, SIZE).tolist() == [10, 20, 30, 40]
    assert check_region(tuple(numbers), SIZE).tolist() == [10, 20, 30, 40]


def test_a_custom_prompt_may_hold_a_task_word():
    assert TASKS["custom"].build_prompt("<DocVQA>What?", None, SIZE) == "<DocVQA>What?"


def test_a_region_is_ordered_and_cut_to_the_picture():
    assert check_region((250, 90, -10, 20), SIZE).tolist() == [0, 20, 200, 90]
