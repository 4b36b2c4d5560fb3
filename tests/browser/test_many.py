"""A person drops many pictures, watches them being answered, filters, opens one, comes back."""

from __future__ import annotations

import pytest
from PIL import Image
from playwright.sync_api import expect

from florence_demo.tasks import TASKS
from tests.picture_makers import encoded, red

pytestmark = pytest.mark.browser


@pytest.fixture
def pictures(tmp_path):
    for i in range(9):
        Image.new("RGB", (400, 300), (20 * i, 90, 90)).save(tmp_path / f"sea {i}.png")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    return sorted(tmp_path.iterdir())


@pytest.fixture
def answered(page, pictures):
    page.get_by_role("tab", name="Many pictures").click()
    panel = page.locator("[role=tabpanel]:visible")
    panel.locator("input[type=file]").set_input_files(pictures)
    expect(panel.get_by_text("sea 8").first).to_be_visible()
    panel.get_by_role("button", name="Start", exact=True).click()
    expect(panel.get_by_text("Done")).to_be_visible()
    expect(panel.get_by_text("10 pictures", exact=True)).to_be_visible()
    yield panel
    # The address is the same in all tests, and one visitor has one job at a time.
    delete = panel.get_by_role("button", name="Delete these answers")
    if delete.is_visible():
        page.once("dialog", lambda dialog: dialog.accept())
        delete.click()
        expect(delete).to_be_hidden()


def test_answers_arrive_as_cards(page, answered):
    expect(answered.get_by_text("9 of 10 answered")).to_be_visible()
    expect(answered.get_by_text("1 failed")).to_be_visible()
    first = answered.get_by_role("button", name="sea 0.png: 3 objects: 2 × cat, car")
    expect(first).to_be_visible()
    expect(first.locator("img")).to_have_js_property("complete", True)
    bad = answered.locator(".fd-bad")
    expect(bad).to_have_count(1)
    expect(bad).to_contain_text("broken.jpg")


def test_answers_are_deleted_once_that_is_meant(page, answered):
    delete = answered.get_by_role("button", name="Delete these answers")
    asked = []
    page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    delete.click()
    expect(answered.get_by_text("Done")).to_be_visible()
    assert asked == ["Delete all answers of this job?"]
    expect(answered.locator(".fd-tile")).to_have_count(10)
    page.once("dialog", lambda dialog: dialog.accept())
    delete.click()
    expect(answered.locator(".fd-tile")).to_have_count(0)
    page.reload()
    page.get_by_role("tab", name="Many pictures").click()
    expect(page.get_by_text("Put pictures in, choose what to ask").first).to_be_visible()
    expect(page.get_by_text("Your last job is no longer here.")).to_be_hidden()


def test_the_field_for_words_is_called_as_the_question_calls_it(page):
    page.get_by_role("tab", name="Many pictures").click()
    panel = page.locator("[role=tabpanel]:visible")
    task, other = TASKS["open_vocabulary_detection"], TASKS["vqa"]
    choice = panel.get_by_label("What to ask of each")
    choice.click()
    page.get_by_role("option", name=task.title, exact=True).click()
    words = panel.get_by_label(task.text_label)
    expect(words).to_be_visible()
    expect(words).to_have_attribute("placeholder", f"For example: {task.example}")
    page.get_by_role("option", name=other.title, exact=True).click()
    expect(panel.get_by_text("The same words go to each of these questions.")).to_be_visible()


def test_answers_are_replaced_once_that_is_meant(page, answered):
    said = []

    def answer(dialog):
        said.append(dialog.message)
        if len(said) == 1:
            dialog.dismiss()
        else:
            dialog.accept()

    page.on("dialog", answer)
    answered.locator("input[type=file]").first.set_input_files(
        [
            {"name": "one.png", "mimeType": "image/png", "buffer": encoded(red(), "PNG")},
            {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"hello"},
        ]
    )
    expect(answered.get_by_text("notes").first).to_be_visible()
    start = answered.get_by_role("button", name="Start", exact=True)
    start.click()
    expect(answered.get_by_text("10 pictures", exact=True)).to_be_visible()
    while len(said) < 2:  # a press is none while the one before is still being heard
        start.click()
    expect(answered.locator(".fd-job-said")).to_contain_text("10 of 11 answered")
    expect(answered.locator(".fd-job-passed")).to_contain_text("in it: notes.txt")
    page.remove_listener("dialog", answer)
    assert said == ["The answers of the job before go: they are not kept. Start?"] * 2


def test_cards_are_searched_and_names_switched_off(page, answered):
    answered.get_by_label("Search names and answers").fill("SEA 3")
    expect(answered.get_by_text("1 of 10 pictures")).to_be_visible()
    answered.get_by_label("Search names and answers").fill("")
    answered.get_by_role("button", name="cat 9").click()
    expect(answered.get_by_text("9 of 10 pictures")).to_be_visible()
    expect(answered.get_by_text("A download holds all answers.")).to_be_visible()
    tile = answered.locator(".fd-tile").nth(1)
    expect(tile).to_contain_text("1 / 3: car")
    expect(tile.locator(".fd-item")).to_have_count(1)
    answered.get_by_role("button", name="car 9").click()
    expect(answered.get_by_text("0 of 10 pictures")).to_be_visible()


def test_a_card_is_opened_and_put_right(page, answered):
    answered.get_by_role("button", name="sea 4.png").click()
    expect(page.get_by_role("tab", name="Try it")).to_have_attribute("aria-selected", "true")
    answer = page.get_by_role("region", name="Answer").first
    expect(answer.locator("tbody tr")).to_have_count(3)
    page.get_by_role("button", name="Put it right", exact=True).first.click()
    page.get_by_label("Name of place 1").first.fill("lion")
    page.get_by_role("button", name="Add to my data").first.click()
    expect(answer.locator("tbody td").nth(1)).to_have_text("lion")
    page.get_by_role("tab", name="Many pictures").click()
    expect(answered.get_by_text("10 pictures", exact=True)).to_be_visible()


def test_a_reloaded_page_finds_the_job_again(page, answered):
    page.reload()
    page.get_by_role("tab", name="Many pictures").click()
    panel = page.locator("[role=tabpanel]:visible")
    expect(panel.get_by_text("10 pictures", exact=True)).to_be_visible()
    expect(panel.get_by_role("button", name="sea 0.png")).to_be_visible()


def test_answers_are_taken_home(page, answered):
    with page.expect_download() as download:
        answered.get_by_role("button", name="Download", exact=True).click()
    assert download.value.suggested_filename == "answers.csv"
