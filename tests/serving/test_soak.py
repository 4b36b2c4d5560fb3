"""A small crowd for some seconds: nobody gets another's answer, and nothing but a word of busy."""

from __future__ import annotations

import asyncio

from tests.soak import crowd, served


def test_a_small_crowd_is_answered():
    with served() as (address, process):
        told = asyncio.run(crowd(address, 6, 3.0, process))
    assert told.wrong == []
    assert set(told.ends) <= {"answered", "left", "busy"}
    assert told.ends["answered"] > 0
    assert told.before <= 32, "one visitor does not keep another waiting"
