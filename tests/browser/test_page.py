"""What a person does on the page, for each kind of task."""

from __future__ import annotations

import re
import zipfile

import pytest
from PIL import Image
from playwright.sync_api import expect

from florence_demo.models.catalogue import MODELS
from florence_demo.tasks import TASKS, questions_of
from tests.fakes import SlowEngine
from tests.picture_makers import HEIC

pytestmark = pytest.mark.browser


NANOS = questions_of(MODELS["nano"].learned)


def choose(page, name: str) -> None:
    entry = TASKS[TASKS[name].entry or name]
    page.get_by_role("radiogroup", name="What to do").first.get_by_text(entry.group).click()
    page.get_by_role("radiogroup", name=entry.group).first.get_by_text(
        entry.short or entry.title, exact=True
    ).click()
    if entry.placed:
        page.get_by_role("switch", name="Show where").first.set_checked(name == entry.placed)


def upload(page, picture) -> None:
    page.locator("input[type=file]").first.set_input_files(picture)
    expect(page.locator(".fd-stage img").first).to_be_visible()


def ask(page) -> None:
    page.get_by_role("button", name="Ask", exact=True).first.click()


def drag(page, start=(0.25, 0.25), end=(0.75, 0.75)) -> None:
    stage = page.locator(".fd-stage").first
    expect(stage).to_be_visible()
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    page.mouse.move(box["x"] + start[0] * box["width"], box["y"] + start[1] * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + end[0] * box["width"], box["y"] + end[1] * box["height"], steps=4)
    page.mouse.up()


# Of several prompts for a question the menu sends one.
@pytest.mark.parametrize("name", [name for name in TASKS if name not in NANOS[1:]], ids=str)
def test_a_person_asks_every_task(page, picture, engines, name):
    upload(page, picture)
    choose(page, name)
    needs = TASKS[name].asks
    if needs == "text":
        page.get_by_label(TASKS[name].text_label, exact=True).first.fill("a dog")
    if needs == "region":
        drag(page)
    ask(page)
    answer = page.get_by_role("region", name="Answer").first
    expect(answer.locator(".fd-meta")).to_contain_text("fake, fp32, cpu")
    asked, text, region = engines.engine.asked[-1]
    assert asked == name
    assert text == ("a dog" if needs == "text" else "")
    assert (region is None) == (needs != "region")
    if region:
        # Half a pixel of the screen may be lost on each side.
        assert region == pytest.approx((100, 75, 300, 225), abs=2)


def test_objects_are_drawn_listed_and_linked(page, picture):
    upload(page, picture)
    choose(page, "od")
    ask(page)
    answer = page.get_by_role("region", name="Answer").first
    expect(answer.get_by_text("3 objects: 2 × cat, car")).to_be_visible()
    expect(answer.locator("tbody tr")).to_have_count(3)
    canvas = page.locator(".fd-canvas").first
    drawn = canvas.locator(".fd-item[data-index]")
    expect(drawn).to_have_count(3)
    answer.locator("tbody tr").nth(1).hover()
    expect(canvas.locator('.fd-item[data-index="1"]')).to_contain_class("fd-on")
    expect(answer.locator("tbody tr").nth(1)).to_contain_class("fd-on")
    canvas.locator('.fd-item[data-index="0"]').focus()
    expect(answer.locator("tbody tr").nth(0)).to_contain_class("fd-on")


def test_without_a_picture_one_sentence_says_what_to_do(page):
    ask(page)
    expect(page.get_by_text("There is no picture yet", exact=False).first).to_be_visible()


def test_missing_words_are_asked_for_and_nothing_is_lost(page, picture):
    upload(page, picture)
    choose(page, "open_vocabulary_detection")
    ask(page)
    expect(page.get_by_text("needs words", exact=False).first).to_be_visible()
    expect(page.locator(".fd-stage img").first).to_be_visible()
    expect(page.locator(".fd-sentence").first).to_contain_text("Not answered")
    expect(page.locator(".fd-busy")).to_have_count(0)


def test_keys_move_and_remove_the_region(page, picture):
    upload(page, picture)
    choose(page, "region_to_category")
    stage = page.locator(".fd-stage").first
    stage.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".fd-hint").first).to_contain_text("Region 104, 75, 304, 225")
    page.keyboard.press("Escape")
    expect(page.locator(".fd-hint").first).to_contain_text("Drag a box")


