"""The benchmark: how rows are told; the measuring itself takes minutes and is not run here."""

from __future__ import annotations

import argparse
import json
from xml.etree import ElementTree

import pytest

from florence_demo import benchmark, benchmark_rows, machine
from florence_demo.benchmark_rows import Row

ROWS = [
    Row("fast <enough>", 6.0, 4.0, "60 ms -> 10 ms"),
    Row("too slow", 2.0, 4.0, "20 ms -> 10 ms"),
    Row("elsewhere", None, 6.0, "not run here: no GPU"),
]


@pytest.mark.parametrize(("row", "kept"), zip(ROWS, [True, False, True], strict=True))
def test_a_row_keeps_what_it_must_reach_or_was_not_run(row, kept):
    assert row.kept is kept


def test_the_two_ways_alternate_and_are_compared():
    seen = []

    def usual():
        seen.append("usual")
        return [1, 2]

    def ours():
        seen.append("ours")
        return [1, 2 if len(seen) < 4 else 3]

    *_, same = benchmark_rows.compare(usual, ours, 2)
    assert seen == ["usual", "ours"] * 2
    assert not same


def test_speed_counts_nothing_where_tokens_differ():
    row = benchmark_rows.against("a step", 4.0, (8.0, 1.0, False), exact=True)
    assert row.ratio == 0.0
    assert "DIFFER" in row.note
    assert benchmark_rows.against("a step", 4.0, (8.0, 1.0, True), exact=True).ratio == 8.0


def test_the_table_marks_what_missed_and_what_was_not_run():
    table = benchmark_rows.markdown(ROWS)
    assert "| too slow | 2.00x (missed) | 4x |" in table
    assert "| elsewhere | not run | 6x | not run here: no GPU |" in table


def test_the_plot_is_well_formed_and_leaves_out_what_was_not_run():
    plot = ElementTree.fromstring(benchmark_rows.bars(ROWS))
    texts = [text.text for text in plot.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["fast <enough>", "6.0x", "too slow", "2.0x"]


@pytest.mark.parametrize(("rows", "status"), [(ROWS[:1] + ROWS[2:], 0), (ROWS, 1)])
def test_the_command_prints_one_json_object(monkeypatch, capsys, rows, status):
    monkeypatch.setattr(benchmark, "run", lambda options, tell: rows)
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    assert benchmark.command(parser.parse_args(["--quick", "--json"])) == status
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["rows"]) == len(rows)
    assert all({"name", "ratio", "at_least"} <= set(row) for row in printed["rows"])
    assert printed["rows"][-1]["ratio"] is None


def test_the_machine_tells_its_name_and_versions():
    assert "cores" in machine.processor_name()
    assert {"python", "torch", "transformers"} <= set(machine.versions())
    assert machine.usable_cores() >= 1
    assert isinstance(machine.fast_bf16(), bool)


def test_drawing_is_compared_with_matplotlib():
    pytest.importorskip("matplotlib")
    from florence_demo import benchmark_app

    row = benchmark_app._drawing()
    assert row.ratio is not None
    assert row.at_least == 20.0
