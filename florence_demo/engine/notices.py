"""What a person should read beside an answer, in sentences.

Knows what can happen to an answer on its way. Does not know models or pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

UNFAMILIAR = (
    "This picture is unlike those that this model was trained on, so its answer may be nonsense."
    " For photographs choose one of Microsoft's models, such as base-ft."
)
LOOPED = "The answer began to repeat itself and was ended there; what came before is kept."
NOTHING = "The model found nothing for this question in this picture."


@dataclass(frozen=True)
class Course:
    """Hold how an answer came about.

    Attributes:
        familiar: Whether the picture is like those of the model's training.
        looped: Whether it was ended because it only repeated itself.
        cut: Of one that was cut off, how many tokens it had; 0 of a whole one.
        limit: Most tokens that it might have had.
        moved: Locations in it that are no bin.
        empty: Whether it says nothing.
    """

    familiar: bool
    looped: bool
    cut: int
    limit: int
    moved: int
    empty: bool


def notices_of(course: Course) -> Iterator[str]:
    """Yield what a person should read beside an answer."""
    if not course.familiar:
        yield UNFAMILIAR
    if course.looped:
        yield LOOPED
    if course.cut:
        yield (
            f"The answer was cut off after {course.cut} tokens: raise “Longest answer”"
            f" (now {course.limit}) if the model can write more."
        )
    if course.moved:
        yield _moved(course.moved)
    if course.empty:
        yield NOTHING


def _moved(count: int) -> str:
    """Return what a person is told of locations that are no bin."""
    those = "A location" if count == 1 else f"{count:,} locations"
    return (
        f"{those} of the answer came after <loc_999>, the last there is, and counted as the edge of"
        " the picture: the raw answer shows it, and data with <loc_1000> may have taught it."
    )
