"""The asking surface: picture, task, words or region, Ask, answer, downloads.

Both tabs that ask a model are made of this one surface; they differ in where the model comes from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from florence_demo.engine.engine import MAX_BATCH
from florence_demo.engine.request import Options
from florence_demo.models.catalogue import Named
from florence_demo.output.export import EXPORTERS
from florence_demo.pictures.decoder import open_own
from florence_demo.prediction import Prediction
from florence_demo.serving.asking import ANNOTATED, EXAMPLES, Service, load_examples
from florence_demo.serving.gate import visitor_of
from florence_demo.tasks import TASKS, Region
from florence_demo.ui.all_tasks import API as ALL_API
from florence_demo.ui.all_tasks import Cards, all_handler, opened
from florence_demo.ui.components import (
    AnswerView,
    ExampleStrip,
    RegionPicker,
    SafeImage,
    TaskMenu,
    index_of,
)
from florence_demo.ui.handlers import friendly, friendly_stream
from florence_demo.ui.numbers import Number, Slider

# Which inputs a task shows, decided in the browser so that it never waits behind an answer.
_SWITCH = """
(task, picker, words) => {
  const ask = __ASKS__[task] || {};
  const region = ask.needs === 'region' && Boolean(picker && picker.picture);
  const update = extra => ({...extra, __type__: 'update'});
  return [
    update({visible: ask.needs === 'text', label: ask.label || 'Words',
            placeholder: ask.example ? 'For example: ' + ask.example : ''}),
    update({visible: region}),
    update({visible: !region}),
    update({visible: region, value: '__CHANGE__'}),
  ];
}
"""
_HIDE = "{visible: false, __type__: 'update'}"
_CLEAR = f"() => [{{busy: true, sentence: '', hint: '__HINT__'}}, {{}}, {_HIDE}, null, '']"
# Only what is still being asked ends so: an answer or another picture may be there by now.
_END = "(shown) => shown && shown.busy ? {hint: '__HINT__'} : shown"
_STOPPED = _END.replace("__HINT__", "Stopped.")
_NOT_ANSWERED = _END.replace(
    "__HINT__", "Not answered: the message says why. Nothing is lost; ask again."
)
_CHANGE, _BACK = "Change the picture", "Back to the region"
# Between the picture to draw on and the upload; the picture stays until another one comes.
_TURN = f"""
(label) => {{
  const back = label === '{_BACK}';
  const seen = visible => ({{visible, __type__: 'update'}});
  return [seen(!back), seen(back), back ? '{_CHANGE}' : '{_BACK}'];
}}
"""
_PRESS_SAVE = "(id) => { setTimeout(() => document.querySelector('#__ID__')?.click(), 60); }"


def _asks() -> str:
    return json.dumps(
        {
            t.name: {"needs": t.asks, "label": t.text_label, "example": t.example}
            for t in TASKS.values()
        }
    )


@dataclass(frozen=True)
class Model:
    """Say where a surface's model comes from.

    Attributes:
        component: The component that holds its name, rendered inside the surface if ``output``.
        resolve: Turns the component's value into what the engines take, or raises.
        render: Whether the surface places the component beside the Ask button.
    """

    component: Any
    resolve: Callable[[Any], Named]
    render: bool = False


def build_surface(
    service: Service, model: Model, *, api: str, task: str = "caption", examples: bool = True
) -> None:
    """Lay out one surface and connect it.

    Args:
        service: What the buttons do.
        model: Where the model comes from.
        api: Name of the endpoint: "ask".
        task: The task chosen at first.
        examples: Whether to offer the example questions.
    """
    found = gr.State(None)
    strip = ExampleStrip(_thumbnails()) if examples and load_examples() else None
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            picture = SafeImage(
                label="Your picture",
                type="pil",
                sources=["upload", "clipboard", "webcam"],
                height=300,
                elem_classes="fd-picture",
                buttons=["fullscreen"],
            )
            picker = RegionPicker(visible=False)
            change = gr.Button(_CHANGE, size="sm", visible=False)
            with gr.Accordion("Take a picture from the web", open=False):
                address = gr.Textbox(
                    label="Address of a picture",
                    placeholder="https://…",
                    submit_btn="Get",
                    max_lines=1,
                )
            menu = TaskMenu(task, uid=api)
            first = TASKS[task]
            words = gr.Textbox(
                "",
                label=first.text_label or "Words",
                placeholder=f"For example: {first.example}" if first.example else "",
                visible=first.asks == "text",
                lines=1,
                max_lines=4,
            )
            with gr.Row():
                ask = gr.Button("Ask", variant="primary", size="lg", scale=3)
                stop = gr.Button("Stop", size="lg", scale=1, min_width=80)
            every = gr.Button("All tasks on this picture", variant="secondary")
            if model.render:
                model.component.render()
            with gr.Accordion("Advanced", open=False):
                beams = Slider(1, 5, 3, step=1, label="Beams", info="More is slower, steadier")
                tokens = Slider(16, 4096, 1024, step=16, label="Longest answer, in tokens")
                sample = gr.Checkbox(False, label="Draw words at random")
                temperature = Slider(0.1, 2.0, 1.0, step=0.1, label="Temperature of drawing")
                seed = Number(0, precision=0, label="Seed of drawing")
        with gr.Column(scale=7, min_width=320):
            answer = AnswerView()
            cards, answers = Cards(), gr.State(None)
            with gr.Row(equal_height=True, visible=False, elem_classes="fd-save") as saving:
                kind = gr.Dropdown(
                    [("Annotated picture (PNG)", ANNOTATED)]
                    + [(e.title, name) for name, e in EXPORTERS.items()],
                    value=ANNOTATED,
                    show_label=False,
                    label="Download as",
                    container=False,
                    scale=3,
                )
                save = gr.Button("Download", scale=1, min_width=110)
            file = gr.DownloadButton(visible="hidden", elem_id=f"fd-save-{api}")
            with gr.Accordion("Parsed answer (JSON)", open=False):
                parsed = gr.JSON(show_label=False, label="Parsed answer")
            with gr.Accordion("Raw text of the model", open=False):
                raw = gr.Textbox(show_label=False, label="Raw text", lines=2, max_lines=8)

    inputs = [picture, menu, words, picker, model.component]
    inputs += [beams, tokens, sample, temperature, seed]
    outputs = [answer, parsed, raw, found, saving]
    handler = _ask_handler(service, model)

    switch = _SWITCH.replace("__ASKS__", _asks()).replace("__CHANGE__", _CHANGE)
    shown = [words, picker, picture, change]
    menu.change(None, [menu, picker, words], shown, js=switch)

    picture.input(
        friendly(service.prepare),
        picture,
        [picker, answer],
        api_visibility="private",
        show_progress="hidden",
    ).then(None, [menu, picker, words], shown, js=switch)
    fetched = address.submit(
        _fetch_handler(service),
        address,
        [picture, picker, answer],
        api_name=f"{api}_fetch",
        api_description="Fetch a picture from a public web address.",
        # Slow addresses are waited for beside everything else.
        concurrency_limit=8,
        concurrency_id="fetch",
    )
    fetched.then(None, [menu, picker, words], shown, js=switch)
    change.click(None, change, [picture, picker, change], js=_TURN)

    cleared = [answer, cards, saving, parsed, raw]
    started = gr.on(
        [ask.click, words.submit], None, None, cleared, js=_CLEAR.replace("__HINT__", "Asking …")
    )
    event = started.then(
        handler,
        inputs,
        outputs,
        api_name=api,
        api_description=_API,
        concurrency_limit=MAX_BATCH,
        concurrency_id="model",
        show_progress_on=answer,
        show_progress="minimal",
    )
    asked_all = every.click(
        None, None, cleared, js=_CLEAR.replace("__HINT__", "Asking everything at once …")
    ).then(
        all_handler(service, model.resolve),
        [picture, model.component, beams, tokens],
        [answer, cards, parsed, raw, found, saving, answers],
        api_name=f"{api}_all",
        api_description=ALL_API,
        concurrency_limit=MAX_BATCH,
        concurrency_id="model",
        show_progress_on=answer,
        show_progress="minimal",
    )
    cards.pick(opened, answers, outputs, api_visibility="private", show_progress="hidden")
    # The cards, the answer in its other forms, and the download are of the picture before.
    picture.change(None, None, [cards, saving, parsed, raw], js=f"() => [{{}}, {_HIDE}, null, '']")
    events = [event, asked_all]
    if strip is not None:
        picked = strip.pick(
            _example_handler(service),
            None,
            [picture, menu, words, picker, answer],
            api_visibility="private",
            show_progress="hidden",
        ).then(None, [menu, picker, words], shown, js=switch)
        events.append(
            picked.then(
                handler,
                inputs,
                outputs,
                api_visibility="private",
                concurrency_limit=MAX_BATCH,
                concurrency_id="model",
                show_progress_on=answer,
            )
        )
    for each in events:
        each.failure(None, answer, answer, js=_NOT_ANSWERED)
    stop.click(None, answer, answer, js=_STOPPED, cancels=events, queue=False)
    # What is still being answered is about the picture before.
    for arrives in (picture.input, fetched.success, *([strip.pick] if strip else [])):
        arrives(None, None, None, cancels=events, queue=False)
    save.click(
        friendly(service.download), [picture, found, kind], file, api_name=f"{api}_download"
    ).success(None, None, None, js=_PRESS_SAVE.replace("__ID__", f"fd-save-{api}"))


_API = (
    "Answer one question about one picture. image: the picture; task: name of the task; text:"
    " words, for tasks that take them; region: {'box': [x1, y1, x2, y2]} in pixels, for tasks that"
    " take a region; model_name: name of the model. Returns what the page shows, Florence-2's"
    " parsed answer, the whole prediction's raw text."
)


def _ask_handler(service: Service, model: Model) -> Callable[..., Iterator[tuple[Any, ...]]]:
    @friendly_stream
    def ask(
        image: Image.Image | None,
        task: str,
        text: str = "",
        region: Region | None = None,
        model_name: Any = None,
        beams: float = 3,
        max_new_tokens: float = 1024,
        do_sample: bool = False,
        temperature: float = 1.0,
        seed: float | None = 0,
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
        ):
            if found is None:
                yield shown or gr.skip(), gr.skip(), gr.skip(), gr.skip(), gr.skip()
            else:
                yield shown, found.parsed, found.raw, found, gr.update(visible=True)

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


def _thumbnails() -> list[dict[str, Any]]:
    """Return the examples with a small picture each, written into the page itself."""
    import base64
    import io

    result = []
    for row in load_examples():
        small = open_own(EXAMPLES / row["file"])
        small.thumbnail((280, 180))
        buffer = io.BytesIO()
        small.save(buffer, "WEBP", quality=78)
        data = base64.b64encode(buffer.getvalue()).decode()
        result.append({**row, "thumbnail": f"data:image/webp;base64,{data}"})
    return result
