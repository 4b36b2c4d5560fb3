"""A GPU that a host lends for the length of a call, in a process of its own.

Knows Hugging Face's ZeroGPU, and how long an answer takes at most. Does not know who asks:
arguments are sent to that process, where an engine could not be, and a model's name can.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from PIL import Image

from florence_demo.engine.parts import MAX_BATCH
from florence_demo.engine.request import USUAL, Options, Request
from florence_demo.engine.tiles import MAX_TILES
from florence_demo.machine import on_zero_gpu as on_zero_gpu
from florence_demo.prediction import Prediction
from florence_demo.tasks import TASKS, Task

_R = TypeVar("_R")

COLD = 8.0
"""Seconds before the first token: in a fresh process on an H100 5 to 7 pass until the kernels of
its first question are compiled and captured, and 1.6 GB of weights go there first."""
A_TOKEN = 0.01
"""Seconds a token: large takes 9.7 ms there by `generate`, the slowest way. Our own kernels take
0.6 ms, so that with them an answer of unusual length fits too, on half a card as well."""
A_LOOK = 0.05
"""Seconds a picture or a tile: twice the 25 ms of the tower there without kernels of its own."""
MOST = 60
"""Seconds that are asked for at most."""

_SENTENCE, _PARAGRAPH, _PLACES, _OUTLINES, _PAGE = 64, 160, 256, 512, 1024
_TOKENS = {
    "caption": _SENTENCE,
    "detailed_caption": _PARAGRAPH,
    "more_detailed_caption": _PARAGRAPH,
    "od": _PLACES,
    "dense_region_caption": _PLACES,
    "region_proposal": _PLACES,
    "caption_to_phrase_grounding": _PLACES,
    "open_vocabulary_detection": _PLACES,
    "referring_expression_segmentation": _OUTLINES,
    "region_to_segmentation": _OUTLINES,
    "region_to_category": _SENTENCE,
    "region_to_description": _SENTENCE,
    "region_to_ocr": _SENTENCE,
    "docvqa": _SENTENCE,
    "vqa": _SENTENCE,
}
"""Tokens of an answer to what a task's word asks, twice or more what 95 of 100 true answers of the
held-out scenes have. Whatever is not here may write a page."""


def with_gpu(fn: Callable[..., _R], seconds: Callable[..., int]) -> Callable[..., _R]:
    """Ask for a shared GPU for the length of a call where the host lends them.

    Args:
        fn: What is called there.
        seconds: Returns for how long, of the same arguments: a visitor has so much in a day, and a
            call that takes longer is ended.
    """
    if not on_zero_gpu():
        return fn
    import spaces

    def duration(*args: Any, **_: Any) -> int:
        return seconds(*args)

    wrapped: Callable[..., _R] = spaces.GPU(duration=duration)(fn)
    return wrapped


def seconds_for(
    tasks: Sequence[Task], options: Options, questions: int = 1, tiles: bool = False
) -> int:
    """Return for how many seconds a GPU is needed.

    Args:
        tasks: What is asked; the longest answer is waited for.
        options: How the answers are searched.
        questions: How many questions it is to a model.
        tiles: Whether each is asked of as many tiles as a picture may have, too.
    """
    looks = questions * (1 + MAX_TILES * tiles)
    tokens = max(min(_tokens(task), options.max_new_tokens) for task in tasks)
    batches = math.ceil(looks / MAX_BATCH)
    return min(MOST, math.ceil(COLD + batches * tokens * A_TOKEN + looks * A_LOOK))


def _tokens(task: Task) -> int:
    """Return the tokens of a task's answers, with those of the task that writes its words."""
    before = _tokens(TASKS[task.after]) if task.after else 0
    return before + _TOKENS.get(task.token.strip("<>").lower(), _PAGE)


@dataclass(frozen=True)
class Lent:
    """Answer many questions on a lent GPU: whole pictures are sent there.

    Attributes:
        loaded: The model, as it stands in this process.
        ask: Asks there.
    """

    loaded: Any
    ask: Callable[[Sequence[Request], Options], list[Prediction]]

    def prepare(self, image: Image.Image) -> Image.Image:
        """Return the picture as it is."""
        return image

    def predict_batch(
        self, requests: Sequence[Request], options: Options = USUAL
    ) -> list[Prediction]:
        """Return the answers of some questions, in their order."""
        return self.ask(requests, options)
