"""The tab "Compare": one question, two to four models, their answers side by side.

Knows components and their values. Asking and matching are ``serving.compare``'s work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from PIL import Image

from florence_demo.engine.question import Question, as_regions
from florence_demo.engine.request import Options
from florence_demo.errors import InputError
from florence_demo.machine import in_bytes
from florence_demo.models.catalogue import MODELS
from florence_demo.regions import Region
from florence_demo.serving.asking import Service
from florence_demo.serving.compare import MOST, Column, Contender, compare
from florence_demo.serving.own_models import model_of
from florence_demo.tasks import task_named
from florence_demo.ui.canvas_inputs import CanvasInputs
from florence_demo.ui.components import (
    Canvas,
    SafeImage,
    Skeleton,
    read_script,
)
from florence_demo.ui.handlers import WHY, caller_of, friendly, friendly_stream
from florence_demo.ui.numbers import Slider
from florence_demo.ui.pickers import QUIET, model_choices
from florence_demo.ui.task_menu import TaskMenu

_NAMES = 6
"""Names of things that a count lists."""


class Columns(Skeleton):
    """Show answers side by side.

    Its value holds any of ``picture`` (a file; kept when absent), ``columns`` ([{title, busy,
    problem, sentence, words, overlay, notices, counts, cost}]), ``against`` (the title of the
    column that the others are compared with), ``busy``, ``hint``.
    """

    def __init__(self, **kwargs: Any) -> None:
        html = (
            '<section class="fd-compare" aria-label="Answers side by side" data-words>'
            '<p class="fd-compare-hint"></p><p class="fd-legend-words fd-note" hidden>'
            "<span>Beside</span> <b></b>: <ins>words that only this model writes</ins>"
            " <del>words that are missing here</del></p>"
            '<div class="fd-columns"></div></section>'
        )
        super().__init__(
            html,
            read_script("answers.js") + read_script("compare.js"),
            label="Answers side by side",
            **kwargs,
        )


@dataclass(frozen=True, eq=False)
class CompareTab:
    """Hold what another tab needs to choose models in this one.

    Attributes:
        outputs: The components that show the choice.
        choose: From models, as ``model_choices`` names them, to their values.
    """

    outputs: list[Any]
    choose: Callable[[Sequence[str]], tuple[Any, ...]]


@dataclass(frozen=True, eq=False)
class _Tab:
    """Hold the tab's components."""

    picture: SafeImage
    picker: Canvas
    menu: TaskMenu
    words: gr.Textbox
    models: gr.Dropdown
    beams: Slider
    tokens: Slider
    start: gr.Button
    stop: gr.Button
    columns: Columns

    @property
    def inputs(self) -> list[Any]:
        """What is asked of whom, in the order in which the handler takes the values."""
        asked = [self.picture, self.menu, self.words, self.picker]
        return [*asked, self.models, self.beams, self.tokens]


def build_compare_tab(service: Service, tab: gr.Tab) -> CompareTab:
    """Lay out the tab and connect it.

    Args:
        service: The page's.
        tab: The tab itself, to look for new models when it is opened.
    """
    laid = _laid_out(service)
    columns = laid.columns
    inputs = CanvasInputs(laid.menu, laid.words, laid.picture, laid.picker)
    laid.menu.suit(laid.models, lambda names: model_of(service, _first(names)))
    arrivals = inputs.connect(_prepared(service), columns)
    running = gr.on([laid.start.click, laid.words.submit], None, None, columns, js=_BEGUN).then(
        _compare_handler(service),
        laid.inputs,
        columns,
        api_name="compare",
        # Each of a comparison's models may have to be loaded.
        concurrency_limit=2,
        concurrency_id="compare",
        show_progress_on=columns,
        show_progress="minimal",
    )
    running.failure(None, columns, columns, js=_REFUSED)
    # What is still being answered is not about another picture.
    for event in arrivals:
        event(None, None, None, cancels=[running], queue=False)
    stopped = _ended("'Stopped.'")
    laid.stop.click(None, columns, columns, js=stopped, cancels=[running], queue=False)
    # A fine-tuning may have ended since.
    tab.select(lambda: gr.update(choices=model_choices(service)), None, laid.models, **QUIET)

    def choose(names: Sequence[str]) -> tuple[Any, ...]:
        return (gr.update(choices=model_choices(service), value=list(names)),)

    return CompareTab([laid.models], choose)


def _first(names: Any) -> Any:
    return names[0] if isinstance(names, list) and names else ""


