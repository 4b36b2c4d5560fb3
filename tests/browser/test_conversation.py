"""A person asks one question after another about a picture, and comes back to earlier ones."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from playwright.sync_api import expect

from florence_demo.engine.request import Stopped
from florence_demo.serving.taking_home import FORMATS
from florence_demo.tasks import TASKS
from tests.browser.test_page import ask, choose, upload, upload_another
from tests.fakes import FakeEngine

pytestmark = pytest.mark.browser


class Writing(FakeEngine):
    """Write a few words, and go on with them until told to answer or to stop."""

    def __init__(self, words: str = "A delivery van on a") -> None:
        super().__init__()
        self.words = words
        self.started, self.go, self.stopped = (threading.Event() for _ in range(3))

    def predict(self, image, task, text="", region=None, options=None, *, on_step=None):
        until = time.monotonic() + 20
        while on_step(lambda: SimpleNamespace(text=self.words)):
            self.started.set()
            if self.go.is_set() or time.monotonic() > until:
                return super().predict(image, task, text, region)
        self.stopped.set()
        raise Stopped


@pytest.fixture
def writing(engines):
    """An engine that is slow for the question that is asked next."""
    usual, slow = engines.engine, Writing()
    engines.engine = slow
    yield slow
    engines.engine = usual
    slow.go.set()


@pytest.fixture
def usual(engines):
    return engines.engine


def answer(page):
    return page.get_by_role("region", name="Answer").first


def cards(page):
    return page.get_by_role("region", name="Asked so far").first.get_by_role("listitem")


def opened(card):
    return card.get_by_role("button").first


def ask_for(page, name: str, sentence: str) -> None:
    choose(page, name)
    ask(page)
    expect(answer(page).locator(".fd-question")).to_have_text(TASKS[name].title)
    expect(answer(page).get_by_text(sentence)).to_be_visible()


def test_an_earlier_card_is_picked_and_drawn_again(page, picture):
    upload(page, picture)
    ask_for(page, "od", "3 objects")
    ask_for(page, "caption", "A fake answer")
    drawn = page.locator(".fd-canvas").first.locator(".fd-item[data-index]")
    expect(drawn).to_have_count(0)
    expect(cards(page)).to_have_count(2)
    expect(cards(page).first).to_contain_text(TASKS["caption"].title)
    expect(opened(cards(page).first)).to_have_attribute("aria-current", "true")
    opened(cards(page).last).click()
    expect(drawn).to_have_count(3)
    expect(answer(page).locator(".fd-question")).to_have_text(TASKS["od"].title)
    expect(opened(cards(page).last)).to_have_attribute("aria-current", "true")
    expect(page.get_by_label("Download as").first).to_have_value("Annotated picture (PNG)")


def test_no_card_is_the_one_that_is_looked_at_beside_another_picture(page, picture, tmp_path):
    upload(page, picture)
    ask_for(page, "caption", "A fake answer")
    said = cards(page).first.get_by_text("A fake answer")
    expect(said).to_be_hidden()
    upload_another(page, tmp_path)
    expect(opened(cards(page).first)).not_to_have_attribute("aria-current", "true")
    expect(said).to_be_visible()
    opened(cards(page).first).click()
    expect(opened(cards(page).first)).to_have_attribute("aria-current", "true")
    expect(answer(page).get_by_text("A fake answer")).to_be_visible()


def test_an_answer_says_its_question_whatever_is_chosen_next(page, picture):
    upload(page, picture)
    choose(page, "open_vocabulary_detection")
    words = page.get_by_label(TASKS["open_vocabulary_detection"].text_label, exact=True).first
    words.fill("a dog")
    ask(page)
    question = answer(page).locator(".fd-question")
    expect(question).to_have_text(f"{TASKS['open_vocabulary_detection'].title}: a dog")
    choose(page, "od")
    expect(question).to_have_text(f"{TASKS['open_vocabulary_detection'].title}: a dog")


def test_a_new_question_takes_the_place_of_the_one_that_runs(
    page, picture, engines, writing, usual
):
    upload(page, picture)
    choose(page, "caption")
    ask(page)
    expect(answer(page).get_by_text("A delivery van on a")).to_be_visible()
    engines.engine = other = FakeEngine()
    choose(page, "od")
    ask(page)
    expect(answer(page).get_by_text("3 objects")).to_be_visible()
    assert writing.stopped.wait(10)
    assert other.asked == [("od", "", None)]
    expect(cards(page)).to_have_count(2)
    expect(cards(page).last).to_contain_text("Stopped")
    expect(cards(page).last).to_contain_text("A delivery van on a")
    expect(answer(page).locator(".fd-question")).to_have_text(TASKS["od"].title)


def test_stop_keeps_what_was_written(page, picture, writing):
    upload(page, picture)
    choose(page, "caption")
    ask(page)
    expect(answer(page).get_by_text("A delivery van on a")).to_be_visible()
    page.get_by_role("button", name="Stop", exact=True).first.click()
    assert writing.stopped.wait(10)
    expect(answer(page).locator(".fd-busy")).to_have_count(0)
    expect(answer(page).locator(".fd-sentence")).to_have_text("A delivery van on a")
    expect(answer(page).get_by_text("Stopped: this is what was written")).to_be_visible()
    expect(cards(page)).to_have_count(1)
    expect(cards(page).first).to_contain_text("Stopped")


def test_an_example_takes_the_place_of_a_question_that_runs(page, picture, engines, writing):
    upload(page, picture)
    choose(page, "caption")
    ask(page)
    expect(answer(page).get_by_text("A delivery van on a")).to_be_visible()
    engines.engine = FakeEngine()
    said = page.evaluate_handle(
        "() => { const said = new Set(); const at = document.querySelector('.fd-answer');"
        " new MutationObserver(() => said.add(at.textContent)).observe(at,"
        " {subtree: true, childList: true, characterData: true}); return said; }"
    )
    page.locator(".fd-example").first.click()
    expect(answer(page).locator(".fd-meta")).to_contain_text("fake")
    assert writing.stopped.wait(10)
    expect(cards(page)).to_have_count(2)
    expect(cards(page).last).to_contain_text("Stopped")
    assert not [text for text in said.evaluate("said => [...said]") if "Not answered" in text]


def test_another_card_can_be_looked_at_while_a_question_runs(page, picture, engines):
    upload(page, picture)
    ask_for(page, "od", "3 objects")
    usual, engines.engine = engines.engine, Writing()
    slow = engines.engine
    try:
        choose(page, "caption")
        ask(page)
        expect(answer(page).get_by_text("A delivery van on a")).to_be_visible()
        opened(cards(page).last).click()
        expect(answer(page).get_by_text("3 objects")).to_be_visible()
        slow.go.set()
        expect(cards(page).first).to_contain_text("A fake answer")
        expect(answer(page).get_by_text("3 objects")).to_be_visible()
    finally:
        engines.engine = usual


def test_what_could_not_be_answered_says_why_until_it_is_mended(page, picture):
    upload(page, picture)
    choose(page, "open_vocabulary_detection")
    ask(page)
    expect(answer(page).locator(".fd-notices")).to_contain_text("needs words")
    expect(cards(page)).to_have_count(1)
    expect(cards(page).first).to_contain_text("Not answered")
    page.get_by_label(TASKS["open_vocabulary_detection"].text_label).first.fill("a dog")
    ask(page)
    expect(answer(page).locator(".fd-meta")).to_contain_text("fake")
    expect(answer(page).get_by_text("needs words")).to_have_count(0)
    expect(cards(page)).to_have_count(1)


def test_a_card_of_another_picture_brings_it_back(page, picture, tmp_path):
    upload(page, picture)
    ask_for(page, "od", "3 objects")
    first = page.locator(".fd-stage img").first.get_attribute("src")
    upload_another(page, tmp_path)
    expect(cards(page)).to_have_count(1)
    ask_for(page, "caption", "A fake answer")
    expect(page.get_by_role("group", name="About other.png")).to_be_visible()
    opened(cards(page).last).click()
    expect(page.locator(".fd-stage img").first).to_have_attribute("src", first)
    expect(page.locator(".fd-canvas").first.locator(".fd-item[data-index]")).to_have_count(3)
    # What can be taken home of it is offered a moment later.
    expect(page.locator(".fd-save input").first).to_have_value(FORMATS["annotated"].title)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download", exact=True).first.click()
    assert download.value.suggested_filename == "picture-annotated.png"


def _served(page) -> Path:
    """The folder of everything that the page hands out."""
    source = page.locator(".fd-stage img").first.get_attribute("src")
    return Path(source.partition("file=")[2]).parent.parent


def test_a_card_of_a_picture_that_is_gone_says_so_and_loses_nothing(page, tmp_path):
    own = tmp_path / "soon gone.png"
    Image.new("RGB", (320, 200), "olive").save(own)
    upload(page, own)
    ask_for(page, "od", "3 objects")
    upload_another(page, tmp_path)
    here = page.locator(".fd-stage img").first.get_attribute("src")
    for file in _served(page).rglob("soon*gone.png"):
        file.unlink()
    opened(cards(page).last).click()
    expect(answer(page).get_by_text("3 objects")).to_be_visible()
    expect(answer(page).get_by_text("no longer on this server")).to_be_visible()
    expect(page.locator(".fd-stage img").first).to_have_attribute("src", here)
    expect(page.locator(".fd-canvas").first.locator(".fd-item")).to_have_count(0)
    expect(page.get_by_role("button", name="Download", exact=True).first).to_be_hidden()
    expect(cards(page)).to_have_count(1)


REMEMBERED = """() => {
  const now = localStorage.getItem('fd-ask');
  if (now !== window.was) [window.was, window.since] = [now, performance.now()];
  return performance.now() - window.since > 1000;
}"""
"""True once what is remembered has not changed for a while; it is encrypted."""


def test_a_new_load_finds_picture_cards_and_settings_again(page, picture):
    upload(page, picture)
    ask_for(page, "od", "3 objects")
    choose(page, "open_vocabulary_detection")
    words = page.get_by_label(TASKS["open_vocabulary_detection"].text_label, exact=True).first
    words.fill("a red car")
    page.get_by_role("button", name="Advanced").first.click()
    beams = page.get_by_role("spinbutton", name=re.compile("Care")).first
    page.wait_for_function(REMEMBERED)
    beams.fill("4")
    beams.press("Tab")
    page.wait_for_function("localStorage.getItem('fd-ask') !== window.was")
    page.reload()
    expect(page.locator(".fd-stage img").first).to_be_visible()
    expect(answer(page).get_by_text("3 objects")).to_be_visible()
    expect(page.locator(".fd-canvas").first.locator(".fd-item[data-index]")).to_have_count(3)
    expect(cards(page)).to_have_count(1)
    expect(words).to_have_value("a red car")
    page.get_by_role("button", name="Advanced").first.click()
    expect(beams).to_have_value("4")
    ask(page)
    expect(cards(page)).to_have_count(2)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download", exact=True).first.click()
    assert download.value.suggested_filename.startswith("picture-")


def test_a_new_load_opens_the_tab_that_was_open(page):
    page.get_by_role("tab", name="Compare").click()
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    page.reload()
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    page.get_by_role("tab", name="Try it").click()
    expect(page.get_by_role("tab", name="Try it")).to_have_attribute("aria-selected", "true")
    page.reload()
    expect(page.get_by_role("tab", name="Try it")).to_have_attribute("aria-selected", "true")


def test_a_new_load_in_the_middle_of_an_answer_loses_nothing(page, picture, engines, writing):
    upload(page, picture)
    choose(page, "caption")
    ask(page)
    expect(answer(page).get_by_text("A delivery van on a")).to_be_visible()
    page.reload()
    expect(page.locator(".fd-stage img").first).to_be_visible()
    expect(cards(page).first).to_contain_text("A delivery van on a")
    expect(cards(page).first).to_contain_text("Stopped")


def test_a_new_load_says_that_the_picture_is_gone(page, tmp_path):
    own = tmp_path / "lost.png"
    Image.new("RGB", (320, 200), "purple").save(own)
    upload(page, own)
    ask_for(page, "od", "3 objects")
    for file in _served(page).rglob("lost.png"):
        file.unlink()
    page.reload()
    expect(answer(page).get_by_text("no longer on this server")).to_be_visible()
    expect(cards(page)).to_have_count(1)


def test_keys_go_from_card_to_card_and_copy(page, picture):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    upload(page, picture)
    ask_for(page, "od", "3 objects")
    ask_for(page, "caption", "A fake answer")
    newest, oldest = opened(cards(page).first), opened(cards(page).last)
    newest.focus()
    assert page.locator(".fd-talk [tabindex='0']").count() == 1
    page.keyboard.press("ArrowDown")
    expect(oldest).to_be_focused()
    page.keyboard.press("Enter")
    expect(answer(page).get_by_text("3 objects")).to_be_visible()
    expect(oldest).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Copied").first).to_be_focused()
    assert page.evaluate("navigator.clipboard.readText()") == "A fake answer"


def test_a_strangers_text_does_not_run_on_a_card(page, picture, engines, monkeypatch):
    attack = "<img src=x onerror=alert(1)>${document.title='pwned'}{{value.cards}}"
    monkeypatch.setitem(engines.engine.raw, "TEXT", attack)
    title = page.title()
    upload(page, picture)
    choose(page, "caption")
    ask(page)
    expect(cards(page).first.locator(".fd-talk-said")).to_have_text(attack)
    assert cards(page).locator("img").count() == 0
    assert page.title() == title


def test_ten_questions_are_kept(page, picture):
    upload(page, picture)
    choose(page, "docvqa")
    words = page.get_by_label(TASKS["docvqa"].text_label, exact=True).first
    for number in range(12):
        words.fill(f"Question {number}?")
        ask(page)
        question = answer(page).locator(".fd-question")
        expect(question).to_contain_text(f"Question {number}?")
        expect(answer(page).locator(".fd-meta")).to_contain_text("fake")
    expect(cards(page)).to_have_count(10)
    expect(cards(page).last).to_contain_text("Question 2?")


def test_on_a_phone_the_answer_comes_into_view_and_ask_stays(browser, address, picture):
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(address)
    upload(page, picture)
    choose(page, "caption")
    for _ in range(3):
        ask(page)
        expect(answer(page).get_by_text("A fake answer")).to_be_in_viewport()
        expect(page.get_by_role("button", name="Ask", exact=True).first).to_be_in_viewport()
    wide = page.evaluate("document.documentElement.scrollWidth")
    context.close()
    assert wide <= 390
