"""The asking surface: picture, task, words or region, Ask, answer, downloads.

Both tabs that ask a model are made of this one surface; they differ in where the model comes from.
Knows what happens when something is used; where it stands is ``ask_layout``'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from florence_demo.engine.closely import can_look_closely
from florence_demo.engine.engine import MAX_BATCH
from florence_demo.engine.question import Regions
from florence_demo.engine.request import Options
from florence_demo.engine.tiles import AUTO
from florence_demo.pictures.decoder import open_own
from florence_demo.prediction import Prediction
from florence_demo.serving.asking import EXAMPLES, Service, load_examples
from florence_demo.serving.gate import visitor_of
from florence_demo.serving.taking_home import offered
from florence_demo.tasks import TASKS
from florence_demo.ui.all_tasks import API as ALL_API
from florence_demo.ui.all_tasks import all_handler, opened
from florence_demo.ui.ask_layout import Model, Surface, lay_out
from florence_demo.ui.canvas_inputs import CanvasInputs
from florence_demo.ui.components import ExampleStrip, index_of
from florence_demo.ui.correcting import close_editor, connect_correcting
from florence_demo.ui.handlers import friendly, friendly_stream, press
from florence_demo.ui.model_offer import connect_offer
from florence_demo.ui.pickers import QUIET
from florence_demo.ui.pointing import connect_pointing

_HIDE = "{visible: false, __type__: 'update'}"
_CLEAR = f"() => [{{busy: true, sentence: '', hint: '__HINT__'}}, {{}}, {_HIDE}, null, '']"
# Only what is still being asked ends so: an answer or another picture may be there by now.
_END = "(shown) => shown && shown.busy ? {hint: '__HINT__'} : shown"
_STOPPED = _END.replace("__HINT__", "Stopped.")
_NOT_ANSWERED = _END.replace(
    "__HINT__", "Not answered: the message says why. Nothing is lost; ask again."
)


_MODEL: dict[str, Any] = {"concurrency_limit": MAX_BATCH, "concurrency_id": "model"}
"""Questions to a model wait in one line; as many go on together as a batch takes."""


@dataclass(frozen=True, eq=False)
class Asking:
    """Hold a surface that is connected.

    Attributes:
        surface: Its components.
        running: The events that answer.
    """

    surface: Surface
    running: list[Any]

    def makes_room_for(self, event: Callable[..., Any]) -> None:
        """Clear what is of the picture before, whenever an event brings another one.

        Cards, the answer's other forms and the download go, and what is still being answered ends.
        """
        answer = self.surface.answer
        before = [answer.cards, answer.saving, answer.parsed, answer.raw]
        # First of all: a moment later it could end the question about the new picture.
        event(None, None, None, cancels=self.running, queue=False)
        event(None, None, before, js=f"() => [{{}}, {_HIDE}, null, '']")
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
    surface = lay_out(model, api, task, examples)
    arrivals = _connect_picture(service, surface)
    running = [_connect_ask(service, surface), _connect_every(service, surface)]
    if surface.strip is not None:
        running.append(_connect_examples(service, surface, surface.strip))
        arrivals.append(surface.strip.pick)
    _connect_ends(surface, running)
    connect_correcting(service, surface)
    connect_pointing(surface)
    _connect_download(service, surface)
    if surface.question.offer is not None:
        connect_offer(service, surface.question.offer, surface.question.picture, model.component)
    asking = Asking(surface, running)
    for event in arrivals:
        asking.makes_room_for(event)
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
        api_name=f"{surface.api}_fetch",
        api_description="Fetch a picture from a public web address.",
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
    q, answer = surface.question, surface.answer
    script = _CLEAR.replace("__HINT__", "Asking …")
    return gr.on([q.ask.click, q.words.submit], None, None, answer.cleared, js=script).then(
        _ask_handler(service, surface.model),
        surface.inputs,
        answer.outputs,
        api_name=surface.api,
        api_description=_API,
        show_progress_on=answer.view,
        show_progress="minimal",
        **_MODEL,
    )


def _connect_every(service: Service, surface: Surface) -> Any:
    """Connect all questions at once and the cards, and return the event that answers them."""
    q, answer = surface.question, surface.answer
    script = _CLEAR.replace("__HINT__", "Asking everything at once …")
    event = q.every.click(None, None, answer.cleared, js=script).then(
        all_handler(service, surface.model.resolve),
        [q.picture, surface.model.component, q.search.beams, q.search.tokens],
        [answer.view, answer.cards, *answer.outputs[1:], answer.answers],
        api_name=f"{surface.api}_all",
        api_description=ALL_API,
        show_progress_on=answer.view,
        show_progress="minimal",
        **_MODEL,
    )
    answer.cards.pick(opened, answer.answers, answer.outputs, **QUIET)
    return event


def _connect_examples(service: Service, surface: Surface, strip: ExampleStrip) -> Any:
    """Connect the examples, and return the event that answers one."""
    q, view = surface.question, surface.answer.view
    filled = [q.picture, q.menu, q.words, q.picker, view]
    picked = strip.pick(_example_handler(service), None, filled, **QUIET)
    return (
        inputs_of(surface)
        .switch_after(picked.then)
        .then(
            _ask_handler(service, surface.model),
            surface.inputs,
            surface.answer.outputs,
            api_visibility="private",
            show_progress_on=view,
            **_MODEL,
        )
    )


def _connect_ends(surface: Surface, running: list[Any]) -> None:
    """Say how answers end that do not come: refused, or stopped."""
    q, view = surface.question, surface.answer.view
    for each in running:
        each.failure(None, view, view, js=_NOT_ANSWERED)
    q.stop.click(None, view, view, js=_STOPPED, cancels=running, queue=False)


def _connect_download(service: Service, surface: Surface) -> None:
    q, answer = surface.question, surface.answer
    # Whatever brings an answer, or takes one away, changes this state.
    answer.found.change(_offer, answer.found, [answer.saving, answer.kind], **QUIET)
    answer.save.click(
        friendly(service.download),
        [q.picture, answer.found, answer.kind, answer.holding],
        answer.file,
        api_name=f"{surface.api}_download",
    ).success(None, None, None, js=press(answer.file))


def _offer(found: Prediction | None) -> tuple[Any, Any]:
    """Offer the formats that have something of an answer."""
    if found is None:
        return gr.update(visible=False), gr.skip()
    formats = offered(found)
    return gr.update(visible=True), gr.update(choices=formats, value=formats[0][1])


_API = (
    "Answer one question about one picture. image: the picture; task: name of the task; text:"
    " words, for tasks that take them; region: {'box': [x1, y1, x2, y2]} in pixels, or {'boxes':"
    " [...]}, for tasks that take a region; model_name: name of the model; closely: look at"
    " overlapping parts of a large picture too. Returns what the page shows, Florence-2's parsed"
    " answer, the whole prediction's raw text."
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
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[Any, ...]]:
        options = Options.given(max_new_tokens, beams, do_sample, temperature, seed or 0)
        name = model.resolve(model_name)
        found: Prediction | None
        for shown, found in service.ask(
            image,
            task,
            text,
            region,
            name,
            options,
            lambda done, what: progress(done, desc=what),
            AUTO if closely and can_look_closely(TASKS[task]) else "",
        ):
            if found is None:
                yield shown or gr.skip(), gr.skip(), gr.skip(), gr.skip()
            else:
                yield shown, found.parsed, found.raw, found

    return ask


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
        picker, answer = service.prepare(open_own(file))
        picker["box"] = row.get("region")
        answer["hint"] = "Asking …"
        answer["busy"] = True
        return str(file), row["task"], row.get("text", ""), picker, answer

    return pick
