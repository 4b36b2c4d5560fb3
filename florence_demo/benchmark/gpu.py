"""The rows of a GPU: a caption against fp16 ``generate``, sixteen people at once, the parts alone.

Knows what is measured on an NVIDIA GPU and what it must reach at least. All of it takes under three
minutes, so that it fits a GPU that is there for a few.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING

from florence_demo.benchmark.parts import Parts, measure_parts
from florence_demo.benchmark.rows import Row, against, at_most, compare

if TYPE_CHECKING:
    import torch

CAPTION = "GPU, large, caption of 20 tokens, against fp16"
CROWD = "GPU, 16 people at once"
COMING = "GPU bf16, large, a caption's wait beside long answers"
STEP = "GPU, large, a steady step, 0.7 ms at most"
TOWER = "GPU, large, the tower on one picture, 8 ms at most"
LEAST = {CAPTION: 6.0, CROWD: 6.0, COMING: 4.0, STEP: 1.0, TOWER: 1.0}


def gpu_rows(device: str, size: str = "large") -> Iterator[Row | Parts]:
    """Measure a GPU, where there is one and it is wanted.

    Args:
        device: "cpu" leaves it out.
        size: "tiny" only shows that all works.
    """
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        why = "no GPU" if device != "cpu" else "--device cpu"
        for name, least in LEAST.items():
            yield Row(name, None, least, f"not run here: {why}")
        return
    yield from measure(torch.device("cuda"), size)


def measure(
    device: torch.device, size: str, times: int = 5, people: int = 16
) -> Iterator[Row | Parts]:
    """Measure on a device, which is a GPU but in a test."""
    import torch

    from florence_demo.benchmark import models as models
    from florence_demo.benchmark.crowd import crowd_row
    from florence_demo.decoding.decoder import Decoder

    model = models.build(size, device=device)
    usual = copy.deepcopy(model).half()
    ours = Decoder(model.to(torch.bfloat16))
    pixels, prompt = models.picture(rows=people).to(model.device), models.PROMPTS[:1]

    def caption() -> list[list[int]]:
        return models.ask(ours, ours.encode_image(pixels[:1]), prompt, 20)

    def sixteen() -> list[list[int]]:
        return models.ask(ours, ours.encode_image(pixels), prompt * people, 20)

    def in_turn() -> list[list[int]]:
        each = (ours.encode_image(pixels[i : i + 1]) for i in range(people))
        return [models.ask(ours, features, prompt, 20)[0] for features in each]

    def usually() -> list[list[int]]:
        return [models.ask_usually(usual, pixels[:1], prompt[0], 20)]

    for warm in (usually, caption, sixteen):
        warm()
    yield against(CAPTION, LEAST[CAPTION], compare(usually, caption, times), exact=False)
    yield against(CROWD, LEAST[CROWD], compare(in_turn, sixteen, times), exact=False)
    yield crowd_row(ours, COMING, pixels[:1], 400 if size == "large" else 20)
    parts = measure_parts(ours, f"{size.capitalize()}, bf16", times)
    yield at_most(STEP, 0.7e-3, parts.named("steady step").seconds)
    yield at_most(TOWER, 8e-3, parts.named("tower").seconds)
    yield parts
