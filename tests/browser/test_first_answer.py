"""A person goes from a run that has ended to a first answer, and looks at what it answered."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from florence_demo.data.example import Example
from florence_demo.prediction import Detections
from florence_demo.tasks import TASKS
from florence_demo.training.samples import SAMPLES_FOLDER
from florence_demo.ui import AppConfig
from tests.browser.conftest import served
from tests.fakes import FakeEngines
from tests.run_makers import finished_run

pytestmark = pytest.mark.browser

CUSTOM = TASKS["custom"]
LONG_AGO = 86_400
"""Seconds: a run that ended so long ago is an earlier one, however long the tests take."""
EVIL = "<FORM>Which <b>drink</b> ${1+1} {{value}} is ticked?"
CATS = Detections(np.array([[10, 10, 60, 60], [100, 50, 180, 150]], np.float32), ("cat", "cat"))


@pytest.fixture(scope="module")
def engines() -> FakeEngines:
    return FakeEngines()


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    made: Path = tmp_path_factory.mktemp("runs") / "checkpoints"
    scene = Image.new("RGB", (200, 160), "teal")
    cats = Example(scene, "od", detections=CATS)
    finished_run(made / "cats", (cats,), ago=LONG_AGO, before={}, after={})
    spot = Example(scene, "region_to_category", region=(20.0, 20.0, 90.0, 80.0), answer="cat")
    finished_run(made / "spots", (spot,), ago=LONG_AGO, before={}, after={})
    paper = Image.new("RGB", (300, 200), "white")
    rows = (
        Example(paper, "custom", EVIL, answer="tea"),
        Example(Image.new("RGB", (80, 60), "red"), "custom", "<FORM>Which size?", answer="small"),
    )
    finished_run(made / "forms", rows)
    return made


@pytest.fixture(scope="module")
def address(engines, root):
    config = AppConfig(checkpoints=root, data=root.parent / "data", device="cpu")
    with served(config, engines) as at:
        yield at


def open_tab(page, name):
    page.get_by_role("tab", name=name, exact=True).click()
    return page.locator("[role=tabpanel]:visible")


def in_my_models(page):
    expect(page.get_by_role("tab", name="My models")).to_have_attribute("aria-selected", "true")
    return page.locator("[role=tabpanel]:visible")


@pytest.mark.parametrize("loaded_anew", [False, True], ids=["at once", "on a page loaded anew"])
def test_a_run_that_ended_is_tried_with_one_press(page, engines, address, loaded_anew):
    if loaded_anew:
        open_tab(page, "Fine-tune")
        # Beside it: of a page that goes, its console tells what was still on its way.
        page = page.context.new_page()
        page.goto(address)
        page.get_by_role("button", name="Ask", exact=True).first.wait_for()
    tab = open_tab(page, "Fine-tune")
    expect(tab.get_by_text("Trained 20 steps on demo forms from nano").first).to_be_visible()
    tab.get_by_role("button", name="Try it now", exact=True).first.click()

    tab = in_my_models(page)
    expect(tab.get_by_label("Models here")).to_have_value("forms")
    expect(tab.get_by_text("Loaded: ask it below.")).to_be_visible()
    expect(tab.locator(".fd-stage img")).to_be_visible()
    expect(tab.get_by_role("radio", name=CUSTOM.title)).to_be_checked()
    expect(tab.get_by_label(CUSTOM.text_label)).to_have_value(EVIL)
    tab.get_by_role("button", name="Ask", exact=True).click()
    expect(tab.get_by_role("region", name="Answer").get_by_text("A fake answer")).to_be_visible()
    assert engines.engine.asked[-1] == ("custom", EVIL, None)
    assert engines.names[-1].source.endswith("checkpoints/forms")


def test_an_earlier_run_is_tried_and_its_region_is_drawn(page, engines):
    tab = open_tab(page, "Fine-tune")
    earlier = tab.get_by_role("region", name="Earlier runs")
    expect(earlier.get_by_role("button", name="Try cats now")).to_be_visible()
    earlier.get_by_role("button", name="Try spots now").click()
    tab = in_my_models(page)
    expect(tab.locator(".fd-boxes > *")).to_be_visible()
    tab.get_by_role("button", name="Ask", exact=True).click()
    expect(tab.get_by_role("region", name="Answer").get_by_text("A fake answer")).to_be_visible()
    assert engines.engine.asked[-1] == ("region_to_category", "", (20.0, 20.0, 90.0, 80.0))


def test_what_it_answered_on_the_way_opens_on_the_canvas(page):
    tab = open_tab(page, "Fine-tune")
    run = tab.get_by_role("region", name="The run")
    # Words of the data are words, whatever they look like.
    expect(run.get_by_text("Which <b>drink</b> ${1+1} {{value}} is ticked?")).to_be_visible()
    run.get_by_role("button", name=re.compile("Which size")).click()
    tab = in_my_models(page)
    answer = tab.get_by_role("region", name="Answer")
    expect(answer.locator(".fd-sentence")).to_have_text("small")
    expect(answer.get_by_text("Wanted: small")).to_be_visible()
    expect(answer.get_by_text("Answered by forms, after step 20.")).to_be_visible()
    expect(tab.get_by_label(CUSTOM.text_label)).to_have_value("<FORM>Which size?")
    expect(tab.locator(".fd-stage img")).to_be_visible()


def test_a_checkpoint_that_a_run_made_offers_its_samples(page, engines):
    tab = open_tab(page, "My models")
    tab.get_by_label("Models here").click()
    page.get_by_role("option", name="cats").click()
    card = tab.get_by_role("region", name="The checkpoint")
    expect(card.get_by_text("Trained 20 steps on demo forms from nano")).to_be_visible()
    # What only an expert asks for stands behind Details.
    expect(card.get_by_text("in the native layout", exact=False)).to_be_hidden()
    card.get_by_text("Details").click()
    expect(card.get_by_text("in the native layout", exact=False)).to_be_visible()
    card.locator("button[data-sample]").first.click()
    answer = tab.get_by_role("region", name="Answer")
    expect(answer.locator("tbody tr")).to_have_count(2)
    expect(answer.get_by_text("Wanted: 2 objects: 2 × cat")).to_be_visible()
    expect(tab.locator(".fd-stage .fd-item")).to_have_count(2)
    expect(tab.get_by_text("Loaded: ask it below.")).to_be_visible()
    assert engines.names[-1].source.endswith("checkpoints/cats")


def test_what_came_since_is_there_when_the_tab_is_opened(page, root):
    tab = open_tab(page, "My models")
    finished_run(root / "later", ago=LONG_AGO)
    open_tab(page, "Fine-tune")
    tab = open_tab(page, "My models")
    tab.get_by_label("Models here").click()
    expect(page.get_by_role("option", name="later")).to_be_visible()


def test_a_run_without_a_sample_opens_all_the_same(page, root):
    run = finished_run(root / "bare", ago=LONG_AGO)
    for picture in (run.folder / SAMPLES_FOLDER).iterdir():
        picture.unlink()
    tab = open_tab(page, "Fine-tune")
    tab.get_by_role("button", name="Try bare now").click()
    tab = in_my_models(page)
    expect(tab.get_by_text("Loaded: ask it below.")).to_be_visible()
    expect(tab.get_by_text("This run kept no sample of its data")).to_be_visible()


def test_an_empty_folder_says_so_until_a_model_is_there(browser, tmp_path, engines):
    config = AppConfig(checkpoints=tmp_path / "checkpoints", data=tmp_path / "data")
    with served(config, engines) as url, browser.new_context() as context:
        page = context.new_page()
        page.goto(url)
        page.get_by_role("button", name="Ask", exact=True).first.wait_for()
        tab = open_tab(page, "My models")
        expect(tab.get_by_text("There is no checkpoint yet")).to_be_visible()
        finished_run(tmp_path / "checkpoints" / "mine")
        page.reload()
        page.get_by_role("button", name="Ask", exact=True).first.wait_for()
        tab = open_tab(page, "My models")
        expect(tab.get_by_text("Choose a checkpoint to see what it holds.")).to_be_visible()


def test_a_measurement_of_one_question_claims_nothing(page):
    tab = open_tab(page, "How good is it?")
    tab.get_by_role("radio", name="Demo: forms").check()
    tab.get_by_label("Most questions").fill("1")
    tab.get_by_role("button", name="Measure", exact=True).click()
    report = tab.get_by_role("region", name="The measurement")
    expect(report.get_by_text("1 question is too few to say how good the model is")).to_be_visible()
    row = report.get_by_role("row", name=re.compile("answers right, letter by letter"))
    expect(row.get_by_text("too few to say: ask at least ten")).to_be_visible()
    expect(report.locator(".fd-interval")).to_have_count(0)
