"""Rows that are drawn and not read: synthetic scenes and forms.

Knows the names by which a data source asks for them: ``forms:FIRST:COUNT`` and
``scenes:FOLDER:FIRST:COUNT``, where the folder holds the sprites, or is the word "drawn". Does not
know files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from florence_demo.data import Example
from florence_demo.data_source import DataSource
from florence_demo.errors import DatasetError
from florence_demo.forms import TASK_WORD, make_form
from florence_demo.scenes import make_scene
from florence_demo.sprites import Library

FORMS, SCENES = "forms:", "scenes:"
DEMO_FORMS = DataSource("forms", f"{FORMS}0:800")
"""What "demo: forms" learns from."""
DEMO_ROWS = 2 * 800
"""A form asks two questions."""
DEMO_FORMS_HELD = DataSource("forms", f"{FORMS}1000000:60")


def read_forms(source: DataSource) -> Iterator[Example]:
    """Yield the questions of forms; those about one form share its picture."""
    text = source.location
    first, count = _numbers(text, text.removeprefix(FORMS).split(":"))
    for seed in range(first, first + count):
        form = make_form(seed)
        for question, answer in form.answers:
            text = f"{TASK_WORD}{question}"
            yield Example(form.image, "custom", text, answer=answer, where=f"form {seed}")


def read_scenes(source: DataSource) -> Iterator[Example]:
    """Yield every truth of scenes; those about one scene share its picture."""
    text = source.location
    folder, *numbers = text.removeprefix(SCENES).split(":")
    first, count = _numbers(text, numbers)
    library = Library.drawn() if folder == "drawn" else Library.load(Path(folder))
    for seed in range(first, first + count):
        scene = make_scene(seed, library=library)
        for t in scene.truths:
            yield Example(
                scene.image,
                t.task,
                t.text,
                t.region,
                t.answer,
                t.detections,
                where=f"scene {seed}",
                tags=(scene.kind,),
            )


def _numbers(source: str, numbers: list[str]) -> tuple[int, int]:
    try:
        first, count = (int(n) for n in numbers)
    except ValueError:
        raise DatasetError(
            f"“{source}” must end in the first number and the count, such as forms:0:800 or"
            " scenes:build/sprites:0:100."
        ) from None
    return first, count
