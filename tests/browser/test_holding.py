"""A person holds an answer: what is less sure goes, names go, doubles go; text is taken by hand."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from playwright.sync_api import expect

from florence_demo.ui import AppConfig
from tests.browser.conftest import served
from tests.browser.test_page import ask, choose, upload
from tests.fakes import RAW, FakeEngine, FakeEngines

pytestmark = pytest.mark.browser

SURE = (0.9, 0.62, 0.346, 0.2)
THINGS = (
    "cat<loc_100><loc_200><loc_500><loc_600>car<loc_600><loc_100><loc_900><loc_400>"
    "cat<loc_100><loc_200><loc_500><loc_590>dog<loc_10><loc_700><loc_90><loc_900>"
)
LINES = "".join(
    f"{word}<loc_{x}><loc_{y}><loc_{x + 350}><loc_{y}><loc_{x + 350}><loc_{y + 60}>"
    f"<loc_{x}><loc_{y + 60}>"
    for word, x, y in (("FOUR", 500, 200), ("TOTAL", 100, 200), ("SHOP", 100, 100))
)


class Sure(FakeEngine):
    """Answer with a score for each thing."""

    calibrated = False

    def predict(self, image, task, text="", region=None, options=None, *, on_step=None):
        found = super().predict(image, task, text, region, options, on_step=on_step)
        scores = np.array(SURE[: len(found.detections)], np.float32)
        things = replace(found.detections, scores=scores)
        return replace(found, detections=things, calibrated=self.calibrated)


@pytest.fixture(scope="module")
def engine() -> Sure:
    return Sure({**RAW, "BOXES": THINGS, "QUADS": LINES})


@pytest.fixture(scope="module")
def address(tmp_path_factory, engine):
    root = tmp_path_factory.mktemp("holding") / "checkpoints"
    config = AppConfig(checkpoints=root, data=root.with_name("data"))
    with served(config, FakeEngines(engine)) as at:
        yield at


@pytest.fixture
def calibrated(engine, monkeypatch):
    """The model is one of which somebody measured how often it is right."""
    monkeypatch.setattr(engine, "calibrated", True)


@pytest.fixture
def held(page, picture):
    """A page with things that were found, and the panel that holds them."""
    upload(page, picture)
    choose(page, "od")
    ask(page)
    panel = page.get_by_role("region", name="What is kept").first
    expect(panel).to_be_visible()
    return page, panel


def rows(page):
    return page.get_by_role("region", name="Answer").first.locator("tbody tr:visible")


def drawn(page):
    return page.locator(".fd-stage .fd-item:visible")


def saved(page, kind: str, folder):
    page.get_by_label("Download as").first.click()
    page.get_by_role("option", name=kind).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download", exact=True).first.click()
    download.value.save_as(folder / download.value.suggested_filename)
    return folder / download.value.suggested_filename


def test_the_slider_acts_at_once_without_the_server(held, tmp_path):
    page, panel = held
    # What the answer itself brings is over.
    expect(page.get_by_role("button", name="Download", exact=True).first).to_be_visible()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    slider = panel.get_by_role("slider", name="Sure at least")
    slider.fill("35")
    expect(panel.get_by_text("3 of 4 shown")).to_be_visible()
    expect(rows(page)).to_have_count(3)  # 34.6 % reads as 35 %
    expect(drawn(page)).to_have_count(3)
    expect(page.locator(".fd-shape:visible")).to_have_count(3)
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(panel.get_by_text("2 of 4 shown")).to_be_visible()
    expect(rows(page).locator("td:nth-child(2)")).to_have_text(["cat", "car"])
    assert [url for url in asked if "queue/join" in url] == []
    told = json.loads(saved(page, "The whole answer (JSON)", tmp_path).read_text())
    assert [thing["label"] for thing in told["detections"]] == ["cat", "car"]


def test_names_switch_off_and_on(held, tmp_path):
    page, panel = held
    chip = panel.get_by_role("button", name="cat 2")
    expect(chip).to_have_attribute("aria-pressed", "true")
    chip.click()
    expect(chip).to_have_attribute("aria-pressed", "false")
    expect(rows(page).locator("td:nth-child(2)")).to_have_text(["car", "dog"])
    expect(drawn(page)).to_have_count(2)
    packed = saved(page, "All of these (zip)", tmp_path)
    with zipfile.ZipFile(packed) as archive:
        assert b'"cat"' not in archive.read("picture.json")
        assert archive.read("yolo/labels/train/picture.txt").count(b"\n") == 2
    chip.click()
    expect(rows(page)).to_have_count(4)
    expect(panel.get_by_text("of 4 shown")).to_have_count(0)


def test_overlapping_boxes_of_a_name_are_merged(held):
    page, panel = held
    switch = panel.get_by_role("switch", name="Merge overlapping boxes of one name (IoU 0.7")
    switch.focus()
    page.keyboard.press("Space")
    expect(rows(page).locator("td:nth-child(1)")).to_have_text(["1", "2", "4"])
    expect(panel.get_by_text("3 of 4 shown")).to_be_visible()
    panel.get_by_role("button", name="Show all").click()
    expect(rows(page)).to_have_count(4)
    expect(switch).not_to_be_checked()


def test_what_is_filtered_away_is_not_put_right_either(held):
    page, panel = held
    panel.get_by_role("button", name="cat 2").click()
    page.get_by_role("button", name="Put it right", exact=True).first.click()
    editing = page.get_by_role("region", name="Put the answer right").first
    expect(editing.get_by_label("Name of place")).to_have_count(2)
    expect(editing.get_by_label("Name of place 1")).to_have_value("car")


def test_a_filter_that_leaves_nothing_is_told_and_nothing_is_lost(held):
    page, panel = held
    panel.get_by_role("slider").fill("100")
    expect(panel.get_by_text("0 of 4 shown")).to_be_visible()
    page.get_by_role("button", name="Download", exact=True).first.click()
    expect(page.get_by_text("The filter leaves nothing").first).to_be_visible()
    panel.get_by_role("button", name="Show all").click()
    expect(rows(page)).to_have_count(4)


def test_another_answer_begins_with_everything(held):
    page, panel = held
    panel.get_by_role("slider").fill("60")
    expect(rows(page)).to_have_count(2)
    ask(page)
    expect(rows(page)).to_have_count(4)
    expect(panel.get_by_role("slider")).to_have_value("0")
    choose(page, "caption")
    ask(page)
    expect(page.get_by_text("A fake answer").first).to_be_visible()
    expect(panel).to_have_count(0)


def test_what_is_not_calibrated_only_compares(held):
    _, panel = held
    expect(panel.get_by_text("only compare")).to_be_visible()


WORDS = [("very sure", "90 %"), ("fairly sure", "62 %"), ("unsure", "35 %"), ("unsure", "20 %")]


@pytest.mark.parametrize(
    ("things", "words", "numbers"),
    [
        pytest.param(1, "very sure", "90 %", id="one"),
        pytest.param(2, "fairly to very sure", "62–90 %", id="two"),
        pytest.param(4, "unsure to very sure", "20–90 %", id="from nothing to much"),
    ],
)
def test_how_sure_it_is_stands_in_words(
    page, picture, engine, calibrated, monkeypatch, things, words, numbers
):
    raw = ">".join(THINGS.split(">")[: 4 * things]) + ">"
    monkeypatch.setitem(engine.raw, "BOXES", raw)
    upload(page, picture)
    choose(page, "od")
    ask(page)
    card = page.get_by_role("region", name="Asked so far").first.get_by_role("listitem")
    said = card.locator(".fd-talk-meta span")
    expect(said).to_have_text(words)
    expect(said).to_have_attribute("title", numbers)
    expect(card).not_to_contain_text("%")
    cells = rows(page).locator("td:nth-child(3)")
    expect(cells).to_have_text([f"{said} {number}" for said, number in WORDS[:things]])
    rows(page).first.click()
    expect(page.get_by_role("group", name="Ask about cat, very sure", exact=True)).to_be_visible()


def test_a_model_that_nobody_measured_says_no_word_of_it(held):
    page, _ = held
    card = page.get_by_role("region", name="Asked so far").first.get_by_role("listitem")
    expect(card).not_to_contain_text("sure")
    expect(rows(page).locator("td:nth-child(3)").first).to_have_text("90 %")


def test_a_slider_is_offered_where_it_can_choose(page, picture):
    upload(page, picture)
    choose(page, "region_to_segmentation")
    page.locator(".fd-stage").first.focus()
    page.keyboard.press("n")
    ask(page)
    expect(page.locator(".fd-meta").first).to_contain_text("fake")
    expect(page.get_by_role("region", name="What is kept")).to_have_count(0)


def test_a_thing_that_is_filtered_away_is_picked_no_longer(held):
    page, panel = held
    page.locator("tbody tr").nth(3).click()
    expect(page.get_by_role("group", name="Ask about dog")).to_be_visible()
    panel.get_by_role("slider").fill("50")
    expect(page.locator(".fd-menu:visible")).to_have_count(0)


def _read(page, picture):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    upload(page, picture)
    choose(page, "ocr_with_region")
    ask(page)
    lines = page.locator(".fd-text")
    expect(lines).to_have_text(["SHOP", "TOTAL", "FOUR"])  # in reading order
    return lines


def _selected(page, first, last) -> str:
    page.evaluate("document.getSelection().empty()")
    first.scroll_into_view_if_needed()
    start, end = first.bounding_box(), last.bounding_box()
    page.mouse.move(start["x"] + 1, start["y"] + start["height"] / 2)
    page.mouse.down()
    page.mouse.move(end["x"] + end["width"] - 1, end["y"] + end["height"] / 2, steps=6)
    page.mouse.up()
    page.keyboard.press("Control+c")
    return page.evaluate("navigator.clipboard.readText()")


def test_text_lies_on_its_place_is_selected_and_copied_as_it_is_read(page, picture):
    lines = _read(page, picture)
    shop = lines.nth(0)
    place = page.locator('.fd-item[data-index="2"] .fd-hit').bounding_box()
    at = shop.bounding_box()
    assert at["x"] == pytest.approx(place["x"], abs=6)
    assert at["width"] == pytest.approx(place["width"] - 10, abs=8)
    assert _selected(page, lines.nth(0), lines.nth(2)) == "SHOP\nTOTAL FOUR"
    assert _selected(page, lines.nth(1), lines.nth(1)) == "TOTAL"


def test_what_is_filtered_away_is_not_copied(page, picture):
    lines = _read(page, picture)
    panel = page.get_by_role("region", name="What is kept").first
    expect(panel.locator(".fd-name")).to_have_count(0)  # a line is no name
    panel.get_by_role("slider").fill("60")  # SHOP has 34.6 %
    page.get_by_role("region", name="Answer").first.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied").first).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "TOTAL FOUR"
    assert _selected(page, lines.nth(1), lines.nth(2)) == "TOTAL FOUR"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_holds_it_too(browser, address, picture, scheme):
    size = {"width": 390, "height": 844}
    context = browser.new_context(viewport=size, has_touch=True, color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    page.get_by_role("button", name="Ask", exact=True).first.wait_for()
    upload(page, picture)
    choose(page, "od")
    ask(page)
    panel = page.get_by_role("region", name="What is kept").first
    expect(panel).to_be_visible()
    for control in panel.locator("button:visible, label:visible, input[type=range]").all():
        assert min(control.bounding_box()[side] for side in ("width", "height")) >= 24
    panel.get_by_role("button", name="cat 2").tap()
    expect(rows(page)).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()
