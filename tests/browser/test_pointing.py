"""A person points: boxes of one question, and things of an answer that something is asked about."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from florence_demo.tasks import TASKS
from tests.browser.test_page import ask, choose, drag, upload

pytestmark = pytest.mark.browser

REGION = TASKS["region_to_category"]
CAT = (40, 60, 200, 180)
"""Where the fake's first thing is, in pixels of the picture."""


def boxes(page):
    return page.locator(".fd-frame:visible")


def hint(page):
    return page.locator(".fd-hint:visible")


def answered(page, task: str = "od"):
    """Ask and return the answer, once it is there."""
    choose(page, task)
    ask(page)
    answer = page.get_by_role("region", name="Answer").first
    expect(answer.locator(".fd-meta")).to_contain_text("fake")
    return answer


def menu(page):
    return page.locator(".fd-menu:visible")


def click_at(page, x: float, y: float) -> None:
    """Click a place of the picture, told by its share of the sides."""
    stage = page.locator(".fd-stage").first
    stage.scroll_into_view_if_needed()
    at = stage.bounding_box()
    page.mouse.click(at["x"] + x * at["width"], at["y"] + y * at["height"])


def test_several_boxes_are_one_question_and_each_is_answered(page, picture, engines):
    upload(page, picture)
    choose(page, "region_to_category")
    drag(page, (0.1, 0.1), (0.3, 0.3))
    drag(page, (0.5, 0.5), (0.9, 0.9))
    expect(boxes(page)).to_have_count(2)
    expect(hint(page)).to_contain_text("2 boxes, each is asked about")
    before = len(engines.engine.asked)
    ask(page)
    answer = page.get_by_role("region", name="Answer").first
    expect(answer.locator("tbody tr")).to_have_count(2)
    regions = [region for _, _, region in engines.engine.asked[before:]]
    assert regions == [
        pytest.approx((40, 30, 120, 90), abs=2),
        pytest.approx((200, 150, 360, 270), abs=2),
    ]


def test_boxes_are_moved_resized_and_removed_with_the_mouse(page, picture):
    upload(page, picture)
    choose(page, "region_to_category")
    drag(page, (0.25, 0.25), (0.5, 0.5))
    box = page.get_by_role("group", name="Box 1: ")
    drag(page, (0.375, 0.375), (0.475, 0.375))  # from its middle: it moves
    expect(box).to_have_attribute("aria-label", "Box 1: 140, 75, 240, 150")
    drag(page, (0.6, 0.5), (0.8, 0.75))  # from its corner: it grows
    expect(box).to_have_attribute("aria-label", "Box 1: 140, 75, 320, 225")
    click_at(page, 0.05, 0.05)  # beside it: it is chosen no longer, and lies under a new one
    drag(page, (0.4, 0.3), (0.7, 0.7))
    expect(boxes(page)).to_have_count(2)
    page.get_by_role("button", name="Remove box 1").click()
    expect(boxes(page)).to_have_count(1)
    expect(hint(page)).to_contain_text("Region 160, 90, 280, 210")
    page.get_by_role("button", name="Clear", exact=True).locator("visible=true").click()
    expect(boxes(page)).to_have_count(0)
    expect(hint(page)).to_contain_text("Drag a box")


def test_boxes_are_made_and_changed_by_keys_alone(page, picture):
    upload(page, picture)
    choose(page, "region_to_category")
    page.locator(".fd-stage").first.focus()
    page.keyboard.press("n")
    page.keyboard.press("n")
    expect(boxes(page)).to_have_count(2)
    page.keyboard.press("Tab")
    first = page.get_by_role("group", name="Box 1: ")
    expect(first).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    expect(first).to_have_attribute("aria-label", "Box 1: 96, 75, 296, 228")
    expect(first).to_be_focused()
    page.keyboard.press("Delete")
    expect(boxes(page)).to_have_count(1)
    expect(page.get_by_role("group", name="Box 1: ")).to_be_focused()


def test_one_box_too_many_is_told_where_it_concerns_and_nothing_is_lost(page, picture):
    upload(page, picture)
    choose(page, "region_to_category")
    page.locator(".fd-stage").first.focus()
    for _ in range(20):
        page.keyboard.press("n")
    expect(boxes(page)).to_have_count(20)
    page.keyboard.press("n")
    expect(hint(page)).to_contain_text("20 boxes are the most for one question")
    expect(boxes(page)).to_have_count(20)


