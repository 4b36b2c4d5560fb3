"""The asking surface: picture, task, words or region, Ask, answer, downloads.

Both tabs that ask a model are made of this one surface; they differ in where the model comes from.
Knows what happens when something is used; where it stands is ``ask_layout``'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gradio as gr
from PIL import Image

from florence_demo.engine.closely import can_look_closely
from florence_demo.engine.question import Regions
from florence_demo.engine.request import Options
from florence_demo.engine.tiles import AUTO
from florence_demo.errors import InputError
from florence_demo.pictures.decoder import open_own
from florence_demo.prediction import Prediction
from florence_demo.serving.answering import PICTURE_TASKS
from florence_demo.serving.asking import EXAMPLES, Service, load_examples
from florence_demo.serving.calls import call_of, call_of_all
from florence_demo.serving.gate import visitor_of
from florence_demo.serving.questions import EVERYTHING, Asked, Press, Shown
from florence_demo.serving.taking_home import offered
from florence_demo.tasks import TASKS
from florence_demo.ui.ask_layout import Model, Surface, lay_out
from florence_demo.ui.canvas_inputs import CanvasInputs
from florence_demo.ui.components import ExampleStrip, index_of
from florence_demo.ui.conversation import (
    PRESS,
    SAY,
    SAY_LAST,
    SAY_PRESS,
    followed,
    looker,
    picker,
    stopper,
)
from florence_demo.ui.correcting import close_editor, connect_correcting
from florence_demo.ui.handlers import WHY, caller_of, friendly, friendly_stream, press
from florence_demo.ui.model_offer import connect_offer
from florence_demo.ui.pickers import QUIET
from florence_demo.ui.pointing import connect_pointing

_HIDE = "{visible: false, __type__: 'update'}"
_BEGIN = (
    f"cards => {{ const pressed = ({PRESS})(cards); return [{{busy: true, hint: 'Asking …',"
    f" asked: pressed.asked}}, {_HIDE}, null, '', pressed]; }}"
)
_STOPPED = "(shown) => shown && shown.busy ? {hint: 'Stopped.', asked: shown.asked} : undefined"
# Where a question was refused before it began, the message says why; it goes after a while, this
# stays. One that was ended has no message.
_REFUSED = f"""
async shown => {{
  if (!shown || !shown.busy) return undefined;
  const why = await ({WHY})();
  if (!why) return undefined;
  return {{hint: 'Not answered. Nothing is lost.', notices: [why], asked: shown.asked}};
}}
"""

_MODEL: dict[str, Any] = {
    # The line of questions is our own, fair among visitors.
    "concurrency_limit": None,
    # A new question takes the place of the one before; the page's own would wait for its end.
    "trigger_mode": "multiple",
}
"""How questions to a model come in."""


@dataclass(frozen=True, eq=False)
class Asking:
    """Hold a surface that is connected.

    Attributes:
        surface: Its components.
        running: The events that answer.
    """

    surface: Surface
    running: list[Any]

    def makes_room_for(self, event: Callable[..., Any], *, asks: bool = False) -> None:
        """Clear what is of the picture before, whenever an event brings another one.

        The answer's other forms and the download go, and what is still being answered ends. Its
        card stays, as do all others.

        Args:
            event: Brings a picture.
            asks: Whether a question comes with it, which takes the place of the one before.
        """
        answer = self.surface.answer
        before = [answer.saving, answer.parsed, answer.raw]
        if not asks:  # or it could end the question that comes
            event(None, None, None, cancels=self.running, queue=False)
        event(None, None, before, js=f"() => [{_HIDE}, null, '']")
        close_editor(self.surface, event)


def build_surface(
    service: Service, model: Model, *, api: str, task: str = "caption", examples: bool = True
) -> Asking:
    """Lay out one surface, connect it and return it.

    Args:
        service: What the buttons do.
        model: Where the model comes from.
        api: Name of the endpoint: "ask".
        task: The task chosen at first.
        examples: Whether to offer the example questions.
    """
    surface = lay_out(model, api, task, examples, bool(service.config.api_keys))
    surface.question.menu.suit(model.component, model.resolve)
    arrivals = _connect_picture(service, surface)
    running = [_connect_ask(service, surface), _connect_every(service, surface)]
    if surface.strip is not None:
        running.append(_connect_examples(service, surface, surface.strip))
    _connect_ends(service, surface, running)
    _connect_cards(service, surface)
    connect_correcting(service, surface)
    connect_pointing(surface)
    _connect_download(service, surface)
    if surface.question.offer is not None:
        connect_offer(service, surface.question.offer, surface.question.picture, model.component)
    asking = Asking(surface, running)
    for event in arrivals:
        asking.makes_room_for(event)
    if surface.strip is not None:
        asking.makes_room_for(surface.strip.pick, asks=True)
    return asking


def _connect_picture(service: Service, surface: Surface) -> list[Any]:
    """Connect what brings a picture, and return the events by which one arrives."""
    q, view = surface.question, surface.answer.view
    inputs = inputs_of(surface)
    arrivals = inputs.connect(friendly(service.prepare), view)
    fetched = q.address.submit(
        _fetch_handler(service),
        q.address,
        [q.picture, q.picker, view],
        api_name=f"page_{surface.api}_fetch",
        # Slow addresses are waited for beside everything else.
        concurrency_limit=8,
        concurrency_id="fetch",
    )
    inputs.switch_after(fetched.then)
    return [*arrivals, fetched.success]


def inputs_of(surface: Surface) -> CanvasInputs:
    """Return what a surface's question is made of."""
    q = surface.question
    return CanvasInputs(q.menu, q.words, q.picture, q.picker, q.search.closely)


