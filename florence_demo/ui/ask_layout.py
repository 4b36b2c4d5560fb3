"""The asking surface's components, and where they stand.

Knows layout. What happens when they are used is ``ask_tab``'s business.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from florence_demo.models.catalogue import Named
from florence_demo.pictures.decoder import open_own
from florence_demo.serving.asking import EXAMPLES, load_examples
from florence_demo.serving.taking_home import every_format
from florence_demo.tasks import TASKS, Task
from florence_demo.ui.answer_editor import Correcting, lay_out_editor, lay_out_kept
from florence_demo.ui.components import (
    AnswerView,
    Canvas,
    ExampleStrip,
    Names,
    SafeImage,
)
from florence_demo.ui.conversation import Cards, Pressed
from florence_demo.ui.holding import Holding
from florence_demo.ui.model_offer import ModelOffer, lay_out_offer
from florence_demo.ui.numbers import Number, Slider
from florence_demo.ui.task_menu import TaskMenu


@dataclass(frozen=True)
class Model:
    """Say where a surface's model comes from.

    Attributes:
        component: The component that holds its name, rendered inside the surface if ``render``.
        resolve: Turns the component's value into a name for the engines, or raises.
        render: Whether the surface places the component beside the Ask button.
    """

    component: Any
    resolve: Callable[[Any], Named]
    render: bool = False


@dataclass(frozen=True, eq=False)
class Search:
    """Hold how an answer is searched, in the order in which the handler takes the values."""

    beams: Slider
    tokens: Slider
    sample: gr.Checkbox
    temperature: Slider
    seed: Number
    closely: gr.Checkbox


@dataclass(frozen=True, eq=False)
class Question:
    """Hold the left side: what is asked of which picture.

    Attributes:
        picture: The upload.
        picker: The same picture as the server read it, with the answer, to draw a region on.
        offer: Offers a better model, None where the model cannot be changed.
        address: Fetches a picture from the web.
        menu: The tasks.
        words: Of tasks that take some.
        ask: Asks the chosen task.
        stop: Ends what is being answered.
        every: Asks everything at once.
        search: How the answer is searched.
    """

    picture: SafeImage
    picker: Canvas
    offer: ModelOffer | None
    address: gr.Textbox
    menu: TaskMenu
    words: gr.Textbox
    ask: gr.Button
    stop: gr.Button
    every: gr.Button
    search: Search


@dataclass(frozen=True, eq=False)
class Answer:
    """Hold the right side: what was answered, and what is taken home of it.

    Attributes:
        found: The answer that is shown.
        view: Shows it.
        holding: What of it is kept.
        correcting: What it is put right with.
        cards: What was asked before, with its answers.
        pressed: Which press of which page a question is.
        saving: The row of the download.
        kind: Its format.
        save: Its button.
        file: The hidden button that a browser downloads by.
        parsed: The answer as JSON.
        raw: The answer as the model wrote it.
    """

    found: gr.State
    view: AnswerView
    holding: Holding
    correcting: Correcting
    cards: Cards
    pressed: Pressed
    saving: gr.Row
    kind: gr.Dropdown
    save: gr.Button
    file: gr.DownloadButton
    parsed: gr.JSON
    raw: gr.Textbox

    @property
    def outputs(self) -> list[Any]:
        """Those that show one answer; what is offered to take home follows from ``found``."""
        return [self.view, self.parsed, self.raw, self.found]

    @property
    def followed(self) -> list[Any]:
        """Those that show a question of this page: an answer, and the cards."""
        return [*self.outputs, self.cards]

    @property
    def cleared(self) -> list[Any]:
        """Those that a new question clears."""
        return [self.view, self.saving, self.parsed, self.raw, self.cards]


@dataclass(frozen=True, eq=False)
class Surface:
    """Hold a surface's components; ``strip`` is None where no examples are offered."""

    api: str
    model: Model
    question: Question
    answer: Answer
    strip: ExampleStrip | None

    @property
    def inputs(self) -> list[Any]:
        """What a question is made of, in the order in which the handler takes the values."""
        q = self.question
        asked = [q.picture, q.menu, q.words, q.picker, self.model.component]
        return [*asked, *vars(q.search).values()]