def test_a_strangers_text_does_not_run(page, picture, engines):
    attack = "<img src=x onerror=alert(1)>${document.title='pwned'}{{value.meta}}"
    engines.engine.raw["QUADS"] = (
        f"{attack}<loc_1><loc_1><loc_9><loc_1><loc_9><loc_9><loc_1><loc_9>"
    )
    title = page.title()
    upload(page, picture)
    choose(page, "ocr_with_region")
    ask(page)
    answer = page.get_by_role("region", name="Answer").first
    expect(answer.locator("tbody td").nth(1)).to_have_text(attack)
    expect(answer.locator(".fd-sentence")).to_have_text(attack)
    assert answer.locator("img").count() == 0
    assert page.locator(".fd-canvas img").count() == 1
    assert page.title() == title


def test_the_answer_is_downloaded(page, picture):
    upload(page, picture)
    choose(page, "od")
    ask(page)
    expect(page.locator(".fd-table tbody tr").first).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download", exact=True).first.click()
    assert download.value.suggested_filename == "picture-annotated.png"


def _choices(page) -> list[str]:
    page.get_by_label("Download as").first.click()
    shown = page.get_by_role("listbox").get_by_role("option")
    expect(shown.first).to_be_visible()
    return [text.strip().removeprefix("✓").strip() for text in shown.all_text_contents()]


def test_only_what_an_answer_has_is_offered(page, tmp_path):
    file = tmp_path / "Кот №1 🐈.png"
    Image.new("RGB", (400, 300), "teal").save(file)
    upload(page, file)
    choose(page, "caption")
    ask(page)
    kind = page.get_by_label("Download as").first
    expect(kind).to_have_value("Text (TXT)")
    assert _choices(page) == [
        "Text (TXT)", "Text (Markdown)", "The whole answer (JSON)", "All of these (zip)",
    ]  # fmt: skip
    page.keyboard.press("Escape")
    choose(page, "od")
    ask(page)
    expect(kind).to_have_value("Annotated picture (PNG)")
    _choices(page)
    page.get_by_role("option", name="COCO, with the picture").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download", exact=True).first.click()
    assert download.value.suggested_filename == "Кот №1 🐈.coco.zip"
    download.value.save_as(tmp_path / "coco.zip")
    with zipfile.ZipFile(tmp_path / "coco.zip") as archive:
        assert archive.read("Кот №1 🐈.png") == file.read_bytes()


@pytest.mark.parametrize("secure", [True, False], ids=["clipboard", "the older way"])
def test_an_answers_words_are_copied(page, picture, engines, secure):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    if not secure:
        page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(); }")
    answer = page.get_by_role("region", name="Answer").first
    button = answer.get_by_role("button", name="Copy", exact=True)
    upload(page, picture)
    expect(answer.locator(".fd-copy")).to_be_hidden()
    choose(page, "caption")
    ask(page)
    expect(answer.get_by_text("A fake answer")).to_be_visible()
    assert min(button.bounding_box()[side] for side in ("width", "height")) >= 24
    button.focus()
    page.keyboard.press("Enter")
    copied = answer.get_by_role("button", name="Copied", exact=True)
    expect(copied).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "A fake answer"
    ask(page)
    expect(copied).to_have_count(0)


def test_the_parsed_answer_is_copied(page, picture):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    upload(page, picture)
    choose(page, "caption")
    ask(page)
    expect(page.get_by_text("A fake answer").first).to_be_visible()
    page.get_by_role("button", name="For developers").first.click()
    page.locator(".json-holder").first.hover()
    page.get_by_title("Copy").first.click()
    assert "A fake answer" in page.evaluate("navigator.clipboard.readText()")


def test_an_answer_is_not_offered_for_another_picture(page, picture, tmp_path):
    upload(page, picture)
    choose(page, "od")
    ask(page)
    save = page.get_by_role("button", name="Download", exact=True).first
    expect(save).to_be_visible()
    page.get_by_role("button", name="Remove the picture").first.click()
    expect(save).to_be_hidden()


def test_what_was_said_of_the_picture_before_goes(page, picture, tmp_path):
    upload(page, picture)
    choose(page, "od")
    ask(page)
    page.get_by_role("button", name="For developers").first.click()
    raw = page.get_by_label("Raw text of the model", exact=True).first
    expect(raw).to_have_value(re.compile("cat<loc_100>"))
    upload_another(page, tmp_path)
    expect(raw).to_have_value("")


