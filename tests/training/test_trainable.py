from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from florence_demo.data.example import Example
from florence_demo.errors import DatasetError
from florence_demo.prediction import Detections
from florence_demo.training.batch import Collator
from florence_demo.training.trainable import (
    MODES,
    accept_features,
    count,
    freeze,
    plain_copy,
    prepare,
)
from tests.micro_florence import micro_model, micro_processor

PROCESSOR = micro_processor()
ROWS = [
    Example(Image.new("RGB", (40, 30), "red"), "docvqa", "What?", answer="cat"),
    Example(
        Image.new("RGB", (40, 30), "blue"),
        "od",
        detections=Detections(np.array([[1, 1, 9, 9]], np.float32), ("dog",)),
    ),
]


def batch() -> dict[str, Any]:
    return Collator(PROCESSOR, 128)(ROWS)


def size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("cached", [False, True], ids=["pixels", "cached"])
@pytest.mark.parametrize("mode", MODES)
def test_trainable_parameters_of_each_mode(mode: str, cached: bool) -> None:
    model = micro_model(PROCESSOR)
    total, tower = size(model), size(model.model.vision_tower)
    projector = size(model.model.multi_modal_projector)
    if mode == "full" and cached:
        with pytest.raises(DatasetError, match="frozen"):
            prepare(model, "full", cached=True)
        return
    learns, every = count(prepare(model, mode, cached=cached, rank=2))  # type: ignore[arg-type]
    # Attention: 4 matrices of 16 x 16 in an encoder layer, 8 in a decoder layer; 2 of 16 x 32 each.
    adapter = 2 * ((4 + 8) * (16 + 16) + 4 * (16 + 32))
    expected = {
        "full": total,
        "language": total - tower - (projector if cached else 0),
        "lora": adapter,
    }[mode]
    assert learns == expected
    assert every == total + (adapter if mode == "lora" else 0)


@pytest.mark.parametrize("mode", ["language", "lora"])
def test_the_tower_is_frozen_for_real(mode: str) -> None:
    model = micro_model(PROCESSOR)
    tower = model.model.vision_tower
    trained = prepare(model, mode)  # type: ignore[arg-type]
    trained.train()
    assert not any(part.training for part in tower.modules())
    assert model.model.language_model.training
    inputs = batch()
    first, second = (trained(**inputs) for _ in range(2))
    # In train() the tower would drop paths at random; dropout of the rest is 0 in this model.
    if mode == "language":
        assert torch.equal(first.logits, second.logits)
    first.loss.backward()
    assert all(p.grad is None for p in tower.parameters())
    assert any(p.grad is not None for p in trained.parameters())


def test_without_freezing_the_tower_would_be_random() -> None:
    model = micro_model(PROCESSOR).train()
    with torch.no_grad():
        outputs = {float(model(**batch()).loss) for _ in range(8)}
    assert len(outputs) > 1


def test_features_in_the_place_of_pixels_give_the_same_loss() -> None:
    model = micro_model(PROCESSOR)
    inputs = batch()
    with torch.no_grad():
        whole = model(**inputs).loss
        accept_features(model)
        features = model.model.get_image_features(inputs["pixel_values"]).pooler_output
        assert features.shape == (2, 5, 16)
        cached = model(**{**inputs, "pixel_values": features}).loss
    assert torch.equal(whole, cached)


@pytest.mark.parametrize("mode", MODES)
def test_a_plain_copy_answers_the_same_and_shares_nothing(mode: str) -> None:
    model = micro_model(PROCESSOR)
    trained = prepare(model, mode)  # type: ignore[arg-type]
    for name, weight in trained.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    trained.eval()
    before = {k: v.clone() for k, v in trained.state_dict().items()}
    copy = plain_copy(trained)
    with torch.no_grad():
        expected, found = trained(**batch()).logits, copy(**batch()).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert copy.lm_head.weight is copy.model.language_model.shared.weight
    with torch.no_grad():
        for weight in copy.parameters():
            weight.zero_()
    after = trained.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_freeze_survives_train() -> None:
    layer = torch.nn.Sequential(torch.nn.Dropout(0.5))
    freeze(layer)
    assert not torch.nn.ModuleList([layer]).train()[0].training
