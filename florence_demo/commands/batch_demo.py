"""The demonstration: scenes, a PDF and a video as one job, killed in the middle, gone on with.

Knows the ``batch-demo`` command. The job is the command ``batch`` in a process of its own, as a
person starts it; what it exported is compared with the scenes' truth by another's program. The PDF
and the video are made of the same scenes; their answers are counted and not measured.
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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from florence_demo.data.batches import ROWS_FILE, errors_of, rows_in
from florence_demo.data.coco import FILE
from florence_demo.data.example import Example
from florence_demo.data.formats import READERS
from florence_demo.data.places import DPI
from florence_demo.data.reading import open_data
from florence_demo.errors import InputError
from florence_demo.pictures.film import save_film

_LOOK = 0.05
"""Seconds between two looks at how far the job is."""
_PAGES = 3
_SECONDS, _RATE = 5, 10
_ZOOM = 0.75
"""Share of a scene's width that the video shows at a time."""


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
    scenes = open_data(str(config.scenes), tasks=("od",), limit=None)
    rows, job = scenes[: config.count], config.out / "answers"
    command = [sys.executable, "-m", "florence_demo", "batch", *_sources(config, rows)]
    command += ["--recursive", "--task", "od,ocr_with_region", "--every", "1s", "--out", str(job)]
    command += ["--model", config.model, "--batch-size", "8"]
    total = len(rows) + _PAGES + _SECONDS
    kept = _killed(command, job / ROWS_FILE, total // 3)
    print(f"Killed with {kept} of {total} rows; the same command again:", file=sys.stderr)
    began = time.monotonic()
    formats = ["--to", "coco", "yolo", "markdown", "pdf", "film"]
    done = subprocess.run([*command, *formats], stdout=sys.stderr, check=False)
    if done.returncode:
        raise InputError("The job failed: what it said is above.")
    seconds = time.monotonic() - began
    answered = [row for row in rows_in(job / ROWS_FILE) if not errors_of(row)]
    yolo = open_data(str(job / "yolo"), tasks=("od",))
    return {
        "pictures": len(rows),
        "pages": sum("page" in row for row in answered),
        "frames": sum("frame" in row for row in answered),
        "rows": _lines(job / ROWS_FILE),
        "rows_kept_by_the_kill": kept,
        "seconds_after_it": round(seconds, 1),
        "yolo_boxes": sum(len(row.detections) for row in yolo),
        **_measured(rows, job / "coco" / FILE, config.out / "truth"),
    }


def _sources(config: DemoConfig, rows: Sequence[Example]) -> list[str]:
    """Write what the job is given, and return it: a folder of scenes, a PDF and a video."""
    pictures = config.out / "pictures"
    for number, row in enumerate(rows):
        assert isinstance(row.image, Path)
        folder = pictures / f"shelf-{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(row.image, folder / row.image.name)
    written = open_data(str(config.scenes), tasks=("ocr_with_region",), limit=None)
    fullest = sorted(written, key=lambda row: -len(row.detections))[:_PAGES]
    first, *others = [row.load() for row in fullest]
    document, film = config.out / "pages.pdf", config.out / "pan.mp4"
    first.save(document, save_all=True, append_images=others, resolution=DPI)
    save_film(_pan(max(rows, key=lambda row: len(row.detections)).load()), film)
    return [str(pictures), str(document), str(film)]


def _pan(scene: Image.Image) -> Iterator[tuple[float, Image.Image]]:
    """Yield a video's frames: the view goes over a scene from left to right."""
    width = round(_ZOOM * scene.width)
    frames = _SECONDS * _RATE
    for number in range(frames):
        left = round((scene.width - width) * number / (frames - 1))
        yield number / _RATE, scene.crop((left, 0, left + width, scene.height))


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
    """Return exported annotations by the numbers that the truth gives pictures and names.

    Pages, frames and names that the truth does not know are left out.
    """
    pictures = {image["file_name"]: image["id"] for image in truth.dataset["images"]}
    kinds = {kind["name"]: kind["id"] for kind in truth.dataset["categories"]}
    own_pictures = {image["id"]: pictures.get(image["file_name"]) for image in table["images"]}
    own_kinds = {kind["id"]: kinds.get(kind["name"]) for kind in table["categories"]}
    return [
        {
            "image_id": own_pictures[each["image_id"]],
            "category_id": own_kinds[each["category_id"]],
            "bbox": each["bbox"],
            "score": each["score"],
        }
        for each in table["annotations"]
        if own_kinds[each["category_id"]] is not None and own_pictures[each["image_id"]] is not None
    ]


def command(args: argparse.Namespace) -> int:
    """Run the demonstration; its figures are the last line, as JSON."""
    print(json.dumps(run(DemoConfig(args.scenes, args.out, args.model, args.count))))
    return 0
