from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from florence_demo.data.example import Example
from florence_demo.data.rows import distinct_pictures
from florence_demo.training.feature_table import FeatureCache, Shape, fingerprint, measure
from tests.micro_florence import micro_model, micro_processor

RED, BLUE = (Image.new("RGB", (8, 8), c) for c in ("red", "blue"))
ROWS = [
    Example(RED, "docvqa", "a", answer="x"),
    Example(BLUE, "docvqa", "b", answer="y"),
    Example(RED, "docvqa", "c", answer="z"),
]
SHAPE = Shape(2, 3, 4)


class Tower:
    def __init__(self) -> None:
        self.looked = 0

    def __call__(self, examples: Sequence[Example]) -> torch.Tensor:
        self.looked += len(examples)
        values = [float(e.load().getpixel((0, 0))[0]) for e in examples]  # type: ignore[index]
        return torch.tensor(values).view(-1, 1, 1).expand(-1, 3, 4)


def quiet(_done: int, _total: int) -> None:
    pass


def test_each_picture_is_looked_at_once(tmp_path: Path) -> None:
    tower = Tower()
    cache = FeatureCache(tmp_path, ROWS, SHAPE, "a tower")
    cache.build(tower, 1, quiet)
    assert tower.looked == 2
    assert (tmp_path / "features.bin").stat().st_size == SHAPE.bytes
    assert cache.rows([2, 1, 0])[:, 0, 0].tolist() == [255, 0, 255]
    FeatureCache(tmp_path, ROWS, SHAPE, "a tower").build(tower, 1, quiet)
    assert tower.looked == 2


@pytest.mark.parametrize(
    ("rows", "valid_for"),
    [(ROWS, "another tower"), ([ROWS[1], ROWS[0], ROWS[2]], "a tower")],
    ids=["tower", "pictures"],
)
def test_a_table_for_something_else_is_not_used(
    tmp_path: Path, rows: list[Example], valid_for: str
) -> None:
    FeatureCache(tmp_path, ROWS, SHAPE, "a tower").build(Tower(), 2, quiet)
    assert not FeatureCache(tmp_path, rows, SHAPE, valid_for).complete()


def test_a_table_cut_short_is_not_used(tmp_path: Path) -> None:
    class Broken(Tower):
        def __call__(self, examples: Sequence[Example]) -> torch.Tensor:
            if self.looked:
                raise KeyboardInterrupt
            return super().__call__(examples)

    cache = FeatureCache(tmp_path, ROWS, SHAPE, "a tower")
    with pytest.raises(KeyboardInterrupt):
        cache.build(Broken(), 1, quiet)
    assert not cache.complete()
    cache.build(Tower(), 1, quiet)
    assert cache.complete()


def test_a_changed_file_is_another_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    RED.save(path)
    example = Example(path, "caption", answer="x")
    before, _ = distinct_pictures([example])
    Image.new("RGB", (99, 99)).save(path)
    assert distinct_pictures([example])[0] != before


def test_fingerprint_is_of_tower_projector_and_processor() -> None:
    processor = micro_processor()

    def of(change: str = "") -> str:
        model: Any = micro_model(processor)
        for name, weight in model.named_parameters():
            if change and change in name:
                weight.data += 1
        return fingerprint(model, processor)

    assert of() == of("decoder.layers")
    assert len({of(), of("vision_tower.convs.0"), of("image_proj_norm")}) == 3


def test_size_is_known_before_anything_is_written() -> None:
    processor = micro_processor()
    shape = measure(ROWS, micro_model(processor), processor)
    assert (shape.pictures, shape.tokens, shape.width) == (2, 5, 16)
    # 577 tokens of 768 numbers for each question of DocVQA, were every picture another one.
    assert Shape(39_463, 577, 768).bytes == pytest.approx(35e9, rel=0.01)
