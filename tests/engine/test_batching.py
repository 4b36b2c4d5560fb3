from __future__ import annotations

import threading

import pytest

from florence_demo.engine.batching import Batcher


class Machine:
    """Doubles numbers; holds its first batch until it is let go."""

    def __init__(self):
        self.batches: list[list[int]] = []
        self.started = threading.Event()
        self.go = threading.Event()

    def __call__(self, jobs: list[int]) -> list[int]:
        self.batches.append(jobs)
        self.started.set()
        assert self.go.wait(10)
        if -1 in jobs:
            raise ValueError("no negative numbers")
        return [2 * j for j in jobs]


def run_together(batcher, machine, submissions):
    """Submit the first, let the others queue up behind it in order, then let all go."""
    results: dict[int, object] = {}

    def submit(index: int, jobs, key) -> None:
        try:
            results[index] = batcher.submit(jobs, key)
        except ValueError as exc:
            results[index] = str(exc)

    threads = []
    for index, (jobs, key) in enumerate(submissions):
        thread = threading.Thread(target=submit, args=(index, jobs, key))
        thread.start()
        threads.append(thread)
        if index == 0:
            assert machine.started.wait(10)
        else:
            while len(batcher._waiting) < index:
                threading.Event().wait(0.001)
    machine.go.set()
    for thread in threads:
        thread.join(10)
    return [results[i] for i in range(len(submissions))]


@pytest.mark.parametrize(
    ("submissions", "batches", "results"),
    [
        pytest.param(
            [([1], "a"), ([2], "a"), ([3, 4], "a")],
            [[1], [2, 3, 4]],
            [[2], [4], [6, 8]],
            id="those who wait share a batch",
        ),
        pytest.param(
            [([1], "a"), ([2], "b"), ([3], "a"), ([4], "b")],
            [[1], [2, 4], [3]],
            [[2], [4], [6], [8]],
            id="only equal keys, oldest first",
        ),
        pytest.param(
            [([1], "a"), ([2, 3], "a"), ([4, 5], "a"), ([6], "a")],
            [[1], [2, 3, 6], [4, 5]],
            [[2], [4, 6], [8, 10], [12]],
            id="not beyond the limit",
        ),
        pytest.param(
            [([1], "a"), ([2], "a"), ([-1], "a")],
            [[1], [2, -1], [2], [-1]],
            [[2], [4], "no negative numbers"],
            id="one caller's error is its own",
        ),
    ],
)
def test_batches(submissions, batches, results):
    machine = Machine()
    batcher = Batcher(machine, limit=3)
    assert run_together(batcher, machine, submissions) == results
    assert machine.batches == batches


def test_a_lone_caller_waits_for_nobody():
    machine = Machine()
    machine.go.set()
    assert Batcher(machine, limit=4).submit([1, 2], "a") == [2, 4]


def test_a_caller_larger_than_the_limit_is_served_whole():
    machine = Machine()
    machine.go.set()
    assert Batcher(machine, limit=2).submit([1, 2, 3], "a") == [2, 4, 6]
