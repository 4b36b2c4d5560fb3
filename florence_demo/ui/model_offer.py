"""The row that offers a better model for a picture, and shows how it arrives.

Knows components and events. Whether there is an offer is ``offering``'s business, and how a model
is loaded ``loading``'s.
"""

from __future__ import annotations

import html
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import anyio
import gradio as gr
from PIL import Image

from florence_demo.serving.asking import Service
from florence_demo.serving.loading import STOPPED, Load
from florence_demo.serving.offering import BETTER, offer_for
from florence_demo.ui.handlers import as_text, friendly, message
from florence_demo.ui.pickers import QUIET

_TICK = 0.5
"""Seconds between two looks at a download."""


@dataclass(frozen=True, eq=False)
class ModelOffer:
    """Hold the row's components.

    Attributes:
        row: All of it.
        note: Says why, how far it is, or why it failed.
        use: Takes the offer.
        stop: Stops what is on its way.
        busy: Whether something is.
    """

    row: gr.Column
    note: gr.HTML
    use: gr.Button
    stop: gr.Button
    busy: gr.State

    @property
    def outputs(self) -> list[Any]:
        """What the handlers answer, in their order."""
        return [self.row, self.note, self.use, self.stop, self.busy]


def lay_out_offer() -> ModelOffer:
    """Lay out the row, hidden."""
    with gr.Column(visible=False, elem_classes="fd-offer") as row:
        note = gr.HTML("", padding=False)
        with gr.Row():
            use = gr.Button(f"Use {BETTER.name}", size="sm", variant="primary")
            stop = gr.Button("Stop the download", size="sm", visible=False)
    return ModelOffer(row, note, use, stop, gr.State(False))


def connect_offer(service: Service, offer: ModelOffer, picture: Any, model: Any) -> None:
    """Look at each picture that arrives, and take what is offered when its button is pressed.

    Args:
        service: The page's.
        offer: The row.
        picture: The component that holds the picture.
        model: The one that holds the model's name; it is set once the better model is there.
    """

    @friendly
    def look(image: Image.Image | None, name: Any, busy: bool) -> tuple[Any, ...]:
        if busy:
            return tuple(gr.skip() for _ in offer.outputs)
        found = offer_for(service, image, service.check_model(name))
        if found is None:
            return _hidden()
        return _said(found.words, gr.update(value=found.button, visible=True))

    async def use() -> AsyncIterator[tuple[Any, ...]]:
        # Who closes the page or presses Stop leaves here; the last one ends the download.
        with service.loads.joined(BETTER) as load:
            while load.state == "loading":
                yield *_arriving(load), gr.skip()
                await anyio.sleep(_TICK)
        try:
            load.result()
        except Exception as exc:
            yield *_said(str(message(exc).message)), gr.skip()
        else:
            yield *_hidden(), BETTER.name

    picture.change(look, [picture, model, offer.busy], offer.outputs, **QUIET, **_LOOK)
    model.change(look, [picture, model, offer.busy], offer.outputs, **QUIET, **_LOOK)
    taken = offer.use.click(
        use,
        None,
        [*offer.outputs, model],
        api_visibility="private",
        show_progress="hidden",
        # Each waits for the one load that there is.
        concurrency_limit=None,
    )
    offer.stop.click(
        lambda: _said(STOPPED),
        None,
        offer.outputs,
        cancels=taken,
        api_visibility="private",
        show_progress="hidden",
    )


_LOOK: dict[str, Any] = {"concurrency_limit": 2, "concurrency_id": "offer"}
"""Looks wait in a line of their own, beside the questions."""


def _hidden() -> tuple[Any, ...]:
    return gr.update(visible=False), "", gr.skip(), gr.update(visible=False), False


def _said(sentence: str, use: Any = None) -> tuple[Any, ...]:
    """Return the row with a sentence and the button that takes the offer, as it was or is now."""
    note = f'<p class="fd-note" role="status" data-words="all">{html.escape(as_text(sentence))}</p>'
    return (
        gr.update(visible=True),
        note,
        use or gr.update(visible=True),
        gr.update(visible=False),
        False,
    )


def _arriving(load: Load[Any]) -> tuple[Any, ...]:
    """Return the row while a model arrives: bytes, speed and time left, and the way to stop it."""
    share = f"{100 * load.share:.1f}"
    note = (
        f'<p class="fd-note" data-words="all">{html.escape(load.words)}</p>'
        '<div class="fd-meter" data-words="label" role="progressbar"'
        f' aria-valuemin="0" aria-valuemax="100" aria-valuenow="{share}"'
        f' aria-label="Downloaded"><i style="width:{share}%"></i></div>'
    )
    return gr.update(visible=True), note, gr.update(visible=False), gr.update(visible=True), True
