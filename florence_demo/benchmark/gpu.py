"""The rows of a GPU: a caption against fp16 ``generate``, sixteen people at once, the parts alone.

Knows what is measured on an NVIDIA GPU and what it must reach at least. All of it takes under three
minutes, so that it fits a GPU that is there for a few.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from florence_demo.benchmark.parts import Parts, measure_parts
from florence_demo.benchmark.rows import Row, against, at_most, compare

if TYPE_CHECKING:
    import torch

    from florence_demo.decoding.decoder import Decoder

CAPTION = "GPU, large, caption of 20 tokens, against fp16"
CROWD = "GPU, 16 people at once"
COMING = "GPU bf16, large, a caption's wait beside long answers"
STEP = "GPU, large, a steady step, 0.7 ms at most"
TOWER = "GPU, large, the tower on one picture, 8 ms at most"
BESIDE = "GPU, large, many pictures, the tower beside the decoder, against one after the other"
LEAST = {CAPTION: 6.0, CROWD: 6.0, COMING: 4.0, BESIDE: 1.0, STEP: 1.0, TOWER: 1.0}


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
    yield _many(ours, pixels, times)
    parts = measure_parts(ours, f"{size.capitalize()}, bf16", times)
    yield at_most(STEP, 0.7e-3, parts.named("steady step").seconds)
    yield at_most(TOWER, 8e-3, parts.named("tower").seconds)
    yield parts


def _many(decoder: Decoder, pixels: torch.Tensor, times: int) -> Row:
    """Compare ways to caption many pictures: parts of them, and the next part's tower meanwhile."""
    from florence_demo.benchmark import models as models

    prompts, parts = models.PROMPTS[:1] * len(pixels), 4

    def after() -> list[list[int]]:
        each = (decoder.encode_image(pixels) for _ in range(parts))
        return [models.ask(decoder, features, prompts, 20)[0] for features in each]

    def beside() -> list[list[int]]:
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(decoder.encode_beside, pixels)
            found = []
            for left in reversed(range(parts)):
                features = coming.result()
                if left:
                    coming = pool.submit(decoder.encode_beside, pixels)
                found.append(models.ask(decoder, features, prompts, 20)[0])
        return found

    taken = compare(after, beside, times)
    row = against(BESIDE, LEAST[BESIDE], taken, exact=True)
    speed = (parts * len(pixels) / seconds for seconds in taken[:2])
    return replace(row, note=row.note + ", {:.0f} -> {:.0f} pictures a second".format(*speed))