def test_stop_is_there_while_something_runs_and_leaves_the_focus_beside_it(page, picture, engines):
    stop = page.get_by_role("button", name="Stop", exact=True).first
    upload(page, picture)
    expect(stop).to_be_hidden()
    usual, slow = engines.engine, SlowEngine()
    engines.engine = slow
    try:
        ask(page)
        expect(stop).to_be_visible()
        assert slow.started.wait(20), "one that is still on its way is never begun"
        stop.focus()
        page.keyboard.press("Enter")
        assert slow.stopped.wait(10)
    finally:
        engines.engine = usual
    expect(page.locator(".fd-sentence").first).to_have_text("Stopped.")
    expect(stop).to_be_hidden()
    expect(page.get_by_role("button", name="Ask", exact=True).first).to_be_focused()
    ask(page)
    expect(page.locator(".fd-meta").first).to_contain_text("fake")
    expect(stop).to_be_hidden()


ASKED_FOR = {
    "what was asked for": ("referring_expression_segmentation", "the left dog", "the left dog"),
    "nothing to call it by": ("region_to_segmentation", "", "(no name)"),
}


@pytest.mark.parametrize(("task", "words", "called"), ASKED_FOR.values(), ids=ASKED_FOR)
def test_what_has_no_name_is_called_as_it_was_asked_for(page, picture, task, words, called):
    upload(page, picture)
    choose(page, task)
    if words:
        page.get_by_label(TASKS[task].text_label, exact=True).first.fill(words)
    else:
        drag(page)
    ask(page)
    answer = page.get_by_role("region", name="Answer").first
    expect(answer.locator("tbody td").nth(1)).to_have_text(called)
    thing = page.locator(".fd-stage .fd-item").first
    expect(thing).to_have_attribute("aria-label", words or "one place")


def test_the_picture_goes_and_another_comes(page, picture):
    upload(page, picture)
    choose(page, "region_to_category")
    drag(page)
    expect(page.get_by_text("Region 1")).to_be_visible()
    page.get_by_role("button", name="Remove the picture").first.click()
    expect(page.locator(".fd-stage").first).to_be_hidden()
    upload(page, picture)
    # A box of the picture before is none of this one.
    expect(page.get_by_text("Drag a box around")).to_be_visible()


_DROP = """
([kind, bytes, name, type]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name, {type}));
  if (kind === 'choose') {
    const input = document.querySelector('input[type=file]');
    input.files = data.files;
    input.dispatchEvent(new Event('change', {bubbles: true}));
    return;
  }
  const at = document.querySelector('.fd-canvas');
  if (kind === 'drop') at.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true}));
  else document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data}));
}
"""


_HEIC_TOO = re.compile(r"image/\*,\.heic")


@pytest.mark.parametrize("before", [False, True], ids=["at first", "after an answer"])
def test_a_file_that_is_no_picture_is_not_in_the_way(page, picture, tmp_path, before):
    (tmp_path / "words.png").write_text("hello")
    answer = page.get_by_role("region", name="Answer").first
    if before:
        upload(page, picture)
        choose(page, "od")
        ask(page)
        expect(answer.locator("tbody tr")).to_have_count(3)
    page.locator("input[type=file]").first.set_input_files(tmp_path / "words.png")
    expect(answer.get_by_text("This file was not taken.")).to_be_visible()
    expect(answer.get_by_text("This file is not a picture that can be read")).to_be_visible()
    expect(page.locator(".fd-stage img").first).to_be_hidden()
    expect(page.get_by_test_id("toast-text").filter(visible=True)).to_have_count(1)
    ask(page)
    expect(answer.get_by_text("Not answered. Nothing is lost.")).to_be_visible()
    expect(answer.get_by_text("There is no picture yet")).to_be_visible()
    expect(page.locator(".fd-surface .wrap.minimal .error").filter(visible=True)).to_have_count(0)
    upload(page, picture)
    choose(page, "od")
    ask(page)
    expect(answer.locator("tbody tr")).to_have_count(3)


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_another_picture_is_dropped_or_pasted_on_the_one_before(page, picture, tmp_path, kind):
    upload(page, picture)
    choose(page, "od")
    ask(page)
    answer = page.get_by_role("region", name="Answer").first
    expect(answer.locator("tbody tr")).to_have_count(3)
    Image.new("RGB", (90, 70), "navy").save(tmp_path / "other.png")
    data = list((tmp_path / "other.png").read_bytes())
    page.evaluate(_DROP, [kind, data, "other.png", "image/png"])
    expect(answer.get_by_text("90 × 70 pixels")).to_be_visible()
    expect(page.locator(".fd-stage .fd-item")).to_have_count(0)
    ask(page)
    expect(answer.locator("tbody tr")).to_have_count(3)


