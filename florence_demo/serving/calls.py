"""A question of the page as the call of the API that asks the same.

Knows the API's names for what a question is made of. What is usual is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from florence_demo.engine.question import Regions, regions_given
from florence_demo.engine.request import USUAL, Options
from florence_demo.tasks import Task

_OPTIONS = ("max_new_tokens", "num_beams", "do_sample", "temperature", "seed")


@dataclass(frozen=True)
class Call:
    """Hold a call.

    Attributes:
        verb: What is called.
        arguments: By their names; the picture comes to them.
    """

    verb: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the page."""
        return {"verb": self.verb, "arguments": self.arguments}


def call_of(
    task: Task, words: tuple[str, Regions], model: str, options: Options, tiles: str = ""
) -> Call:
    """Return the call that asks one question.

    Args:
        task: The task.
        words: Text and regions; what the task does not take is left out.
        model: Name of the model.
        options: How the answer is searched.
        tiles: How closely is looked.
    """
    text, region = words
    given: dict[str, Any] = {"task": task.name}
    if task.asks == "text":
        given["text"] = text
    if task.asks == "region":
        boxes = [list(box) for box in regions_given(region)]
        given["region"] = boxes[0] if len(boxes) == 1 else boxes
    if tiles:
        given["tiles"] = tiles
    return Call("ask", {**given, "model": model, **_unusual(options)})


def call_of_all(tasks: list[str], model: str, options: Options) -> Call:
    """Return the call that asks several tasks about one picture."""
    return Call("ask_many", {"tasks": tasks, "model": model, **_unusual(options)})


def _unusual(options: Options) -> dict[str, Any]:
    given = {name: getattr(options, name) for name in _OPTIONS}
    if not options.do_sample:
        given = {name: given[name] for name in _OPTIONS[:2]}
    return {name: value for name, value in given.items() if value != getattr(USUAL, name)}
