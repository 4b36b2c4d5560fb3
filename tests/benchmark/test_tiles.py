"""How tiles are measured: on a fake that knows the truth; the measuring itself takes minutes."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from florence_demo.benchmark import tiles
from florence_demo.benchmark.perfect import merged
from florence_demo.nano.scenes.large import LINES, THINGS, large_list, large_page, large_scene
from florence_demo.nano.scenes.sprites import Library
from florence_demo.prediction import Detections, Prediction

LIBRARY = Library.drawn()
DRAWN = {
    "pages": (large_page, LINES),
    "lists": (large_list, LINES),
    "scenes": (large_scene, THINGS),
}


@pytest.mark.parametrize("kind", DRAWN)
def test_large_pictures_hold_what_they_say(kind):
    draw, count = DRAWN[kind]
    one, again, other = draw(1, LIBRARY), draw(1, LIBRARY), draw(2, LIBRARY)
    assert max(one.image.size) == 2000
    assert one.image.tobytes() == again.image.tobytes() != other.image.tobytes()
    assert len(one.things) == count
    assert one.text.split("\n") == (list(one.things.labels) if kind != "scenes" else [""])
    assert (one.things.xyxy >= 0).all()
    assert (one.things.xyxy <= np.tile(one.image.size, 2)).all()


def knowing(lost: float):
    """Whom to ask: it knows all but a share of the things, and without tiles nothing."""

    def ask(picture, task, how) -> Prediction:
        keep = np.arange(len(picture.things)) >= lost * len(picture.things)
        known = picture.things.select(keep) if how != "none" else Detections.empty()
        text = "\n".join(known.labels) if picture.text else ""
        return Prediction(task, "", "", text, picture.image.size, known, {})

    return ask


@pytest.mark.parametrize("kind", DRAWN)
def test_rates_are_those_of_what_was_found(kind):
    pictures = [DRAWN[kind][0](1, LIBRARY)]
    nothing, half, everything = (
        tiles.rates(knowing(lost), kind, how, pictures)
        for lost, how in ((0, "none"), (0.5, "auto"), (0, "auto"))
    )
    assert (nothing.f1, nothing.recall) == (0, 0)
    assert (half.f1, half.recall) == (pytest.approx(2 / 3), 0.5)
    assert (everything.f1, everything.recall) == (1, 1)
    if kind == "scenes":
        assert everything.wrong is None
    else:
        assert nothing.wrong == 1
        assert half.wrong == pytest.approx(0.5, abs=0.1)
        assert everything.wrong == 0


@pytest.mark.parametrize("side", [256, 768])
@pytest.mark.parametrize("kind", ["pages", "lists"])
def test_merging_loses_hardly_a_letter_of_what_tiles_show(kind, side):
    picture = DRAWN[kind][0](1, LIBRARY)
    row = tiles.rates(lambda p, task, _: merged(p, task, side), kind, "auto", [picture])
    assert row.wrong is not None
    assert row.wrong < 0.002
    assert row.recall == row.f1 == 1


@pytest.mark.parametrize("side", [256, 768])
def test_merging_loses_no_thing_and_has_none_twice(side):
    picture = large_scene(1, LIBRARY)
    row = tiles.rates(lambda p, task, _: merged(p, task, side), "scenes", "auto", [picture])
    assert row.recall >= 0.95
    assert row.f1 >= 0.95


def test_the_command_prints_a_table_or_json(monkeypatch, capsys):
    monkeypatch.setattr(tiles, "load_model", lambda name, **_: name)
    monkeypatch.setattr(tiles, "Engine", lambda loaded: SimpleNamespace(side=768))
    monkeypatch.setattr(tiles, "_asking", lambda engine, options: knowing(0))
    few = ["--pages", "1", "--lists", "0", "--scenes", "1", "--tiles", "auto", "2x2"]
    assert tiles.main(few) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split(" | ")[:2] for row in rows] == [
        [f"| {kind}", how]
        for kind in ("pages", "scenes")
        for how in ("none", "auto", "2x2", "auto, perfect looks")
    ]
    assert tiles.main([*few, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert (first["pictures"], first["tiles"], first["wrong"]) == ("pages", "none", 1.0)
