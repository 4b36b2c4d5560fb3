"""The settings of a fine-tuning on the page, what they are at first, and what they come to.

Knows the components and turns their values into a ``TrainConfig``; what a person does not choose is
a ``recipe``'s. Does not start anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from florence_demo.data.forms import DEMO_FORMS
from florence_demo.data.reading import open_data
from florence_demo.data.source import DataSource, Spec
from florence_demo.errors import FlorenceDemoError, InputError
from florence_demo.serving.asking import Service
from florence_demo.training.config import BOUNDS, MOST, TrainConfig
from florence_demo.training.estimate import estimate
from florence_demo.training.recipes import first_mode, recipe
from florence_demo.training.trainable import Mode
from florence_demo.ui.numbers import Number, number_of
from florence_demo.ui.pickers import QUIET, Data, DataPicker, Upload, model_choices, model_of

STEPS, PASSES = "steps", "passes over the data"
_MODES: list[tuple[str, Mode]] = [
    ("A small adapter (LoRA)", "lora"),
    ("All but the vision part", "language"),
    ("Everything", "full"),
]
_ROWS_COUNTED = 5_000
"""Rows up to which data is counted for the estimate; more would keep a person waiting."""
_STEPS = replace(BOUNDS["epochs"], most=MOST)
_SHOWN_STEPS = 200
"""Points of the curve: steps beyond are told some at a time."""


@dataclass(frozen=True, eq=False)
class Settings:
    """Hold the components, in the order in which handlers take their values."""

    model: gr.Dropdown
    mode: gr.Radio
    length: gr.Number
    unit: gr.Radio
    batch: gr.Number
    rate: gr.Number
    limit: gr.Number
    answers: gr.Number
    every: gr.Number
    tokens: gr.Number
    precision: gr.Dropdown
    checkpointing: gr.Checkbox
    advice: gr.HTML

    @property
    def inputs(self) -> list[Any]:
        """Those that a person fills in."""
        return [c for c in vars(self).values() if c is not self.advice]

    @property
    def advised(self) -> list[Any]:
        """Those that a recipe fills in."""
        return [
            self.mode, self.length, self.unit, self.batch, self.rate, self.answers, self.every,
            self.tokens, self.advice,
        ]  # fmt: skip


def build_settings(service: Service) -> Settings:
    """Lay out the settings, filled in for nano and the demo's forms."""
    first = recipe("nano", DEMO_FORMS, "full")
    model = gr.Dropdown(
        model_choices(service),
        value="nano",
        label="Start from",
        info="nano learns in minutes without a GPU; the others need one.",
        allow_custom_value=True,
    )
    mode = gr.Radio(_MODES, value="full", label="What learns")
    with gr.Row():
        length = Number(first.steps, minimum=0.01, label="Learn for", min_width=110, scale=1)
        unit = gr.Radio([STEPS, PASSES], value=STEPS, label="Counted in", scale=2, min_width=200)
    advice = gr.HTML(_advice("nano"))
    with gr.Accordion("More settings", open=False):
        with gr.Row():
            batch = _count("Questions a step", first.batch_size)
            rate = Number(first.learning_rate, minimum=0, label="Learning rate", min_width=130)
        with gr.Row():
            limit = _count("Most questions (0: all)", 0)
            tokens = _count("Longest answer, in tokens", first.max_new_tokens)
        with gr.Row():
            answers = _count("Questions to measure with", first.answers)
            every = _count("Measure after steps (0: a pass)", first.eval_every)
        with gr.Row():
            precision = gr.Dropdown(
                ["fp32", "bf16", "fp16"],
                value="fp32",
                label="Number format",
                info="bf16 is faster on a GPU",
                min_width=130,
            )
            checkpointing = gr.Checkbox(
                False, label="Save memory", info="Slower: computes some things twice", min_width=130
            )
    return Settings(
        model, mode, length, unit, batch, rate, limit, answers, every, tokens, precision,
        checkpointing, advice,
    )  # fmt: skip


def _advice(model: str) -> str:
    words = f"Settings to begin with for “{Path(model).name}” are filled in: change what you like."
    return f'<p class="fd-note">{escape(words)}</p>'


def _count(label: str, value: int | None) -> gr.Number:
    return Number(value, precision=0, minimum=0, maximum=MOST, label=label, min_width=130)