def lay_out(model: Model, api: str, task: str, examples: bool, keyed: bool = False) -> Surface:
    """Lay out one surface: the picture on the left, what is asked and answered on the right.

    Args:
        model: Where the model comes from.
        api: Name of the endpoint, which the elements' ids end in.
        task: The task chosen at first.
        examples: Whether to offer the example questions.
        keyed: Whether programs need a key.
    """
    found = gr.State(None)
    with gr.Row(equal_height=False, elem_classes="fd-surface"):
        with gr.Column(scale=16, min_width=320, elem_classes="fd-left"):
            picture, canvas = _picture(), Canvas(api)
            editing = lay_out_editor(api)
            offer = lay_out_offer() if model.render else None
            strip = None
            if examples and load_examples():
                strip = ExampleStrip(_thumbnails(), elem_classes="fd-later")
        with gr.Column(scale=9, min_width=320, elem_classes="fd-right"):
            menu, words = TaskMenu(task, uid=api), _words(TASKS[task])
            closely = gr.Checkbox(
                False,
                label="Look closely",
                info="At parts of the picture too, for small things and small text; takes longer",
                visible=False,
            )
            with gr.Row(elem_classes="fd-askbar"):
                ask = gr.Button(
                    "Ask", variant="primary", size="lg", scale=3, elem_id=f"fd-ask-{api}"
                )
                every = gr.Button("Everything at once", size="lg", scale=2, min_width=120)
                stop = gr.Button("Stop", size="lg", scale=1, min_width=80, elem_classes="fd-stop")
            view = AnswerView(api)
            # Below *Ask*, so that few presses of Tab lead there.
            holding = Holding(api, elem_classes="fd-held")
            saving, kind, save, correct = _saving()
            correcting = lay_out_kept(correct, editing, api)
            cards = Cards(keyed=keyed)
            address = _address()
            if model.render:
                model.component.render()
            search = _search(closely)
            parsed, raw = _forms()
    file = gr.DownloadButton(visible="hidden", elem_id=f"fd-save-{api}")
    question = Question(picture, canvas, offer, address, menu, words, ask, stop, every, search)
    answer = Answer(
        found, view, holding, correcting, cards, Pressed(), saving, kind, save, file, parsed, raw
    )
    return Surface(api, model, question, answer, strip)


def _picture() -> SafeImage:
    return SafeImage(
        label="Your picture",
        type="pil",
        sources=["upload", "clipboard", "webcam"],
        height=420,
        elem_classes="fd-picture",
    )


def _address() -> gr.Textbox:
    with gr.Accordion("From a web address", open=False):
        return gr.Textbox(
            label="Address of a picture",
            placeholder="https://…",
            submit_btn="Get",
            max_lines=1,
        )


def _words(first: Task) -> gr.Textbox:
    return gr.Textbox(
        "",
        label=first.text_label or "Words",
        placeholder=f"For example: {first.example}" if first.example else "",
        visible=first.asks == "text",
        lines=1,
        max_lines=4,
    )


def _search(closely: gr.Checkbox) -> Search:
    with gr.Accordion("Advanced", open=False):
        return Search(
            Slider(1, 5, 3, step=1, label="Care", info="Beams: more is slower, steadier"),
            Slider(16, 4096, 1024, step=16, label="Longest answer, in tokens"),
            gr.Checkbox(False, label="Vary the answer", info="Sampling: draws words at random"),
            Slider(0.1, 2.0, 1.0, step=0.1, label="How much", info="Temperature, if it varies"),
            Number(
                0,
                precision=0,
                label="Repeat number",
                info="Seed: the same one varies the same way",
            ),
            closely,
        )


def _saving() -> tuple[gr.Row, gr.Dropdown, gr.Button, gr.Button]:
    with gr.Row(equal_height=True, visible=False, elem_classes="fd-save") as saving:
        kind = Names(
            every_format(),
            value=every_format()[0][1],
            show_label=False,
            label="Download as",
            container=False,
            min_width=150,
            scale=3,
        )
        save = gr.Button("Download", min_width=96, size="md", scale=1)
        correct = gr.Button("Put it right", min_width=96, size="md", scale=1)
    return saving, kind, save, correct


def _forms() -> tuple[gr.JSON, gr.Textbox]:
    with gr.Accordion("For developers", open=False):
        parsed = gr.JSON(label="Parsed answer (JSON)")
        raw = gr.Textbox(label="Raw text of the model", lines=2, max_lines=8)
    return parsed, raw


def _thumbnails() -> list[dict[str, Any]]:
    """Return the examples with a small picture each, written into the page itself."""
    result = []
    for row in load_examples():
        small = open_own(EXAMPLES / row["file"])
        small.thumbnail((280, 180))
        buffer = io.BytesIO()
        small.save(buffer, "WEBP", quality=78)
        data = base64.b64encode(buffer.getvalue()).decode()
        result.append({**row, "thumbnail": f"data:image/webp;base64,{data}"})
    return result
