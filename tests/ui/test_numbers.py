"""Numbers that arrive from a browser or a program."""

from __future__ import annotations

import math
from typing import Any

import pytest

from florence_demo.errors import InputError
from florence_demo.training.config import BOUNDS, Bounds
from florence_demo.ui.numbers import Number, Slider, number_of

ODD: list[Any] = [None, "5", "x", math.nan, math.inf, -math.inf, 1e300, 10**400, True, [5], {}, -3]


@pytest.mark.parametrize("value", ODD, ids=lambda v: str(v)[:9])
@pytest.mark.parametrize("component", [Number, Slider])
def test_whatever_arrives_gets_to_the_handler_and_is_told(component: Any, value: Any) -> None:
    arrived = component(minimum=1, maximum=5, value=1).preprocess(value)
    with pytest.raises(InputError, match=r"^“Beams” must be more than 0 and at most 5") as caught:
        number_of("Beams", arrived, Bounds(5))
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(
    ("value", "bounds", "found"),
    [
        (3.0, Bounds(5), 3),
        (5, Bounds(5), 5),
        (0.25, BOUNDS["epochs"], 0.25),
        (None, Bounds(5, optional=True), None),
    ],
)
def test_a_number_within_bounds_is_taken(value: Any, bounds: Bounds, found: Any) -> None:
    number = number_of("Beams", value, bounds)
    assert number == found
    assert type(number) is type(found)