def test_boxes_stay_through_another_task_and_are_none_of_its_question(page, picture, engines):
    upload(page, picture)
    choose(page, "region_to_category")
    drag(page)
    choose(page, "caption")
    expect(boxes(page)).to_have_count(0)
    ask(page)
    expect(page.locator(".fd-meta").first).to_contain_text("fake")
    assert engines.engine.asked[-1] == ("caption", "", None)
    choose(page, "region_to_ocr")
    expect(boxes(page)).to_have_count(1)


def test_what_takes_hold_of_boxes_is_large_enough_at_any_zoom(page, picture):
    upload(page, picture)
    choose(page, "region_to_category")
    drag(page)
    for _ in range(2):
        sides = [
            grip.bounding_box()[side]
            for grip in page.locator(".fd-grip:visible").all()
            for side in ("width", "height")
        ]
        assert len(sides) == 8
        assert min(sides) >= 24
        page.get_by_role("button", name="Zoom in").first.click()
    for button in page.locator(".fd-regions:visible button:visible").all():
        assert min(button.bounding_box()[side] for side in ("width", "height")) >= 24


def test_a_click_on_a_thing_finds_its_row_and_one_on_the_row_the_thing(page, picture):
    upload(page, picture)
    answer = answered(page)
    click_at(page, 0.25, 0.4)
    rows, drawn = answer.locator("tbody tr"), page.locator(".fd-stage .fd-item")
    expect(rows.nth(0)).to_have_attribute("aria-current", "true")
    expect(page.get_by_role("group", name="Ask about cat")).to_be_visible()
    rows.nth(1).click()
    expect(rows.nth(0)).not_to_have_attribute("aria-current", "true")
    expect(rows.nth(1)).to_have_attribute("aria-current", "true")
    expect(page.locator('.fd-item[data-index="1"]')).to_contain_class("fd-picked")
    expect(page.get_by_role("group", name="Ask about car")).to_be_visible()
    click_at(page, 0.5, 0.95)
    expect(menu(page)).to_have_count(0)
    expect(drawn.and_(page.locator(".fd-picked"))).to_have_count(0)
    expect(answer.locator("[aria-current]")).to_have_count(0)


@pytest.mark.parametrize(
    ("action", "task"),
    [
        ("What is this?", "region_to_category"),
        ("Describe", "region_to_description"),
        ("Read this", "region_to_ocr"),
        ("Cut this out", "region_to_segmentation"),
    ],
)
def test_what_is_pressed_at_a_thing_is_asked_about_its_box(page, picture, engines, action, task):
    upload(page, picture)
    answered(page)
    click_at(page, 0.25, 0.4)
    menu(page).get_by_role("button", name=action).click()
    said = "1 outline" if task.endswith("segmentation") else "A fake answer"
    answer = page.get_by_role("region", name="Answer").first
    expect(answer.locator(".fd-sentence")).to_have_text(said)
    assert engines.engine.asked[-1] == (task, "", pytest.approx(CAT, abs=0.5))
    # The question stands there as one that was drawn by hand.
    expect(page.get_by_role("group", name="Box 1: 40, 60, 200, 180")).to_be_visible()


def test_one_thing_after_another_is_pointed_at(page, picture, engines):
    upload(page, picture)
    answered(page)
    click_at(page, 0.25, 0.4)
    menu(page).get_by_role("button", name="What is this?").click()
    expect(page.locator(".fd-sentence").first).to_have_text("A fake answer")
    click_at(page, 0.75, 0.25)  # the car of the answer before
    expect(page.get_by_role("group", name="Ask about car")).to_be_visible()
    menu(page).get_by_role("button", name="Cut this out").click()
    expect(page.locator(".fd-sentence").first).to_have_text("1 outline")
    car = pytest.approx((240, 30, 360, 120), abs=0.5)
    assert engines.engine.asked[-1] == ("region_to_segmentation", "", car)
    # Another question ends it.
    answered(page, "caption")
    expect(page.locator(".fd-stage .fd-item")).to_have_count(0)


