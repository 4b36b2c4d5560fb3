"""What a batch counts as the answer: its own tokens, and none that decoding forces."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image

from florence_demo.data.example import Example
from florence_demo.training.batch import IGNORE, Collator, collator_of
from florence_demo.training.trainable import accept_features
from tests.micro_florence import micro_model, micro_processor

PROCESSOR = micro_processor()
PICTURE = Image.new("RGB", (40, 30), "red")
ROWS = [
    Example(PICTURE, "caption", answer="a red circle"),
    Example(PICTURE, "docvqa", "What?", answer="cat"),
]


def model(forced: int | None = 0) -> Any:
    found = micro_model(PROCESSOR)
    found.generation_config.forced_bos_token_id = forced
    return found


def test_a_forced_token_is_read_and_not_learned() -> None:
    batch = collator_of(model(), PROCESSOR)(ROWS)
    labels, fed = batch["labels"], batch["decoder_input_ids"]
    assert (labels[:, 0] == IGNORE).all()
    # The start token, then what decoding writes: the shift may not make padding of the forced one.
    assert fed[:, :2].tolist() == [[2, 0], [2, 0]]
    shown = labels != IGNORE
    later = shown[:, 1:] & shown[:, :-1]
    assert torch.equal(fed[:, 1:][later], labels[:, :-1][later])
    assert all(row[row != IGNORE][-1] == 2 for row in labels)
    assert (fed[1][shown[1].sum() + 1 :] == 1).all()


def test_what_decoding_chooses_is_learned() -> None:
    free = collator_of(model(forced=None), PROCESSOR)(ROWS)
    assert (free["labels"][:, 0] == 0).all()
    other = collator_of(model(forced=7), PROCESSOR)(ROWS)
    assert (other["labels"][:, 0] == IGNORE).all()
    assert (other["decoder_input_ids"][:, 1] == 7).all()


@pytest.mark.parametrize("cached", [False, True], ids=["pixels", "cached"])
def test_the_loss_is_the_mean_over_the_answers_own_tokens(cached: bool) -> None:
    net = model()
    batch = collator_of(net, PROCESSOR)(ROWS)
    if cached:
        accept_features(net)
        with torch.no_grad():
            features = net.model.get_image_features(batch["pixel_values"]).pooler_output
        batch["pixel_values"] = features
    answers = [[0, *PROCESSOR.tokenizer(r.answer, add_special_tokens=False)["input_ids"], 2]
               for r in ROWS]  # fmt: skip
    total, tokens = 0.0, 0
    with torch.no_grad():
        for i, ids in enumerate(answers):
            # One row by itself, unpadded, with the whole answer shifted by hand.
            n = int(batch["attention_mask"][i].sum())
            logits = net(
                input_ids=batch["input_ids"][i : i + 1, :n],
                pixel_values=batch["pixel_values"][i : i + 1],
                decoder_input_ids=torch.tensor([[2, *ids[:-1]]]),
            ).logits[0, 1:]
            total += float(torch.nn.functional.cross_entropy(
                logits, torch.tensor(ids[1:]), reduction="sum"
            ))  # fmt: skip
            tokens += len(ids) - 1
        assert float(net(**batch).loss) == pytest.approx(total / tokens, abs=1e-5)


def test_a_forced_token_moves_no_weight() -> None:
    """The gradient of the head's row of ``<s>`` comes from its rivals alone: it is never a goal."""
    net = model()
    net.zero_grad()
    batch = collator_of(net, PROCESSOR)(ROWS)
    out = net(**batch)
    out.logits.retain_grad()
    out.loss.backward()
    assert not out.logits.grad[:, 0].any()
    assert (out.logits.grad[:, 1:, 0] >= 0).all(), "pushed down or left alone, never up"


def test_positions_are_the_models() -> None:
    long = Example(PICTURE, "ocr", answer="a " * 200, where="f:3")
    assert collator_of(model(), PROCESSOR).too_long(long) == Collator(PROCESSOR, 128).too_long(long)
