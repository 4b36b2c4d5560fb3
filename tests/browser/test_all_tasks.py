"""The button that asks everything about a picture at once."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from florence_demo.serving.asking import PICTURE_TASKS
from tests.browser.test_page import ask, choose, upload

pytestmark = pytest.mark.browser


def ask_all(page) -> None:
    page.get_by_role("button", name="All tasks on this picture").first.click()


def cards(page):
    return page.get_by_role("list", name="All answers").first.get_by_role("listitem")


def test_every_answer_is_a_card_and_opens_large(page, picture, engines):
    upload(page, picture)
    ask_all(page)
    expect(cards(page)).to_have_count(len(PICTURE_TASKS))
    assert engines.engine.batches[-1] == len(PICTURE_TASKS)
    answer = page.get_by_role("region", name="Answer").first
    expect(answer.locator(".fd-sentence")).to_contain_text(f"{len(PICTURE_TASKS)} answers")
    found = cards(page).filter(has=page.get_by_role("button", name="Find everything"))
    expect(found).to_contain_text("3 objects: 2 × cat, car")
    expect(found.locator("path.fd-shape")).to_have_count(3)
    found.get_by_role("button", name="Find everything").click()
    expect(answer.get_by_text("3 objects: 2 × cat, car")).to_be_visible()
    expect(answer.locator("tbody tr")).to_have_count(3)
    expect(cards(page)).to_have_count(len(PICTURE_TASKS))
    page.get_by_role("button", name="Download", exact=True).first.wait_for()


def test_cards_go_when_something_else_is_asked(page, picture):
    upload(page, picture)
    ask_all(page)
    expect(cards(page)).to_have_count(len(PICTURE_TASKS))
    choose(page, "od")
    ask(page)
    expect(page.locator(".fd-table tbody tr").first).to_be_visible()
    expect(cards(page)).to_have_count(0)


def test_without_a_picture_it_says_what_to_do(page):
    ask_all(page)
    expect(page.get_by_text("There is no picture yet", exact=False).first).to_be_visible()


def test_a_strangers_text_does_not_run_on_a_card(page, picture, engines, monkeypatch):
    attack = "<img src=x onerror=alert(1)>${document.title='pwned'}{{value.cards}}"
    monkeypatch.setitem(engines.engine.raw, "TEXT", attack)
    quad = f"{attack}<loc_1><loc_1><loc_9><loc_1><loc_9><loc_9><loc_1><loc_9>"
    monkeypatch.setitem(engines.engine.raw, "QUADS", quad)
    title = page.title()
    upload(page, picture)
    ask_all(page)
    expect(cards(page).first.locator("p")).to_have_text(attack)
    expect(cards(page).last.locator("p")).to_have_text(attack)
    drawn = cards(page).locator("img")
    assert all(drawn.nth(i).get_attribute("src") != "x" for i in range(drawn.count()))
    assert page.title() == title


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
