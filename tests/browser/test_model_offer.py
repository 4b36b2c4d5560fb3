"""A picture that nano does not know: the offer before the question, the download, its stop."""

from __future__ import annotations

import threading

import pytest
from PIL import Image
from playwright.sync_api import expect

from florence_demo.errors import CheckpointError
from florence_demo.models.catalogue import MODELS
from tests.browser.test_page import ask, upload

pytestmark = pytest.mark.browser

STRANGE = (410, 300)


class Download:
    """Tell of a download, and go on when a test says so."""

    def __init__(self) -> None:
        self.go, self.stopped = threading.Event(), threading.Event()
        self.error: Exception | None = None

    def __call__(self, progress):
        try:
            while not self.go.wait(0.02):
                progress(0.35, "Downloading 164 MB of 464 MB, 12.5 MB a second, 24 s left")
        except CheckpointError:
            self.stopped.set()
            raise
        if self.error:
            raise self.error


@pytest.fixture
def download(engines, monkeypatch):
    arriving = Download()
    monkeypatch.setattr("florence_demo.serving.offering.in_cache", lambda *_: False)
    engines.engine.strange = [STRANGE]
    engines.arriving = {MODELS["base-ft"]: arriving}
    yield arriving
    arriving.go.set()
    engines.engine.strange, engines.arriving = [], {}


@pytest.fixture
def photograph(tmp_path):
    Image.new("RGB", STRANGE, "teal").save(tmp_path / "photograph.png")
    return tmp_path / "photograph.png"


@pytest.fixture
def offer(page, download, photograph):
    upload(page, photograph)
    row = page.locator(".fd-offer")
    expect(row).to_contain_text("nano knows drawn scenes only")
    return row


def chosen(page):
    return page.get_by_label("Model", exact=True).first


def test_a_drawing_brings_no_offer(page, download, picture):
    upload(page, picture)
    ask(page)
    answer = page.get_by_role("region", name="Answer").first
    expect(answer.locator(".fd-meta")).to_contain_text("fake, fp32, cpu")
    expect(page.locator(".fd-offer")).to_be_hidden()


def test_what_is_offered_is_loaded_while_nano_answers_and_is_then_chosen(page, offer, download):
    offer.get_by_role("button", name="Use base-ft (0.5 GB)").click()
    expect(offer).to_contain_text("164 MB of 464 MB, 12.5 MB a second, 24 s left")
    expect(offer.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "35.0")
    ask(page)
    answer = page.get_by_role("region", name="Answer").first
    expect(answer.locator(".fd-meta")).to_contain_text("fake, fp32, cpu")
    assert not download.go.is_set()
    download.go.set()
    expect(chosen(page)).to_have_value(MODELS["base-ft"].label)
    expect(offer).to_be_hidden()


def test_it_can_be_stopped_and_taken_again(page, offer, download):
    offer.get_by_role("button", name="Use base-ft (0.5 GB)").click()
    offer.get_by_role("button", name="Stop the download").click()
    expect(offer).to_contain_text("What has arrived is kept")
    assert download.stopped.wait(20)
    expect(chosen(page)).to_have_value(MODELS["nano"].label)
    download.go.set()
    offer.get_by_role("button", name="Use base-ft (0.5 GB)").click()
    expect(chosen(page)).to_have_value(MODELS["base-ft"].label)


def test_the_sentence_of_a_download_that_broke_off_stays(page, offer, download):
    download.error = CheckpointError("The connection ended after 164 MB: choose it again.")
    download.go.set()
    offer.get_by_role("button", name="Use base-ft (0.5 GB)").click()
    expect(offer).to_contain_text("The connection ended after 164 MB")
    expect(offer.get_by_role("button", name="Use base-ft (0.5 GB)")).to_be_visible()


def test_another_choice_takes_the_offer_away(page, offer):
    box = chosen(page)
    box.click()
    page.get_by_role("option", name=MODELS["large-ft"].label).click()
    expect(offer).to_be_hidden()
