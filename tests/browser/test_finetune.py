"""A person teaches a tiny model the demo's forms, in the browser, and opens the result."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import expect

from florence_demo.tasks import TASKS
from florence_demo.training.status import STATUS_FILE
from florence_demo.ui import AppConfig
from tests.browser.conftest import served
from tests.micro_florence import micro_model, micro_processor

pytestmark = pytest.mark.browser

LONG = 180_000
"""Milliseconds for what a process of its own does: it wakes up, learns and measures."""


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("finetune") / "checkpoints"
    processor = micro_processor()
    micro_model(processor).save_pretrained(made / "tiny")
    processor.save_pretrained(made / "tiny")
    return made


@pytest.fixture(scope="module")
def address(engines, root):
    config = AppConfig(checkpoints=root, data=root.parent / "data", device="cpu")
    with served(config, engines) as at:
        yield at


def open_tab(page):
    page.get_by_role("tab", name="Fine-tune", exact=True).click()
    start = re.compile("^(Start|A run is going on)$")
    return page.get_by_role("tabpanel").filter(has=page.get_by_role("button", name=start))


def test_why_an_upload_was_refused_stays_where_it_is(page):
    tab = open_tab(page)
    tab.get_by_text("My own files", exact=True).click()
    tab.locator("input[type=file]").first.set_input_files(
        {"name": "set.zip", "mimeType": "application/zip", "buffer": b"no zip at all"}
    )
    toast = page.get_by_test_id("toast-text").first
    expect(toast).to_be_visible()
    expect(tab.locator(".fd-refused")).to_have_text(toast.inner_text().strip())


def fill_in(page, tab) -> None:
    start = tab.get_by_label("Start from")
    # What was trained meanwhile joins the list when the tab opens, and pushes on what is clicked.
    while start.input_value() != "checkpoint: tiny":
        start.click()
        page.get_by_role("option", name="checkpoint: tiny", exact=True).click()
    # The choice brings settings along; what is typed after that stays.
    expect(tab.get_by_text("Settings to begin with for “tiny”")).to_be_visible()
    tab.get_by_label("Learn for").fill("3")
    tab.get_by_role("button", name="More settings").click()
    tab.get_by_label("Questions a step").fill("4")
    tab.get_by_label("Most questions (0: all)").fill("8")
    tab.get_by_label("Questions to measure with").fill("2")
    tab.get_by_label("Measure after steps (0: a pass)").fill("3")
    expect(tab.get_by_text("3 steps: about")).to_be_visible()


def test_a_model_learns_is_found_again_and_opened(page):
    tab = open_tab(page)
    expect(tab.get_by_text("No run yet")).to_be_visible()
    fill_in(page, tab)
    tab.get_by_role("button", name="Start", exact=True).click()
    run = tab.get_by_role("region", name="The run")
    expect(run.get_by_role("heading", name="forms-tiny")).to_be_visible()
    expect(run.get_by_role("progressbar")).to_be_visible()

    page.reload()
    tab = open_tab(page)
    run = tab.get_by_role("region", name="The run")
    expect(run.get_by_role("heading", name="forms-tiny")).to_be_visible()
    expect(tab.get_by_role("button", name="A run is going on")).to_be_disabled()

    expect(run.get_by_text("Done", exact=True)).to_be_visible(timeout=LONG)
    row = run.get_by_role("row", name=re.compile("answers right, letter by letter"))
    expect(row.get_by_role("cell").nth(0)).to_have_text(re.compile(r"^\d+%$"))
    expect(row.get_by_role("cell").nth(1)).to_have_text(re.compile(r"^\d+%"))
    expect(run.get_by_role("img", name="How wrong it still is over 3 steps")).to_be_visible()
    expect(run.get_by_role("article")).to_have_count(2)
    expect(run.get_by_role("article").first.locator("img")).to_be_visible()
    expect(tab.get_by_role("button", name="Start", exact=True)).to_be_enabled()

    # Two questions say nothing about others.
    expect(run.get_by_text("Measured on 2 questions, too few to say")).to_be_visible()
    run.get_by_text("Details").click()
    expect(run.get_by_text("Validation loss")).to_be_visible()

    tab.get_by_role("button", name="Try it now", exact=True).first.click()
    expect(page.get_by_role("tab", name="My models")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_label("Models here")).to_have_value("forms-tiny")
    models = page.locator("[role=tabpanel]:visible")
    expect(models.get_by_text("Loaded: ask it below.")).to_be_visible()
    expect(models.locator(".fd-stage img")).to_be_visible()
    expect(models.get_by_label(TASKS["custom"].text_label)).to_have_value(
        re.compile(r"^<FORM>Which \w+ is ticked")
    )
    models.get_by_role("button", name="Ask", exact=True).click()
    expect(models.get_by_role("region", name="Answer").get_by_text("A fake answer")).to_be_visible()

    tab = open_tab(page)
    tab.get_by_role("button", name="Compare with where it started").click()
    expect(page.get_by_role("tab", name="Compare", exact=True)).to_have_attribute(
        "aria-selected", "true"
    )
    chosen = page.locator("[role=tabpanel]:visible").locator(".token")
    expect(chosen).to_have_text([re.compile("tiny"), re.compile("forms-tiny")])


def test_a_run_that_is_killed_leaves_the_page_answering(page, root):
    tab = open_tab(page)
    fill_in(page, tab)
    tab.get_by_label("Name of the result").fill("cut short")
    tab.get_by_role("button", name="Start", exact=True).click()
    run = tab.get_by_role("region", name="The run")
    expect(run.get_by_role("heading", name="cut-short")).to_be_visible()
    status = json.loads((root / "cut-short" / STATUS_FILE).read_text(encoding="utf-8"))
    os.kill(status["pid"], signal.SIGKILL)
    expect(run.get_by_role("alert")).to_contain_text("it was killed, or ran out of memory")
    expect(tab.get_by_role("button", name="Start", exact=True)).to_be_enabled()


def test_a_phone_shows_all_of_it_without_scrolling_sideways(browser, address):
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(address)
    page.get_by_role("button", name="Ask", exact=True).first.wait_for()
    wide = []
    for name, button in (("Fine-tune", "Start"), ("How good is it?", "Measure")):
        tab = page.get_by_role("tab", name=name, exact=True)
        if not tab.is_visible():
            page.locator(".overflow-menu > button").first.click()
            tab = page.locator(".overflow-dropdown button").filter(has_text=name)
        tab.click()
        page.get_by_role("button", name=button, exact=True).wait_for()
        wide.append(page.evaluate("document.documentElement.scrollWidth"))
    context.close()
    assert max(wide) <= 390
