"""The button that asks everything about a picture at once."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from florence_demo.serving.answering import PICTURE_TASKS
from florence_demo.tasks import TASKS
from tests.browser.test_conversation import answer, cards, opened
from tests.browser.test_page import ask, choose, upload

pytestmark = pytest.mark.browser


def ask_all(page) -> None:
    page.get_by_role("button", name="Everything at once").first.click()


def test_every_answer_is_a_card_and_is_shown_on_the_picture(page, picture, engines):
    upload(page, picture)
    ask_all(page)
    expect(cards(page)).to_have_count(len(PICTURE_TASKS))
    assert engines.engine.batches[-1] == len(PICTURE_TASKS)
    expect(answer(page)).to_contain_text(f"{len(PICTURE_TASKS)} answers")
    found = cards(page).nth(PICTURE_TASKS.index(TASKS["od"]))
    expect(found).to_contain_text(TASKS["od"].title)
    expect(found).to_contain_text("3 objects: 2 × cat, car")
    opened(found).click()
    expect(answer(page).get_by_text("3 objects: 2 × cat, car")).to_be_visible()
    expect(page.locator(".fd-canvas").first.locator(".fd-item[data-index]")).to_have_count(3)
    expect(cards(page)).to_have_count(len(PICTURE_TASKS))
    page.get_by_role("button", name="Download", exact=True).first.wait_for()


def test_what_is_asked_next_stands_above_its_answers(page, picture):
    upload(page, picture)
    ask_all(page)
    expect(cards(page)).to_have_count(len(PICTURE_TASKS))
    choose(page, "od")
    ask(page)
    expect(page.locator(".fd-table tbody tr").first).to_be_visible()
    expect(cards(page)).to_have_count(len(PICTURE_TASKS) + 1)
    expect(opened(cards(page).first)).to_have_attribute("aria-current", "true")


def test_without_a_picture_it_says_what_to_do(page):
    ask_all(page)
    expect(answer(page).get_by_text("There is no picture yet", exact=False)).to_be_visible()


def test_a_phone_shows_the_cards_without_scrolling_sideways(browser, address, picture):
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(address)
    upload(page, picture)
    ask_all(page)
    expect(cards(page)).to_have_count(len(PICTURE_TASKS))
    wide = page.evaluate("document.documentElement.scrollWidth")
    context.close()
    assert wide <= 390
