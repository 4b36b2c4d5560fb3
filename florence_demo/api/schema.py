"""What programs give and get: the named arguments of the verbs, and the shape of the answers.

Knows types and their descriptions, from which the documentation of all doors is made. An answer is
``Prediction.to_json``, the same object as the command line's.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic asks for this one before 3.12

MOST_QUESTIONS = 64
"""Pictures times tasks of one call of ``ask_many``."""
MOST_PICTURES = 16
"""Pictures of one call of ``ask_many``."""

PictureText = Annotated[
    str,
    Field(
        description="The picture: a public web address (https://...), a data URL"
        " (data:image/png;base64,...), the file's bytes in base64, or the name that `keep` gave."
        " A form may bring the file itself."
    ),
]
TaskName = Annotated[str, Field(description="Name of a task, as `tasks` lists them, such as od.")]
Words = Annotated[
    str, Field(description="Words, for a task that takes them; a list where it takes a list.")
]
ModelName = Annotated[
    str,
    Field(description="Name of a model, as `models` lists them; empty for the server's choice."),
]
Box = Annotated[
    list[float],
    Field(description="A box [x1, y1, x2, y2] in pixels of the picture, origin top left."),
]
MaxTokens = Annotated[int, Field(description="Longest answer, in tokens, 1 to 4096.")]
Beams = Annotated[int, Field(description="Hypotheses kept in parallel, 1 to 10; 1 is quickest.")]
Sampled = Annotated[bool, Field(description="Draw tokens at random, not the likeliest.")]
Warmth = Annotated[float, Field(description="Of drawing: above 1 flatter, below 1 sharper.")]
Seed = Annotated[int | None, Field(description="Makes drawing repeatable.")]
Tiles = Annotated[
    str,
    Field(
        description="Look closely at a large picture, in overlapping parts too: auto, or rows x"
        " columns such as 2x3; empty for the whole picture alone."
    ),
]

_Score = Annotated[
    float | None,
    Field(description="0 to 1, how sure it is that a thing of this name is there; null unknown."),
]


class Thing(TypedDict):
    """One thing that was found."""

    label: Annotated[str, Field(description="Its name, empty where the task gives none.")]
    box: Box
    polygons: Annotated[
        list[list[float]],
        Field(description="Its outline: rings of x, y, x, y, ... in pixels; empty for a box."),
    ]
    score: _Score
    label_score: Annotated[float | None, Field(description="Probability of its name.")]
    place_score: Annotated[float | None, Field(description="Probability of its place.")]


class Answer(TypedDict):
    """One answer about one picture."""

    task: Annotated[str, Field(description="Name of the task.")]
    prompt: Annotated[str, Field(description="The sentence that the model was asked.")]
    text: Annotated[str, Field(description="The answer in words; empty where it is places only.")]
    detections: Annotated[list[Thing], Field(description="What was found, and where.")]
    parsed: Annotated[
        dict[str, Any], Field(description="Florence-2's own form of the answer, by its task word.")
    ]
    raw: Annotated[str, Field(description="What the model wrote, special tokens included.")]
    size: Annotated[list[int], Field(description="[width, height] of the picture in pixels.")]
    model: Annotated[str, Field(description="Title of the model that answered.")]
    device: Annotated[str, Field(description="Where it ran.")]
    seconds: Annotated[float, Field(description="How long the answer took.")]
    tokens: Annotated[int, Field(description="Number of generated tokens.")]
    truncated: Annotated[bool, Field(description="Whether the token limit cut it off.")]
    looped: Annotated[bool, Field(description="Whether it repeated itself and was ended.")]
    notices: Annotated[list[str], Field(description="What one should know beside it.")]
    calibrated: Annotated[bool, Field(description="Whether the scores are calibrated.")]
    names: Annotated[list[str], Field(description="The names that were asked for, if several.")]


class Point(TypedDict):
    """The middle of one thing."""

    x: Annotated[float, Field(description="Pixels from the left.")]
    y: Annotated[float, Field(description="Pixels from the top.")]
    label: Annotated[str, Field(description="The thing's name.")]


class Pointed(Answer):
    """An answer, and the middle of each thing in it."""

    points: list[Point]


class Problem(TypedDict):
    """Why there is no answer."""

    code: Annotated[str, Field(description="One word for a program, such as bad_input.")]
    detail: Annotated[str, Field(description="A sentence for a person, with the way out.")]


class OneOfMany(TypedDict):
    """One answer of several, or why there is none."""

    picture: Annotated[int, Field(description="Which picture, from 0.")]
    task: Annotated[str, Field(description="Name of the task.")]
    answer: NotRequired[Answer]
    error: NotRequired[Problem]


class Kept(TypedDict):
    """A picture that is kept."""

    picture: Annotated[str, Field(description="The name to give in the picture's place.")]
    size: Annotated[list[int], Field(description="[width, height] in pixels.")]
    seconds: Annotated[int, Field(description="How long it stays after its last use.")]


class TaskInfo(TypedDict):
    """A task."""

    name: str
    title: str
    help: str
    needs: Annotated[
        Literal["nothing", "text", "region"], Field(description="What it takes beside a picture.")
    ]
    example: Annotated[str, Field(description="A text to begin with, where it takes one.")]


class ModelInfo(TypedDict):
    """A model."""

    name: str
    title: str
    note: str
    loaded: Annotated[bool, Field(description="Whether it is in memory.")]
    usual: Annotated[bool, Field(description="Whether it answers where no model is named.")]
