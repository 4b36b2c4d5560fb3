"""Callers who come while others are answered: they join, and everybody gets what they get alone."""

from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import replace

import pytest
import torch

from florence_demo.decoding import graphs, group
from florence_demo.decoding.decoder import Decoder
from florence_demo.decoding.rules import DecodeOptions
from florence_demo.decoding.step import take_step
from florence_demo.decoding.turns import Turns
from tests.decoding.test_decoder import questions, tiny_model

LONG = DecodeOptions(
    max_new_tokens=80, length_penalty=3.0, early_stopping="never", no_repeat_ngram_size=0,
    loop_guard=False,
)  # fmt: skip
SHORT = replace(LONG, max_new_tokens=5)


def make(kept: bool) -> Decoder:
    """A decoder whose rows leave, as on a CPU, or whose buffers are kept, as on a GPU."""
    decoder = Decoder(tiny_model(3, sharp=0.5).double(), plain=True)
    if kept:
        assert decoder._step is not None
        decoder._graphs = graphs.Graphs(decoder._step, capture=lambda work: work, room=32)
    return decoder


class Crowd:
    """Somebody asks, and at some steps of that answer others come."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.got: dict[str, object] = {}
        self.order: list[str] = []
        self.threads: list[threading.Thread] = []

    def ask(self, name: str, asked, options, on_step=None) -> None:
        try:
            answers = self.decoder.decode(*asked, options, on_step=on_step)
            self.got[name] = [answer.ids for answer in answers]
        except Exception as exc:
            self.got[name] = exc
        self.order.append(name)

    def come(self, *args) -> None:
        """Let somebody else ask, and go on once they wait for the machine."""
        thread = threading.Thread(target=self.ask, args=args)
        self.threads.append(thread)
        thread.start()
        for _ in range(10_000):
            if self.decoder.turns._waiting or not thread.is_alive():
                return
            threading.Event().wait(0.001)
        raise AssertionError("nobody waits for the machine")

    def end(self) -> None:
        for thread in self.threads:
            thread.join(60)


@pytest.mark.parametrize("kept", [False, True], ids=["rows leave", "buffers stay"])
@pytest.mark.parametrize("beams", [1, 3])
def test_who_comes_later_does_not_wait_for_the_longest(beams, kept):
    decoder = make(kept)
    rules = [replace(each, num_beams=beams) for each in (LONG, SHORT, LONG)]
    asked = [questions(rows, seed, torch.float64) for seed, rows in enumerate((2, 1, 3))]
    alone = [
        [a.ids for a in decoder.decode(*each, how)] for each, how in zip(asked, rules, strict=True)
    ]
    assert max(len(ids) for ids in alone[0]) > 70
    crowd = Crowd(decoder)

    def watch(step, _leading):
        if step == 3:
            crowd.come("short", asked[1], rules[1])
        if step == 20:
            crowd.come("several", asked[2], rules[2])
        return True

    crowd.ask("long", asked[0], rules[0], watch)
    crowd.end()
    assert [crowd.got[name] for name in ("long", "short", "several")] == alone
    assert crowd.order.index("short") < crowd.order.index("long")
    assert not decoder._crowd._groups


def test_nothing_of_an_answer_waits_for_the_collector_of_cycles(monkeypatch):
    made: weakref.WeakSet[graphs.Buffers] = weakref.WeakSet()

    class Noted(graphs.Buffers):
        def __init__(self, *args) -> None:
            super().__init__(*args)
            made.add(self)

    monkeypatch.setattr(group, "Buffers", Noted)
    decoder = make(kept=False)
    gc.disable()
    try:
        decoder.decode(*questions(2, 0, torch.float64), SHORT, on_step=lambda *_: len(made) == 1)
        assert not made
    finally:
        gc.enable()


@pytest.mark.parametrize("kept", [False, True], ids=["rows leave", "buffers stay"])
def test_each_has_its_own_chance_and_its_own_rules(kept):
    decoder = make(kept)
    drawn = replace(LONG, do_sample=True, seed=7, num_beams=1)
    others = [replace(drawn, seed=8), replace(SHORT, num_beams=2), drawn]
    asked = [questions(1, seed, torch.float64) for seed in range(4)]
    alone = [
        [a.ids for a in decoder.decode(*each, how)]
        for each, how in zip(asked, [drawn, *others], strict=True)
    ]
    crowd = Crowd(decoder)

    def watch(step, _leading):
        if step in (2, 5, 9):
            at = (2, 5, 9).index(step)
            crowd.come(str(at + 1), asked[at + 1], others[at])
        return True

    crowd.ask("0", asked[0], drawn, watch)
    crowd.end()
    assert [crowd.got[str(at)] for at in range(4)] == alone


@pytest.mark.parametrize("kept", [False, True], ids=["rows leave", "buffers stay"])
@pytest.mark.parametrize("raises", [False, True], ids=["stops", "fails"])
def test_one_who_leaves_takes_nobody_along(raises, kept):
    decoder = make(kept)
    asked = [questions(1, seed, torch.float64) for seed in range(2)]
    alone = [a.ids for a in decoder.decode(*asked[1], LONG)]
    crowd = Crowd(decoder)

    def watch(step, _leading):
        if step == 3:
            crowd.come("stays", asked[1], LONG)
        if step == 8 and raises:
            raise ValueError("no more")
        return step < 8

    crowd.ask("leaves", asked[0], LONG, watch)
    crowd.end()
    assert crowd.got["stays"] == [*alone]
    left = crowd.got["leaves"]
    assert isinstance(left, ValueError) if raises else len(left[0]) <= 9


def test_nobody_pays_for_too_little_memory_together(monkeypatch):
    decoder = make(False)
    asked = [questions(1, seed, torch.float64) for seed in range(2)]
    alone = [[a.ids for a in decoder.decode(*each, LONG)] for each in asked]

    def small(step, search, cache):
        if len(search.done) > 1:
            raise RuntimeError("out of memory")
        take_step(step, search, cache)

    monkeypatch.setattr(graphs, "take_step", small)
    crowd = Crowd(decoder)
    came = []

    def watch(step, _leading):
        if step == 3 and not came:
            came.append(1)
            crowd.come("later", asked[1], LONG)
        return True

    crowd.ask("first", asked[0], LONG, watch)
    crowd.end()
    assert [crowd.got["first"], crowd.got["later"]] == alone
    monkeypatch.setattr(graphs, "take_step", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        decoder.decode(*asked[0], LONG)


def test_turns_go_to_who_waits_the_longest():
    turns, order = Turns(), []

    def take(at: int) -> None:
        with turns:
            order.append(at)

    threads = [threading.Thread(target=take, args=(at,)) for at in range(5)]
    with turns:
        for at, thread in enumerate(threads):
            thread.start()
            while len(turns._waiting) <= at:
                threading.Event().wait(0.001)
    for thread in threads:
        thread.join(10)
    assert order == list(range(5))
