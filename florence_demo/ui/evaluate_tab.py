"""The tab "Evaluate": ask a model every question of a set and see how right it is.

The measuring is ``evaluate``'s work, on the engine that answers on the other tabs too.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gradio as gr

from florence_demo.data.example import Example
from florence_demo.data.reading import open_data
from florence_demo.data.rows import spread
from florence_demo.engine.request import Options, Stopped
from florence_demo.errors import DatasetError, FlorenceDemoError, InputError
from florence_demo.evaluation.evaluate import EvaluateConfig, evaluate
from florence_demo.evaluation.report import Report
from florence_demo.models.catalogue import Named
from florence_demo.serving.asking import Service, on_zero_gpu
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
    Data,
    Upload,
    build_data_picker,
    model_choices,
    model_of,
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
_KINDS = {"report.html": "Report (HTML)", "report.json": "JSON", "report.md": "Markdown"}


@dataclass(frozen=True)
class Wish:
    """Hold what a visitor wants measured.

    Attributes:
        model: What to ask, checked.
        data: Where the questions are.
        tasks: Names of tasks; all where empty.
        limit: Most questions.
        options: How answers are searched.
    """

    model: Named
    data: Data
    tasks: tuple[str, ...] = ()
    limit: int = 200
    options: Options = field(default_factory=Options)


def build_evaluate_tab(service: Service, tab: gr.Tab) -> None:
    """Lay out the tab and connect it.

    Args:
        service: The page's.
        tab: The tab itself, to look for new models when it is opened.
    """
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
                info="Spread evenly over the data.",
            )  # fmt: skip
            with gr.Accordion("More settings", open=False):
                beams = Slider(1, 5, 3, step=1, label="Beams", info="1 is fastest")
                tokens = Slider(16, 1024, 256, step=16, label="Longest answer, in tokens")
            with gr.Row():
                start = gr.Button("Evaluate", variant="primary", size="lg", scale=3)
                stop = gr.Button("Stop", size="lg", scale=1, min_width=80)
        with gr.Column(scale=7, min_width=320):
            panel = gr.HTML(EMPTY, label="Report", elem_id="fd-report")
            with gr.Row(visible=False) as saving:
                files = [gr.DownloadButton(label, size="md") for label in _KINDS.values()]

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
    ) -> Iterator[tuple[Any, ...]]:
        """Ask a model questions with known answers; returns the numbers and a report's files."""
        search = Options(
            num_beams=number_of("Beams", beams, Bounds(5)),
            max_new_tokens=number_of("Longest answer", longest_answer, Bounds(1024)),
        )
        wish = Wish(
            model_of(service, model),
            picker.chosen(data, folder, upload, hub),
            tuple(name for name in TASKS if isinstance(tasks, list) and name in tasks),
            number_of("Most questions", most_questions, Bounds(MOST)),
            search,
        )
        nothing = [gr.skip() for _ in files]
        for news in measure(service, wish):
            if isinstance(news, Report):
                paths = write_report(news, service.scratch.new_served_folder())
                yield report_panel(news), gr.update(visible=True), *paths
            else:
                yield progress_panel(*news), gr.update(visible=False), *nothing

    event = start.click(
        evaluate_model,
        [*picker.inputs, model, tasks, limit, beams, tokens],
        [panel, saving, *files],
        api_name="evaluate",
        concurrency_limit=1,
        concurrency_id="evaluate",
        show_progress="hidden",
    )
    # A fine-tuning may have ended since.
    tab.select(lambda: gr.update(choices=model_choices(service)), None, model, **QUIET)
    event.failure(failed_panel, None, panel, api_visibility="private", queue=False)
    # A report that is there already stays.
    stopped = f"(shown) => shown.includes('fd-live') ? {json.dumps(stopped_panel())} : shown"
    stop.click(None, panel, panel, js=stopped, cancels=[event], queue=False)


def measure(service: Service, wish: Wish) -> Iterator[Report | tuple[int, int, str]]:
    """Yield how far a measurement is, (done, in all, what it does), and at the end the report.

    It runs in a thread; closing this generator ends it after the batch that is being asked.

    Raises:
        FlorenceDemoError: The model or the data cannot be used.
    """
    if on_zero_gpu():
        raise InputError(
            "Measuring takes longer than a shared GPU is lent for: start the app on your machine."
        )
    news: queue.SimpleQueue[Report | Exception | tuple[int, int, str]] = queue.SimpleQueue()
    stop = threading.Event()

    def told(done: int, total: int) -> None:
        if stop.is_set():
            raise Stopped
        news.put((done, total, "Asking" if done < total else "Counting what is right"))

    def work() -> None:
        try:
            news.put((0, 0, "Opening the data"))
            examples, problems = rows_of(wish)
            news.put((0, len(examples), "Opening the model"))
            engine = service.engines.get(wish.model)
            told(0, len(examples))
            config = EvaluateConfig(
                model=engine.loaded.title, data=wish.data.title, options=wish.options, batch_size=8
            )
            report = evaluate(engine, examples, config, told)
            found = (*problems, *report.failures)
            news.put(replace(report, failures=tuple(map(wish.data.safe, found))))
        except Exception as exc:
            news.put(exc)

    threading.Thread(target=work, name="measurement", daemon=True).start()
    try:
        while True:
            item = news.get()
            if isinstance(item, Stopped):
                return
            if isinstance(item, Exception):
                raise item
            yield item
            if isinstance(item, Report):
                return
    finally:
        stop.set()


def rows_of(wish: Wish) -> tuple[list[Example], list[str]]:
    """Return the questions, spread over the whole set, and what is wrong with unusable rows.

    Raises:
        DatasetError: There is none, told without the paths of this machine.
    """
    data, problems = wish.data, list[str]()
    try:
        rows = open_data(
            data.held or data.source,
            tasks=wish.tasks,
            # What is on the hub is not fetched for more than is asked.
            limit=wish.limit if data.remote else None,
            problems=problems,
        )
    except FlorenceDemoError as exc:
        raise DatasetError(data.safe(str(exc))) from exc
    chosen = spread(rows, wish.limit)
    return [replace(row, where=data.safe(row.where)) for row in chosen], problems


def write_report(report: Report, folder: Path) -> list[str]:
    """Write the report's files into a folder and return them in the buttons' order."""
    written = {p.name: p for p in report.write(folder)}
    return [str(written[name]) for name in _KINDS]
