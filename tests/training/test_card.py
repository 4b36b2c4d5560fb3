"""What the hub reads of a run: its base, the licence of that, and no path."""

from __future__ import annotations

from pathlib import Path

import pytest

from florence_demo.data.source import DataSource
from florence_demo.training.card import model_card
from florence_demo.training.config import Result, TrainConfig

RESULT = Result(
    Path("/home/me/runs/it"), {"docvqa/anls": 0.1}, {"docvqa/anls": 0.75}, 3.0, 10, 1.0, 1, 5, 9
)


def test_a_fine_tune_of_microsofts_keeps_the_notice() -> None:
    base = ("florence-community/Florence-2-base-ft", "a" * 40)
    card = model_card(TrainConfig(), RESULT, base)
    head = card.split("---")[1].splitlines()
    assert "license: mit" in head
    assert 'base_model: "florence-community/Florence-2-base-ft"' in head
    assert 'datasets: ["HuggingFaceM4/DocumentVQA"]' in head
    assert "Copyright (c) Microsoft Corporation" in card
    assert f"from {base[0]} at {'a' * 40}" in card
    assert "| docvqa/anls | 0.100 | 0.750 |" in card
    assert "lora_rank" not in card


@pytest.mark.parametrize("base", ["nano", "owner/name", "/home/me/runs/other"])
def test_another_base_is_told_for_what_it_is(base: str) -> None:
    data = DataSource("jsonl", "/home/me/private/rows.jsonl")
    card = model_card(TrainConfig(data=data, eval_data=data), RESULT, (base, None))
    assert "Microsoft" not in card
    assert ("license: mit" in card) is (base == "nano")
    assert ("base_model" in card) is (base == "owner/name")
    assert ("name it here" in card) is (base != "nano")
    assert "/home/me" not in card
    assert "on “rows.jsonl”" in card


def test_a_folder_that_tells_its_origin_keeps_the_notice() -> None:
    card = model_card(TrainConfig(), RESULT, ("/x/mine", None), "microsoft/Florence-2-large")
    assert "license: mit" in card
    assert "Copyright (c) Microsoft Corporation" in card
    assert "base_model" not in card
