from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from florence_demo.data.reading import open_data
from florence_demo.nano.heldout import HeldoutConfig, add_arguments, config_from_args, write_heldout
from florence_demo.nano.scenes.sprites import Library

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "heldout"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("heldout")
    drawn = Library.drawn()
    config = HeldoutConfig(out=out, scenes=10, unseen=2, sides=(120, 160))
    counts = write_heldout(config, drawn, replace(drawn, name="other"))
    assert (counts["known"], counts["unseen"]) == (8, 2)
    return out


def test_what_is_written_is_read_whole(folder: Path) -> None:
    examples = open_data(str(folder))
    assert len({e.image for e in examples}) == 10
    assert {e.tags[1] for e in examples} == {"known", "unseen"}
    assert max(Counter((e.image, e.task) for e in examples).values()) <= 2


def test_a_part_of_the_set_has_both_styles(folder: Path) -> None:
    styles = [e.tags[1] for e in open_data(str(folder)) if e.task == "caption"]
    assert "unseen" in styles[:5]
    assert "unseen" in styles[5:]


def test_the_same_seed_writes_the_same_set(folder: Path, tmp_path: Path) -> None:
    drawn = Library.drawn()
    config = HeldoutConfig(out=tmp_path, scenes=10, unseen=2, sides=(120, 160))
    write_heldout(config, drawn, replace(drawn, name="other"))
    assert (tmp_path / "truth.jsonl").read_text() == (folder / "truth.jsonl").read_text()


def test_the_shipped_set_is_what_the_card_says() -> None:
    examples = open_data(str(ASSETS))
    pictures = {e.image: e.tags[1] for e in examples}
    assert Counter(pictures.values()) == {"known": 240, "unseen": 60}
    assert sum(p.stat().st_size for p in ASSETS.iterdir()) < 8_000_000


def test_command_line_defaults_are_the_configs() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert config_from_args(parser.parse_args([])) == HeldoutConfig()
