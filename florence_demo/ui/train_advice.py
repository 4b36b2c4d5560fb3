"""What the page says of a fine-tuning before it starts: a recipe's settings, and what it will take.

Knows when to look again: whenever a person changes something. Does not know single settings.
"""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from florence_demo.data.chosen import Data, Upload
from florence_demo.data.reading import open_data
from florence_demo.data.source import DataSource, Spec
from florence_demo.errors import FlorenceDemoError
from florence_demo.serving.asking import Service
from florence_demo.training.config import TrainConfig
from florence_demo.training.estimate import estimate
from florence_demo.training.recipes import first_mode, recipe
from florence_demo.training.trainable import Mode
from florence_demo.ui.pickers import QUIET, DataPicker, model_of
from florence_demo.ui.train_settings import Settings, config_of

_ROWS_COUNTED = 5_000
"""Rows up to which data is counted for the estimate; more would keep a person waiting."""


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
        return settings.filled(found)

    told = [*picker.inputs, *settings.inputs]
    chosen, learns = settings.components["model"], settings.components["mode"]
    basis = [*picker.inputs, chosen]
    chosen.input(advise, basis, settings.advised, **QUIET)
    modes = [learns.input, picker.kind.input]
    gr.on(modes, advise, [*basis, learns], settings.advised, **QUIET)
    gr.on([app.load, *(c.change for c in told)], _teller(service, picker), told, cost, **QUIET)


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
