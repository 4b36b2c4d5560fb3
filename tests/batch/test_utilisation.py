"""What a job's seconds went into, by a clock that is set."""

from __future__ import annotations

import pytest

from florence_demo.batch import utilisation
from florence_demo.batch.utilisation import Spent


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(utilisation.time, "perf_counter", lambda: now[0])
    return now


def test_only_waiting_counts_as_waiting(clock):
    def things():
        for seconds in (3.0, 0.0, 2.0):
            clock[0] += seconds
            yield seconds
        clock[0] += 1.0  # until it is known that nothing more comes

    spent = Spent()
    for _ in spent.waiting_for(things()):
        clock[0] += 10.0
    assert spent.waited == 6.0


def test_what_waiting_raises_is_raised_and_its_time_counted(clock):
    def things():
        clock[0] += 4.0
        raise OSError("gone")
        yield

    spent = Spent()
    with pytest.raises(OSError, match="gone"):
        list(spent.waiting_for(things()))
    assert spent.waited == 4.0


@pytest.mark.parametrize(
    ("counted", "seconds", "expected"),
    [
        ([Spent(6.0, 1.0)], 10.0, (0.6, 0.1)),
        ([Spent(6.0, 1.0), Spent(3.0, 4.0)], 20.0, (0.45, 0.25)),
        ([Spent(12.0, 0.0)], 10.0, (1.0, 0.0)),
        ([Spent(1.0, 1.0)], 0.0, (0.0, 0.0)),
        ([], 10.0, (0.0, 0.0)),
    ],
    ids=["one", "two workers", "rounded up", "no time", "nothing"],
)
def test_shares_are_of_all_seconds(counted, seconds, expected):
    spent = Spent()
    for each in counted:
        spent.add(each)
    assert (spent.utilisation(seconds), spent.waiting(seconds)) == pytest.approx(expected)