def _connect_ask(service: Service, surface: Surface) -> Any:
    """Connect a question, and return the event that answers it."""
    q = surface.question
    return _answering(
        surface,
        partial(gr.on, [q.ask.click, q.words.submit]),
        _ask_handler(service, surface.model),
        surface.inputs,
        api_name=f"page_{surface.api}",
    )


def _connect_every(service: Service, surface: Surface) -> Any:
    """Connect all questions at once, and return the event that answers them."""
    q = surface.question
    return _answering(
        surface,
        q.every.click,
        _all_handler(service, surface.model),
        [q.picture, surface.model.component, q.search.beams, q.search.tokens],
        api_name=f"page_{surface.api}_all",
    )


def _connect_examples(service: Service, surface: Surface, strip: ExampleStrip) -> Any:
    """Connect the examples, and return the event that answers one."""
    q = surface.question
    filled = [q.picture, q.menu, q.words, q.picker]
    picked = strip.pick(_example_handler(service), None, filled, **QUIET)
    return _answering(
        surface,
        inputs_of(surface).switch_after(picked.success).then,
        _ask_handler(service, surface.model),
        surface.inputs,
        api_visibility="private",
    )


def _answering(
    surface: Surface,
    event: Callable[..., Any],
    handler: Callable[..., Any],
    inputs: list[Any],
    **told: Any,
) -> Any:
    """Connect an event to what answers it, and return the event by which the answer comes.

    Args:
        surface: The surface.
        event: Begins the question.
        handler: Answers it; the last value that it takes is the press.
        inputs: What else it takes.
        told: What programs are told of it.
    """
    answer = surface.answer
    return event(None, answer.cards, answer.cleared, js=_BEGIN).then(
        handler,
        [*inputs, answer.pressed],
        answer.followed,
        js=SAY_LAST,
        show_progress_on=answer.view,
        show_progress="minimal",
        **told,
        **_MODEL,
    )


def _connect_ends(service: Service, surface: Surface, running: list[Any]) -> None:
    """Connect how answers end that do not come: refused, or stopped."""
    answer, view = surface.answer, surface.answer.view
    for each in running:
        each.failure(None, view, view, js=_REFUSED)
    surface.question.stop.click(
        stopper(service),
        answer.cards,
        answer.followed,
        js=SAY_PRESS,
        cancels=running,
        **QUIET,
    ).then(None, view, view, js=_STOPPED)


def _connect_cards(service: Service, surface: Surface) -> None:
    """Connect the cards: one that is picked is shown again, on its own picture."""
    q, answer = surface.question, surface.answer
    picked = answer.cards.pick(
        picker(service),
        answer.cards,
        [q.picture, q.picker, *answer.followed],
        js=SAY_PRESS,
        **QUIET,
    )
    inputs_of(surface).switch_after(picked.then)
    close_editor(surface, answer.cards.pick)
    answer.cards.look(looker(service), answer.cards, answer.cards, js=SAY, **QUIET)


