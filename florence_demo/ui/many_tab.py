"""The tab "Many pictures": drop them, ask all of them, watch the answers come, take them home.

A job goes on by itself: the page only looks at it, and finds it again after it was loaded anew.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from florence_demo.batch.config import BatchConfig, Which
from florence_demo.batch.exporting import FORMATS
from florence_demo.data.batches import Row, open_picture
from florence_demo.engine.feature_cache import fingerprint
from florence_demo.engine.request import Options
from florence_demo.models.catalogue import MODELS
from florence_demo.pictures.images import as_jpeg, open_image
from florence_demo.prediction import Prediction
from florence_demo.serving.asking import Service
from florence_demo.serving.cards import name_of
from florence_demo.serving.gate import visitor_of
from florence_demo.serving.jobs import (
    DONE,
    FAILED,
    PAUSED,
    TOGETHER,
    WAITING,
    Job,
    Jobs,
)
from florence_demo.serving.questions import Asked
from florence_demo.serving.showing import shown
from florence_demo.serving.taking_home import stem_of
from florence_demo.tasks import TASKS
from florence_demo.ui.ask_tab import Asking, inputs_of
from florence_demo.ui.components import SafeFiles, index_of
from florence_demo.ui.gallery import Gallery, JobStatus
from florence_demo.ui.handlers import as_text, friendly, press
from florence_demo.ui.numbers import Slider
from florence_demo.ui.pickers import QUIET

_AT_A_TIME = 200
"""Cards sent to the browser in one go."""
_EVERY = 1.5
"""Seconds between two looks at a job."""
_CANCEL, _DELETE = "Cancel and delete", "Delete these answers"
_KEPT = "-"
"""What stands for a job's name, and is none, where its answers are not to be deleted after all."""
_NONE = "none"
"""What stands for a job's name where there is none any more; a browser does not remember None."""
# Nothing but the answers is lost: what is to be asked next stays as it is.
_ANEW = f"""
(name, job, ...asked) => [
  job?.done && !confirm(fd.say('The answers of the job before go: they are not kept. Start?'))
    ? '{_KEPT}' : name,
  job, ...asked]
"""
_SURELY = f"name => confirm(fd.say('Delete all answers of this job?')) ? name : '{_KEPT}'"


@dataclass(frozen=True, eq=False)
class _Tab:
    """Hold the tab's components."""

    files: SafeFiles
    tasks: gr.Dropdown
    words: gr.Textbox
    model: gr.Dropdown
    every: Slider
    pages: gr.Textbox
    beams: Slider
    start: gr.Button
    status: JobStatus
    pause: gr.Button
    resume: gr.Button
    cancel: gr.Button
    saving: gr.Row
    kind: gr.Dropdown
    save: gr.Button
    file: gr.DownloadButton
    gallery: Gallery
    name: gr.BrowserState
    sent: gr.State
    timer: gr.Timer

    @property
    def asked(self) -> list[Any]:
        """What a job is made of, in the order in which the handler takes the values."""
        return [
            self.files, self.tasks, self.words, self.model, self.every, self.pages, self.beams,
        ]  # fmt: skip

    @property
    def outputs(self) -> list[Any]:
        """Those that show a job."""
        return [
            self.status, self.pause, self.resume, self.cancel, self.start, self.saving,
            self.gallery, self.sent, self.timer,
        ]  # fmt: skip


def build_many_tab(service: Service, opening: gr.Tab, tabs: gr.Tabs, asking: Asking) -> None:
    """Lay out the tab and connect it.

    Args:
        service: The page's.
        opening: The tab itself, to look for a job when it is opened.
        tabs: The page's tabs, to go to the one for asking.
        asking: What is there, where a card is opened.
    """
    jobs = Jobs(service)
    tab = _laid_out(service, jobs)
    _connect_start(service, jobs, tab)
    _connect_rest(jobs, tab, opening)
    _connect_opening(service, jobs, tab, tabs, asking)


