"""Synthetic order forms with ticked boxes: something small to learn that no shipped model knows.

Knows how a form is drawn, what is ticked, and the name by which a source asks for some of them:
``forms:FIRST:COUNT``. The questions carry a task word of their own,
``<FORM>``, so that a model answers them only after a fine-tuning. Same seed, same form.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from florence_demo.data.example import Example
from florence_demo.data.source import DataSource
from florence_demo.errors import DatasetError

TASK_WORD = "<FORM>"

GROUPS: dict[str, tuple[str, ...]] = {
    "Drink": ("tea", "coffee", "water", "juice", "milk"),
    "Size": ("small", "medium", "large", "huge"),
    "Day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday"),
    "Meal": ("soup", "pasta", "salad", "pizza", "fish"),
}
"""What a form asks, and what can be ticked."""

SIDE = 256
_INKS = ((20, 20, 20), (25, 40, 110), (90, 20, 20), (20, 70, 40))
_PAPERS = ((255, 255, 255), (250, 246, 232), (235, 242, 250), (244, 250, 240))


@dataclass(frozen=True, eq=False)
class Form:
    """Hold one form.

    Attributes:
        image: The form, RGB, ``SIDE`` pixels square.
        answers: (question, answer) of each of its groups.
    """

    image: Image.Image
    answers: tuple[tuple[str, str], ...]


def make_form(seed: int) -> Form:
    """Draw one form: two groups of choices, one choice ticked in each."""
    rng = random.Random(f"form {seed}")
    image = Image.new("RGB", (SIDE, SIDE), rng.choice(_PAPERS))
    draw = ImageDraw.Draw(image)
    ink = rng.choice(_INKS)
    large, small = ImageFont.load_default(24), ImageFont.load_default(21)
    answers = []
    for column, name in enumerate(rng.sample(sorted(GROUPS), 2)):
        x = 10 + 124 * column + rng.randint(0, 6)
        y = 10 + rng.randint(0, 14)
        draw.text((x, y), name, ink, large)
        choices = rng.sample(GROUPS[name], 4)
        ticked = rng.randrange(4)
        step = rng.randint(44, 50)
        for i, choice in enumerate(choices):
            top = y + 38 + step * i
            _box(draw, rng, (x, top), ink, i == ticked)
            draw.text((x + 30, top - 2), choice, ink, small)
        answers.append((f"Which {name.lower()} is ticked?", choices[ticked]))
    return Form(image, tuple(answers))


def _box(
    draw: ImageDraw.ImageDraw,
    rng: random.Random,
    corner: tuple[int, int],
    ink: tuple[int, int, int],
    ticked: bool,
) -> None:
    """Draw a box of 22 pixels, with a cross in it by an unsteady hand."""
    x, y = corner
    draw.rectangle((x, y, x + 22, y + 22), outline=ink, width=2)
    if not ticked:
        return
    ends = [rng.randint(2, 5) for _ in range(8)]
    draw.line((x + ends[0], y + ends[1], x + 22 - ends[2], y + 22 - ends[3]), ink, 4)
    draw.line((x + 22 - ends[4], y + ends[5], x + ends[6], y + 22 - ends[7]), ink, 4)


FORMS = "forms:"
DEMO_FORMS = DataSource("forms", f"{FORMS}0:800")
"""What "demo: forms" learns from."""
DEMO_ROWS = 2 * 800
"""A form asks two questions."""
DEMO_FORMS_HELD = DataSource("forms", f"{FORMS}1000000:60")


def read_forms(source: DataSource) -> Iterator[Example]:
    """Yield the questions of forms; those about one form share its picture."""
    text = source.location
    first, count = numbers_of(text, text.removeprefix(FORMS).split(":"))
    for seed in range(first, first + count):
        form = make_form(seed)
        for question, answer in form.answers:
            text = f"{TASK_WORD}{question}"
            yield Example(form.image, "custom", text, answer=answer, where=f"form {seed}")


def numbers_of(source: str, numbers: list[str]) -> tuple[int, int]:
    """Return the first number and the count that a source's name ends in.

    Raises:
        DatasetError: It ends in something else.
    """
    try:
        first, count = (int(n) for n in numbers)
    except ValueError:
        raise DatasetError(
            f"“{source}” must end in the first number and the count, such as forms:0:800 or"
            " scenes:build/sprites:0:100."
        ) from None
    return first, count
