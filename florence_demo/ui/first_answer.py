"""From a run to a first answer: a sample of its data on the canvas, its question beside it.

Knows runs, their samples and the asking surface. Does not know tabs, or which model is loaded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from florence_demo.engine.feature_cache import fingerprint
from florence_demo.errors import InputError
from florence_demo.pictures.images import open_image
from florence_demo.serving.asking import Service
from florence_demo.serving.config import AppConfig
from florence_demo.serving.questions import Asked
from florence_demo.serving.showing import shown
from florence_demo.tasks import TASKS
from florence_demo.training.runs import Run
from florence_demo.training.samples import Sample, samples_of
from florence_demo.ui.ask_layout import Surface

_LIVE = "The run still goes on: what it learned can be asked when it has ended."
_LOST = "This run kept no model that could be asked."
_ASK = "A picture that it did not learn from. Press Ask."
_AGAIN = "Press Ask to ask it anew."
_NO_SAMPLE = "This run kept no sample of its data: put a picture of your own in, and ask."


def shows_data(config: AppConfig) -> bool:
    """Whether visitors see samples of what runs learned from.

    On a page for strangers only where they may train, which says so before they give data.
    """
    return config.training or not config.public


def filled(surface: Surface) -> list[Any]:
    """Return the components of a surface that ``values`` fills in."""
    q = surface.question
    return [q.picture, q.picker, q.menu, q.words, *surface.answer.outputs]


def values(service: Service, run: Run, number: int | None) -> tuple[Any, ...]:
    """Return the picture, the question and, of a chosen sample, its answer, for ``filled``.

    Args:
        service: The page's.
        run: The run.
        number: Which of its samples is looked at, with what it answered as it learned; None takes
            the first one and leaves the answer to whoever asks.

    Raises:
        FlorenceDemoError: There is no such sample, or its picture cannot be read.
    """
    sample = _sample(run, number) if shows_data(service.config) else None
    if sample is None:
        if number is not None:
            raise InputError(_NO_SAMPLE)
        return *(gr.skip() for _ in range(4)), {"hint": _NO_SAMPLE}, None, "", None
    assert sample.whole is not None
    image = open_image(sample.whole)
    file = service.scratch.keep(sample.whole.read_bytes(), f"{run.name}.jpg")
    picker, view = service.prepare(image)
    picker["box"] = sample.region
    to = (str(file), picker, sample.task, sample.text)
    lost = "" if run.trained else _LIVE if run.live else _LOST
    if number is None:
        return *to, {**view, "hint": lost or _ASK}, None, "", None
    model = run.name if sample.step is None else f"{run.name}, after step {sample.step:,}"
    given, wanted = sample.given(image.size, model), sample.wanted(image.size)
    seen = {**view, **shown(given), "hint": ""}
    seen["question"] = Asked.of(TASKS[sample.task], sample.text, sample.region).sentence()
    told = f"Answered by {model}. {lost or _AGAIN}"
    seen["notices"] = [f"Wanted: {wanted.sentence()}", told]
    return *to, seen, given.parsed, given.raw, replace(given, picture=fingerprint(image))


def _sample(run: Run, number: int | None) -> Sample | None:
    samples = samples_of(run.folder, run.status)
    chosen = samples if number is None else samples[number : number + 1]
    return next((sample for sample in chosen if sample.can_be_asked), None)