def test_a_thing_in_the_box_that_is_chosen_is_picked(page, picture):
    upload(page, picture)
    answered(page)
    click_at(page, 0.25, 0.4)
    menu(page).get_by_role("button", name="Describe").click()
    expect(page.locator(".fd-sentence").first).to_have_text("A fake answer")
    click_at(page, 0.25, 0.4)
    expect(page.locator(".fd-frame")).to_contain_class("fd-on")
    click_at(page, 0.25, 0.4)
    expect(page.get_by_role("group", name="Ask about cat")).to_be_visible()


def test_a_thing_is_picked_and_asked_about_by_keys_alone(page, picture, engines):
    upload(page, picture)
    answer = answered(page)
    row = answer.locator("tbody tr").nth(1)
    row.focus()
    page.keyboard.press("Enter")
    expect(menu(page).get_by_role("button").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(menu(page)).to_have_count(0)
    expect(row).to_be_focused()
    thing = page.locator('.fd-item[data-index="1"]')
    thing.focus()
    page.keyboard.press("Enter")
    expect(menu(page).get_by_role("button").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(thing).to_be_focused()
    page.keyboard.press("Enter")
    menu(page).get_by_role("button", name="Describe").focus()
    page.keyboard.press("Enter")
    expect(answer.locator(".fd-sentence")).to_have_text("A fake answer")
    assert engines.engine.asked[-1][0] == "region_to_description"


def test_a_finger_picks_a_thing_and_presses_nothing_beneath_it(browser, address, picture, engines):
    size = {"width": 390, "height": 844}
    context = browser.new_context(viewport=size, has_touch=True)
    page = context.new_page()
    page.goto(address)
    page.get_by_role("button", name="Ask", exact=True).first.wait_for()
    upload(page, picture)
    answered(page)
    asked = len(engines.engine.asked)
    thing = page.locator('.fd-item[data-index="0"] .fd-hit')
    thing.scroll_into_view_if_needed()
    at = thing.bounding_box()
    page.touchscreen.tap(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
    expect(page.get_by_role("group", name="Ask about cat")).to_be_visible()
    for button in menu(page).get_by_role("button").all():
        shown = button.bounding_box()
        assert min(shown["width"], shown["height"]) >= 24
        assert shown["x"] >= 0
        assert shown["x"] + shown["width"] <= 390
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert len(engines.engine.asked) == asked
    context.close()


def test_a_click_on_the_zoomed_picture_picks_and_a_drag_moves_it(page, picture):
    upload(page, picture)
    answered(page)
    page.get_by_role("button", name="Zoom in").first.click()
    stage = page.locator(".fd-stage").first
    before = stage.bounding_box()
    view = page.locator(".fd-view").first.bounding_box()
    middle = (view["x"] + view["width"] / 2, view["y"] + view["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 40, middle[1] + 30, steps=4)
    page.mouse.up()
    moved = stage.bounding_box()
    assert moved["x"] - before["x"] == pytest.approx(40, abs=1)
    expect(menu(page)).to_have_count(0)
    # Its middle, which lies in the thing.
    page.mouse.click(moved["x"] + 0.4 * moved["width"], moved["y"] + 0.5 * moved["height"])
    expect(page.get_by_role("group", name="Ask about cat")).to_be_visible()


def test_the_comparison_takes_several_boxes_too(page, picture, engines):
    page.get_by_role("tab", name="Compare", exact=True).click()
    tab = page.locator("[role=tabpanel]:visible")
    tab.locator("input[type=file]").set_input_files(picture)
    expect(tab.locator(".fd-stage img").first).to_be_visible()
    models = tab.get_by_label("Models to compare")
    models.click()
    page.get_by_role("option", name="checkpoint: mine", exact=True).click()
    tab.get_by_role("radiogroup", name="What to do").get_by_text(REGION.group).click()
    tab.locator(".fd-row:visible .fd-chip").nth(1).click()
    tab.locator(".fd-stage").focus()
    page.keyboard.press("n")
    page.keyboard.press("n")
    before = len(engines.engine.asked)
    tab.get_by_role("button", name="Compare", exact=True).click()
    expect(tab.locator(".fd-column .fd-figure")).to_have_count(2)
    assert len(engines.engine.asked) - before == 4