def _laid_out(service: Service, jobs: Jobs) -> _Tab:
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300):
            files = SafeFiles(
                label="Pictures, a zip of them, a PDF or a short video",
                file_count="multiple",
                height=150,
            )
            gr.HTML(f'<p class="fd-note" data-words>{html.escape(jobs.limits.sentence())}</p>')
            asks = [(t.title, t.name) for t in TASKS.values() if t.asks != "region"]
            tasks = gr.Dropdown(
                asks, value=["od"], multiselect=True, max_choices=6, label="What to ask of each"
            )
            words = gr.Textbox("", label="Words", visible=False, max_lines=3)
            model = gr.Dropdown(
                [(spec.label, spec.name) for spec in MODELS.values()],
                value=service.config.model,
                label="Model",
                allow_custom_value=service.config.open_hub or service.config.model not in MODELS,
            )
            with gr.Accordion("Advanced", open=False):
                every = Slider(
                    0.1, 60, 1, step=0.1, label="Of a video, a picture every so many seconds"
                )
                pages = gr.Textbox(
                    "", label="Of a PDF, these pages", placeholder="1-5,9", max_lines=1
                )
                beams = Slider(1, 5, 3, step=1, label="Care", info="More is slower, steadier")
            start = gr.Button("Start", variant="primary", size="lg")
        with gr.Column(scale=8, min_width=320):
            status = JobStatus()
            with gr.Row():
                pause = gr.Button("Pause", size="sm", visible=False)
                resume = gr.Button("Go on", size="sm", variant="primary", visible=False)
                cancel = gr.Button(_CANCEL, size="sm", variant="stop", visible=False)
            gallery = Gallery()
            with gr.Row(equal_height=True, visible=False, elem_classes="fd-save") as saving:
                kind = gr.Dropdown(
                    [(f"{about[0].upper()}{about[1:]}", name) for name, (about, _) in
                     FORMATS.items()],
                    value="csv", show_label=False, label="Download as", container=False, scale=3,
                )  # fmt: skip
                save = gr.Button("Download", scale=1, min_width=110)
            file = gr.DownloadButton(visible="hidden", elem_id="fd-save-many")
    name, sent = gr.BrowserState(None, storage_key="fd-many"), gr.State(0)
    timer = gr.Timer(_EVERY, active=False)
    return _Tab(
        files, tasks, words, model, every, pages, beams, start, status, pause, resume, cancel,
        saving, kind, save, file, gallery, name, sent, timer,
    )  # fmt: skip


_WORDY = {
    task.name: {"label": task.text_label, "example": task.example}
    for task in TASKS.values()
    if task.asks == "text"
}
# One field for all: it is called as the question calls it, where there is one.
_WORDS = f"""
names => {{
  const wordy = {json.dumps(_WORDY)}, asked = names.filter(name => name in wordy);
  const several = {{label: 'Words', example: ''}};
  const {{label, example}} = asked.length === 1 ? wordy[asked[0]] : several;
  return {{
    visible: asked.length > 0, label: fd.say(label), __type__: 'update',
    placeholder: example ? fd.say('For example: {{words}}', {{words: example}}) : '',
    info: asked.length > 1 ? fd.say('The same words go to each of these questions.') : '',
  }};
}}
"""


def _connect_start(service: Service, jobs: Jobs, tab: _Tab) -> None:
    tab.tasks.change(None, tab.tasks, tab.words, js=_WORDS)

    @friendly
    def start(
        before: str | None,
        _: Any,
        files: list[Path] | None,
        tasks: list[str],
        words: str,
        model: str,
        every: float,
        pages: str,
        beams: float,
        request: gr.Request,
    ) -> tuple[Any, ...]:
        if before == _KEPT:
            return tuple(gr.skip() for _ in (tab.name, *tab.outputs))
        spec = service.check_model(model)
        options = Options.given(Options().max_new_tokens, beams)
        wordy = any(name in _WORDY for name in tasks or ())

        def config(source: Path, out: Path) -> BatchConfig:
            which = Which(True, "", pages or "", f"{every:g}s", jobs.limits.pictures)
            return BatchConfig(
                (str(source),),
                tuple(tasks or ()),
                words if wordy else "",
                out,
                which,
                options,
                model=spec.name,
                batch_size=TOGETHER,
                workers=2,
            )

        job = jobs.start(files or [], config, spec, visitor_of(request))
        gone = jobs.find(before)
        if gone:
            jobs.cancel(gone)
        return job.name, *_look(jobs, job, 0)

    tab.start.click(
        start, [tab.name, tab.status, *tab.asked], [tab.name, *tab.outputs], js=_ANEW,
        api_visibility="private", show_progress_on=tab.status, show_progress="minimal",
    )  # fmt: skip


def _connect_rest(jobs: Jobs, tab: _Tab, opening: gr.Tab) -> None:
    @friendly
    def look(name: str | None, sent: int) -> tuple[Any, ...]:
        job = jobs.find(name)
        return _look(jobs, job, sent) if job else _nothing(name not in (None, _NONE))

    @friendly
    def again(name: str | None) -> tuple[Any, ...]:
        return look(name, 0)

    def acting(act: Callable[[Job], None]) -> Callable[..., tuple[Any, ...]]:
        @friendly
        def handler(name: str | None, sent: int) -> tuple[Any, ...]:
            job = jobs.get(name)
            act(job)
            return _look(jobs, job, sent)

        return handler

    @friendly
    def cancel(name: str | None) -> tuple[Any, ...]:
        if name == _KEPT:
            return tuple(gr.skip() for _ in (tab.name, *tab.outputs))
        job = jobs.find(name)
        if job:
            jobs.cancel(job)
        return _NONE, *_nothing(False)

    @friendly
    def download(name: str | None, kind: str) -> str:
        return str(jobs.packed(jobs.get(name), kind))

    tab.save.click(
        download, [tab.name, tab.kind], tab.file, api_visibility="private",
        concurrency_limit=2, concurrency_id="packing",
    ).success(
        None, None, None, js=press(tab.file)
    )  # fmt: skip
    seen = [tab.name, tab.sent]
    tab.timer.tick(look, seen, tab.outputs, **QUIET)
    # What stands on a tab is there only once it is opened, the name of a job too.
    opening.select(again, tab.name, tab.outputs, **QUIET)
    tab.pause.click(acting(jobs.pause), seen, tab.outputs, api_visibility="private")
    tab.resume.click(acting(jobs.resume), seen, tab.outputs, api_visibility="private")
    tab.cancel.click(
        cancel, tab.name, [tab.name, *tab.outputs], api_visibility="private", js=_SURELY
    )


