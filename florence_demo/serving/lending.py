"""A GPU that a host lends for the length of a call, in a process of its own.

Knows Hugging Face's ZeroGPU. Does not know what is asked: arguments are sent to that process, where
an engine could not be, and a model's name can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from PIL import Image

from florence_demo.engine.request import USUAL, Options, Request
from florence_demo.machine import on_zero_gpu as on_zero_gpu
from florence_demo.prediction import Prediction

_R = TypeVar("_R")


def with_gpu(fn: Callable[..., _R]) -> Callable[..., _R]:
    """Ask for a shared GPU for the length of a call where the host lends them."""
    if not on_zero_gpu():
        return fn
    import spaces

    def duration(*args: Any, **_: Any) -> int:
        # Visitors pay for what is asked, not for what is used: ask for little.
        tokens = next((a.max_new_tokens for a in args if isinstance(a, Options)), 1024)
        return min(60, 10 + tokens // 40)

    wrapped: Callable[..., _R] = spaces.GPU(duration=duration)(fn)
    return wrapped


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
