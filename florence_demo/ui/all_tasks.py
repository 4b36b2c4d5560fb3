"""Everything that can be asked of a picture alone, answered at once and shown as cards.

Knows the cards and how they are connected. Where they stand on the page is ``ask_tab``'s business,
how the questions are asked ``asking``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
from PIL import Image

from florence_demo.engine.request import Options
from florence_demo.errors import CheckpointError
from florence_demo.models.catalogue import Named
from florence_demo.output.overlay import overlay
from florence_demo.pictures.images import display_copy
from florence_demo.serving.asking import Service, Shown
from florence_demo.tasks import TASKS
from florence_demo.ui.components import Skeleton, index_of, read_script
from florence_demo.ui.handlers import friendly, friendly_stream

CARD_SIDE = 640
"""Longest side of the picture on the cards, in pixels."""

API = (
    "Answer everything that can be asked of a picture alone, in one go: captions, objects, regions"
    " and text. image: the picture; model_name: name of the model. Returns what the page shows, the"
    " cards, and Florence-2's parsed answers under their task words."
)


class Cards(Skeleton):
    """Show several answers about one picture as cards; opening one triggers ``pick``.

    Its value holds ``picture`` (a file) and ``cards``, each with ``title``, ``sentence`` and
    ``overlay`` (SVG, escaped; "" where nothing is drawn).
    """

    def __init__(self, **kwargs: Any) -> None:
        html = '<div class="fd-cards" role="list" aria-label="All answers"></div>'
        holds = "The cards: title, sentence, overlay"
        super().__init__(html, read_script("everything.js"), holds, label="All answers", **kwargs)


def make_cards(picture: dict[str, Any], answers: list[Shown]) -> dict[str, Any]:
    """Return the cards of some answers about one picture, a file that the page may show."""
    cards = [
        {
            "title": TASKS[found.task].title,
            "sentence": found.sentence(),
            # Names would cover so small a picture.
            "overlay": overlay(found, always=0),
        }
        for _, found in answers
    ]
    return {"picture": picture, "cards": cards}


def summary(answers: list[Shown]) -> dict[str, Any]:
    """Return what the answer's pane says above the cards."""
    seconds = sum(found.seconds for _, found in answers)
    shared = [
        notice
        for notice in answers[0][1].notices
        if all(notice in found.notices for _, found in answers)
    ]
    return {
        "hint": f"{len(answers)} answers in {seconds:.2f} s. Open one to see it large.",
        "notices": shared,
    }


def all_handler(
    service: Service, resolve: Callable[[Any], Named]
) -> Callable[..., Iterator[tuple[Any, ...]]]:
    """Return what the button does; its outputs are those of ``opened`` and the cards before."""

    @friendly_stream
    def ask_all(
        image: Image.Image | None,
        model_name: Any = None,
        beams: float = 3,
        max_new_tokens: float = 1024,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[Any, ...]]:
        options = Options.given(max_new_tokens, beams)
        name = resolve(model_name)
        told = service.ask_all(image, name, options, lambda done, what: progress(done, desc=what))
        kept = [gr.skip() for _ in range(5)]
        try:
            for partial, answers in told:
                if not answers:
                    yield {"sentence": partial, "busy": True} if partial else gr.skip(), *kept
                    continue
                assert image is not None
                parsed = {w: each for _, found in answers for w, each in found.parsed.items()}
                raw = "\n".join(f"{TASKS[found.task].token} {found.raw}" for _, found in answers)
                small = service.handed_out(*display_copy(image, CARD_SIDE))
                cards = make_cards(small, answers)
                yield summary(answers), cards, parsed, raw, None, answers
        except CheckpointError as exc:
            # The message goes after a while, this stays.
            yield {"hint": str(exc)}, *kept
            raise

    return ask_all


@friendly
def opened(answers: list[Shown] | None, event: gr.EventData) -> tuple[Any, ...]:
    """Show one of the answers large, as if it had been asked alone."""
    shown, found = (answers or [])[index_of(event, len(answers or ()))]
    return shown, found.parsed, found.raw, found
