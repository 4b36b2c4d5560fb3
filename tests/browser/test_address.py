"""The address of the page: tab and question stand in it, and Back goes back."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from florence_demo.tasks import TASKS
from tests.browser.test_conversation import REMEMBERED
from tests.browser.test_page import ask, choose, upload

pytestmark = pytest.mark.browser

TABS = {"many": "Many pictures", "compare": "Compare", "finetune": "Fine-tune"}


def chosen(page, title):
    return expect(page.get_by_role("tab", name=title, exact=True, selected=True))


def test_back_goes_to_the_tab_before(page):
    for name, title in TABS.items():
        page.get_by_role("tab", name=title, exact=True).click()
        chosen(page, title).to_be_visible()
        expect(page).to_have_url(re.compile(f"#{name}$"))
    page.go_back()
    chosen(page, "Compare").to_be_visible()
    page.go_back()
    chosen(page, "Many pictures").to_be_visible()
    page.go_forward()
    chosen(page, "Compare").to_be_visible()
    for _ in range(2):
        page.go_back()
    chosen(page, "Try it").to_be_visible()


@pytest.mark.parametrize("name", [*TABS, "nowhere"])
def test_a_link_opens_its_tab(page, address, name):
    linked = page.context.new_page()
    linked.goto(f"{address}#{name}")
    chosen(linked, TABS.get(name, "Try it")).to_be_visible()
    linked.get_by_role("tab", name="How good is it?").click()
    expect(linked).to_have_url(re.compile("#evaluate$"))
    linked.go_back()
    chosen(linked, TABS.get(name, "Try it")).to_be_visible()


def test_a_link_brings_back_what_was_asked(page, picture):
    choose(page, "open_vocabulary_detection")
    upload(page, picture)
    page.get_by_label(TASKS["open_vocabulary_detection"].text_label).first.fill("a & b, c?d")
    page.get_by_role("button", name="Advanced").first.click()
    beams = page.get_by_role("spinbutton").first
    page.wait_for_function(REMEMBERED)
    beams.fill("2")
    beams.press("Tab")
    page.wait_for_function("localStorage.getItem('fd-ask') !== window.was")
    ask(page)
    expect(page).to_have_url(re.compile("#try.task=open_vocabulary_detection&words=.*&beams=2$"))
    linked = page.context.new_page()
    linked.goto(page.url)
    words = linked.get_by_label(TASKS["open_vocabulary_detection"].text_label).first
    expect(words).to_have_value("a & b, c?d")
    linked.get_by_role("button", name="Advanced").first.click()
    expect(linked.get_by_role("spinbutton").first).to_have_value("2")


BROKEN = {
    "no such task": "task=fly&words=cat",
    "no such model": "model=../../etc&task=od",
    "no number": "beams=many",
}


@pytest.mark.parametrize("query", BROKEN.values(), ids=BROKEN)
def test_a_broken_link_says_so_and_the_page_works(page, address, picture, query):
    linked = page.context.new_page()
    linked.goto(f"{address}#try?{query}")
    expect(linked.get_by_text("This link cannot be followed wholly")).to_be_visible()
    upload(linked, picture)
    choose(linked, "od")
    ask(linked)
    expect(linked.locator(".fd-table tbody tr").first).to_be_visible()
