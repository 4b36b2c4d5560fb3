"""One question, several models: who answers what, and where answers differ."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from florence_demo.engine.question import Question
from florence_demo.engine.request import Options
from florence_demo.errors import CheckpointError, InputError
from florence_demo.prediction import Detections
from florence_demo.serving.asking import Service
from florence_demo.serving.compare import Contender, agreement, compare, differing
from florence_demo.serving.config import AppConfig
from florence_demo.tasks import TASKS
from tests.fakes import FakeEngine

IMAGE = Image.new("RGB", (400, 300), "teal")
BOX, NEAR, FAR = (0, 0, 10, 10), (0, 0, 10, 6), (20, 20, 30, 30)


class Engines:
    """Hand out an engine a name; "gone" is not there."""

    def __init__(self, **engines):
        self.engines = engines

    def get(self, name, progress=None):
        if name == "gone":
            raise CheckpointError("There is no model “gone”.")
        return self.engines[name]


def engine(raw: str, memory: int = 0, **kwargs) -> FakeEngine:
    made = FakeEngine({"TEXT": raw, "BOXES": raw}, **kwargs)
    made.loaded.weight_bytes = memory
    return made


def asked(engines: Engines, task: str, *names: str):
    given = Service(AppConfig(), engines)
    question = Question(IMAGE, TASKS[task])
    contenders = [Contender(name, lambda name=name: name) for name in names]
    return [c for c in compare(given, question, contenders, Options()) if c is not None]


def things(*given: tuple[str, tuple[int, ...]]) -> Detections:
    boxes = np.array([box for _, box in given], np.float32).reshape(-1, 4)
    return Detections(boxes, tuple(label for label, _ in given))


def test_each_model_answers_and_is_compared_with_the_first():
    engines = Engines(a=engine("a red cat sits", 5), b=engine("a cat sits down", 7))
    first, *_, last = asked(engines, "caption", "a", "b")
    assert [column.found for column in first] == [None, None], "the columns are there at once"
    assert [column.found.text for column in last] == ["a red cat sits", "a cat sits down"]
    assert [column.memory for column in last] == [5, 7]
    assert last[0].words == ()
    assert last[1].words == (
        ("same", "a"),
        ("first", "red"),
        ("same", "cat sits"),
        ("here", "down"),
    )
    assert last[1].things is None


def test_things_are_matched_with_those_of_the_first():
    cat, dog = "cat<loc_0><loc_0><loc_500><loc_500>", "dog<loc_600><loc_600><loc_900><loc_900>"
    engines = Engines(a=engine(cat + dog), b=engine(cat), c=engine(dog + cat + dog))
    *_, last = asked(engines, "od", "a", "b", "c")
    assert (last[1].things.both, last[1].things.first) == (((0, 0),), (1,))
    assert len(last[2].things.both) == 2
    assert len(last[2].things.here) == 1


@pytest.mark.parametrize(
    ("failing", "words"),
    [
        pytest.param("gone", "no model “gone”", id="not there"),
        pytest.param("refuses", "too long for this model", id="refuses"),
        pytest.param("breaks", r"went wrong with this model \(RuntimeError\)", id="a bug"),
    ],
)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_model_that_fails_says_so_and_the_others_answer(failing, words, at):
    engines = Engines(
        a=engine("a cat"),
        b=engine("a dog"),
        refuses=engine("", error=InputError("The text is too long for this model.")),
        breaks=engine("", error=RuntimeError("/secret/path")),
    )
    names = ["a", "b"]
    names.insert(at, failing)
    *_, last = asked(engines, "caption", *names)
    assert re.search(words, last[at].problem)
    assert "/secret" not in last[at].problem
    others = [column for column in last if column.title != failing]
    assert [column.found.text for column in others] == ["a cat", "a dog"]
    assert others[0].words == (), "the first that answers is what others are compared with"
    assert others[1].words == (("same", "a"), ("first", "cat"), ("here", "dog"))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "not 0"),
        (["a"], "not 1"),
        (["a", "a"], "not 1"),
        (["a", "b", "a"], "not 2"),
        (list("abcde"), "Choose two to four different models to compare, not 5"),
    ],
)
def test_two_to_four_models_are_compared(names, words):
    with pytest.raises(InputError, match=words):
        asked(Engines(), "caption", *names)


def test_what_does_not_fit_the_task_is_told_once_not_in_each_column():
    with pytest.raises(InputError, match="needs words"):
        asked(Engines(), "docvqa", "a", "b")


@pytest.mark.parametrize(
    ("first", "here", "parts"),
    [
        ("", "", ()),
        ("a b", "a  b", (("same", "a b"),)),
        ("a", "", (("first", "a"),)),
        ("", "a", (("here", "a"),)),
        ("a b c", "a x c", (("same", "a"), ("first", "b"), ("here", "x"), ("same", "c"))),
        ("A cat.", "a cat", (("first", "A cat."), ("here", "a cat"))),
    ],
)
def test_words_that_differ_are_marked(first, here, parts):
    assert differing(first, here) == parts


@pytest.mark.parametrize(
    ("first", "here", "both", "only_first", "only_here"),
    [
        pytest.param([], [], (), (), (), id="nothing"),
        pytest.param([("a", BOX)], [], (), (0,), (), id="only the first"),
        pytest.param([], [("a", BOX)], (), (), (0,), id="only this one"),
        pytest.param([("a", BOX)], [("A ", NEAR)], ((0, 0),), (), (), id="both"),
        pytest.param([("a", BOX)], [("b", BOX)], (), (0,), (0,), id="another name"),
        pytest.param([("a", BOX)], [("a", FAR)], (), (0,), (0,), id="elsewhere"),
        pytest.param([("", BOX)], [("", BOX)], ((0, 0),), (), (), id="without names"),
        pytest.param(
            [("a", BOX)], [("a", NEAR), ("a", BOX)], ((0, 1),), (), (0,), id="the best one"
        ),
    ],
)  # fmt: skip
def test_things_at_one_place_by_one_name_are_the_same(first, here, both, only_first, only_here):
    found = agreement(things(*first), things(*here))
    assert (found.both, found.first, found.here) == (both, only_first, only_here)
