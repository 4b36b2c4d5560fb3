"""The page in Chromium, with a fake engine behind it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from PIL import Image

from florence_demo.models.catalogue import ASSETS
from florence_demo.serving.asking import Service
from florence_demo.ui import AppConfig, build_app
from tests.fakes import FakeEngines

ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
LEFT = re.compile(r"AbortError: (signal is|BodyStreamBuffer was) aborted|Connection errored out")
"""What gradio's own scripts say of a connection when a page is left in the middle of an answer."""
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="session")
def chromium() -> str:
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        # Where a browser is promised, none is a failure; elsewhere these tests are listed.
        assert not os.environ.get("REQUIRE_BROWSER"), "no Chromium found"
        pytest.skip("not run: no Chromium or Chrome; name one with CHROMIUM=")
    return found


@pytest.fixture(scope="session")
def engines() -> FakeEngines:
    return FakeEngines()


@contextmanager
def served(config: AppConfig, engines: FakeEngines) -> Iterator[str]:
    """Serve a page for as long as it is looked at; its address is given."""
    app = build_app(config, Service(config, engines))
    _, url, _ = app.serve(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    try:
        yield url
    finally:
        app.close()


@pytest.fixture(scope="session")
def address(engines, tmp_path_factory):
    root = tmp_path_factory.mktemp("files") / "checkpoints"
    shutil.copytree(ASSETS / "nano", root / "mine")
    with served(
        AppConfig(model="nano", checkpoints=root, data=root.with_name("data")), engines
    ) as at:
        yield at


# Ended with these tests: it keeps an event loop running, beside which no other test has its own.
@pytest.fixture(scope="package")
def browser(chromium):
    from playwright.sync_api import expect, sync_playwright

    # A machine that does other things too is slow, not wrong.
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield opened
        opened.close()


@contextmanager
def quiet(page) -> Iterator[list[str]]:
    """Fail where the page's console told an error meanwhile; the errors so far are given."""
    errors: list[str] = []
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    yield errors
    page.context.close()
    assert [error for error in errors if not LEFT.search(error)] == []


@contextmanager
def opened(browser, address: str, size: tuple[int, int]):
    """Open the page in a window of its own; any error on its console fails the test."""
    from playwright.sync_api import TimeoutError

    context = browser.new_context(viewport={"width": size[0], "height": size[1]})
    page = context.new_page()
    coming: dict[Any, float] = {}
    page.on("request", lambda request: coming.setdefault(request, monotonic()))
    for end in ("requestfinished", "requestfailed"):
        page.on(end, lambda request: coming.pop(request, None))
    page.set_default_timeout(60_000)
    with quiet(page) as errors:
        page.goto(address)
        page.get_by_role("button", name="Ask", exact=True).first.wait_for()
        # What the browser remembers is brought back once; what is set before may be set again.
        try:
            page.wait_for_function("window.fdLoaded?.['fd-ask']")
        except TimeoutError as exc:
            waiting = [f"{monotonic() - t:.0f} s: {r.url} {r.post_data}" for r, t in coming.items()]
            raise AssertionError("\n".join(["the page was not loaded", *waiting, *errors])) from exc
        yield page


@pytest.fixture
def page(browser, address):
    """A fresh page."""
    with opened(browser, address, (1400, 1000)) as fresh:
        yield fresh


@pytest.fixture(scope="session")
def picture(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("pictures") / "picture.png"
    Image.new("RGB", (400, 300), "teal").save(target)
    return target
