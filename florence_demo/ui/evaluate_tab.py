"""The tab "How good is it?": ask a model every question of a set and see how right it is.

Knows the components and their values. The measuring is ``serving.measuring``'s.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from florence_demo.data.chosen import Upload
from florence_demo.engine.request import Options
from florence_demo.evaluation.report import Report
from florence_demo.serving.asking import Service
from florence_demo.serving.gate import visitor_of
from florence_demo.serving.measuring import REPORT_FILES, Wish, measure, write_report
from florence_demo.serving.own_models import model_of
from florence_demo.tasks import TASKS
from florence_demo.training.config import Bounds
from florence_demo.ui.handlers import friendly_stream
from florence_demo.ui.numbers import Number, Slider, number_of
from florence_demo.ui.pickers import (
    FOLDER,
    FORMS,
    HELDOUT,
    HUB,
    QUIET,
    UPLOAD,
    DataPicker,
    build_data_picker,
    model_choices,
)
from florence_demo.ui.report_panel import (
    EMPTY,
    failed_panel,
    progress_panel,
    report_panel,
    stopped_panel,
)

MOST = 5_000
"""Questions that a visitor may have asked in one go."""
MOST_IN_PUBLIC = 200
"""The same on a page for strangers."""


@dataclass(frozen=True, eq=False)
class _EvaluateTab:
    """Hold the tab's components."""

    model: gr.Dropdown
    picker: DataPicker
    tasks: gr.Dropdown
    limit: Number
    beams: Slider
    tokens: Slider
    start: gr.Button
    stop: gr.Button
    panel: gr.HTML
    saving: gr.Row
    files: list[gr.DownloadButton]

    @property
    def inputs(self) -> list[Any]:
        """Those that a person fills in, in the order in which the handler takes their values."""
        own = [self.model, self.tasks, self.limit, self.beams, self.tokens]
        return [*self.picker.inputs, *own]

    @property
    def outputs(self) -> list[Any]:
        """Those that show the measurement."""
        return [self.panel, self.saving, *self.files]


def build_evaluate_tab(service: Service, tab: gr.Tab) -> None:
    """Lay out the tab and connect it.

    Args:
        service: The page's.
        tab: The tab itself, to look for new models when it is opened.
    """
    laid = _laid_out(service)
    # It may wait for others at first. One after the other: of two values that come at once gradio
    # may keep the older one.
    waiting = json.dumps(progress_panel(0, 0, "Waiting"))
    event = laid.start.click(None, None, laid.panel, js=f"() => {waiting}").then(
        _evaluate_handler(service, laid.picker),
        laid.inputs,
        laid.outputs,
        api_name="evaluate",
        concurrency_limit=2,
        concurrency_id="evaluate",
        show_progress="hidden",
    )
    # A fine-tuning may have ended since.
    tab.select(lambda: gr.update(choices=model_choices(service)), None, laid.model, **QUIET)
    laid.picker.look_again_with(tab.select)
    event.failure(failed_panel, None, laid.panel, api_visibility="private", queue=False)
    # A report that is there already stays.
    stopped = f"(shown) => shown.includes('fd-live') ? {json.dumps(stopped_panel())} : shown"
    laid.stop.click(None, laid.panel, laid.panel, js=stopped, cancels=[event], queue=False)


def _laid_out(service: Service) -> _EvaluateTab:
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            model = gr.Dropdown(
                model_choices(service),
                value="nano",
                label="Model to measure",
                allow_custom_value=True,
            )
            picker = build_data_picker(
                service,
                (HELDOUT, FORMS, UPLOAD, FOLDER, HUB),
                api="upload_evaluation_data",
                seen="Nobody else sees it.",
            )
            tasks = gr.Dropdown(
                [(t.title, t.name) for t in TASKS.values()],
                value=[],
                multiselect=True,
                label="Tasks",
                info="None chosen: all that the data has.",
            )
            limit = Number(
                200, precision=0, minimum=1, maximum=MOST, label="Most questions",
                info="Spread evenly over the data. Fewer than ten say little.",
            )  # fmt: skip
            with gr.Accordion("More settings", open=False):
                beams = Slider(
                    1, 5, 3, step=1, label="Care", info="Beams: more is slower; 1 is fastest"
                )
                tokens = Slider(
                    16, 1024, 256, step=16, label="Longest answer",
                    info="In tokens: a token is about four letters",
                )  # fmt: skip
            with gr.Row():
                start = gr.Button("Measure", variant="primary", size="lg", scale=3)
                stop = gr.Button("Stop", size="lg", scale=1, min_width=80, elem_classes="fd-stop")
        with gr.Column(scale=7, min_width=320):
            panel = gr.HTML(EMPTY, label="Report", elem_id="fd-report")
            with gr.Row(visible=False) as saving:
                files = [gr.DownloadButton(label, size="md") for label in REPORT_FILES.values()]
    return _EvaluateTab(
        model, picker, tasks, limit, beams, tokens, start, stop, panel, saving, files
    )


def _evaluate_handler(
    service: Service, picker: DataPicker
) -> Callable[..., Iterator[tuple[Any, ...]]]:
    most = MOST_IN_PUBLIC if service.config.public else MOST

    @friendly_stream
    def evaluate_model(
        data: str,
        folder: str | None,
        upload: Upload | None,
        hub: str,
        model: str = "nano",
        tasks: list[str] | None = None,
        most_questions: float = 200,
        beams: float = 3,
        longest_answer: float = 256,
        request: gr.Request | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        """Ask a model questions with known answers; returns the numbers and a report's files."""
        search = Options(
            num_beams=number_of("Care", beams, Bounds(5)),
            max_new_tokens=number_of("Longest answer", longest_answer, Bounds(1024)),
        )
        wish = Wish(
            model_of(service, model),
            picker.chosen(data, folder, upload, hub),
            tuple(name for name in TASKS if isinstance(tasks, list) and name in tasks),
            number_of("Most questions", most_questions, Bounds(most)),
            search,
        )
        nothing = [gr.skip() for _ in REPORT_FILES]
        with service.measuring(visitor_of(request)):
            for news in measure(service, wish):
                if isinstance(news, Report):
                    paths = write_report(news, service.scratch.new_served_folder())
                    yield report_panel(news), gr.update(visible=True), *paths
                else:
                    yield progress_panel(*news), gr.update(visible=False), *nothing

    return evaluate_model
