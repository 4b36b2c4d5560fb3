from __future__ import annotations

import json
from pathlib import Path

import pytest

from florence_demo.models.catalogue import ASSETS
from florence_demo.models.shapes import _shape_in, is_small, shape_of


@pytest.mark.parametrize(
    ("model", "millions"), [("base-ft", 231), ("large", 777)], ids=["base", "large"]
)
def test_a_models_parameters_come_out_of_its_sizes(model: str, millions: int) -> None:
    shape = shape_of(model)
    assert shape is not None
    assert (shape.tower + shape.language) / 1e6 == pytest.approx(millions, rel=0.06)


def test_nanos_sizes_are_read_from_its_folder(tmp_path: Path) -> None:
    shape = shape_of("nano")
    assert shape is not None
    config = json.loads((ASSETS / "nano/config.json").read_text())
    assert shape.d_model == config["text_config"]["d_model"]
    assert is_small("nano")
    assert not is_small("base-ft")
    assert shape_of(str(tmp_path)) is None


ABSURD: dict[str, dict[str, object]] = {
    "strides of nothing": {"patch_stride": [0, 0, 0]},
    "as many blocks as there are stars": {"depths": [10**30] * 3},
    "widths of 400 digits": {"embed_dim": [10**400] * 3},
    "a million stages": {k: [1] * 60_000 for k in ("patch_stride", "embed_dim", "depths")},
    "stages that do not fit": {"depths": [1, 1]},
    "widths that are a text": {"embed_dim": "abc"},
    "a width that is a text": {"embed_dim": ["a", "b", "c"]},
    "depths below nothing": {"depths": [-1, -1, -1]},
}


@pytest.mark.parametrize("vision", ABSURD.values(), ids=ABSURD)
def test_absurd_sizes_are_no_sizes(tmp_path: Path, vision: dict[str, object]) -> None:
    for name in ("config.json", "processor_config.json"):
        values = json.loads((ASSETS / "nano" / name).read_text())
        if "vision_config" in values:
            values["vision_config"] |= vision
        (tmp_path / name).write_text(json.dumps(values))
    assert _shape_in(tmp_path) is None


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "5", '{"vision_config": 5}', "{" + " " * 2_000_000]
)
def test_a_configuration_that_is_none_has_no_sizes(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert _shape_in(tmp_path) is None
