"""What a question under /v1 costs: nothing is asserted on seconds."""

from __future__ import annotations

import pytest

from florence_demo.benchmark.door import Cost, main


def test_what_is_beside_the_model_is_told():
    told = Cost(0.1112, 0.0936).sentence((1600, 1200))
    assert told.endswith("111.2 ms of a core a question, of which nano 93.6 and all else 17.6.")


def test_both_ways_are_asked(capsys):
    assert main(["--questions", "1", "--size", "64x48"]) == 0
    assert capsys.readouterr().out.startswith("A JPEG of 64 x 48 under /v1: ")


@pytest.mark.parametrize("size", ["64", "axb"])
def test_a_size_that_is_none_ends_it(size):
    with pytest.raises(ValueError):
        main(["--size", size])
