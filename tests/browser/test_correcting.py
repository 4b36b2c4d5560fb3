"""A person puts an answer right, keeps it, and goes on to learn from it."""

from __future__ import annotations

import json
import zipfile

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.test_page import ask, choose, upload

pytestmark = pytest.mark.browser


@pytest.fixture
def shown(page, tmp_path):
    """A page with an answer about a picture that no other test has asked about."""

    def answered(task: str, color: str):
        file = tmp_path / f"{color}.png"
        Image.new("RGB", (400, 300), color).save(file)
        upload(page, file)
        choose(page, task)
        ask(page)
        expect(page.locator(".fd-meta").first).to_contain_text("fake")
        return page

    return answered


def editor(page):
    page.get_by_role("button", name="Put it right", exact=True).first.click()
    found = page.get_by_role("region", name="Put the answer right").first
    expect(found).to_be_visible()
    return found


def add(page) -> None:
    page.get_by_role("button", name="Add to my data").first.click()
    expect(page.get_by_role("region", name="Put the answer right")).to_have_count(0)


def drag(page, stage, start, end) -> None:
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*at[0])
    page.mouse.down()
    page.mouse.move(*at[1], steps=4)
    page.mouse.up()


def kept_rows(page, tmp_path) -> list[dict]:
    with page.expect_download() as download:
        page.get_by_role("button", name="Download my data").first.click()
    assert download.value.suggested_filename == "my-data.zip"
    download.value.save_as(tmp_path / "my-data.zip")
    with zipfile.ZipFile(tmp_path / "my-data.zip") as archive:
        lines = archive.read("annotations.jsonl").decode().splitlines()
        rows = [json.loads(line) for line in lines]
        assert {row["image"] for row in rows} <= set(archive.namelist())
    return rows


def test_places_are_renamed_removed_moved_and_added(shown, tmp_path):
    page = shown("od", "navy")
    editing = editor(page)
    stage = editing.locator(".fd-edit-stage")
    expect(stage.locator(".fd-edit-shape")).to_have_count(3)
    editing.get_by_label("Name of place 1").fill("lion <b>")
    editing.get_by_role("button", name="Remove place 3").click()
    expect(stage.locator(".fd-edit-shape")).to_have_count(2)
    # The car, by a tenth of the picture to the left.
    drag(page, stage, (0.75, 0.25), (0.65, 0.25))
    drag(page, stage, (0.05, 0.70), (0.20, 0.90))
    page.keyboard.type("dog")
    add(page)
    answer = page.get_by_role("region", name="Answer").first
    names = answer.locator("tbody td:nth-child(2)")
    expect(names).to_have_text(["lion <b>", "car", "dog"])
    expect(page.locator(".fd-stage img").first).to_be_visible()
    expect(page.get_by_text("My data:").first).to_be_visible()
    row = kept_rows(page, tmp_path)[-1]
    assert row["prefix"] == "<OD>"
    bins = [int(b.split(">")[0]) for b in row["suffix"].split("<loc_")[1:]]
    assert row["suffix"].startswith("lion <b><loc_100>")
    assert bins[4:8] == pytest.approx([500, 100, 800, 400], abs=5)
    assert bins[8:] == pytest.approx([50, 700, 200, 900], abs=5)


def test_words_are_put_right(shown, tmp_path):
    page = shown("caption", "maroon")
    words = editor(page).get_by_label("The right answer")
    expect(words).to_have_value("A fake answer")
    words.fill("Eine rote Fläche.")
    add(page)
    expect(page.locator(".fd-sentence").first).to_have_text("Eine rote Fläche.")
    assert {"prefix": "<CAPTION>", "suffix": "Eine rote Fläche."}.items() <= kept_rows(
        page, tmp_path
    )[-1].items()


def test_the_box_that_was_asked_about_stays_in_sight(page, picture):
    upload(page, picture)
    choose(page, "region_to_category")
    stage = page.locator(".fd-stage").first
    expect(stage).to_be_visible()
    drag(page, stage, (0.25, 0.25), (0.75, 0.75))
    ask(page)
    expect(page.locator(".fd-meta").first).to_contain_text("fake")
    editing = editor(page)
    asked, stage = (editing.locator(at).bounding_box() for at in (".fd-edit-asked", "img"))
    where = (asked["x"] - stage["x"]) / stage["width"], asked["width"] / stage["width"]
    assert where == pytest.approx((0.25, 0.5), abs=0.03)


def test_what_is_not_added_leaves_the_answer(shown):
    page = shown("od", "olive")
    editing = editor(page)
    editing.get_by_role("button", name="Remove place 1").click()
    editing.get_by_role("button", name="Undo").click()
    expect(editing.locator(".fd-edit-shape")).to_have_count(3)
    editing.get_by_role("button", name="Remove place 1").click()
    page.get_by_role("button", name="Cancel", exact=True).first.click()
    expect(editing).to_have_count(0)
    answer = page.get_by_role("region", name="Answer").first
    expect(answer.get_by_text("3 objects: 2 × cat, car")).to_be_visible()
    expect(page.locator(".fd-stage img").first).to_be_visible()


def test_it_is_done_with_keys_alone(shown, tmp_path):
    page = shown("od", "purple")
    editing = editor(page)
    editing.get_by_label("Name of place 2").focus()
    editing.locator(".fd-edit-stage").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    editing.get_by_label("Name of place 1").focus()
    editing.locator(".fd-edit-stage").focus()
    page.keyboard.press("Delete")
    expect(editing.locator(".fd-edit-shape")).to_have_count(2)
    editing.get_by_role("button", name="Add a place").press("Enter")
    page.keyboard.type("bird")
    add(page)
    suffix = kept_rows(page, tmp_path)[-1]["suffix"]
    assert suffix.startswith("car<loc_590>")
    assert suffix.endswith("bird<loc_250><loc_250><loc_750><loc_750>")


def test_a_name_that_is_missing_is_asked_for_and_nothing_is_lost(shown):
    page = shown("od", "gray")
    editing = editor(page)
    editing.get_by_role("button", name="Add a place").click()
    page.get_by_role("button", name="Add to my data").first.click()
    expect(page.get_by_text("Place 4 has no name", exact=False).first).to_be_visible()
    expect(editing.locator(".fd-edit-shape")).to_have_count(4)


def test_a_new_question_ends_the_editing(shown):
    page = shown("od", "silver")
    editing = editor(page)
    ask(page)
    expect(editing).to_have_count(0)
    expect(page.get_by_role("region", name="Answer").first).to_be_visible()


def test_one_goes_on_to_learn_from_it(shown):
    page = shown("od", "orange")
    editor(page)
    add(page)
    page.get_by_role("button", name="Learn from it").first.click()
    expect(page.get_by_role("tab", name="Fine-tune", exact=True)).to_have_attribute(
        "aria-selected", "true"
    )
    expect(page.get_by_label("Folder", exact=True).first).to_have_value("my-data")
