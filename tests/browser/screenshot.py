"""Take the picture that the README opens with: ``python -m tests.browser.screenshot``.

With ``--all`` every tab is taken, in the light, in the dark and on a phone, at rest and answered,
into ``docs/screenshots``. The page is served by this process with the embedded model behind it and
used as a person uses it. Needs Chromium (``CHROMIUM=`` names one) and the packages of
requirements-dev.txt.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from tests.browser.conftest import ARGUMENTS, NAMES

PROJECT = Path(__file__).resolve().parents[2]
TARGET = PROJECT / "assets" / "screenshot.webp"
FOLDER = PROJECT / "docs" / "screenshots"
EXAMPLES = PROJECT / "assets" / "examples"

VIEWS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "color_scheme": "light",
    },
}
TABS = ("try", "many", "checkpoints", "compare", "finetune", "evaluate")


def open_tab(page: Any, tab: str) -> Any:
    """Open a tab, also where it stands in the menu of those without room, and return its panel."""
    shown = page.locator(f"[role=tab][data-tab-id={tab}]")
    if shown.count():
        shown.click()
    else:
        hidden = TABS.index(tab) - page.locator("[role=tab]").count()
        page.locator(".overflow-menu > button").first.click()
        page.locator(".overflow-dropdown button").nth(hidden).click()
    return page.locator("[role=tabpanel]:visible")


def ask_example(page: Any, title: str = "Find everything") -> None:
    """Press an example and wait until what was found is drawn."""
    page.locator(".fd-example").get_by_text(title, exact=True).click()
    page.locator(".fd-layer .fd-item[data-index]").first.wait_for()
    page.wait_for_function("() => !document.querySelector('.fd-busy')")


def ask_many(page: Any) -> None:
    """Have many pictures answered."""
    panel = open_tab(page, "many")
    panel.locator("input[type=file]").set_input_files(sorted(EXAMPLES.glob("*.webp")))
    panel.get_by_text("truck").first.wait_for()
    panel.get_by_role("button", name="Start", exact=True).click()
    panel.get_by_text("Done").wait_for()


def ask_two(page: Any) -> None:
    """Have a picture answered by two models."""
    panel = open_tab(page, "compare")
    panel.locator("input[type=file]").first.set_input_files(EXAMPLES / "truck.webp")
    panel.locator(".fd-stage img").first.wait_for()
    panel.get_by_label("Models to compare").click()
    page.get_by_role("option", name="checkpoint: mine", exact=True).click()
    panel.get_by_label("Models to compare").press("Escape")
    panel.get_by_role("button", name="Compare", exact=True).click()
    panel.get_by_text("of weights").nth(1).wait_for()
    panel.locator(".fd-columns").scroll_into_view_if_needed()


ANSWERED: dict[str, Callable[[Any], None]] = {
    "try": ask_example,
    "many": ask_many,
    "compare": ask_two,
}


def shot(page: Any) -> Image.Image:
    """Return what is in sight."""
    page.mouse.move(0, 0)
    return Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")


def open_page(browser: Any, address: str, **context: Any) -> Any:
    """Return the page, opened anew."""
    page = browser.new_page(**context)
    page.set_default_timeout(90_000)
    page.goto(f"{address}?__theme={context['color_scheme']}")
    page.locator(".fd-example img").first.wait_for()
    return page


def take_all(browser: Any, address: str) -> Iterator[tuple[str, Image.Image]]:
    """Yield a name and a picture of every tab in every view."""
    for view, context in VIEWS.items():
        for tab in TABS:
            page = open_page(browser, address, **context)
            open_tab(page, tab).wait_for()
            page.wait_for_timeout(1000)  # a tab's parts come one after another
            yield f"{tab}-{view}", shot(page)
            if tab in ANSWERED:
                ANSWERED[tab](page)
                yield f"{tab}-{view}-answered", shot(page)
            page.close()


def take(browser: Any, address: str, title: str, size: tuple[int, int]) -> Image.Image:
    """Return the page with one example answered, in its light colours."""
    viewport = {"width": size[0], "height": size[1]}
    page = open_page(browser, address, viewport=viewport, color_scheme="light")
    # The first answer of a process is slower than any other: it is not the one that is shown.
    for _ in range(2):
        ask_example(page, title)
    return shot(page)


@contextmanager
def served(chromium: str) -> Iterator[tuple[Any, str]]:
    """Serve the page, with a checkpoint beside nano, and open a browser."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        os.environ["GRADIO_TEMP_DIR"] = folder
        from florence_demo.models.catalogue import ASSETS
        from florence_demo.ui import AppConfig, build_app

        root = Path(folder) / "checkpoints"
        shutil.copytree(ASSETS / "nano", root / "mine")
        app = build_app(AppConfig(model="nano", checkpoints=root, data=root.with_name("data")))
        _, address, _ = app.serve(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser, address
        browser.close()
        app.close()


def main() -> None:
    """Serve the page, take the pictures and write them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--all", action="store_true", help="every tab, into docs/screenshots")
    parser.add_argument("--example", default="Find everything", help="title of the example pressed")
    parser.add_argument("--size", type=int, nargs=2, default=(1440, 900), metavar=("W", "H"))
    parser.add_argument("--out", type=Path, help="the file, or with --all the folder")
    args = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if not chromium:
        parser.error("no Chromium found: name one with CHROMIUM=")
    with served(chromium) as (browser, address):
        if not args.all:
            out = args.out or TARGET
            take(browser, address, args.example, tuple(args.size)).save(out, quality=78, method=6)
            print(out, out.stat().st_size)
            return
        folder = args.out or FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in take_all(browser, address):
            picture.save(folder / f"{name}.webp", quality=72, method=6)
        print(folder, sum(file.stat().st_size for file in folder.glob("*.webp")))


if __name__ == "__main__":
    main()
