"""Take the picture that the README opens with: ``python -m tests.browser.screenshot``.

The page is served by this process with the embedded model behind it; an example is pressed as a
person presses it. Needs Chromium (``CHROMIUM=`` names one) and the packages of
requirements-dev.txt.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from tests.browser.conftest import ARGUMENTS, NAMES

TARGET = Path(__file__).resolve().parents[2] / "assets" / "screenshot.webp"


def press(page: Any, title: str) -> None:
    """Press an example and wait for its answer."""
    page.locator(".fd-example").get_by_text(title, exact=True).click()
    page.wait_for_function("() => !document.querySelector('.fd-meta').textContent")
    page.wait_for_function("() => document.querySelector('.fd-meta').textContent")


def take(address: str, chromium: str, title: str, size: tuple[int, int]) -> Image.Image:
    """Return the page with one example answered, in its light colours."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page(
            viewport={"width": size[0], "height": size[1]}, color_scheme="light"
        )
        page.set_default_timeout(60_000)
        page.goto(f"{address}?__theme=light")
        page.get_by_role("button", name="Ask", exact=True).first.wait_for()
        # The first answer of a process is slower than any other: another example takes it.
        titles = page.locator(".fd-example span").all_inner_texts()
        for each in (next(t for t in titles if t != title), title):
            press(page, each)
        page.mouse.move(0, 0)
        shot = page.screenshot(animations="disabled")
        browser.close()
    return Image.open(io.BytesIO(shot)).convert("RGB")


def main() -> None:
    """Serve the page, take the picture and write it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--example", default="Find everything", help="title of the example pressed")
    parser.add_argument("--size", type=int, nargs=2, default=(1400, 1180), metavar=("W", "H"))
    parser.add_argument("--out", type=Path, default=TARGET)
    args = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if not chromium:
        parser.error("no Chromium found: name one with CHROMIUM=")
    with tempfile.TemporaryDirectory() as served:
        os.environ["GRADIO_TEMP_DIR"] = served
        from florence_demo.ui import AppConfig, build_app

        app = build_app(AppConfig(model="nano"))
        _, address, _ = app.serve(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
        shot = take(address, chromium, args.example, tuple(args.size))
        app.close()
    shot.save(args.out, quality=78, method=6)
    print(args.out, shot.size, args.out.stat().st_size)


if __name__ == "__main__":
    main()
