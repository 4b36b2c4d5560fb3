"""What a person or a program may ask for, and what is refused with a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from florence_demo.engine.request import Options
from florence_demo.errors import InputError

NAN, INFINITE = float("nan"), float("inf")
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no tokens": ({"max_new_tokens": 0}, "between 1 and 4096"),
    "tokens that are no number": ({"max_new_tokens": NAN}, "whole number between 1 and 4096"),
    "endless": ({"max_new_tokens": INFINITE}, "whole number"),
    "half a token": ({"max_new_tokens": 8.5}, "whole number"),
    "tokens in words": ({"max_new_tokens": "many"}, "whole number"),
    "tokens of 400 digits": ({"max_new_tokens": 10**400}, "between 1 and 4096"),
    "no beams": ({"num_beams": 0}, "between 1 and 10"),
    "eleven beams": ({"num_beams": 11}, "between 1 and 10"),
    "beams that are no number": ({"num_beams": NAN}, "whole number between 1 and 10"),
    "beams that are true": ({"num_beams": True}, "whole number"),
    "several beams": ({"num_beams": [3]}, "whole number"),
    "nothing for beams": ({"num_beams": None}, "whole number"),
    "cold": ({"temperature": 0}, "between 0.01 and 5"),
    "temperature that is no number": ({"temperature": NAN}, "number between 0.01 and 5"),
    "temperature in words": ({"temperature": "warm"}, "number between"),
    "temperature of 400 digits": ({"temperature": 10**400}, "number between"),
    "complex temperature": ({"temperature": 1j}, "number between"),
    "sampling in words": ({"do_sample": "yes"}, "true or false"),
    "seed below zero": ({"seed": -1}, "between 0 and 2"),
    "seed too large": ({"seed": 2**63}, "between 0 and 2"),
    "seed in words": ({"seed": "x"}, "whole number between 0 and 2"),
    "seed that is no number": ({"seed": NAN}, "whole number between 0 and 2"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("door", ["check", "given"])
def test_what_makes_no_sense_gets_one_sentence(door: str, name: str) -> None:
    given, sentence = REFUSED[name]
    with pytest.raises(InputError, match=sentence) as caught:
        Options(**given).check() if door == "check" else Options.given(**given)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(4096, 10, True, 5.0, 2**63 - 1),
        Options(1, 1, False, 0.01, 0),
        Options(np.int64(8), np.int32(3), np.bool_(True), np.float32(1)),  # type: ignore[arg-type]
    ],
    ids=["usual", "most", "least", "numpy"],
)
def test_what_makes_sense_passes(options: Options) -> None:
    options.check()


def test_a_slider_says_three_as_a_float() -> None:
    options = Options.given(64.0, 3.0, True, 1, 7.0)
    assert options == Options(64, 3, True, 1, 7)
    assert all(type(n) is int for n in (options.max_new_tokens, options.num_beams, options.seed))
