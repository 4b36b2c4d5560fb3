"""The menu of tasks: one entry where the same is asked in several ways, a switch for where."""

from __future__ import annotations

import pytest
from PIL import Image
from playwright.sync_api import expect

from florence_demo.data.example import Example
from florence_demo.tasks import TASKS
from florence_demo.ui import AppConfig
from tests.browser.conftest import served
from tests.browser.test_page import ask, choose, upload
from tests.fakes import FakeEngines
from tests.run_makers import finished_run

pytestmark = pytest.mark.browser

PLACED = [task for task in TASKS.values() if task.placed]
LEARNED = {
    "pages": {"docvqa/anls": 0.9},
    "pictures": {"vqa/exact": 0.9, "other docvqa/anls": 0.2},
    "both": {"docvqa/anls": 0.9, "vqa/exact": 0.8},
    "forms": {"custom/anls": 0.9},
}


@pytest.fixture(scope="module")
def engines() -> FakeEngines:
    return FakeEngines()


@pytest.fixture(scope="module")
def address(engines, tmp_path_factory):
    root = tmp_path_factory.mktemp("menu") / "checkpoints"
    row = Example(Image.new("RGB", (80, 60), "red"), "custom", "Which size?", answer="small")
    for name, numbers in LEARNED.items():
        finished_run(root / name, (row,), before=numbers, after=numbers)
    config = AppConfig(model="nano", checkpoints=root, data=root.with_name("data"))
    with served(config, engines) as at:
        yield at


def switch(page):
    return page.get_by_role("switch", name="Show where").locator("visible=true")


def chip(page, title: str):
    return page.get_by_role("radio", name=title, exact=True).first


def cards(page):
    return page.get_by_role("region", name="Asked so far").first.get_by_role("listitem")


@pytest.mark.parametrize("task", PLACED, ids=lambda t: t.name)
def test_the_switch_asks_for_the_same_and_where(page, picture, engines, task):
    upload(page, picture)
    for name in (task.name, task.placed):
        choose(page, name)
        expect(page.locator(".fd-help").first).to_have_text(TASKS[name].help)
        ask(page)
        card = cards(page).first.locator(".fd-talk-title")
        expect(card).to_have_text(TASKS[name].title)
        expect(page.locator(".fd-meta").first).to_contain_text("fake")
        assert engines.engine.asked[-1][0] == name


def test_one_switch_serves_all_that_it_stands_beside(page):
    choose(page, "caption")
    switch(page).check()
    chip(page, "A paragraph").check(force=True)
    expect(switch(page)).to_be_checked()
    choose(page, "od")
    expect(switch(page)).to_have_count(0)
    page.get_by_text("Read text", exact=True).first.click()
    expect(switch(page)).to_be_checked()


def test_the_switch_is_turned_by_keys(page):
    choose(page, "caption")
    switch(page).focus()
    page.keyboard.press("Space")
    expect(switch(page)).to_be_checked()
    expect(switch(page)).to_be_focused()
    help_of = TASKS[TASKS["caption"].placed].help
    expect(page.locator(".fd-help").first).to_have_text(help_of)


@pytest.mark.parametrize(
    ("task", "entry", "where"),
    [
        ("caption_then_grounding", "Short", True),
        ("more_detailed_caption", "A paragraph", False),
        ("ocr_with_region", "Read all text", True),
        ("docvqa", "Question", None),
        ("vqa", "Question", None),
    ],
)
def test_a_link_sets_the_entry_and_the_switch(page, address, picture, engines, task, entry, where):
    linked = page.context.new_page()
    linked.goto(f"{address}#try?task={task}&words=cat")
    expect(chip(linked, entry)).to_be_checked()
    if where is None:
        expect(switch(linked)).to_have_count(0)
        expect(linked.get_by_label("A question", exact=True).first).to_have_value("cat")
    else:
        expect(switch(linked)).to_be_checked(checked=where)
    upload(linked, picture)
    ask(linked)
    expect(cards(linked).first).to_contain_text(TASKS[task].title)
    expect(linked.locator(".fd-meta").first).to_contain_text("fake")
    assert engines.engine.asked[-1][0] == task


def choose_model(page, title: str) -> None:
    page.get_by_label("Model", exact=True).first.click()
    page.get_by_role("option", name=title).first.click()


def test_a_question_that_was_picked_follows_the_model(page):
    told = page.locator(".fd-help").first
    choose(page, "vqa")
    expect(told).to_have_text(TASKS["vqa"].help)
    choose_model(page, "base-ft")
    expect(told).to_have_text(TASKS["docvqa"].help)
    choose_model(page, "nano")
    expect(told).to_have_text(TASKS["vqa"].help)


@pytest.mark.parametrize(
    ("name", "asked"),
    [("pages", "docvqa"), ("pictures", "vqa"), ("both", "docvqa"), ("forms", "docvqa")],
)
def test_a_checkpoint_is_asked_as_it_learned(page, picture, engines, name, asked):
    page.get_by_role("tab", name="My models").click()
    tab = page.locator("[role=tabpanel]:visible")
    tab.get_by_label("Models here").click()
    page.get_by_role("option", name=name, exact=True).click()
    expect(tab.get_by_text("Trained 20 steps")).to_be_visible()
    tab.get_by_role("button", name="Load", exact=True).click()
    expect(tab.get_by_text("Loaded: ask it below.")).to_be_visible()
    expect(tab.locator(".fd-help")).to_have_text(TASKS[asked].help)
    tab.locator(".fd-picture input[type=file]").set_input_files(picture)
    expect(tab.locator(".fd-stage img")).to_be_visible()
    tab.get_by_label("A question", exact=True).fill("What?")
    tab.get_by_role("button", name="Ask", exact=True).click()
    expect(tab.get_by_role("region", name="Answer").get_by_text("A fake answer")).to_be_visible()
    assert engines.engine.asked[-1] == (asked, "What?", None)
