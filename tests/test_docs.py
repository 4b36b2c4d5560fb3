"""The documentation is built without a warning, and its pages load nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
# What a browser fetches by itself; a link that a person follows is another thing.
LOADED = re.compile(
    r'<(?:script|img|iframe)[^>]*\ssrc="?(https?:[^"\s>]+)'
    r'|<link[^>]*rel="?(?:stylesheet|preconnect|icon)"?[^>]*href="?(https?:[^"\s>]+)'
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_in_the_site(site):
    pages = {p.relative_to(PROJECT / "docs") for p in (PROJECT / "docs").rglob("*.md")}
    built = {p.relative_to(site).with_suffix(".md") for p in site.rglob("*.html")}
    assert pages <= built


def test_pages_load_nothing_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 15
    assert [x for p in pages for x in LOADED.findall(p.read_text(encoding="utf-8"))] == []


def test_the_package_and_the_files_beside_the_docs_are_shown(site):
    assert 'id="florence_demo.load"' in (site / "python.html").read_text(encoding="utf-8")
    assert "What a visitor is promised" in (site / "security.html").read_text(encoding="utf-8")
    assert 'href="fine-tuning.html"' in (site / "changelog.html").read_text(encoding="utf-8")
