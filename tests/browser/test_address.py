"""The address of the page: a tab stands in it, and Back goes back."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

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
    linked.get_by_role("tab", name="How good is it?").or_(
        linked.get_by_role("tab", name="Evaluate")
    ).click()
    expect(linked).to_have_url(re.compile("#evaluate$"))
    linked.go_back()
    chosen(linked, TABS.get(name, "Try it")).to_be_visible()
