"""Copy as Python, curl, JavaScript: what a card gives a program is run against the app."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from florence_demo.tasks import TASKS
from florence_demo.ui import AppConfig
from tests.browser.conftest import served
from tests.browser.test_page import ask, choose, drag, upload

pytestmark = pytest.mark.browser

HARD = """it's "a" $(b) `c` \\ @d; é ✓ ${e} <f>"""
MODULES = Path(os.environ.get("NODE_MODULES") or Path(sys.prefix) / "node_modules")


def copied(page, language: str, title: str) -> str:
    page.evaluate("navigator.clipboard.writeText = async text => { window.copied = text; }")
    page.get_by_role("button", name=f"Ask this from a program: {title}").first.click()
    page.get_by_role("button", name=language, exact=True).click()
    page.wait_for_function("window.copied")
    return page.evaluate("window.copied")


def ran(tmp_path, language: str, code: str) -> object:
    """What the code prints, run in the folder where the picture is."""
    if language == "curl":
        command = ["bash", "-c", code]
    elif language == "Python":
        (tmp_path / "call.py").write_text(code, encoding="utf-8")
        command = [sys.executable, "call.py"]
    else:
        if not (shutil.which("node") and (MODULES / "@gradio" / "client").is_dir()):
            assert not os.environ.get("REQUIRE_NODE"), "no node or no @gradio/client"
            pytest.skip("not run: no node, or no @gradio/client (npm install @gradio/client)")
        (tmp_path / "node_modules").symlink_to(MODULES)
        code = code.replace(
            "console.log(answer.data[0])",
            "console.log(JSON.stringify(answer.data[0])); process.exit()",
        )
        (tmp_path / "call.mjs").write_text(code, encoding="utf-8")
        command = ["node", "call.mjs"]
    env = {**os.environ, "PYTHONPATH": str(Path.cwd()), "PYTHONUTF8": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env=env
    )
    assert done.returncode == 0, done.stderr + done.stdout
    if language == "Python":  # a dict, as Python writes it
        import ast

        return ast.literal_eval(done.stdout.strip().splitlines()[-1])
    return json.loads(done.stdout.strip().splitlines()[-1])


PRINTED = (
    "console.log(answer.data[0])",
    "console.log(JSON.stringify(answer.data[0])); process.exit()",
)
LANGUAGES = ["Python", "curl", "JavaScript"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_question_with_words_is_asked_by_a_program(page, picture, tmp_path, language):
    task = TASKS["caption_to_phrase_grounding"]
    choose(page, task.name)
    upload(page, picture)
    page.get_by_label(task.text_label).first.fill(HARD)
    ask(page)
    expect(page.locator(".fd-talk-card.fd-done")).to_have_count(1)
    shutil.copy(picture, tmp_path)
    found = ran(tmp_path, language, copied(page, language, task.title))
    assert (found["task"], found["size"]) == (task.name, [400, 300])
    assert HARD in found["prompt"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_box_is_asked_by_a_program(page, picture, tmp_path, language):
    task = TASKS["region_to_category"]
    choose(page, task.name)
    upload(page, picture)
    drag(page)
    ask(page)
    expect(page.locator(".fd-talk-card.fd-done")).to_have_count(1)
    shutil.copy(picture, tmp_path)
    found = ran(tmp_path, language, copied(page, language, task.title))
    assert found["task"] == task.name
    places = [int(place) for place in re.findall(r"<loc_(\d+)>", found["prompt"])]
    assert places == pytest.approx([250, 250, 750, 750], abs=10)


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_of_everything_is_asked_by_a_program(page, picture, tmp_path, language):
    upload(page, picture)
    page.get_by_role("button", name="Everything at once").first.click()
    expect(page.locator(".fd-talk-card.fd-done")).not_to_have_count(0)
    shutil.copy(picture, tmp_path)
    assert ran(tmp_path, language, copied(page, language, "Read all text"))["task"] == "ocr"


def test_where_programs_need_a_key_it_says_so(browser, engines, picture):
    with served(AppConfig(model="nano", api_keys=("right",)), engines) as address:
        page = browser.new_page()
        page.goto(address)
        upload(page, picture)
        ask(page)
        expect(page.locator(".fd-talk-card.fd-done")).to_have_count(1)
        title = TASKS["caption"].title
        for language in LANGUAGES:
            code = copied(page, language, title)
            assert "X-API-Key" in code
            assert "right" not in code
            page.get_by_role("button", name=f"Ask this from a program: {title}").first.click()
        page.close()
