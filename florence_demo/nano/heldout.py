"""The held-out set: scenes that no training drew, with their truths, as files.

Knows the format: a folder with ``truth.jsonl``, a line a scene, and WebP pictures; ``reading``
reads it. Most scenes are in the styles of training; the others, marked "unseen", in a drawing style
and in fonts that training never saw. Does not know how a scene is drawn (``scenes``).
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from florence_demo.codec import TEXT
from florence_demo.nano.scenes.catalogue import HELD_OUT_FONTS, HELD_OUT_STYLES
from florence_demo.nano.scenes.compose import make_scene
from florence_demo.nano.scenes.sprites import Library
from florence_demo.nano.scenes.types import Scene
from florence_demo.prediction import Detections
from florence_demo.tasks import task_named

FIRST_SEED = 90_000_000
"""Trainings draw from 100,000,000 upwards, or from 0, and never come near."""
TRUTH_FILE = "truth.jsonl"


@dataclass(frozen=True)
class HeldoutConfig:
    """Hold what the set is made of.

    Attributes:
        sprites: Folder that ``python -m florence_demo.nano.scenes.sprites`` has filled.
        out: Folder to write.
        scenes: Scenes in all.
        unseen: How many of them are in the unseen style and fonts.
        a_task: Most questions of one task about one scene.
        sides: Shortest and longest of the pictures' longer sides, in pixels.
        quality: Of the WebP.
        seed: First seed.
    """

    sprites: Path = Path("build/sprites")
    out: Path = Path("assets/heldout")
    scenes: int = 300
    unseen: int = 60
    a_task: int = 2
    sides: tuple[int, int] = (288, 480)
    quality: int = 86
    seed: int = FIRST_SEED


def write_heldout(config: HeldoutConfig, known: Library, unseen: Library) -> dict[str, int]:
    """Draw and write the set, and return how many scenes of each kind and style it has.

    Args:
        config: Sizes and seeds.
        known: Sprites and fonts of training.
        unseen: Those that training never saw.
    """
    config.out.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    with (config.out / TRUTH_FILE).open("w", encoding="utf-8") as out:
        for number in range(config.scenes):
            # Spread over the set, so that a part of it has both.
            is_unseen = number * config.unseen // config.scenes != (
                (number + 1) * config.unseen // config.scenes
            )
            rng = random.Random(config.seed + number)
            library = unseen if is_unseen else known
            scene = make_scene(config.seed + number, rng.randint(*config.sides), library=library)
            name = f"{number:03}.webp"
            scene.image.save(config.out / name, quality=config.quality, method=6)
            row = {
                "image": name,
                "kind": scene.kind,
                "style": "unseen" if is_unseen else "known",
                "truths": list(_truths(scene, config.a_task, rng)),
            }
            counts.update((scene.kind, str(row["style"])))
            out.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
    return dict(counts)


def _truths(scene: Scene, a_task: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    """Yield at most so many truths of each task, drawn at random, in the scene's order."""
    by_task: dict[str, list[int]] = {}
    for i, truth in enumerate(scene.truths):
        if task_named(truth.task).answer is TEXT and not truth.answer:
            # "Nothing is written here" cannot be held against a rate of wrong characters.
            continue
        by_task.setdefault(truth.task, []).append(i)
    kept = {i for of in by_task.values() for i in rng.sample(of, min(a_task, len(of)))}
    for i in sorted(kept):
        truth = scene.truths[i]
        row: dict[str, Any] = {"task": truth.task}
        if truth.text:
            row["text"] = truth.text
        if truth.region is not None:
            row["region"] = _short(truth.region)
        if truth.answer:
            row["answer"] = truth.answer
        if len(truth.detections):
            row["detections"] = _detections(truth.detections)
        yield row


def _detections(found: Detections) -> list[dict[str, Any]]:
    return [
        {
            "label": found.labels[i],
            "box": _short(found.xyxy[i]),
            **_outline(found, i),
        }
        for i in range(len(found))
    ]


def _outline(found: Detections, index: int) -> dict[str, Any]:
    rings = found.polygons[index]
    return {"polygons": [_short(ring.ravel()) for ring in rings]} if rings else {}


def _short(values: Sequence[float] | Any) -> list[float]:
    return [round(float(v), 1) for v in values]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options; each default is written once, in ``HeldoutConfig``."""
    default = HeldoutConfig()
    parser.add_argument("--sprites", type=Path, default=default.sprites)
    parser.add_argument("--out", type=Path, default=default.out)
    parser.add_argument("--scenes", type=int, default=default.scenes)
    parser.add_argument("--unseen", type=int, default=default.unseen)
    parser.add_argument("--seed", type=int, default=default.seed)


def config_from_args(args: argparse.Namespace) -> HeldoutConfig:
    """Return the settings of a parsed command line."""
    return HeldoutConfig(
        args.sprites, args.out, scenes=args.scenes, unseen=args.unseen, seed=args.seed
    )


def run(config: HeldoutConfig) -> dict[str, int]:
    """Open the sprites and write the set.

    Raises:
        DatasetError: The sprites are not there.
    """
    known = Library.load(config.sprites)
    unseen = Library.load(config.sprites, styles=HELD_OUT_STYLES, fonts=HELD_OUT_FONTS)
    return write_heldout(config, known, unseen)


def command(args: argparse.Namespace) -> int:
    """Draw the set, and print its counts as JSON."""
    print(json.dumps(run(config_from_args(args))))
    return 0
