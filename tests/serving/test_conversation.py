"""What is kept of what a visitor asked: bounded, and found by its name alone."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from PIL import Image

from florence_demo.errors import InputError
from florence_demo.pictures.images import with_file
from florence_demo.prediction import Detections, Prediction
from florence_demo.serving import conversation as module
from florence_demo.serving.asking import Service
from florence_demo.serving.config import AppConfig
from florence_demo.serving.conversation import (
    CONVERSATIONS,
    KEPT_FOR,
    QUESTIONS,
    Conversation,
    Conversations,
    new_name,
)
from florence_demo.serving.questions import Asked, Press, summary
from florence_demo.serving.showing import shown
from florence_demo.tasks import TASKS
from florence_demo.ui.conversation import stopper
from tests.fakes import FakeEngines

CAPTION = Asked("Caption")


def found(text: str = "A van", **given) -> Prediction:
    return Prediction("caption", "", text, text, (400, 300), Detections.empty(), {}, **given)


def answered(*answers: Prediction, growing: str = ""):
    """What a service tells of a question, as ``follow`` takes it."""
    yield {}, []
    if growing:
        yield {"sentence": growing, "busy": True}, []
    yield shown(answers[0]), [(shown(each), each) for each in answers]


def ask(talk: Conversation, number: int, told=None, page: str = "page", question=CAPTION):
    press = Press(talk.name, page, number)
    return list(talk.follow(press, question, None, told or answered(found())))


def titles(talk: Conversation, page: str = "page") -> list[str]:
    return [card["title"] for card in talk.told(page)["cards"]]


def test_an_answer_becomes_a_card_that_says_its_question():
    talk = Conversation("name")
    *_, last = ask(talk, 1, answered(found(seconds=0.42)), question=Asked("Question", "Why?"))
    assert last.pane["question"] == "Question: Why?"
    assert last.pane["asked"] == 1
    (card,) = talk.told("page")["cards"]
    assert {k: card[k] for k in ("title", "about", "said", "words", "meta", "state")} == {
        "title": "Question", "about": "Why?", "said": "A van", "words": "A van", "meta": "0.42 s",
        "state": "done",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scores", "calibrated", "sure"),
    [
        pytest.param([0.97, 0.62, 0.7], True, [0.62, 0.97], id="a range"),
        pytest.param([0.971], True, [0.971, 0.971], id="one"),
        pytest.param([0.04, 0.4], False, [], id="not calibrated"),
        pytest.param(None, True, [], id="unknown"),
        pytest.param([], True, [], id="nothing found"),
    ],
)
def test_a_card_tells_how_sure_the_model_is(scores, calibrated, sure):
    count = 1 if scores is None else len(scores)
    things = Detections(
        np.tile(np.float32([1, 1, 9, 9]), (count, 1)),
        ("cat",) * count,
        scores=None if scores is None else np.float32(scores),
    )
    talk = Conversation("name")
    given = Prediction("od", "", "", "", (400, 300), things, {}, calibrated=calibrated)
    ask(talk, 1, answered(given))
    assert talk.told("page")["cards"][0]["sure"] == pytest.approx(sure)


def test_models_are_named_where_they_are_several():
    talk = Conversation("name")
    ask(talk, 1, answered(found(model="nano")))
    assert "nano" not in talk.told("page")["cards"][0]["meta"]
    ask(talk, 2, answered(found(model="base")))
    assert [c["meta"] for c in talk.told("page")["cards"]] == ["0.00 s · base", "0.00 s · nano"]


def test_ten_questions_are_kept_and_everything_at_once_is_one_of_them():
    talk = Conversation("name")
    ask(talk, 1, question=Asked("first"))
    ask(talk, 2, answered(found(), found(), found()))
    for number in range(3, QUESTIONS + 1):
        ask(talk, number, question=Asked(str(number)))
    assert titles(talk)[-1] == "first"
    assert len(titles(talk)) == QUESTIONS + 2
    ask(talk, QUESTIONS + 1)
    assert "first" not in titles(talk)
    assert len(titles(talk)) == QUESTIONS + 2


def test_everything_at_once_is_a_card_an_answer_in_their_order():
    talk = Conversation("name")
    names = ["caption", "od", "ocr"]
    answers = [
        Prediction(name, "", "x", "x", (4, 3), Detections.empty(), {}, seconds=0.5, notices=("a",))
        for name in names
    ]
    ask(talk, 1, answered(*answers))
    assert titles(talk) == [TASKS[name].title for name in names]
    told = summary([(shown(each), each) for each in answers])
    assert (told["meta"], told["notices"]) == ("1.50 s", ["a"])
    assert told["hint"].startswith("3 answers")


def test_large_answers_push_out_the_oldest_and_the_newest_stays(monkeypatch):
    monkeypatch.setattr(module, "OWN_BYTES", 15_000)
    talk = Conversation("name")
    for number in (1, 2, 3):
        ask(talk, number, answered(found("x" * 10_000)), question=Asked(str(number)))
    assert titles(talk) == ["3"]
    ask(talk, 4, answered(found("x" * 90_000)), question=Asked("4"))
    assert titles(talk) == ["4"]


def test_a_new_question_takes_the_place_of_the_one_that_runs():
    talk = Conversation("name")
    closed = []

    def endless():
        try:
            while True:
                yield {"sentence": "so far", "busy": True}, []
        finally:
            closed.append(True)

    running = talk.follow(Press("name", "page", 1), Asked("first"), None, endless())
    next(running)
    assert next(running).pane["sentence"] == "so far"
    ask(talk, 2, question=Asked("second"))
    assert list(islice(running, 3)) == [], "nothing is heard of it any more"
    assert closed == [True]
    cards = talk.told("page")["cards"]
    assert [(c["title"], c["state"], c["said"]) for c in cards] == [
        ("second", "done", "A van"), ("first", "stopped", "so far"),
    ]  # fmt: skip


def test_a_question_that_waited_too_long_is_not_asked():
    talk = Conversation("name")
    ask(talk, 2)
    assert ask(talk, 1) == []
    assert len(titles(talk)) == 1


def test_a_question_that_comes_after_its_stop_is_not_asked():
    service = Service(AppConfig(model="nano"), FakeEngines())
    name = "n" * 24
    stopper(service)(Press(name, "page", 2))
    talk = service.conversations.find(name)
    assert ask(talk, 1) == []
    assert titles(talk) == []
    assert ask(talk, 3) != []


def test_two_pages_of_one_browser_do_not_end_each_others_questions():
    talk = Conversation("name")
    running = talk.follow(Press("name", "one", 1), CAPTION, None, answered(found("mine")))
    next(running)
    ask(talk, 5, page="another")
    *_, last = running
    assert last.pane["sentence"] == "mine"
    assert talk.stop("one") is None


def test_stop_keeps_what_was_written():
    talk = Conversation("name")
    running = talk.follow(Press("name", "page", 1), CAPTION, None, answered(found(), growing="A v"))
    next(running), next(running), next(running)
    card = talk.stop("page")
    assert card is not None
    assert card.pane()["sentence"] == "A v"
    assert any("Stopped" in notice for notice in card.pane()["notices"])
    assert list(running) == []
    assert talk.told("page")["cards"][0]["words"] == "A v"
    assert talk.stop("page") is None


def test_who_leaves_ends_the_question_and_keeps_its_card():
    talk = Conversation("name")
    running = talk.follow(Press("name", "page", 1), CAPTION, None, answered(found()))
    next(running)
    running.close()
    assert talk.told("page")["cards"][0]["state"] == "stopped"


def test_what_fails_says_why_until_the_next_question():
    def failing():
        yield {}, []
        raise InputError("This task needs words.")

    talk = Conversation("name")
    steps = []
    with pytest.raises(InputError):
        steps.extend(talk.follow(Press("name", "page", 1), CAPTION, None, failing()))
    assert talk.newest().pane()["notices"] == ["This task needs words."]
    (card,) = talk.told("page")["cards"]
    assert (card["state"], card["said"], card["words"]) == ("failed", "This task needs words.", "")
    ask(talk, 2)
    assert [c["state"] for c in talk.told("page")["cards"]] == ["done"]


def test_a_bug_is_no_detail_on_a_card():
    def broken():
        yield {}, []
        raise ZeroDivisionError("secret detail")

    talk = Conversation("name")
    with pytest.raises(ZeroDivisionError):
        list(talk.follow(Press("name", "page", 1), CAPTION, None, broken()))
    assert "secret" not in str(talk.told("page"))


def test_a_card_that_is_looked_at_holds_the_pane_while_another_is_answered():
    talk = Conversation("name")
    ask(talk, 1)
    earlier = talk.newest()
    running = talk.follow(Press("name", "page", 2), CAPTION, None, answered(found()))
    next(running)
    talk.show(Press("name", "page", 3), earlier)
    *_, last = running
    assert last.pane is None
    assert last.cards["current"] == earlier.id
    assert [c["state"] for c in last.cards["cards"]] == ["done", "done"]


# -- names ---------------------------------------------------------------------------------


def test_nobody_elses_name_finds_a_conversation():
    kept = Conversations()
    mine = kept.of(Press(new_name(), "page", 1))
    assert kept.find(mine.name) is mine
    for guess in ("", None, 7, mine.name[:-1], mine.name.swapcase(), [mine.name], {}):
        assert kept.find(guess) is None
    assert len(mine.name) == 24
    assert new_name() != new_name()


@pytest.mark.parametrize("name", ["", "a", "x" * 25, "../" * 8, "é" * 24], ids=str)
def test_what_is_no_name_of_ours_is_given_one(name):
    given = Conversations().of(Press(name, "page", 1))
    assert given.name != name
    assert len(given.name) == 24


def test_a_program_leaves_nothing():
    kept = Conversations()
    assert kept.of(None).name == ""
    assert kept.find("") is None


def test_a_conversation_goes_an_hour_after_its_last_use():
    now = [0.0]
    kept = Conversations(lambda: now[0])
    name = kept.of(Press(new_name(), "page", 1)).name
    now[0] = KEPT_FOR - 1
    assert kept.find(name) is not None
    now[0] += KEPT_FOR + 1
    assert kept.find(name) is None


def test_the_number_of_conversations_is_bounded_and_those_in_use_stay(monkeypatch):
    kept = Conversations()
    first = kept.of(Press(new_name(), "page", 1)).name
    second = kept.of(Press(new_name(), "page", 1)).name
    for _ in range(CONVERSATIONS):
        kept.find(first)
        kept.of(Press(new_name(), "page", 1))
    assert kept.find(first) is not None
    assert kept.find(second) is None
    assert len(kept._kept) <= CONVERSATIONS


def test_the_bytes_of_all_conversations_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "BYTES", 25_000)
    kept = Conversations()
    talks = [kept.of(Press(new_name(), "page", 1)) for _ in range(3)]
    for talk in talks:
        ask(talk, 1, answered(found("x" * 10_000)))
    assert kept.find(talks[0].name) is None
    assert kept.find(talks[2].name) is talks[2]


def test_a_page_that_was_left_long_ago_is_forgotten():
    talk = Conversation("name")
    for number in range(100):
        ask(talk, 1, page=str(number))
    assert len(talk._fronts) <= 20


# -- pictures ------------------------------------------------------------------------------


@pytest.fixture
def service(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    return Service(AppConfig(), FakeEngines())


def test_a_picture_is_kept_once_as_long_as_its_file_lives(service, tmp_path):
    file = tmp_path / "mine.png"
    Image.new("RGB", (2000, 1000), "teal").save(file)
    image = with_file(Image.open(file), file)
    talk = Conversation("name")
    kept = service.kept(image, talk)
    assert kept.alive
    list(talk.follow(Press("name", "page", 1), CAPTION, kept, answered(found())))
    assert service.kept(image, talk) is kept
    (told,) = talk.told("page")["pictures"].values()
    assert told["name"] == "mine.png"
    file.unlink()
    assert not kept.alive
    assert talk.told("page")["pictures"] == {}
    assert talk.told("page")["cards"][0]["said"] == "A van", "its words stay"


def test_a_picture_without_a_file_cannot_be_brought_back(service):
    kept = service.kept(Image.new("RGB", (40, 30)), Conversation("name"))
    assert not kept.alive
    assert service.kept(None, Conversation("name")) is None


@pytest.mark.parametrize(
    ("task", "text", "region", "sentence"),
    [
        ("caption", "left over", (1, 1, 9, 9), ""),
        ("docvqa", "What  is\nthe total?", None, ": What is the total?"),
        ("region_to_ocr", "", (1.2, 2.6, 30, 40), ": 1, 3, 30, 40"),
        ("region_to_ocr", "", [(1, 1, 9, 9)] * 3, ": 3 boxes"),
        ("region_to_ocr", "", None, ""),
    ],
)
def test_a_question_is_read_in_one_line(task, text, region, sentence):
    asked = Asked.of(TASKS[task], text, region)
    assert asked.sentence() == TASKS[task].title + sentence
