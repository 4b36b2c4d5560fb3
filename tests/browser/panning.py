"""Measure how smoothly a drawn answer is moved: ``python -m tests.browser.panning``.

A page with a fake engine shows outlines on a large picture, zoomed; the mouse drags the picture to
and fro while the page notes when each frame begins. Printed are frames a second, the longest tenth
and the longest of the frames, and what the page itself works in a second. Needs Chromium
(``CHROMIUM=`` names one) and the packages of requirements-dev.txt.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.browser.conftest import ARGUMENTS, NAMES

SIZE = (1600, 1200)
POINTS = 40
"""Points of an outline."""

_FRAMES = """
() => {
  window.fdFrames = [];
  const note = now => { window.fdFrames.push(now); window.fdNote = requestAnimationFrame(note); };
  window.fdNote = requestAnimationFrame(note);
}
"""
_DONE = "() => { cancelAnimationFrame(window.fdNote); return window.fdFrames; }"


def outlines(count: int) -> str:
    """Return an answer of so many named outlines, spread over the picture."""
    columns = math.ceil(math.sqrt(count * 4 / 3))
    rows = math.ceil(count / columns)
    turn = np.linspace(0, 2 * math.pi, POINTS, endpoint=False)
    wave = 1 + 0.25 * np.sin(5 * turn)
    said = []
    for i in range(count):
        x, y = (i % columns + 0.5) / columns, (i // columns + 0.5) / rows
        ring = np.stack([x + 0.55 * wave * np.cos(turn) / columns,
                         y + 0.55 * wave * np.sin(turn) / rows], axis=1)  # fmt: skip
        bins = (ring.clip(0, 0.999) * 1000).astype(int).ravel()
        said.append(f"thing {i % 12}<poly>{''.join(f'<loc_{b}>' for b in bins)}</poly>")
    return "".join(said)


def shown(page: Any, address: str, picture: Path, count: int) -> None:
    """Ask, wait until all outlines are drawn, and zoom in."""
    page.goto(address)
    page.get_by_role("button", name="Ask", exact=True).first.wait_for()
    page.locator("input[type=file]").first.set_input_files(picture)
    page.locator(".fd-stage img").first.wait_for()
    page.locator('input[value="open_vocabulary_detection"]').first.evaluate("each => each.click()")
    page.locator("textarea:visible, input[type=text]:visible").first.wait_for()
    page.get_by_label("What to find", exact=True).first.fill("thing")
    page.get_by_role("button", name="Ask", exact=True).first.click()
    page.wait_for_function(f"() => document.querySelectorAll('.fd-item').length === {count}")
    for _ in range(3):
        page.get_by_role("button", name="Zoom in").first.click()


def drag(page: Any, seconds: float) -> tuple[np.ndarray, dict[str, float]]:
    """Move the picture to and fro and return when frames began, and what the page worked."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def worked() -> dict[str, float]:
        told = session.send("Performance.getMetrics")["metrics"]
        return {each["name"]: each["value"] for each in told}

    box = page.locator(".fd-view").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 10, y + 10)
    before = worked()
    page.evaluate(_FRAMES)
    start, step = before["Timestamp"], 0
    while (now := worked())["Timestamp"] - start < seconds:
        for _ in range(10):
            step += 1
            turn = step / 20
            page.mouse.move(x + 180 * math.sin(turn), y + 120 * math.sin(1.3 * turn))
    frames = page.evaluate(_DONE)
    page.mouse.up()
    spent = ("ScriptDuration", "RecalcStyleDuration", "LayoutDuration", "TaskDuration")
    return np.array(frames), {
        name: (now[name] - before[name]) / (now["Timestamp"] - start) for name in spent
    }


def measured(count: int, seconds: float, chromium: str, rounds: int) -> list[dict[str, Any]]:
    """Return what each round measured."""
    from playwright.sync_api import sync_playwright

    from florence_demo.serving.asking import Service
    from florence_demo.ui import AppConfig, build_app
    from tests.fakes import FakeEngine, FakeEngines

    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder, "picture.jpg")
        noise = np.random.default_rng(0).integers(0, 255, (75, 100, 3), np.uint8)
        Image.fromarray(noise).resize(SIZE, Image.Resampling.BICUBIC).save(picture)
        config = AppConfig(checkpoints=Path(folder, "checkpoints"), data=Path(folder, "data"))
        engine = FakeEngine({"BOXES_OR_POLYGONS": outlines(count)})
        app = build_app(config, Service(config, FakeEngines(engine)))
        _, address, _ = app.serve(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
        results = []
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1400, "height": 1000})
            shown(page, address, picture, count)
            for _ in range(rounds):
                frames, spent = drag(page, seconds)
                gaps = np.diff(frames)
                results.append(
                    {
                        "frames a second": round(1000 / gaps.mean(), 1),
                        "a frame, median ms": round(float(np.median(gaps)), 1),
                        "nine in ten within ms": round(float(np.quantile(gaps, 0.9)), 1),
                        "longest ms": round(float(gaps.max()), 1),
                        **{f"{name} ms a second": round(1000 * s, 1) for name, s in spent.items()},
                    }
                )
            browser.close()
        app.close()
    return results


def main() -> None:
    """Measure and print, a line of JSON a round."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--outlines", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if not chromium:
        parser.error("no Chromium found: name one with CHROMIUM=")
    with tempfile.TemporaryDirectory() as served:
        os.environ["GRADIO_TEMP_DIR"] = served
        for result in measured(args.outlines, args.seconds, chromium, args.rounds):
            print(json.dumps({"outlines": args.outlines, "load": os.getloadavg()[0], **result}))


if __name__ == "__main__":
    main()
