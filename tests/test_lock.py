"""requirements.lock is what requirements.txt asks for, each file by its hash, from anywhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parent.parent
LOCK = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
BLOCKS = re.split(r"\n(?=[a-z0-9])", LOCK.split("make lock\n", 1)[1])
"""A package each: its name and version, its hashes, who needs it."""
LOCKED = dict(re.findall(r"^(\S+)==(\S+)", LOCK, re.MULTILINE))


def _asked(file: str) -> list[Requirement]:
    lines = (PROJECT / file).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-mcp.txt"])
def test_what_is_asked_for_is_locked(file):
    for asked in _asked(file):
        version = LOCKED[asked.name.replace("_", "-").lower()]
        assert asked.specifier.contains(version), f"{asked}: run `make lock`"


def test_every_package_has_its_hashes():
    assert len(BLOCKS) > 80
    assert [b for b in BLOCKS if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", b)] == []


def test_no_place_stands_in_it():
    # It holds names, versions and hashes: whoever installs says from where.
    assert not re.search(r"://|^\s*-|\s/\w|@|\+", re.sub(r"\s*#.*|\s--hash=\S+", "", LOCK))
    assert set(re.findall(r"# +(?:via +)?(-\S+ \S+)", LOCK)) == {
        "-r requirements.txt", "-r requirements-mcp.txt"
    }  # fmt: skip