@pytest.mark.parametrize("kind", ["choose", "drop"])
def test_a_heic_is_taken_where_the_system_does_not_know_what_it_is(page, picture, kind):
    """As on Windows: such a file comes without a type."""
    if kind == "drop":
        upload(page, picture)
    page.evaluate(_DROP, [kind, list(HEIC), "IMG_0001.HEIC", ""])
    answer = page.get_by_role("region", name="Answer").first
    expect(answer.get_by_text("24 × 16 pixels")).to_be_visible()
    if kind == "choose":
        page.get_by_role("button", name="Remove the picture").first.click()
        expect(page.locator("input[type=file]").first).to_have_attribute("accept", _HEIC_TOO)


@pytest.mark.parametrize("kind", ["choose", "drop"])
def test_a_document_is_told_where_it_can_be_asked(page, picture, kind):
    if kind == "drop":
        upload(page, picture)
    page.evaluate(_DROP, [kind, list(b"%PDF-1.7"), "invoice.pdf", "application/pdf"])
    said = "invoice.pdf is no picture: choose a JPEG, PNG, WebP or HEIC. Documents"
    expect(page.get_by_text(said).first).to_be_visible()


def test_the_picture_is_zoomed_and_comes_back_whole(page, picture):
    upload(page, picture)
    stage = page.locator(".fd-stage").first
    page.get_by_role("button", name="Zoom in").first.click()
    expect(stage).to_have_css("transform", re.compile(r"matrix\(1\.5"))
    stage.focus()
    page.keyboard.press("+")
    expect(stage).to_have_css("transform", re.compile(r"matrix\(2\.25"))
    page.get_by_role("button", name="Whole picture").first.click()
    expect(stage).to_have_css("transform", "none")
    page.get_by_role("button", name="Zoom in").first.click()
    stage.dblclick()
    expect(stage).to_have_css("transform", "none")


