"""The demonstration: a folder of scenes as a job, killed in the middle, gone on with, measured.

Knows the ``batch-demo`` command. The job is the command ``batch`` in a process of its own, as a
person starts it; what it exported is compared with the scenes' truth by another's program.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from florence_demo.data.batches import ROWS_FILE
from florence_demo.data.coco import FILE
from florence_demo.data.example import Example
from florence_demo.data.formats import READERS
from florence_demo.data.reading import open_data
from florence_demo.errors import InputError

_LOOK = 0.05
"""Seconds between two looks at how far the job is."""


@dataclass(frozen=True)
class DemoConfig:
    """Hold the demonstration.

    Attributes:
        scenes: Folder of drawn scenes with their truth.
        out: Folder for the pictures, the answers and the truth.
        model: Who answers.
        count: Pictures.
    """

    scenes: Path = Path("assets/heldout")
    out: Path = Path("build/batch-demo")
    model: str = "nano"
    count: int = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    default = DemoConfig()
    parser.add_argument("--scenes", type=Path, default=default.scenes)
    parser.add_argument("--out", type=Path, default=default.out)
    parser.add_argument("--model", default=default.model)
    parser.add_argument("--count", type=int, default=default.count)


def run(config: DemoConfig) -> dict[str, Any]:
    """Run the demonstration and return its figures.

    Raises:
        FlorenceDemoError: There are no scenes.
        InputError: The job failed.
    """
    shutil.rmtree(config.out, ignore_errors=True)
    rows = open_data(str(config.scenes), tasks=("od",), limit=None)[: config.count]
    pictures, job = config.out / "pictures", config.out / "answers"
    for number, row in enumerate(rows):
        assert isinstance(row.image, Path)
        folder = pictures / f"shelf-{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(row.image, folder / row.image.name)
    command = [sys.executable, "-m", "florence_demo", "batch", str(pictures), "--recursive"]
    command += ["--task", "od", "--model", config.model, "--out", str(job), "--batch-size", "8"]
    kept = _killed(command, job / ROWS_FILE, len(rows) // 3)
    print(f"Killed with {kept} of {len(rows)} rows; the same command again:", file=sys.stderr)
    began = time.monotonic()
    done = subprocess.run([*command, "--to", "coco", "yolo"], stdout=sys.stderr, check=False)
    if done.returncode:
        raise InputError("The job failed: what it said is above.")
    seconds = time.monotonic() - began
    written = (job / ROWS_FILE).read_bytes().count(b"\n")
    yolo = open_data(str(job / "yolo"), tasks=("od",))
    return {
        "pictures": len(rows),
        "rows": written,
        "rows_kept_by_the_kill": kept,
        "seconds_after_it": round(seconds, 1),
        "yolo_boxes": sum(len(row.detections) for row in yolo),
        **_measured(rows, job / "coco" / FILE, config.out / "truth"),
    }


def _killed(command: Sequence[str], rows: Path, enough: int) -> int:
    """Start a job, kill it when it has so many rows, and return how many whole ones there are."""
    process = subprocess.Popen(command)
    while process.poll() is None and _lines(rows) < enough:
        time.sleep(_LOOK)
    process.kill()
    process.wait()
    return _lines(rows)


def _lines(rows: Path) -> int:
    return rows.read_bytes().count(b"\n") if rows.is_file() else 0


def _measured(rows: Sequence[Example], answers: Path, folder: Path) -> dict[str, float]:
    """Return what faster-coco-eval makes of an exported file and the scenes' truth."""
    from faster_coco_eval import COCO, COCOeval_faster

    write = READERS["coco"].write
    assert write is not None
    write(rows, folder)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / FILE))
        found = truth.loadRes(_results(json.loads(answers.read_text(encoding="utf-8")), truth))
        judge = COCOeval_faster(truth, found, "bbox")
        judge.run()
    whole, half = (float(judge.stats[i]) for i in (0, 1))
    return {"map": round(whole, 4), "map_50": round(half, 4)}


def _results(table: dict[str, Any], truth: Any) -> list[dict[str, Any]]:
    """Return exported annotations by the numbers that the truth gives pictures and names."""
    pictures = {image["file_name"]: image["id"] for image in truth.dataset["images"]}
    kinds = {kind["name"]: kind["id"] for kind in truth.dataset["categories"]}
    own_pictures = {image["id"]: pictures[image["file_name"]] for image in table["images"]}
    own_kinds = {kind["id"]: kinds.get(kind["name"]) for kind in table["categories"]}
    return [
        {
            "image_id": own_pictures[each["image_id"]],
            "category_id": own_kinds[each["category_id"]],
            "bbox": each["bbox"],
            "score": each["score"],
        }
        for each in table["annotations"]
        if own_kinds[each["category_id"]] is not None
    ]


def command(args: argparse.Namespace) -> int:
    """Run the demonstration; its figures are the last line, as JSON."""
    print(json.dumps(run(DemoConfig(args.scenes, args.out, args.model, args.count))))
    return 0