def _connect_download(service: Service, surface: Surface) -> None:
    q, answer = surface.question, surface.answer
    # Whatever brings an answer, or takes one away, changes this state.
    answer.found.change(_offer, answer.found, [answer.saving, answer.kind], **QUIET)
    answer.save.click(
        friendly(service.download),
        [q.picture, answer.found, answer.kind, answer.holding],
        answer.file,
        api_name=f"page_{surface.api}_download",
    ).success(None, None, None, js=press(answer.file))


def _offer(found: Prediction | None) -> tuple[Any, Any]:
    """Offer the formats that have something of an answer."""
    if found is None:
        return gr.update(visible=False), gr.skip()
    formats = offered(found)
    return gr.update(visible=True), gr.update(choices=formats, value=formats[0][1])


_ALL_API = (
    "Answer everything that can be asked of a picture alone, in one go: captions, objects, regions"
    " and text. image: the picture; model_name: name of the model. Returns what the page says of"
    " them, Florence-2's parsed answers under their task words, and their raw texts, a line each."
)


def _ask_handler(service: Service, model: Model) -> Callable[..., Iterator[tuple[Any, ...]]]:
    @friendly_stream
    def ask(
        image: Image.Image | None,
        task: str,
        text: str = "",
        region: Regions = None,
        model_name: Any = None,
        beams: float = 3,
        max_new_tokens: float = 1024,
        do_sample: bool = False,
        temperature: float = 1.0,
        seed: float | None = 0,
        closely: bool = False,
        press: Press | None = None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
        request: gr.Request | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        # What is wrong with them is told on the card too.
        how = (max_new_tokens, beams, do_sample, temperature, seed or 0)
        tiles = AUTO if closely and can_look_closely(TASKS[task]) else ""

        def told() -> Iterator[tuple[dict[str, Any], list[Shown]]]:
            options = Options.given(*how)
            answers = service.ask(
                image,
                task,
                text,
                region,
                model.resolve(model_name),
                options,
                caller_of(request, progress),
                tiles,
            )
            for shown, found in answers:
                yield shown, [] if found is None else [(shown, found)]

        call = None
        if model.render:
            with suppress(InputError):
                options = Options.given(*how)
                call = call_of(TASKS[task], (text, region), str(model_name), options, tiles)
        asked = Asked.of(TASKS[task], text, region, call)
        yield from followed(service, press, image, asked, told())

    return ask


def _all_handler(service: Service, model: Model) -> Callable[..., Iterator[tuple[Any, ...]]]:
    @friendly_stream
    def ask_all(
        image: Image.Image | None,
        model_name: Any = None,
        beams: float = 3,
        max_new_tokens: float = 1024,
        press: Press | None = None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
        request: gr.Request | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        def told() -> Iterator[tuple[dict[str, Any], list[Shown]]]:
            yield from service.ask_all(
                image,
                model.resolve(model_name),
                Options.given(max_new_tokens, beams),
                caller_of(request, progress),
            )

        call = None
        if model.render:
            with suppress(InputError):
                options = Options.given(max_new_tokens, beams)
                call = call_of_all([t.name for t in PICTURE_TASKS], str(model_name), options)
        yield from followed(service, press, image, replace(EVERYTHING, call=call), told())

    return ask_all


def _fetch_handler(service: Service) -> Callable[..., tuple[Any, ...]]:
    @friendly
    def fetch(url: str, request: gr.Request) -> tuple[Any, ...]:
        return service.fetch(url, visitor_of(request))

    return fetch


def _example_handler(service: Service) -> Callable[..., tuple[Any, ...]]:
    rows = load_examples()

    @friendly
    def pick(event: gr.EventData) -> tuple[Any, ...]:
        row = rows[index_of(event, len(rows))]
        file = EXAMPLES / row["file"]
        picker, _ = service.prepare(open_own(file))
        return str(file), row["task"], row.get("text", ""), {**picker, "box": row.get("region")}

    return pick
