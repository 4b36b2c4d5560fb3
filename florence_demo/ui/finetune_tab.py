"""The tab "Fine-tune": choose data and a model, see what it will take, start, watch, try.

The run is a process of its own (``runs``): this page only looks at its files, once a second while
it lives, so that a page loaded anew, or another visitor's, finds it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from florence_demo.data.chosen import Upload
from florence_demo.errors import InputError
from florence_demo.models.catalogue import spec_at
from florence_demo.serving.asking import Service
from florence_demo.serving.own_models import choice_of
from florence_demo.training.runs import Run, Runs
from florence_demo.ui.checkpoint_tab import CheckpointTab
from florence_demo.ui.compare_tab import CompareTab
from florence_demo.ui.handlers import friendly
from florence_demo.ui.pickers import (
    FOLDER,
    FORMS,
    HUB,
    QUIET,
    UPLOAD,
    DataPicker,
    build_data_picker,
    model_choices,
)
from florence_demo.ui.run_panel import EMPTY, run_panel, runs_panel
from florence_demo.ui.run_view import RunView, pressed
from florence_demo.ui.train_advice import Told, connect_settings
from florence_demo.ui.train_settings import Settings, build_settings, config_of

NOT_HERE = (
    "Fine-tuning is switched off on this page, because it would take the whole machine from the"
    " other visitors. Start the app on your own machine, or duplicate this Space and set its"
    " variable FLORENCE_TRAINING to 1, and it is here."
)


@dataclass(frozen=True, eq=False)
class After:
    """Hold the tabs to which a trained model leads: where it is asked, and where compared."""

    checkpoints: CheckpointTab
    compare: CompareTab


def build_finetune_tab(
    service: Service, app: gr.Blocks, tab: gr.Tab, tabs: gr.Tabs, after: After
) -> DataPicker | None:
    """Lay out the tab, connect it, and return where its data is chosen; None where it is off.

    Args:
        service: The page's.
        app: The page, to look for a run when it is loaded.
        tab: The tab itself, to look again when it is opened.
        tabs: The page's tabs, to go to another one.
        after: Those to go to, to choose the trained model there.
    """
    if not service.config.training:
        gr.Markdown(NOT_HERE)
        return None
    runs = Runs(service.config.checkpoints)
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            gr.Markdown("### 1. What to learn from")
            picker = build_data_picker(
                service,
                (FORMS, UPLOAD, FOLDER, HUB),
                api="upload_training_data",
                seen="Once a model learns from it, whoever opens this page sees some of its"
                " pictures, questions and answers, and may ask the model.",
            )
            samples = gr.HTML("")
            gr.Markdown("### 2. Where to start, and how")
            settings = build_settings(service)
            name = gr.Textbox(
                "",
                label="Name of the result",
                placeholder="Left empty, one is made: forms-nano",
                max_lines=1,
            )
            cost = gr.HTML("")
            start = gr.Button("Start", variant="primary", size="lg")
        with gr.Column(scale=7, min_width=320):
            with gr.Row():
                stop = gr.Button("Stop and keep what it learned", variant="stop", visible=False)
                resume = gr.Button("Resume", visible=False)
                go = gr.Button("Try it now", variant="primary", visible=False)
                beside = gr.Button("Compare with where it started", visible=False)
            panel = RunView(EMPTY, label="Run", elem_id="fd-run")
            earlier = RunView("", label="Earlier runs")
    watch = _Watch(service, runs, (panel, earlier), [start, stop, resume, go, beside])
    connect_settings(service, picker, settings, Told(samples, cost), app)
    _connect_start(watch, picker, settings, start, name)
    _connect_rest(watch, (stop, resume))
    for view in (panel, earlier):
        after.checkpoints.opens(view.pick, partial(_pressed, runs))
    _connect_after(watch, (go, beside), tabs, after)
    # Another visitor may have started a run since this page was loaded, and ended one.
    looks = [app.load, tab.select, watch.timer.tick]
    # No look waits for another: it costs the reading of two small files.
    gr.on(looks, watch.look, watch.inputs, watch.outputs, **QUIET, concurrency_limit=None)
    model = settings.components["model"]
    tab.select(lambda: gr.update(choices=model_choices(service)), None, model, **QUIET)
    picker.look_again_with(tab.select)
    return picker


class _Watch:
    """Look at the run and show it: the panel, the buttons, and whether to look again."""

    def __init__(
        self,
        service: Service,
        runs: Runs,
        views: tuple[RunView, RunView],
        buttons: list[gr.Button],
    ):
        self.service = service
        self.runs = runs
        self.seen = gr.State("")
        self.timer = gr.Timer(1.0, active=False)
        self.inputs = [self.seen]
        self.outputs = [*views, *buttons, self.timer, self.seen]

    def look(self, seen: str | None) -> tuple[Any, ...]:
        """Return what changed since the last look, told by a mark that the page keeps."""
        return self.show(self.runs.current(), seen)

    def show(self, run: Run | None, seen: str | None = None) -> tuple[Any, ...]:
        """Return a run as the outputs show it."""
        others = self._others(run)
        mark = " ".join(other.name for other in others)
        if run is not None:
            told = run.status
            mark = f"{run.name} {told.updated} {told.state} {run.stopping} {mark}"
        if seen == mark and seen is not None:
            return (gr.skip(),) * len(self.outputs)
        live = run is not None and run.live
        config = self.service.config
        shown = run_panel(run, config.checkpoints, config.data)
        return (
            shown,
            runs_panel(others),
            gr.update(interactive=not live, value="A run is going on" if live else "Start"),
            gr.update(
                visible=live,
                interactive=not (run and run.stopping),
                value="Stopping …" if run and run.stopping else "Stop and keep what it learned",
            ),
            gr.update(visible=bool(run and run.resumable)),
            *[gr.update(visible=bool(run and run.trained))] * 2,
            gr.Timer(active=live),
            mark,
        )

    def _others(self, shown: Run | None) -> list[Run]:
        """Return the runs that hold a model, the newest first, without the one that is shown."""
        name = shown.name if shown else ""
        return [run for run in reversed(self.runs.all()) if run.trained and run.name != name]


def _pressed(runs: Runs, event: gr.EventData) -> tuple[Run, int | None]:
    """Return the run that was pressed, and which of its samples."""
    name, number = pressed(event)
    run = next((run for run in runs.all() if run.name == name), None)
    if run is None:
        raise InputError("This run is no longer here: open the tab again.")
    return run, number


def _connect_start(
    watch: _Watch, picker: DataPicker, settings: Settings, start: gr.Button, name: gr.Textbox
) -> None:
    @friendly
    def start_training(
        data: str, folder: str | None, upload: Upload | None, hub: str, *values: Any
    ) -> tuple[Any, ...]:
        """Start a fine-tuning as its own process; one at a time, and it goes on by itself."""
        *chosen_settings, result_name = values
        chosen = picker.chosen(data, folder, upload, hub)
        config = config_of(watch.service, chosen, chosen_settings)
        wanted = (result_name or "").strip()
        stem = f"{chosen.title.rpartition('/')[2]}-{Path(str(config.model)).name}"
        named = wanted or watch.runs.free_name(stem)
        return watch.show(watch.runs.start(config, named, chosen.upload))

    start.click(
        start_training,
        [*picker.inputs, *settings.inputs, name],
        watch.outputs,
        api_name="start_training",
        show_progress="hidden",
    ).success(None, None, None, js=_SEE_THE_RUN)


_SEE_THE_RUN = """
() => document.querySelector('#fd-run')?.scrollIntoView({behavior: 'smooth', block: 'nearest'})
"""


def _connect_rest(watch: _Watch, buttons: tuple[gr.Button, gr.Button]) -> None:
    stop, resume = buttons
    runs = watch.runs

    @friendly
    def stop_training() -> tuple[Any, ...]:
        """Stop the fine-tuning that is going on; what it learned is kept."""
        return watch.show(runs.stop())

    @friendly
    def resume_training() -> tuple[Any, ...]:
        """Go on with the last fine-tuning from its last checkpoint."""
        return watch.show(runs.resume())

    told: dict[str, Any] = {"show_progress": "hidden"}
    stop.click(stop_training, None, watch.outputs, api_name="stop_training", **told)
    resume.click(resume_training, None, watch.outputs, api_name="resume_training", **told)


def _connect_after(
    watch: _Watch, buttons: tuple[gr.Button, gr.Button], tabs: gr.Tabs, after: After
) -> None:
    """Lead from a trained model to where it is asked, and to where it is compared."""
    go, beside = buttons

    def trained() -> Run:
        run = watch.runs.current()
        if run is None or not run.trained:
            raise InputError("There is no trained model yet: start a run, or wait for its end.")
        return run

    @friendly
    def compare_result() -> tuple[Any, ...]:
        run = trained()
        models = [
            choice_of(watch.service, each) for each in (run.config().model, spec_at(run.folder))
        ]
        return gr.Tabs(selected="compare"), *after.compare.choose(models)

    after.checkpoints.opens(go.click, lambda _: (trained(), None))
    shown = [tabs, *after.compare.outputs]
    beside.click(compare_result, None, shown, api_visibility="private")
