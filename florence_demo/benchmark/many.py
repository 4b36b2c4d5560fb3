"""How fast a job is: what a picture costs to read and to answer, on this machine and on local Ray.

``python -m florence_demo.benchmark.many`` measures jobs of two sizes; what a further picture costs
is their difference, so that loading and starting are left out. Does not know single questions.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from florence_demo.batch.answering import Answering
from florence_demo.batch.config import BatchConfig
from florence_demo.batch.models import model_of
from florence_demo.batch.on_ray import Cluster, run_on_ray
from florence_demo.batch.run import Outcome, run
from florence_demo.batch.sources import PICTURES, all_items
from florence_demo.machine import usable_cores, versions
from florence_demo.pictures.images import open_at_once, open_image

Job = Callable[[BatchConfig], Outcome]


def draw(scenes: Path, folder: Path, count: int) -> None:
    """Write so many pictures, each another: those there are, then these mirrored, then cut."""
    folder.mkdir(parents=True)
    files = sorted(f for f in scenes.iterdir() if f.suffix.lower() in PICTURES)
    for number in range(count):
        picture = open_image(files[number % len(files)])
        assert isinstance(picture, Image.Image)
        turn = number // len(files)
        if turn % 2:
            picture = ImageOps.mirror(picture)
        picture.crop((4 * turn, 0, *picture.size)).save(folder / f"{number:06}.jpg", quality=90)


def reading(config: BatchConfig) -> float:
    """Return the seconds it takes one thread to make a picture ready."""
    answering = Answering.of(model_of(config).open(), config)
    items = list(all_items(config))
    answering.read(items[0])
    began = time.perf_counter()
    for item in items:
        answering.read(item)
    return (time.perf_counter() - began) / len(items)


def measured(config: BatchConfig, folders: list[Path], out: Path, do: Job) -> dict[str, Any]:
    """Return how long a job of each size took, and what each further picture cost."""
    sizes: list[tuple[int, float]] = []
    for folder in folders:
        began = time.perf_counter()
        settings = {**vars(config), "sources": (str(folder),), "out": out / folder.name}
        outcome = do(BatchConfig(**settings))
        sizes.append((outcome.rows, time.perf_counter() - began))
    (few, short), (many, long) = sizes
    return {
        "seconds": {str(count): round(seconds, 1) for count, seconds in sizes},
        "ms_each_further": round(1000 * (long - short) / (many - few), 1),
    }


def on_threads(count: int) -> Job:
    """Return a job by the engine of one machine, on so many threads of torch's."""

    def do(config: BatchConfig) -> Outcome:
        import torch

        torch.set_num_threads(count)
        return run(config, model_of(config))

    return do


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=Path, default=Path("assets/heldout"), help="pictures")
    parser.add_argument("--sizes", type=int, nargs=2, default=[100, 1000], metavar="N")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--task", default="od")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2, help="workers of Ray's")
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    open_at_once(usable_cores())
    config = BatchConfig((), (args.task,), model=args.model, batch_size=args.batch_size)
    told: dict[str, Any] = {"load_before": os.getloadavg(), "versions": versions()}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        folders = [root / str(size) for size in args.sizes]
        for folder, size in zip(folders, args.sizes, strict=True):
            draw(args.scenes, folder, size)
        sample = BatchConfig(**{**vars(config), "sources": (str(folders[0]),)})
        told["reading_ms"] = round(1000 * reading(sample), 1)
        cluster = Cluster("local", workers=args.workers)
        jobs: dict[str, Job] = {
            "here, one thread": on_threads(1),
            "here, all cores": on_threads(usable_cores()),
            f"ray, {args.workers} workers": lambda job: run_on_ray(job, cluster, model_of),
        }
        for number, (name, do) in enumerate(jobs.items()):
            told[name] = measured(config, folders, root / f"out-{number}", do)
            print(json.dumps({name: told[name], "load": os.getloadavg()}), flush=True)
    print(json.dumps({**told, "load_after": os.getloadavg()}))


if __name__ == "__main__":
    main()
