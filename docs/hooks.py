"""What the site makes of the pages: links that leave docs/ lead to where the site has the same."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
SHOWN = {"SECURITY.md": "security.md", "CHANGELOG.md": "changelog.md"}
"""Files beside docs/, and the pages that show them."""
PAGES = {**SHOWN, "README.md": "index.md"}
"""Where links to a file beside docs/ lead."""
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add the pages that lie beside docs/."""
    for file, page in SHOWN.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / file)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn links that leave docs/; what the site has not is left as words."""
    name = page.file.src_uri
    beside = next((file for file, shown in SHOWN.items() if shown == name), f"docs/{name}")
    up = "../" * name.count("/")

    def turned(found: re.Match[str]) -> str:
        words, target, anchor = found.groups()
        inside = os.path.normpath(Path(beside).parent / target)
        if inside.startswith("docs/"):
            return f"[{words}]({up}{inside.removeprefix('docs/')}{anchor or ''})"
        return f"[{words}]({up}{PAGES[inside]})" if inside in PAGES else words

    return _LINK.sub(turned, markdown)
