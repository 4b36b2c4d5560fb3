"""A lent GPU is asked for as long as what is asked needs, and no longer."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from florence_demo.data.reading import open_data
from florence_demo.engine.request import Options, Request
from florence_demo.models.catalogue import ASSETS
from florence_demo.serving.answering import PICTURE_TASKS, Answering
from florence_demo.serving.lending import A_TOKEN, COLD, MOST, _tokens, seconds_for
from florence_demo.tasks import TASKS

USUAL = Options()
PICTURE = Image.new("RGB", (40, 30))
BOX = (1.0, 1.0, 9.0, 9.0)


@pytest.fixture
def asked(monkeypatch):
    """An Answering on a host that lends GPUs, whose calls return the seconds they ask for."""

    def lend(duration):
        return lambda fn: lambda *args: duration(*args)

    monkeypatch.setenv("SPACES_ZERO_GPU", "1")
    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=lend))
    return Answering(None)


QUESTIONS = {
    "a sentence": (("caption", "", ()), 9),
    "a paragraph": (("more_detailed_caption", "", ()), 10),
    "places": (("od", "", ()), 11),
    "a caption and its places": (("caption_then_grounding", "", ()), 12),
    "an outline": (("region_to_segmentation", "", (BOX,)), 14),
    "a page": (("ocr_with_region", "", ()), 19),
    "an owner's own prompt": (("custom", "a word", ()), 19),
    "sixteen boxes, one batch": (("region_to_category", "", (BOX,) * 16), 10),
    "twenty boxes, two": (("region_to_category", "", (BOX,) * 20), 11),
    "two names": (("open_vocabulary_detection", "cat, dog", ()), 11),
}


@pytest.mark.parametrize(("question", "seconds"), QUESTIONS.values(), ids=QUESTIONS)
def test_a_question_asks_for_what_its_task_needs(asked, question, seconds):
    told = asked._predict("nano", PICTURE, *question, USUAL, "")
    assert (told, isinstance(told, int)) == (seconds, True)


def test_fewer_tokens_need_less_and_tiles_more(asked):
    def seconds(options, tiles=""):
        return asked._predict("nano", PICTURE, "ocr", "", (), options, tiles)

    assert seconds(Options(max_new_tokens=100)) == 10
    assert seconds(USUAL) < seconds(Options(), "4x4") <= MOST


def test_everything_at_once_and_many_pictures(asked):
    assert asked._predict_all("nano", PICTURE, USUAL) == seconds_for(
        PICTURE_TASKS, USUAL, len(PICTURE_TASKS)
    )
    many = [Request(PICTURE, TASKS["caption"])] * 33
    assert asked._predict_many("nano", many, USUAL) == 12


def test_nobody_asks_for_the_longest_of_lengths(asked):
    many = [Request(PICTURE, TASKS["ocr"])] * 500
    assert asked._predict_many("nano", many, USUAL) == MOST


def test_where_no_gpu_is_lent_nothing_is_asked(monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    answering = Answering(None)
    assert answering._predict == answering._predict_here


def test_true_answers_fit_twice_into_what_is_asked_for(nano):
    tokenizer = nano.loaded.processor.tokenizer
    lengths: dict[str, list[int]] = {}
    for row in open_data(str(ASSETS / "heldout")):
        count = len(tokenizer(row.target(row.size())).input_ids)
        lengths.setdefault(row.task, []).append(count)
    assert len(lengths) > 12
    for task, counts in lengths.items():
        usual = np.percentile(counts, 95)
        assert 2 * usual <= _tokens(TASKS[task]), (task, usual)
        assert COLD + usual * A_TOKEN < seconds_for([TASKS[task]], USUAL)
