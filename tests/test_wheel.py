"""What is built and installed works without the checkout, from any folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from florence_demo import __version__
from florence_demo.tasks import TASKS

PROJECT = Path(__file__).resolve().parent.parent
NAME = f"florence_demo-{__version__}"


def _run(*command: str | Path, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with the sdist, and the wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, PROJECT, cwd=out)
    return out


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The command of a fresh environment, which borrows what the package needs from this one."""
    env = tmp_path_factory.mktemp("env")
    _run(sys.executable, "-m", "venv", "--without-pip", env, cwd=env)
    python = env / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps")
    _run(*pip, built / f"{NAME}-py3-none-any.whl", cwd=env)
    [site] = (env / "lib").glob("python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return env / "bin" / "florence-demo"


def test_the_wheel_holds_what_is_used_and_no_more(built):
    with zipfile.ZipFile(built / f"{NAME}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
        metadata = wheel.read(f"{NAME}.dist-info/METADATA").decode()
    assets = {f"florence_demo/assets/{x}" for x in ("nano/model.safetensors", "heldout/000.webp")}
    page = {"florence_demo/ui/page.css", "florence_demo/ui/words/de.json", "florence_demo/py.typed"}
    assert assets | page <= names
    assert {x.split("/")[0] for x in names} == {"florence_demo", f"{NAME}.dist-info"}
    assert not [x for x in names if "training_heads" in x or "__pycache__" in x]
    # A Space and a wheel need the same, written once.
    told = (PROJECT / "requirements.txt").read_text(encoding="utf-8")
    named = [line for line in told.splitlines() if line and not line.startswith("#")]
    assert len(named) == sum(
        line.startswith("Requires-Dist") and "extra ==" not in line
        for line in metadata.splitlines()
    )
    assert {"Provides-Extra: cluster", "Provides-Extra: mcp"} <= set(metadata.splitlines())


def test_the_source_archive_has_what_builds_and_starts_it(built):
    with tarfile.open(built / f"{NAME}.tar.gz") as source:
        names = {x.removeprefix(f"{NAME}/") for x in source.getnames()}
    needed = {"app.py", "requirements.txt", "pyproject.toml", "NOTICE", "assets/nano/config.json"}
    needed |= {"Containerfile", "deploy/install.sh", "requirements.lock", "docs/installing.md"}
    assert needed <= names
    assert max(x.count("tests/") for x in names) == 0


def test_an_installed_command_lists_the_tasks(installed, tmp_path):
    assert _run(installed, "tasks", cwd=tmp_path).count("\n") == len(TASKS)


def test_an_installed_command_answers_with_its_own_model(installed, tmp_path):
    picture = PROJECT / "assets" / "examples" / "ducks.webp"
    told = _run(installed, "predict", picture, "--task", "od", "--json", cwd=tmp_path)
    answer = json.loads(told)
    assert answer["model"] == "nano"
    assert answer["detections"]


def test_an_installed_command_serves(installed, tmp_path):
    told = _run(installed, "serve", "--port", "7999", "--show-config", cwd=tmp_path)
    assert "7999" in told


def test_what_is_installed_is_found_where_it_is(installed, tmp_path):
    code = "from florence_demo.models.catalogue import ASSETS; print(ASSETS)"
    told = Path(_run(installed.with_name("python"), "-c", code, cwd=tmp_path).strip())
    assert told.is_relative_to(installed.parents[1])
    assert (told / "examples" / "examples.json").is_file()
