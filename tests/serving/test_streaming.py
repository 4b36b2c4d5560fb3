"""Work in a thread, heard as a generator."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from florence_demo.engine.request import Stopped
from florence_demo.serving.streaming import Line, stream


def heard(told: Iterator[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Return all but the ticks."""
    return [each for each in told if each != (None, None)]


@pytest.mark.parametrize("tick", [None, 0.001])
def test_news_come_in_their_order_and_the_result_last(tick: float | None) -> None:
    def work(line: Line[str]) -> int:
        line.tell("a")
        line.tell("b")
        return 7

    assert heard(stream(work, tick=tick)) == [("a", None), ("b", None), (None, 7)]


def test_an_error_of_the_work_is_raised_where_it_is_heard() -> None:
    def work(line: Line[str]) -> int:
        line.tell("a")
        raise ZeroDivisionError

    told = stream(work)
    assert next(told) == ("a", None)
    with pytest.raises(ZeroDivisionError):
        next(told)


def test_work_that_was_stopped_ends_in_silence() -> None:
    def work(line: Line[str]) -> int:
        raise Stopped

    assert list(stream(work)) == []


def test_closing_it_is_seen_by_the_work_that_has_no_news() -> None:
    closed = threading.Event()

    def work(line: Line[str]) -> int:
        while not line.closed:
            pass
        closed.set()
        raise Stopped

    told = stream(work, tick=0.001)
    assert next(told) == (None, None)
    told.close()  # type: ignore[attr-defined]
    assert closed.wait(10)


def test_the_thread_has_its_name() -> None:
    names: list[str] = []

    def work(line: Line[str]) -> bool:
        names.append(threading.current_thread().name)
        return True

    assert list(stream(work, name="measurement")) == [(None, True)]
    assert names == ["measurement"]
