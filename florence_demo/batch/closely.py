"""A model that looks closely at each picture of a job: tile by tile where one is large.

Knows which pictures are cut, and that small ones are asked about together. How a picture is looked
at is the engine's (``closely``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from florence_demo.engine.closely import Look, Looker, look_closely
from florence_demo.engine.many import Answerer
from florence_demo.engine.request import USUAL, Options, Request
from florence_demo.engine.tiles import plan
from florence_demo.errors import InputError
from florence_demo.prediction import Prediction


@dataclass(frozen=True)
class Closely:
    """Answer many questions by tiles of the pictures, which are held as they are.

    Attributes:
        loaded: The model.
        looker: Who answers about tiles.
        tiles: "auto", or rows by columns.
    """

    loaded: Any
    looker: Looker
    tiles: str

    @classmethod
    def of(cls, engine: Answerer, tiles: str) -> Closely:
        """Return an engine as one that looks closely.

        Raises:
            InputError: It is one that cannot.
        """
        if not isinstance(engine, Looker):
            raise InputError("Where this model runs, it cannot look at tiles: leave them out.")
        return cls(engine.loaded, engine, tiles)

    def prepare(self, image: Image.Image) -> Image.Image:
        """Return the picture as it is: it is cut when it is its turn."""
        return image

    def predict_batch(
        self, requests: Sequence[Request], options: Options = USUAL
    ) -> list[Prediction]:
        """Return the answers of some questions, in their order.

        Raises:
            InputError: A picture is too small for the tiles; told before any work.
        """
        cuts = [plan(each.image.size, self.looker.side, self.tiles) for each in requests]
        small = [each for each, cut in zip(requests, cuts, strict=True) if cut.whole]
        together = iter(self.looker.predict_batch(small, options) if small else ())
        return [
            next(together) if cut.whole else self._look(each, options)
            for each, cut in zip(requests, cuts, strict=True)
        ]

    def _look(self, request: Request, options: Options) -> Prediction:
        image = request.image
        assert isinstance(image, Image.Image)
        look = Look(request.task, request.text, self.tiles, options)
        return look_closely(self.looker, image, look)
