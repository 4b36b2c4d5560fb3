"""Rows that are drawn as they are read: synthetic scenes, for the command line.

Knows the name by which a source asks for them: ``scenes:FOLDER:FIRST:COUNT``, where the folder
holds the sprites, or is the word "drawn". The page does not offer them, so its start need not load
what draws them; commands say ``offer_scenes`` first.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from florence_demo.data.example import Example
from florence_demo.data.formats import READERS, Reader
from florence_demo.data.forms import numbers_of
from florence_demo.data.parts import whole
from florence_demo.data.source import DataSource
from florence_demo.nano.scenes.types import Scene

SCENES = "scenes:"


def offer_scenes() -> None:
    """Let data be named by ``scenes:FOLDER:FIRST:COUNT`` in this process."""
    READERS["scenes"] = Reader(
        "scenes",
        whole(lambda s: s.startswith(SCENES)),
        read_scenes,
        "scenes:FOLDER:FIRST:COUNT, the folder with sprites or “drawn”",
    )


def read_scenes(source: DataSource) -> Iterator[Example]:
    """Yield every truth of scenes; those about one scene share its picture."""
    from florence_demo.nano.scenes.compose import make_scene
    from florence_demo.nano.scenes.sprites import Library

    text = source.location
    folder, *numbers = text.removeprefix(SCENES).split(":")
    first, count = numbers_of(text, numbers)
    library = Library.drawn() if folder == "drawn" else Library.load(Path(folder))
    for seed in range(first, first + count):
        scene = make_scene(seed, library=library)
        yield from rows_of(scene, f"scene {seed}")


def rows_of(scene: Scene, where: str = "") -> list[Example]:
    """Return every truth of a scene as a row, in the scene's order; all share its picture."""
    return [
        Example(
            scene.image,
            t.task,
            t.text,
            t.region,
            t.answer,
            t.detections,
            where=where,
            tags=(scene.kind,),
        )
        for t in scene.truths
    ]
