"""A person compares models side by side: words, things, one that is not there, a phone."""

from __future__ import annotations

import re
import shutil

import pytest
from playwright.sync_api import expect

from florence_demo.errors import CheckpointError
from florence_demo.models.catalogue import ASSETS, MODELS
from florence_demo.ui import AppConfig
from tests.browser.conftest import served
from tests.fakes import RAW, FakeEngine, FakeEngines

pytestmark = pytest.mark.browser

LOST = "There is no weight in <b>this</b> folder."


class Engines(FakeEngines):
    """Hand out an engine that answers otherwise for what is fine-tuned, and none for "base"."""

    def __init__(self) -> None:
        super().__init__()
        dog = "dog<loc_600><loc_100><loc_900><loc_400>"
        raw = {"TEXT": "A fake, better answer", "BOXES": RAW["BOXES"].split("car")[0] + dog}
        self.tuned = FakeEngine(raw)

    def get(self, name, progress=None):
        if name.name == "base":
            raise CheckpointError(LOST)
        return self.tuned if name.title == "mine" else super().get(name)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    root = tmp_path_factory.mktemp("compare") / "checkpoints"
    shutil.copytree(ASSETS / "nano", root / "mine")
    config = AppConfig(checkpoints=root, data=root.with_name("data"))
    with served(config, Engines()) as at:
        yield at


def open_tab(page, picture):
    page.get_by_role("tab", name="Compare", exact=True).click()
    tab = page.locator("[role=tabpanel]:visible")
    tab.locator("input[type=file]").set_input_files(picture)
    expect(tab.locator(".fd-stage img").first).to_be_visible()
    return tab


def choose(page, tab, *titles: str) -> None:
    models = tab.get_by_label("Models to compare")
    for title in titles:
        models.click()
        page.get_by_role("option", name=title, exact=True).click()
    models.press("Escape")


def columns_of(tab):
    return tab.get_by_role("region", name="Answers side by side").get_by_role("article")


def test_words_that_differ_are_marked(page, picture):
    tab = open_tab(page, picture)
    choose(page, tab, "checkpoint: mine")
    tab.get_by_role("button", name="Compare", exact=True).click()
    first, second = columns_of(tab).nth(0), columns_of(tab).nth(1)
    expect(first.locator(".fd-sentence")).to_have_text("A fake answer")
    expect(second.locator("ins")).to_have_text("fake, better")
    expect(second.locator("del")).to_have_text("fake")
    expect(second.get_by_text("of weights")).to_be_visible()
    expect(tab.get_by_text("Beside nano:")).to_be_visible()


def test_things_are_counted_and_a_model_that_fails_says_so(page, picture):
    tab = open_tab(page, picture)
    choose(page, tab, "checkpoint: mine", MODELS["base"].label)
    tab.get_by_text("Find things", exact=True).click()
    tab.get_by_text("Find everything", exact=True).click()
    tab.get_by_role("button", name="Compare", exact=True).click()
    columns = columns_of(tab)
    expect(columns).to_have_count(3)
    expect(columns.nth(0).locator(".fd-item")).to_have_count(3)
    expect(columns.nth(0).locator(".fd-figure img")).to_have_js_property("complete", True)
    told = columns.nth(1).locator(".fd-counts > div")
    expect(told.nth(0)).to_have_text(re.compile(r"^Both\s*1$"))
    expect(told.nth(1)).to_have_text(re.compile(r"^Only the first\s*2(cat, car|car, cat)$"))
    expect(told.nth(2)).to_have_text(re.compile(r"^Only here\s*1dog$"))
    # A stranger's folder may say anything: it stays text.
    expect(columns.nth(2).locator(".fd-alert")).to_have_text(LOST)


def test_one_model_is_refused_in_a_sentence(page, picture):
    tab = open_tab(page, picture)
    tab.get_by_role("button", name="Compare", exact=True).click()
    hint = tab.locator(".fd-compare-hint")
    expect(hint).to_contain_text("Choose two to four different models")  # the message goes


@pytest.mark.parametrize("task", ["Ask about one spot", "Ask a question"])
def test_what_a_task_needs_is_asked_for(page, picture, task):
    tab = open_tab(page, picture)
    tab.get_by_text(task, exact=True).click()
    tab.locator(".fd-row:visible .fd-chip").first.click()
    region = task == "Ask about one spot"
    expect(tab.get_by_text("Drag a box around")).to_be_visible(visible=region)
    expect(tab.get_by_label("A question", exact=True)).to_be_visible(visible=not region)


def test_columns_stand_below_each_other_on_a_phone(page, picture):
    tab = open_tab(page, picture)
    page.set_viewport_size({"width": 390, "height": 844})
    choose(page, tab, "checkpoint: mine")
    tab.get_by_role("button", name="Compare", exact=True).click()
    expect(columns_of(tab).nth(1).locator("ins")).to_be_visible()
    upper, lower = (columns_of(tab).nth(i).bounding_box() for i in (0, 1))
    assert lower["y"] >= upper["y"] + upper["height"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
