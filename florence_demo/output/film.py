"""Answers about some frames drawn on all frames of a video.

Knows which answer belongs to which moment. Does not know how videos are read or written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from PIL import Image

from florence_demo.output.annotate import annotate
from florence_demo.prediction import Detections, Prediction

Answer = tuple[float, Prediction | Detections]


def drawn(
    frames: Iterable[tuple[float, Image.Image]],
    answers: Iterable[Answer],
    *,
    scores: bool = False,
) -> Iterator[tuple[float, Image.Image]]:
    """Yield each frame with the last answer before it drawn on it.

    A label keeps its colour through the whole video.

    Args:
        frames: When each is shown, in seconds, rising; and its picture.
        answers: When the frame that was asked about is shown, rising; and the answer, in its
            pixels. They are taken as they are needed.
        scores: Write the score beside the label where there is one.
    """
    coming = iter(answers)
    now: Answer | None = None
    held: dict[str, str] = {}
    after = next(coming, None)
    for seconds, picture in frames:
        while after and after[0] <= seconds + 1e-6:
            now, after = after, next(coming, None)
        drawn_on = annotate(picture, now[1], scores=scores, held=held) if now else picture
        yield seconds, drawn_on
