"""A disk that is full anywhere: one sentence, no half file, and the command again goes on.

What one file may have is bounded for a process here, so that a write fails in its middle as it does
on a full disk.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from florence_demo.files import is_disk_full
from florence_demo.models.catalogue import ASSETS

PROJECT = Path(__file__).parent.parent
NANO, CHAIR = str(ASSETS / "nano"), str(ASSETS / "examples" / "chair.webp")
TRAIN = ("train", "--model", "nano", "--data", "forms:0:4", "--eval-data", "forms:4:2", "--others",
         "none", "--steps", "2", "--batch-size", "2", "--out", "out")  # fmt: skip
BATCH = ("batch", CHAIR, "--model", "nano", "--task", "od", "--out", "out")

CASES = {
    "conversion": (("convert", NANO, "out"), 1_000_000, None),
    "training": (TRAIN, 1_000_000, (*TRAIN, "--resume")),
    "a job": (BATCH, 1_500, BATCH),
    "a picture": (
        ("predict", CHAIR, "--model", "nano", "--task", "od", "--save", "out.png"), 9_000, None,
    ),
    "a report": (
        ("evaluate", "--model", "nano", "--data", "forms:0:2", "--out", "out"), 1_000, None,
    ),
}  # fmt: skip


def run(folder: Path, arguments: tuple[str, ...], most: int | None = None):
    """Run a command whose files may have so many bytes."""
    limits = (resource.RLIM_INFINITY if most is None else most, resource.RLIM_INFINITY)
    return subprocess.run(
        [sys.executable, "-m", "florence_demo", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
    )


def weights(folder: Path) -> list[Path]:
    """Files that somebody would take for a model or a picture."""
    kinds = (".safetensors", ".png", ".html", ".bin", ".pt")
    return [file for file in folder.rglob("*") if file.suffix in kinds and file.is_file()]


@pytest.mark.parametrize(("first", "most", "again"), CASES.values(), ids=CASES)
def test_a_full_disk_is_a_sentence_and_nothing_half(tmp_path, first, most, again):
    done = run(tmp_path, first, most)
    assert done.returncode in (1, 2), done.stderr
    assert "disk is full" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert all(file.stat().st_size < most for file in weights(tmp_path)), "none was cut off"
    for lines in tmp_path.rglob("*.jsonl"):
        assert all(json.loads(line) for line in lines.read_text().splitlines())
    if again:
        done = run(tmp_path, again)
        assert done.returncode == 0, done.stderr[-2000:]


TOLD = {
    "the system": (OSError(28, "No space left on device"), True),
    "a share": (OSError(122, "Disk quota exceeded"), True),
    "Rust": (Exception("Error while serializing: I/O error: No space left (os error 28)"), True),
    "torch": (RuntimeError("[enforce fail at inline_container.cc:783] . PytorchStreamWriter failed"
                           " writing file data/1: file write failed"), True),
    "no rights": (OSError(13, "Permission denied"), False),
    "another of Rust's": (Exception("I/O error: Permission denied (os error 13)"), False),
    "a bug": (RuntimeError("shape mismatch"), False),
}  # fmt: skip


@pytest.mark.parametrize(("error", "full"), TOLD.values(), ids=TOLD)
def test_each_library_tells_of_a_full_disk_in_its_own_way(error, full):
    assert is_disk_full(error) is full