def config_of(service: Service, data: Data, values: Sequence[Any]) -> TrainConfig:
    """Return the settings that the components' values stand for, with a recipe beneath.

    Args:
        service: The page's.
        data: What to learn from.
        values: Of ``Settings.inputs``.

    Raises:
        FlorenceDemoError: The model is none, or a setting is missing or makes no sense.
    """
    (
        model, mode, length, unit, batch, rate, limit, answers, every, tokens, precision, saving,
    ) = values  # fmt: skip
    if any(value is None or value == 0 for value in (length, batch, rate, answers, tokens)):
        raise InputError(
            "Fill in every number, more than 0: how long to learn, questions a step, learning rate,"
            " questions to measure with, the longest answer."
        )
    in_steps = unit == STEPS
    length = number_of("Learn for", length, _STEPS if in_steps else BOUNDS["epochs"])
    steps = max(1, round(length)) if in_steps else None
    source = model_of(service, model)
    chosen = next((m for _, m in _MODES if m == mode), None)
    if chosen is None:
        raise InputError("Choose what learns: an adapter, all but the vision part, or everything.")
    start = recipe(source, data.source, chosen)
    found = replace(
        start,
        warmup=min(start.warmup, steps // 4) if steps else start.warmup,
        eval_data=data.held or "",
        epochs=1.0 if in_steps else float(length),
        steps=steps,
        batch_size=number_of("Questions a step", batch, BOUNDS["batch_size"]),
        learning_rate=number_of("Learning rate", rate, BOUNDS["learning_rate"]),
        limit=number_of("Most questions", limit or None, BOUNDS["limit"]),
        answers=number_of("Questions to measure with", answers, BOUNDS["answers"]),
        eval_every=number_of("Measure after steps", every or None, BOUNDS["eval_every"]),
        max_new_tokens=number_of("Longest answer", tokens, BOUNDS["max_new_tokens"]),
        precision=str(precision),
        checkpointing=bool(saving),
        device="cpu" if service.config.device == "cpu" else "auto",
        log_every=max(1, steps // _SHOWN_STEPS) if steps else 5,
    )
    found.check()
    return found


def connect_settings(
    service: Service, picker: DataPicker, settings: Settings, cost: gr.HTML, app: gr.Blocks
) -> None:
    """Fill in a recipe when model, data or mode change, and say what the settings will take."""

    def advise(
        kind: str, folder: Any, upload: Any, hub: str, model: str, mode: Mode | None = None
    ) -> tuple[Any, ...]:
        try:
            data: Spec = picker.chosen(kind, folder, upload, hub).source
        except FlorenceDemoError:
            data = ""  # not chosen yet
        try:
            source = model_of(service, model)
            found = recipe(source, data, mode or first_mode(source))
        except FlorenceDemoError:
            return (gr.skip(),) * len(settings.advised)
        length, unit = (found.steps, STEPS) if found.steps else (found.epochs, PASSES)
        every = found.eval_every or 0
        return (
            found.mode, length, unit, found.batch_size, found.learning_rate, found.answers, every,
            found.max_new_tokens, _advice(source.name),
        )  # fmt: skip

    told = [*picker.inputs, *settings.inputs]
    basis = [*picker.inputs, settings.model]
    # Whoever types fast is answered for what is there at the end.
    once: dict[str, Any] = {**QUIET, "trigger_mode": "always_last"}
    settings.model.input(advise, basis, settings.advised, **once)
    modes = [settings.mode.input, picker.kind.input]
    gr.on(modes, advise, [*basis, settings.mode], settings.advised, **once)
    gr.on([app.load, *(c.change for c in told)], _teller(service, picker), told, cost, **once)


def _teller(service: Service, picker: DataPicker) -> Any:
    """Return what says what the settings will take."""
    counted: dict[DataSource, int] = {}

    def rows_of(data: Data) -> int | None:
        if data.rows is not None or data.remote:
            return data.rows  # counting what is on the hub would fetch it
        if data.source not in counted:
            counted[data.source] = len(open_data(data.source, limit=_ROWS_COUNTED, problems=[]))
        return counted[data.source]

    def tell(kind: str, folder: Any, upload: Upload | None, hub: str, *values: Any) -> str:
        data = None
        try:
            data = picker.chosen(kind, folder, upload, hub)
            config, rows = config_of(service, data, values), rows_of(data)
            card = cost_card(config, rows)
            if rows == _ROWS_COUNTED and not config.steps and not config.limit:
                card += _card(f"This is for the first {rows:,} rows; all of them take longer.")
            return card
        except FlorenceDemoError as exc:
            return _card(data.safe(str(exc)) if data else str(exc))

    return tell


def cost_card(config: TrainConfig, rows: int | None) -> str:
    """Return the estimate of a run as HTML."""
    found = estimate(config, rows)
    if found is None:
        return _card("How long it takes is told once the data and the model are here.")
    if found.fits:
        return _card(found.sentence())
    return _card(found.sentence()) + (
        '<p class="fd-alert" role="status">That is more memory than is free: choose the adapter,'
        " fewer questions a step, or a smaller model.</p>"
    )


def _card(text: str) -> str:
    return f'<p class="fd-said"><b>What it will take</b><br>{escape(text)}</p>'