def _laid_out(service: Service) -> _Tab:
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            picture = SafeImage(
                label="Your picture",
                type="pil",
                sources=["upload", "clipboard", "webcam"],
                height=260,
                elem_classes="fd-picture",
                buttons=["fullscreen"],
            )
            picker = Canvas("compare")
        with gr.Column(scale=7, min_width=300):
            menu = TaskMenu("caption", uid="compare")
            words = gr.Textbox("", label="Words", visible=False, lines=1, max_lines=4)
            models = gr.Dropdown(
                model_choices(service),
                value=[service.config.model],
                label="Models to compare",
                info="Two to four; the others are compared with the first.",
                multiselect=True,
                max_choices=MOST,
                allow_custom_value=True,
            )
            with gr.Accordion("Advanced", open=False):
                beams = Slider(1, 5, 3, step=1, label="Care", info="More is slower, steadier")
                tokens = Slider(16, 4096, 1024, step=16, label="Longest answer, in tokens")
            with gr.Row():
                start = gr.Button("Compare", variant="primary", size="lg", scale=3)
                stop = gr.Button("Stop", size="lg", scale=1, min_width=80, elem_classes="fd-stop")
    columns = Columns()
    return _Tab(picture, picker, menu, words, models, beams, tokens, start, stop, columns)


_BEGUN = "() => ({busy: true, hint: 'Asking …'})"


def _ended(hint: str) -> str:
    """Return the script for an end without all answers: those that came stay.

    Args:
        hint: A script's expression for what is said.
    """
    return (
        "async shown => { if (!shown || !shown.busy) return shown;"
        f" const hint = {hint};"
        " return {...shown, busy: false, hint, columns: (shown.columns || []).map("
        "c => c.cost.weights || c.problem ? c : {...c, busy: false, problem: hint})}; }"
    )


_REFUSED = _ended(f"await ({WHY})() || 'Not answered. Nothing is lost.'")


def _prepared(service: Service) -> Callable[..., tuple[Any, ...]]:
    @friendly
    def prepared(image: Image.Image | None) -> tuple[Any, ...]:
        picker, _ = service.prepare(image)
        return picker, {"picture": picker.get("picture")}

    return prepared


def _compare_handler(service: Service) -> Callable[..., Iterator[Any]]:
    @friendly_stream
    def compare_models(
        image: Image.Image | None,
        task: str,
        text: str = "",
        region: Region | Sequence[Region] | None = None,
        models: list[str] | None = None,
        beams: float = 3,
        max_new_tokens: float = 1024,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
        request: gr.Request | None = None,
    ) -> Iterator[Any]:
        if image is None:
            raise InputError("There is no picture yet: upload one.")
        asked = task_named(task)
        question = Question(
            image,
            asked,
            (text or "") if asked.asks == "text" else "",
            as_regions(region) if asked.asks == "region" else (),
        )
        titles = {spec.name: spec.title for spec in MODELS.values()}
        contenders = [
            Contender(titles.get(str(name), str(name)[:100]), partial(model_of, service, name))
            for name in (models if isinstance(models, list) else [])
        ]
        options = Options.given(max_new_tokens, beams)
        last: tuple[Column, ...] = ()
        caller = caller_of(request, progress)
        for columns in compare(service, question, contenders, options, caller):
            last = columns or last
            yield gr.skip() if columns is None else shown_side_by_side(columns)
        yield {**shown_side_by_side(last), "busy": False}

    return compare_models


def shown_side_by_side(columns: Sequence[Column]) -> dict[str, Any]:
    """Return what the tab shows of some columns."""
    first = next((column for column in columns if column.found is not None), None)
    return {
        "busy": True,
        "against": first.title if first else "",
        "columns": [_shown(column, first) for column in columns],
    }


def _shown(column: Column, first: Column | None) -> dict[str, Any]:
    found = column.found
    weights = in_bytes(column.memory) if found else ""
    return {
        "title": column.title,
        "busy": not found and not column.problem,
        "problem": column.problem,
        "sentence": column.shown.get("sentence", column.growing),
        "words": [list(word) for word in column.words],
        "overlay": column.shown.get("overlay", ""),
        "notices": column.shown.get("notices", []),
        "counts": _counts(column, first),
        "cost": {"seconds": round(found.seconds, 2) if found else 0, "weights": weights},
    }


def _counts(column: Column, first: Column | None) -> list[tuple[str, int, list[str], int]]:
    """Return what two answers share: a title, a count, some names, how many names more."""
    if column.things is None or column.found is None or first is None or first.found is None:
        return []
    mine, theirs = column.found.detections.labels, first.found.detections.labels
    return [
        ("Both", len(column.things.both), [], 0),
        (
            "Only the first",
            len(column.things.first),
            *_named([theirs[i] for i in column.things.first]),
        ),
        ("Only here", len(column.things.here), *_named([mine[i] for i in column.things.here])),
    ]


def _named(labels: Sequence[str]) -> tuple[list[str], int]:
    named = Counter(label for label in labels if label)
    said = [f"{n} × {name}" if n > 1 else name for name, n in named.most_common(_NAMES)]
    return said, len(named) - len(said)
