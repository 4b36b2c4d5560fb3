"""The held-out set: scenes that no training drew, with their truths, as files.

Knows what the set is made of: most scenes are in the styles of training; the others, marked
"unseen", in a drawing style and in fonts that training never saw. Does not know how a scene is
drawn (``scenes``) or how its truths are written down (``data.truths``).
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from florence_demo.codec import TEXT
from florence_demo.data.example import Example
from florence_demo.data.truths import TRUTH_FILE, truth_line
from florence_demo.nano.scenes.catalogue import HELD_OUT_FONTS, HELD_OUT_STYLES
from florence_demo.nano.scenes.compose import make_scene
from florence_demo.nano.scenes.rows import rows_of
from florence_demo.nano.scenes.sprites import Library
from florence_demo.tasks import task_named

FIRST_SEED = 90_000_000
"""Trainings draw from 100,000,000 upwards, or from 0, and never come near."""


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
            tags = (scene.kind, "unseen" if is_unseen else "known")
            out.write(truth_line(name, tags, _chosen(rows_of(scene), config.a_task, rng)))
            counts.update(tags)
    return dict(counts)


def _chosen(rows: Sequence[Example], a_task: int, rng: random.Random) -> list[Example]:
    """Return at most so many rows of each task, drawn at random, in their order."""
    by_task: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        if task_named(row.task).answer is TEXT and not row.answer:
            # "Nothing is written here" cannot be held against a rate of wrong characters.
            continue
        by_task.setdefault(row.task, []).append(i)
    kept = {i for of in by_task.values() for i in rng.sample(of, min(a_task, len(of)))}
    return [rows[i] for i in sorted(kept)]


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
