"""The line of questions: fair, bounded, honest about how long it takes."""

from __future__ import annotations

import pytest

from florence_demo.serving.fair_queue import Busy, Ending, FairQueue


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def entered(queue: FairQueue, visitors: str) -> list:
    return [queue.enter(visitor) for visitor in visitors]


def in_work(places) -> str:
    return "".join(place.visitor for place in places if place.wait(0))


def served(queue: FairQueue, places) -> str:
    """The order in which places have their turn, each ending before the next."""
    order, left = "", list(places)
    while left:
        place = next(each for each in left if each.wait(0))
        order += place.visitor
        left.remove(place)
        place.__exit__()
    return order


ORDERS = {
    "one visitor in order": ("aaa", "aaa"),
    "who comes late has the next turn": ("aaaab", "abaaa"),
    "in turn": ("aaabbbccc", "abcabcabc"),
    "nobody known": ("", ""),
}


@pytest.mark.parametrize(("come", "go"), ORDERS.values(), ids=ORDERS)
def test_visitors_have_their_turns(come, go):
    queue = FairQueue(1)
    assert served(queue, entered(queue, come)) == go


def test_who_has_few_in_work_goes_first():
    queue = FairQueue(3)
    places = entered(queue, "aaaaab")
    assert in_work(places) == "aaa"
    places[0].__exit__()
    assert in_work(places[1:]) == "aab"
    assert (queue.working(), queue.waiting()) == (3, 2)


def test_fifty_questions_of_one_do_not_keep_another_waiting():
    queue = FairQueue(4)
    many = entered(queue, "a" * 50)
    (one,) = entered(queue, "b")
    assert queue.before(one) == 0
    many[0].__exit__()
    assert one.wait(0)


def test_newcomers_without_end_keep_nobody_waiting():
    """Who waits and had a turn before goes before all who come later and never had one."""
    queue = FairQueue(1)
    works, waits, *line = entered(queue, "aab")
    works.__exit__()
    for newcomer in "cdefgh":
        line += entered(queue, newcomer)
        working = next(each for each in line if each.wait(0))
        line.remove(working)
        working.__exit__()
        if waits.wait(0):
            break
    assert newcomer == "c", "b was there before, and no other"


@pytest.mark.parametrize("index", [0, 1, 3], ids=["in work", "first who waits", "last"])
def test_who_leaves_gives_the_place_back(index):
    queue = FairQueue(1)
    places = entered(queue, "abcd")
    with places.pop(index):
        pass
    assert served(queue, places) == "abcd".replace("abcd"[index], "")
    assert (queue.working(), queue.waiting()) == (0, 0)


def test_the_line_is_bounded_and_says_so():
    queue = FairQueue(2, most=3)
    entered(queue, "abcde")
    with pytest.raises(Busy, match=r"3 questions wait already.*about 2 seconds") as told:
        queue.enter("f")
    assert told.value.seconds == 2


def test_it_says_how_long_it_takes():
    clock = Clock()
    queue = FairQueue(2, clock=clock)
    for _ in range(60):
        with queue.enter("a"):
            clock.now += 8
    places = entered(queue, "abcdef")
    assert places[5].words() == "Busy: 3 before you, about 16 seconds"
    assert places[2].words() == "Busy: you are next, about 4 seconds"


def test_a_closed_line_refuses_who_waits_and_who_comes():
    queue = FairQueue(1)
    works, waits = entered(queue, "ab")
    queue.close()
    assert works.wait(0), "who is in work goes on"
    with pytest.raises(Ending, match="ending"):
        waits.wait(10)
    with pytest.raises(Ending):
        queue.enter("c")
    assert (queue.working(), queue.waiting()) == (1, 0)
    for place in (waits, works):
        place.__exit__()
    assert (queue.working(), queue.waiting()) == (0, 0)
