"""Reading ahead: in order, so far and no further, and what goes wrong is told in its place."""

from __future__ import annotations

import itertools
import threading

import pytest

from florence_demo.pictures.ahead import Ahead, read_ahead


def test_results_come_in_the_order_of_the_jobs():
    first = threading.Event()

    def read(number: int) -> int:
        if number == 0:
            assert first.wait(10)  # those behind it are read before it
        if number == 3:
            first.set()
        return number * 2

    assert list(read_ahead(range(9), read, Ahead(4, 8))) == [n * 2 for n in range(9)]


def test_an_endless_row_of_jobs_is_drawn_no_further_than_is_read_ahead():
    drawn = itertools.count()
    jobs = (next(drawn) for _ in itertools.repeat(None))
    reading = read_ahead(jobs, lambda number: number, Ahead(3, 5))
    taken = [next(reading) for _ in range(20)]
    reading.close()
    assert taken == list(range(20))
    assert next(drawn) <= 20 + 5 + 1


def test_heavy_results_are_held_one_at_a_time():
    held, most, lock = set(), [0], threading.Lock()

    def read(number: int) -> int:
        with lock:
            held.add(number)
            most[0] = max(most[0], len(held))
        return number

    for number in read_ahead(range(50), read, Ahead(1, 40, weight=10), lambda _: 100):
        with lock:
            held.discard(number)
    assert most[0] <= 3, "one taken, one read, one being read"


@pytest.mark.parametrize("where", ["jobs", "read"])
def test_what_is_raised_is_raised_in_its_place(where):
    def jobs():
        yield from range(3)
        if where == "jobs":
            raise KeyError("three")
        yield from range(3, 6)

    def read(number: int) -> int:
        if where == "read" and number == 3:
            raise KeyError("three")
        return number

    reading = read_ahead(jobs(), read, Ahead(2, 4))
    assert [next(reading) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="three"):
        next(reading)


def test_who_leaves_early_leaves_no_thread_reading():
    reading = read_ahead(itertools.count(), lambda number: number, Ahead(2, 4))
    next(reading)
    reading.close()
    threads = [t for t in threading.enumerate() if t.name.startswith("read-ahead")]
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
