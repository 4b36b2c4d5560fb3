"""The cost of the first question is known, and bounded for strangers, before anything is loaded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from florence_demo.checkpoints import opening as checkpoints
from florence_demo.checkpoints.config import admitted_config
from florence_demo.checkpoints.cost import check_cost, first_question
from florence_demo.checkpoints.names import native_config
from florence_demo.errors import CheckpointError
from florence_demo.models.catalogue import MODELS, spec_at
from florence_demo.models.loading import load_model
from florence_demo.trust import VISITOR, VISITORS, Cost
from tests.checkpoint_makers import Micro

LARGE: dict[str, Any] = {
    "text_config": {"vocab_size": 51_289, "max_position_embeddings": 16_384},
    "vision_config": {
        "embed_dim": [256, 512, 1024, 2048],
        "num_heads": [8, 16, 32, 64],
        "num_groups": [8, 16, 32, 64],
    },
}
PARAMETERS = 770_000_000


def picture(height: int, width: int) -> dict[str, Any]:
    return {"do_center_crop": False, "size": {"height": height, "width": width}}


def large(**vision: Any) -> dict[str, Any]:
    config = {**LARGE, "vision_config": {**LARGE["vision_config"], **vision}}
    return admitted_config(config)


def test_florences_own_sizes_pass_with_a_wide_margin(golden):
    files = [golden / "hub-form" / f"config.{size}.json" for size in ("base", "large")]
    configs = [native_config(json.loads(file.read_text())) for file in files]
    nano = json.loads((Path(MODELS["nano"].source) / "config.json").read_text())
    for config, side in ((configs[0], 768), (configs[1], 768), (nano, 256)):
        cost = first_question(admitted_config(config), side, side)
        assert 4 * cost.operations < VISITORS.operations
        assert 4 * cost.memory < VISITORS.memory
    assert VISITORS.parameters > 2 * PARAMETERS


REFUSED = {
    "strides of one": (large(patch_stride=[1, 1, 1, 1], max_position_embeddings=512), 96, 96),
    "a first stride of one": (large(patch_stride=[1, 2, 2, 4]), 768, 768),
    "the largest picture": (large(max_position_embeddings=128), 2048, 2048),
    "windows of 64": (large(window_size=64, num_heads=[256, 256, 256, 256]), 768, 768),
    "wide layers": (large(mlp_ratio=16.0), 1280, 1280),
    "a hundred blocks": (large(depths=[32, 32, 32, 32]), 768, 768),
    "large kernels": (large(patch_size=[32, 32, 32, 32], patch_padding=[16] * 4), 768, 768),
}


@pytest.mark.parametrize(("config", "height", "width"), REFUSED.values(), ids=REFUSED)
def test_a_dear_question_is_refused_to_strangers(config, height, width):
    check_cost(large(), picture(768, 768), PARAMETERS, VISITORS)
    with pytest.raises(CheckpointError, match=r"TFLOP and .* GB") as caught:
        check_cost(config, picture(height, width), PARAMETERS, VISITORS)
    assert str(caught.value).endswith(".")
    check_cost(config, picture(height, width), PARAMETERS)


def test_too_many_parameters_are_refused_to_strangers():
    check_cost(large(), picture(768, 768), 10**10)
    with pytest.raises(CheckpointError, match="parameters"):
        check_cost(large(), picture(768, 768), 10**10, VISITORS)


UNFIT = {
    "more places than positions": (large(), 1664, 1664, "52 x 52 places"),
    "a picture that vanishes": (large(patch_size=[32] * 4, patch_padding=[0] * 4), 64, 64, "small"),
    "no room for a question": (
        admitted_config({**LARGE, "text_config": {"max_position_embeddings": 600}}),
        768,
        768,
        "no room for a question",
    ),
    "pictures and words of two widths": (large(projection_dim=512), 768, 768, "projection_dim"),
}


@pytest.mark.parametrize(("config", "height", "width", "said"), UNFIT.values(), ids=UNFIT)
def test_a_picture_that_does_not_fit_is_told_to_everybody(config, height, width, said):
    with pytest.raises(CheckpointError, match=said):
        check_cost(config, picture(height, width), PARAMETERS)


def test_it_grows_with_what_is_asked():
    """Each number that a stranger writes makes the question dearer, none is forgotten."""
    usual = first_question(large(), 768, 768)
    for more in (
        {"patch_stride": [2, 2, 2, 2]},
        {"depths": [1, 1, 10, 1]},
        {"mlp_ratio": 5.0},
        {"patch_size": [9, 3, 3, 3]},
        {"window_size": 64},
    ):
        assert first_question(large(**more), 768, 768).operations > usual.operations, more
    for more in (
        {"encoder_layers": 13},
        {"decoder_layers": 13},
        {"decoder_ffn_dim": 5000},
        {"encoder_ffn_dim": 5000},
        {"vocab_size": 60_000},
    ):
        config = admitted_config({**LARGE, "text_config": {**LARGE["text_config"], **more}})
        assert first_question(config, 768, 768).operations > usual.operations, more


def test_only_the_untrusted_are_bounded_and_before_the_model_is_built(tmp_path, monkeypatch):
    folder = Micro().native(tmp_path / "it")
    dear = Cost(1.0, 1.0, 10**9)
    assert load_model(str(folder), device="cpu").weight_bytes
    monkeypatch.setattr(checkpoints, "empty_model", lambda _: pytest.fail("a model was built"))
    with pytest.raises(CheckpointError, match="TFLOP"):
        load_model(spec_at(folder), device="cpu", trust=replace(VISITOR, cost=dear))