def test_a_box_on_the_zoomed_picture_is_in_its_pixels(page, picture, engines):
    upload(page, picture)
    choose(page, "region_to_category")
    page.get_by_role("button", name="Zoom in").first.click()
    view = page.locator(".fd-view").first.bounding_box()
    middle = (view["x"] + view["width"] / 2, view["y"] + view["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 60, middle[1] + 60, steps=4)
    page.mouse.up()
    ask(page)
    expect(page.locator(".fd-meta").first).to_contain_text("fake")
    # The middle of the picture, and forty of the screen's pixels from there.
    x1, y1, x2, y2 = engines.engine.asked[-1][2]
    shown = page.locator(".fd-stage img").first.evaluate("image => image.offsetWidth")
    assert (x1, y1) == pytest.approx((200, 150), abs=3)
    assert (x2 - x1, y2 - y1) == pytest.approx((40 * 400 / shown,) * 2, abs=3)


def test_a_measurement_that_cannot_be_made_says_so(page):
    page.get_by_role("tab", name="How good is it?").click()
    page.get_by_role("radio", name="From the hub").last.check()
    page.get_by_role("button", name="Measure", exact=True).click()
    panel = page.locator("#fd-report")
    expect(panel).to_contain_text("Not measured")
    expect(page.get_by_role("button", name="Stop", exact=True)).to_have_count(0)


def test_a_picture_that_comes_while_another_is_read_is_taken(page, picture, tmp_path):
    held = []
    page.route("**/queue/join*", lambda route: held.append(route))
    with page.expect_request("**/queue/join*"):
        page.locator("input[type=file]").first.set_input_files(picture)
    page.get_by_role("button", name="Remove Image").first.click()
    other = tmp_path / "other.png"
    Image.new("RGB", (300, 400), "navy").save(other)
    page.locator("input[type=file]").first.set_input_files(other)
    expect(page.locator(".fd-picture img").first).to_be_visible()
    for route in held:
        route.continue_()
    page.unroute("**/queue/join*")
    expect(page.get_by_text("300 × 400 pixels")).to_be_visible()


def press_stop(page, _tmp_path) -> None:
    page.get_by_role("button", name="Stop", exact=True).first.click()
    expect(page.locator(".fd-sentence").first).to_have_text("Stopped.")


def upload_another(page, tmp_path) -> None:
    other = tmp_path / "other.png"
    Image.new("RGB", (300, 400), "navy").save(other)
    page.get_by_role("button", name="Remove the picture").first.click()
    page.locator("input[type=file]").first.set_input_files(other)
    expect(page.get_by_text("300 × 400 pixels")).to_be_visible()


def press_an_example(page, _tmp_path) -> None:
    page.locator(".fd-example").first.click()


@pytest.mark.parametrize("leave", [press_stop, upload_another, press_an_example])
def test_who_turns_to_something_else_ends_the_work(page, picture, engines, tmp_path, leave):
    upload(page, picture)
    choose(page, "od")
    usual, slow = engines.engine, SlowEngine()
    engines.engine = slow
    try:
        ask(page)
        assert slow.started.wait(10)
        engines.engine = usual
        leave(page, tmp_path)
        assert slow.stopped.wait(10)
    finally:
        engines.engine = usual


def test_no_picture_is_told_in_one_sentence(page, tmp_path):
    broken = tmp_path / "text.jpg"
    broken.write_text("this is no picture")
    page.locator("input[type=file]").first.set_input_files(broken)
    expect(page.locator(".toast-body, [data-testid=toast-body]").first).to_contain_text("picture")


def test_a_phone_shows_all_of_it_without_scrolling_sideways(browser, address):
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(address)
    page.get_by_role("button", name="Ask", exact=True).first.wait_for()
    wide = page.evaluate("document.documentElement.scrollWidth")
    context.close()
    assert wide <= 390


def test_a_checkpoint_is_chosen_described_loaded_asked_and_unloaded(page, picture, engines):
    page.get_by_role("tab", name="My models").click()
    tab = page.get_by_role("tabpanel").filter(has=page.get_by_role("button", name="Unload"))
    expect(tab.get_by_text("Choose a checkpoint to see what it holds.")).to_be_visible()
    tab.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_text("No checkpoint is loaded", exact=False).first).to_be_visible()
    tab.get_by_label("Models here").click()
    page.get_by_role("option", name="mine").click()
    card = tab.get_by_role("region", name="The checkpoint")
    expect(card.get_by_text("A Florence-2 of a size of its own")).to_be_visible()
    card.get_by_text("Details").click()
    expect(card.get_by_text("in the native layout", exact=False)).to_be_visible()
    tab.get_by_role("button", name="Load", exact=True).click()
    expect(card.get_by_text("Loaded:", exact=False)).to_be_visible()
    tab.locator(".fd-picture input[type=file]").set_input_files(picture)
    expect(tab.locator(".fd-stage img")).to_be_visible()
    tab.get_by_label("A question", exact=True).fill("What is the total?")
    tab.get_by_role("button", name="Ask", exact=True).click()
    answer = tab.get_by_role("region", name="Answer")
    expect(answer.get_by_text("A fake answer")).to_be_visible()
    assert engines.engine.asked[-1] == ("docvqa", "What is the total?", None)
    assert engines.names[-1].source.endswith("checkpoints/mine")
    tab.get_by_role("button", name="Unload").click()
    expect(tab.get_by_text("Unloaded", exact=False)).to_be_visible()


def test_a_large_picture_is_looked_at_closely(page, engines, tmp_path):
    large = tmp_path / "large.png"
    Image.new("RGB", (2400, 1800), "teal").save(large)
    upload(page, large)
    closely = page.get_by_label("Look closely").first
    expect(closely).to_be_hidden()  # a caption is about the whole of it
    choose(page, "od")
    closely.check()
    before = len(engines.engine.asked)
    ask(page)
    expect(page.locator(".fd-notices").first).to_contain_text("tiles")
    assert len(engines.engine.asked) - before > 4


def test_a_small_picture_offers_no_closer_look(page, picture):
    upload(page, picture)
    choose(page, "od")
    expect(page.get_by_label("Look closely").first).to_be_hidden()
