"""Killed at any moment, a command goes on as if it never had been: batch, training, conversion.

Each is a real process that SIGKILL ends after a random time. KILLS says how many times in all:
five in every run of the tests, thirty in ``make kills``.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from florence_demo.data.batches import ROWS_FILE
from florence_demo.models.catalogue import ASSETS

PROJECT = Path(__file__).parent.parent
KILLS = int(os.environ.get("KILLS", "5"))


@dataclass(frozen=True)
class Work:
    """A command, and what is to come of it.

    Attributes:
        share: Of the kills.
        arguments: The command's, of the folder where it works.
        goes_on: What is added where it was begun before.
    """

    share: float
    arguments: tuple[str, ...]
    goes_on: tuple[str, ...] = ()


WORK = {
    "batch": Work(
        0.4,
        ("batch", "../in", "--out", "out", "--model", "nano", "--task", "od,ocr",
         "--batch-size", "2"),
    ),
    "training": Work(
        0.4,
        ("train", "--model", "nano", "--data", "forms:0:24", "--eval-data", "forms:24:2",
         "--others", "none", "--steps", "12", "--save-every", "2", "--batch-size", "2",
         "--out", "out"),
        ("--resume",),
    ),
    "conversion": Work(0.2, ("convert", str(ASSETS / "nano"), "out")),
}  # fmt: skip


def _ended(work: Work, folder: Path, *, after: float | None = None) -> int | None:
    """Run a command, and kill it after some seconds; return its status, None where killed."""
    begun = (folder / "out").exists()
    command = [sys.executable, "-m", "florence_demo", *work.arguments]
    command += work.goes_on if begun and (folder / "out" / "status.json").exists() else ()
    env = {**os.environ, "PYTHONPATH": str(PROJECT), "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            said, _ = process.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            return None
    assert process.returncode == 0, said[-2000:]
    return process.returncode


def _pictures(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(16):
        image = Image.new("RGB", (160, 120), "white")
        ImageDraw.Draw(image).ellipse((20, 20, 40 + 4 * number, 90), "red")
        image.save(folder / f"{number:02}.png")


def _result(name: str, folder: Path) -> object:
    out = folder / "out"
    if name == "batch":
        rows = map(json.loads, (out / ROWS_FILE).read_text().splitlines())
        answers = {row["source"]: row["answers"] for row in rows}
        return {name: [a["raw"] for a in each.values()] for name, each in answers.items()}
    return {file.name: load_file(file) for file in sorted(out.glob("*.safetensors"))}


def _same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.allclose(one.float(), other.float(), atol=1e-5)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    return one == other


@pytest.mark.parametrize("name", WORK)
def test_what_is_killed_goes_on(tmp_path, name):
    work, rng = WORK[name], random.Random(7)
    _pictures(tmp_path / "in")
    for folder in ("whole", "killed"):
        (tmp_path / folder).mkdir()
    began = time.monotonic()
    assert _ended(work, tmp_path / "whole") == 0
    took = time.monotonic() - began
    expected = _result(name, tmp_path / "whole")
    assert expected
    for _ in range(max(1, round(KILLS * work.share))):
        # Some come before anything is done, some late, and some when it is over.
        _ended(work, tmp_path / "killed", after=rng.uniform(0.3, 1.0) * took)
    assert _ended(work, tmp_path / "killed") == 0
    assert _same(_result(name, tmp_path / "killed"), expected)
