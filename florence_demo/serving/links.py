"""A link to the page: which question it brings, checked.

Knows what a question is made of. Does not know the page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from florence_demo.errors import FlorenceDemoError, InputError
from florence_demo.tasks import task_named

LONGEST = 2000
"""Letters of the words in a link."""


@dataclass(frozen=True)
class Linked:
    """Hold what a link asks for.

    Attributes:
        settings: The values that can be used, by the names of ``settings_of_a_link``.
        problems: A sentence for each that cannot.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def read_link(query: object, model_named: Callable[[str], Any]) -> Linked:
    """Return what a link's values ask for; names that are none of ours are passed over.

    Args:
        query: Names and values, both text, as a browser took them from its address.
        model_named: Raises where a model cannot be used here.
    """
    given = query if isinstance(query, dict) else {}
    settings, problems = {}, []
    for name, read in settings_of_a_link(model_named).items():
        if name not in given:
            continue
        try:
            settings[name] = read(str(given[name])[: LONGEST + 1])
        except FlorenceDemoError as exc:
            problems.append(f"This link cannot be followed wholly. {exc}")
    return Linked(settings, tuple(problems))


def settings_of_a_link(model_named: Callable[[str], Any]) -> dict[str, Callable[[str], Any]]:
    """Return what a link may set, each with what reads its value or raises."""

    def model(value: str) -> str:
        model_named(value)
        return value

    return {
        "task": lambda value: task_named(value).name,
        "words": _words,
        "model": model,
        "beams": partial(_number, name="beams", low=1, high=5, kind=int),
        "tokens": partial(_number, name="tokens", low=16, high=4096, kind=int),
        "sample": partial(_number, name="sample", low=0, high=1, kind=_switch),
        "temperature": partial(_number, name="temperature", low=0.1, high=2.0, kind=float),
        "seed": partial(_number, name="seed", low=0, high=2**31 - 1, kind=int),
        "closely": partial(_number, name="closely", low=0, high=1, kind=_switch),
    }


def _words(value: str) -> str:
    if len(value) > LONGEST:
        raise InputError(f"Its words have more than {LONGEST} letters: type them on the page.")
    return value


def _number(value: str, *, name: str, low: float, high: float, kind: Callable[[str], Any]) -> Any:
    try:
        number = kind(value)
    except ValueError:
        number = None
    if number is None or not low <= number <= high:
        raise InputError(f"“{name}” in it must be a number from {low} to {high}.")
    return number


def _switch(value: str) -> bool:
    return bool(int(value))