def _connect_opening(
    service: Service, jobs: Jobs, tab: _Tab, tabs: gr.Tabs, asking: Asking
) -> None:
    """Open a card where one picture is asked about: all that can be done there can be done then."""
    q, answer = asking.surface.question, asking.surface.answer

    @friendly
    def open_card(name: str | None, event: gr.EventData) -> tuple[Any, ...]:
        job = jobs.get(name)
        row = job.rows[index_of(event, len(job.rows))]
        image = open_picture(row)
        source = str(row["source"])
        own = stem_of(source) + name_of(row).removeprefix(source)  # its page or second as well
        file = service.scratch.keep(as_jpeg(image), f"{own}.jpg")
        image = open_image(file)
        picker, view = service.prepare(image)
        task, told = _chosen(row, getattr(event, "task", 0))
        to = [gr.Tabs(selected="try"), str(file), picker, task, job.config.text]
        if "error" in told:
            return *to, {**view, "hint": told["error"]}, None, "", None
        found = Prediction.from_json({**told, "picture": fingerprint(image)})
        asked = Asked.of(TASKS[task], job.config.text, None).sentence()
        seen = {**view, **shown(found), "question": asked, "meta": found.model}
        return *to, seen, found.parsed, found.raw, found

    asking.makes_room_for(tab.gallery.pick)
    picked = tab.gallery.pick(
        open_card,
        tab.name,
        [tabs, q.picture, q.picker, q.menu, q.words, *answer.outputs],
        api_visibility="private",
    )
    inputs_of(asking.surface).switch_after(picked.then)


def _chosen(row: Row, at: object) -> tuple[str, dict[str, Any]]:
    """Return which of a row's tasks was looked at, and what was answered."""
    answers: list[tuple[str, dict[str, Any]]] = list(row.get("answers", {}).items())
    if isinstance(at, int) and 0 <= at < len(answers):
        return answers[at]
    return "caption", {"error": row.get("error", "There is no answer.")}


def _nothing(gone: bool) -> tuple[Any, ...]:
    hidden = gr.update(visible=False)
    return (
        {"gone": gone}, hidden, hidden, hidden, gr.update(interactive=True), hidden, {"job": ""},
        0, gr.Timer(active=False),
    )  # fmt: skip


def _look(jobs: Jobs, job: Job, sent: int) -> tuple[Any, ...]:
    """Return a job as the outputs show it, with the cards that came since."""
    start = sent if isinstance(sent, int) and 0 <= sent <= len(job.cards) else 0
    cards = job.cards[start : start + _AT_A_TIME]
    value = {
        "job": job.name,
        "tasks": [TASKS[name].title for name in job.config.tasks],
        "from": start,
        "cards": cards,
    }
    more = start + len(cards) < len(job.cards)
    return (
        _status(jobs, job),
        gr.update(visible=job.live, interactive=not job.asked_to_stop.is_set()),
        gr.update(visible=job.state in (PAUSED, FAILED)),
        gr.update(visible=True, value=_CANCEL if job.live else _DELETE),
        gr.update(interactive=not job.live),
        gr.update(visible=bool(job.cards)),
        value if cards or not start else gr.skip(),
        start + len(cards),
        gr.Timer(active=job.live or more),
    )


def _status(jobs: Jobs, job: Job) -> dict[str, Any]:
    """Return how far a job is, as ``JobStatus`` shows it."""
    told = job.outcome
    done, total = told.rows, job.total
    speed = told.answered / told.seconds if told.seconds and job.live else 0.0
    ended = job.state == DONE
    return {
        "state": job.state,
        "share": round(100 * (1 if ended else done / total if total else 0), 1),
        "done": done - told.failed,
        "total": total,
        "failed": told.failed,
        "before": jobs.ahead_of(job) if job.state == WAITING else 0,
        "speed": round(speed, 1),
        "left": (total - done) / speed if speed and total and total > done else 0,
        "seconds": told.seconds if ended else 0,
        "problem": as_text(job.problem),
        "passed": list(job.passed_over),
    }
