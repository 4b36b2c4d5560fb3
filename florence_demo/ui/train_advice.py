"""What the page says of a fine-tuning before it starts: a recipe's settings, and what it will take.

Knows when to look again: whenever a person changes something. Does not know single settings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from florence_demo.data.chosen import Data, Upload
from florence_demo.data.source import Spec
from florence_demo.errors import FlorenceDemoError
from florence_demo.serving.asking import Service
from florence_demo.serving.own_models import model_of
from florence_demo.training.config import TrainConfig
from florence_demo.training.estimate import cache_fits, estimate, fitted
from florence_demo.training.recipes import first_mode, recipe
from florence_demo.training.trainable import Mode
from florence_demo.ui.languages import ours
from florence_demo.ui.pickers import QUIET, DataPicker
from florence_demo.ui.train_samples import ROWS_READ, Looking, shown
from florence_demo.ui.train_settings import Settings, config_of


@dataclass(frozen=True, eq=False)
class Told:
    """Hold where the page tells what is chosen: some of the data, and what a run will take."""

    samples: gr.HTML
    cost: gr.HTML


def connect_settings(
    service: Service, picker: DataPicker, settings: Settings, told: Told, app: gr.Blocks
) -> None:
    """Fill in a recipe when model, data or mode change; show the data and what it will take."""

    def advise(
        kind: str, folder: Any, upload: Any, hub: str, model: str, mode: Mode | None = None
    ) -> tuple[Any, ...]:
        data: Spec = ""  # not chosen yet
        rows = None
        try:
            picked = picker.chosen(kind, folder, upload, hub)
            data, rows = picked.source, picked.rows
        except FlorenceDemoError:
            pass
        try:
            source = model_of(service, model)
            found = recipe(source, data, mode or first_mode(source))
            found = replace(found, cache=cache_fits(found, rows))
        except FlorenceDemoError:
            return (gr.skip(),) * len(settings.advised)
        return settings.filled(found)

    looking = Looking()
    given = [*picker.inputs, *settings.inputs]
    chosen, learns = settings.components["model"], settings.components["mode"]
    basis = [*picker.inputs, chosen]
    chosen.input(advise, basis, settings.advised, **QUIET)
    modes = [learns.input, picker.kind.input]
    gr.on(modes, advise, [*basis, learns], settings.advised, **QUIET)
    teller = _teller(service, picker, looking)
    gr.on([app.load, *(c.change for c in given)], teller, given, told.cost, **QUIET)

    def show(kind: str, folder: Any, upload: Upload | None, hub: str) -> str:
        try:
            data = picker.chosen(kind, folder, upload, hub)
        except FlorenceDemoError:
            return ""  # not chosen yet
        return shown(looking, data)

    looks = [app.load, *(c.change for c in picker.inputs)]
    # Nobody waits for what another visitor's set takes to read.
    gr.on(looks, show, picker.inputs, told.samples, **QUIET, concurrency_limit=_LOOKS)


_LOOKS = 3
"""Sets that are looked at at a time, of all visitors."""


def _teller(service: Service, picker: DataPicker, looking: Looking) -> Any:
    """Return what says what the settings will take."""

    def rows_of(data: Data) -> int | None:
        if data.rows is not None or data.remote:
            return data.rows  # counting what is on the hub would fetch it
        return looking.look(data).rows

    def tell(kind: str, folder: Any, upload: Upload | None, hub: str, *values: Any) -> str:
        data = None
        try:
            data = picker.chosen(kind, folder, upload, hub)
            config, rows = config_of(service, data, values), rows_of(data)
            card = cost_card(config, rows)
            if rows == ROWS_READ and not config.steps and not config.limit:
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
    if found.fits or rows is None:
        return _card(found.sentence())
    smaller, said = fitted(config, rows)
    if said:
        found = estimate(smaller, rows) or found
        return _card(found.sentence(), said)
    return f'{_card(found.sentence())}<p class="fd-alert" role="status">{ours(_TOO_MUCH)}</p>'


_TOO_MUCH = (
    "That is more memory than is free: choose the add-on, fewer questions a step, or a smaller"
    " model."
)


def _card(*sentences: str) -> str:
    told = " ".join(map(ours, sentences))
    return f'<p class="fd-said">{ours("What it will take", "b")}<br>{told}</p>'
