"""Each block of code of the recipes runs as it stands, with nano and without a network."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import uvicorn
from PIL import Image

from florence_demo.api.application import Beside
from florence_demo.models.catalogue import ASSETS
from florence_demo.serving.asking import Service
from florence_demo.serving.config import AppConfig
from florence_demo.serving.gate import Gate

PROJECT = Path(__file__).resolve().parent.parent
RECIPES = sorted((PROJECT / "docs" / "recipes").glob("*.md"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SERVED = "http://127.0.0.1:7860"
"""Where the recipes' server is."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the recipes find where they run: pictures, a scan, a set, and the command."""
    examples = {"picture.jpg": "ducks", "page.png": "page", "receipt.png": "receipt"}
    for name, example in {**examples, "scan.pdf": "page"}.items():
        picture = Image.open(ASSETS / "examples" / f"{example}.webp").convert("RGB")
        picture.save(tmp_path / name)
    for name, count in (("photos", 2), ("things", 4)):
        (tmp_path / name).mkdir()
        for picture in sorted((ASSETS / "heldout").glob("*.webp"))[:count]:
            shutil.copy(picture, tmp_path / name)
    (tmp_path / "photos" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "scenes").symlink_to(ASSETS / "heldout")
    command = tmp_path / "bin" / "florence-demo"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m florence_demo "$@"\n')
    command.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    return tmp_path


@pytest.fixture
def served():
    """The address of a server with nano."""

    async def no_page(scope, receive, send):
        raise AssertionError(scope)

    service = Service(AppConfig(model="nano", device="cpu"))
    app = Gate(Beside(no_page, service), service.config.rules())
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


def _shell(code: str) -> str:
    # The one picture that is none makes a status of 1, and the recipe goes on.
    code = f"trap '[ $? = 1 ] || exit 9' ERR\n{code}"
    done = subprocess.run(["bash", "-uc", code], capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


SAYS = {
    "coco": r"2 pictures, \d+ boxes of\n\[",
    "cut-out": "",
    "evaluate": r"\| od",
    "fine-tune": r"yes",
    "many-pictures": r"000.webp .+\n001.webp .*boat.*\nbroken.png .+",
    "one-kind": r"no car\n[1-9] ducks",
    "one-picture": r"duck \[",
    "over-http": r"duck \[",
    "question": r"\d",
    "read-a-page": r"\w+ \[\[",
}
"""What each recipe prints, among other things."""
LEAVES = {"cut-out": "duck-0.png", "one-picture": "drawn.png", "read-a-page": "page.md"}


@pytest.mark.parametrize("page", RECIPES, ids=[p.stem for p in RECIPES])
def test_a_recipe_runs_as_it_stands(page, folder, served, capsys):
    text = page.read_text(encoding="utf-8")
    blocks = BLOCK.findall(text)
    assert blocks
    said, names = "", {"__name__": "recipe"}
    for language, code in blocks:
        assert len(code.splitlines()) <= 13, "a recipe is short"
        if language == "python":
            exec(compile(code.replace(SERVED, served), page.name, "exec"), names)
            said += capsys.readouterr().out
        else:
            assert language == "sh"
            said += _shell(code)
    assert re.search(SAYS[page.stem], said), said
    assert (folder / LEAVES.get(page.stem, "")).exists()


def test_every_recipe_is_found():
    told = (PROJECT / "mkdocs.yml").read_text(encoding="utf-8")
    assert len(RECIPES) == len(SAYS)
    assert [p.name for p in RECIPES if f"recipes/{p.name}" not in told] == []
