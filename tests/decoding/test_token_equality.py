"""Our decoding loop on real checkpoints: token for token what plain ``generate`` gives.

fp32 with packed weights, from pixels to tokens. Where the reference's two best are so near that
rounding decides between them, either is right.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from florence_demo.checkpoints.inspection import inspect_checkpoint
from florence_demo.checkpoints.opening import open_checkpoint
from florence_demo.decoding.decoder import Decoder
from florence_demo.decoding.rules import DecodeOptions
from florence_demo.models.catalogue import MODELS
from florence_demo.tasks import TASKS

NEAR = 1e-4
HELDOUT = Path(MODELS["nano"].source).parent / "heldout"
BEAMS = [1, 2, 3, 4, 5]


@dataclass(frozen=True, eq=False)
class Pair:
    """The reference, untouched, and our loop on equal weights."""

    model: Any
    own: Decoder
    image_token: int
    image_tokens: int
    pixels: torch.Tensor
    prompts: list[list[int]]

    def usually(self, rows: slice, **how: Any) -> Any:
        """What everybody calls: pictures and padded prompts into ``generate``."""
        prompts, pixels = self.prompts[rows], self.pixels[rows]
        longest = max(map(len, prompts))
        picture = [self.image_token] * self.image_tokens
        pads = [longest - len(prompt) for prompt in prompts]
        ids = [[*picture, *p, *[1] * n] for p, n in zip(prompts, pads, strict=True)]
        mask = [[1] * (len(row) - n) + [0] * n for row, n in zip(ids, pads, strict=True)]
        with torch.inference_mode():
            return self.model.generate(
                input_ids=torch.tensor(ids),
                attention_mask=torch.tensor(mask),
                pixel_values=pixels,
                return_dict_in_generate=True,
                **how,
            )

    def ours(self, rows: slice, **how: Any) -> list[tuple[int, ...]]:
        options = DecodeOptions.from_generation_config(self.model.generation_config, **how)
        features = self.own.encode_image(self.pixels[rows])
        return [a.ids for a in self.own.decode(features, self.prompts[rows], options)]

    def check(self, rows: slice, **how: Any) -> None:
        """Fail where an answer differs though the reference was sure of it."""
        expected = [unpadded(ids) for ids in self.usually(rows, **how).sequences.tolist()]
        got = self.ours(rows, **how)
        assert len(got) == len(expected)
        for at, (mine, theirs) in enumerate(zip(got, expected, strict=True)):
            if mine != theirs:
                row = range(len(self.prompts))[rows][at]
                step = first_difference(mine, theirs)
                assert self.two_best(slice(row, row + 1), step, **how) < NEAR, (mine, theirs)

    def two_best(self, row: slice, step: int, **how: Any) -> float:
        """How far the reference's two best are apart: tokens of a step, or finished answers."""
        if how["num_beams"] == 1:
            scores = self.usually(row, output_scores=True, **how).scores[step - 1][0]
            best = scores.log_softmax(-1).topk(2)[0]
        else:
            answers = self.usually(row, output_scores=True, num_return_sequences=2, **how)
            best = answers.sequences_scores
        return float(best[0] - best[1])


def unpadded(ids: list[int]) -> tuple[int, ...]:
    end = next((i for i, token in enumerate(ids) if i and token == 2), len(ids) - 1)
    return tuple(ids[: end + 1])


def first_difference(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return next(i for i, (x, y) in enumerate(zip_longest(a, b)) if x != y)


def pair(folder: Path, pixels: Any, questions: list[str]) -> Pair:
    # Stored in fp16, where rounding alone decides between places side by side.
    opened = open_checkpoint(inspect_checkpoint(folder), dtype=torch.float32)
    if not torch.is_tensor(pixels):
        pixels = opened.processor.image_processor(images=pixels, return_tensors="pt")[
            "pixel_values"
        ]
    prompts = [opened.processor.tokenizer(q)["input_ids"] for q in questions]
    model = opened.model.eval()
    own = Decoder(copy.deepcopy(model))
    assert not own.reference
    token, count = opened.processor.image_token_id, opened.processor.num_image_tokens
    return Pair(model, own, token, count, pixels, prompts)


@pytest.fixture(scope="module")
def truth(golden) -> dict[str, torch.Tensor]:
    return load_file(golden / "golden" / "legacy-tiny.safetensors")


@pytest.fixture(scope="module")
def legacy(golden, truth) -> Pair:
    """The golden question, and two of other lengths about the same picture."""
    pixels = truth["pixel_values"].expand(3, -1, -1, -1)
    built = pair(golden / "legacy-tiny", pixels, ["", *words("caption", "docvqa")])
    built.prompts[0] = truth["input_ids"][0].tolist()
    return built


@pytest.fixture(scope="module")
def embedded() -> Pair:
    files = sorted(HELDOUT.glob("*.webp"))[:3]
    assert len(files) == 3
    pictures = [Image.open(file).convert("RGB") for file in files]
    return pair(Path(MODELS["nano"].source), pictures, words("caption", "od", "ocr_with_region"))


def words(*names: str) -> list[str]:
    asks = {"text": "What is the date?", "nothing": ""}
    return [TASKS[n].build_prompt(asks[TASKS[n].asks], None, (96, 96)) for n in names]


@pytest.mark.golden
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("greedy", {"num_beams": 1}),
        ("beam3", {"num_beams": 3, "early_stopping": False}),
        ("beam3_norep0", {"num_beams": 3, "early_stopping": False, "no_repeat_ngram_size": 0}),
    ],
)
def test_the_originals_own_answers(legacy, truth, name, how):
    (got,) = legacy.ours(slice(1), max_new_tokens=32, **how)
    expected = unpadded(truth[name][0].tolist())
    step = first_difference(got, expected) if got != expected else 0
    assert not step or legacy.two_best(slice(1), step, max_new_tokens=32, **how) < NEAR


@pytest.mark.golden
@pytest.mark.parametrize("beams", BEAMS)
@pytest.mark.parametrize("ban", [0, 3], ids=["no ban", "no three twice"])
def test_the_legacy_checkpoint(legacy, beams, ban):
    for rows in (slice(1), slice(None)):
        legacy.check(rows, max_new_tokens=32, num_beams=beams, no_repeat_ngram_size=ban)


@pytest.mark.parametrize("beams", BEAMS)
def test_the_embedded_model(embedded, beams):
    embedded.check(slice(None), max_new_tokens=16, num_beams=beams)


def test_a_difference_is_found(embedded, monkeypatch):
    """The comparison itself can fail."""
    ours = Pair.ours
    monkeypatch.setattr(
        Pair, "ours", lambda *args, **how: [(*ids[:-1], 7) for ids in ours(*args, **how)]
    )
    with pytest.raises(AssertionError):
        embedded.check(slice(1), max_new_tokens=8, num_beams=1)
