"""Windows large and small: *Ask* is in sight, and an answer comes into sight."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from florence_demo.tasks import TASKS
from tests.browser.conftest import opened
from tests.browser.test_page import ask, choose, upload

pytestmark = pytest.mark.browser

WINDOWS = {
    "desktop": (1440, 900),
    "laptop": (1366, 768),
    "desktop zoomed to 200 %": (720, 450),
    "laptop zoomed to 200 %": (683, 384),
    "phone": (390, 844),
}
SMALL = {name: size for name, size in WINDOWS.items() if size[0] < 760}


def at_rest(page) -> None:
    """Wait for the end of a scrolling: ten frames at one place."""
    page.wait_for_function(
        "() => { const same = window.seenAt === scrollY; window.seenAt = scrollY;"
        " window.sameFor = same ? (window.sameFor || 0) + 1 : 0; return window.sameFor > 9; }"
    )


def bottom(locator) -> float:
    box = locator.bounding_box()
    return box["y"] + box["height"]


@pytest.mark.parametrize("size", WINDOWS.values(), ids=WINDOWS)
def test_ask_is_in_sight_with_every_task(browser, address, picture, size):
    with opened(browser, address, size) as page:
        button = page.get_by_role("button", name="Ask", exact=True).first
        assert bottom(button) <= size[1], "at rest"
        upload(page, picture)
        for name in TASKS:
            choose(page, name)
            needs = TASKS[name].asks
            box = page.get_by_label(TASKS[name].text_label, exact=True) if needs == "text" else None
            if box:
                expect(box.first).to_be_visible()
            page.evaluate("scrollTo(0, 0)")
            assert bottom(button) <= size[1], name
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


@pytest.mark.parametrize("task", ["od", "caption"])
@pytest.mark.parametrize("size", SMALL.values(), ids=SMALL)
def test_an_answer_comes_into_sight_and_the_bar_hides_nothing(
    browser, address, picture, size, task
):
    with opened(browser, address, size) as page:
        upload(page, picture)
        choose(page, task)
        ask(page)
        answer = page.get_by_role("region", name="Answer").first
        expect(answer.locator(".fd-meta")).to_contain_text("fake")
        bar = page.get_by_role("button", name="Ask", exact=True).first
        found = page.locator(".fd-stage").first if task == "od" else answer.locator(".fd-sentence")
        expect(found).to_be_in_viewport(ratio=1)
        at_rest(page)
        assert bottom(found) <= bar.bounding_box()["y"]
        assert bottom(bar) <= size[1]


@pytest.mark.parametrize(
    "size", [size for size in SMALL.values() if size[1] < 500], ids=lambda size: f"{size[0]} wide"
)
def test_what_was_found_and_what_is_said_of_it_are_in_sight_together(
    browser, address, picture, size
):
    with opened(browser, address, size) as page:
        upload(page, picture)
        choose(page, "od")
        ask(page)
        said = page.get_by_role("region", name="Answer").first.locator(".fd-sentence")
        expect(said).to_have_text("3 objects: 2 × cat, car")
        for part in (said, page.locator(".fd-stage").first):
            expect(part).to_be_in_viewport(ratio=1)
