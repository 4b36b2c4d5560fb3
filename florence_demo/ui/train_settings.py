"""The settings of a fine-tuning on the page: a table of them, and what their values come to.

Knows the components and turns their values into a ``TrainConfig``; what a person does not choose is
a ``recipe``'s. To add a setting, add it to ``SETTINGS``. Does not start anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from florence_demo.data.chosen import Data
from florence_demo.data.forms import DEMO_FORMS
from florence_demo.errors import InputError
from florence_demo.serving.asking import Service
from florence_demo.serving.own_models import model_of
from florence_demo.training.config import BOUNDS, MOST, TrainConfig
from florence_demo.training.recipes import recipe, source_of
from florence_demo.training.trainable import Mode
from florence_demo.ui.languages import ours
from florence_demo.ui.numbers import Number, number_of
from florence_demo.ui.pickers import model_choices
from florence_demo.ui.run_words import MODES

STEPS, PASSES = "in_steps", "in_passes"  # no words of the page: gradio would translate them
_MODES: list[tuple[str, Mode]] = [(title, mode) for mode, title in MODES.items()]
_STEPS = replace(BOUNDS["epochs"], most=MOST)
_SHOWN_STEPS = 200
"""Points of the curve: steps beyond are told some at a time."""

Values = Mapping[str, Any]
"""What the components hold, by the settings' names; from a browser, so not to be believed."""


@dataclass(frozen=True)
class Setting:
    """Hold one setting: how it is asked for, and what its value means.

    Attributes:
        name: What programs call it.
        build: From the page's service and a first value to its component.
        shown: From the settings of a run to the component's value.
        read: From all values to fields of ``TrainConfig``; raises where they make no sense.
        row: Settings of one row stand side by side; those from ``_MORE`` on are folded away.
        advised: Whether a recipe fills it in, rather than a person alone.
        needed: What the page calls a number that must be filled in, "" for others.
    """

    name: str
    build: Callable[[Service, Any], Any]
    shown: Callable[[TrainConfig], Any]
    read: Callable[[Service, Values], dict[str, Any]]
    row: int
    advised: bool = True
    needed: str = ""


def number_setting(name: str, field: str, label: str, row: int, info: str = "") -> Setting:
    """Return a setting that is one number of ``TrainConfig``; 0 leaves it out where it may be.

    Args:
        name: What programs call it.
        field: Of ``TrainConfig``; it says what the number may be.
        label: What the page calls it; what follows a bracket or a comma is no part of its name.
        row: As in ``Setting``.
        info: What else a person should know, the field's name for it.
    """
    bounds = BOUNDS[field]
    called = re.split(r" \(|,", label)[0]
    counted: dict[str, Any] = {"precision": 0, "maximum": MOST} if bounds.whole else {}

    def read(_: Service, values: Values) -> dict[str, Any]:
        value = (values[name] or None) if bounds.optional else values[name]
        return {field: number_of(called, value, bounds)}

    return Setting(
        name,
        lambda _, value: Number(
            value, minimum=0, label=label, info=info or None, min_width=130, **counted
        ),
        lambda config: getattr(config, field) or 0,
        read,
        row,
        needed="" if bounds.optional else called,
    )


def _model_menu(service: Service, value: Any) -> gr.Dropdown:
    return gr.Dropdown(
        model_choices(service),
        value=value,
        label="Start from",
        info="nano learns in minutes without a GPU; the others need one.",
        allow_custom_value=True,
    )


def _precision_menu(_: Service, value: Any) -> gr.Dropdown:
    return gr.Dropdown(
        ["fp32", "bf16", "fp16"],
        value=value,
        label="Number format",
        info="bf16 is faster on a GPU",
        min_width=130,
    )


def _saving_box(_: Service, value: Any) -> gr.Checkbox:
    info = "Slower: computes some things twice"
    return gr.Checkbox(value, label="Save memory", info=info, min_width=130)


def _looking_box(_: Service, value: Any) -> gr.Checkbox:
    info = "Keeps what the vision part sees on disk: for a vision part that does not learn"
    return gr.Checkbox(value, label="Look at each picture once", info=info)


def _read_mode(_: Service, values: Values) -> dict[str, Any]:
    chosen = next((mode for _, mode in _MODES if mode == values["mode"]), None)
    if chosen is None:
        raise InputError("Choose what learns: an add-on, the language part, or everything.")
    return {"mode": chosen}


def _read_length(_: Service, values: Values) -> dict[str, Any]:
    in_steps = values["counted_in"] == STEPS
    length = number_of("Learn for", values["learn_for"], _STEPS if in_steps else BOUNDS["epochs"])
    if in_steps:
        return {"steps": max(1, round(length)), "epochs": 1.0}
    return {"steps": None, "epochs": float(length)}


_MORE = 4
"""The first row under "More settings"."""

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "model",
        _model_menu,
        lambda config: config.model,
        lambda service, values: {"model": model_of(service, values["model"])},
        row=0,
        advised=False,
    ),
    Setting(
        "mode",
        lambda _, value: gr.Radio(_MODES, value=value, label="What learns"),
        lambda config: config.mode,
        _read_mode,
        row=1,
    ),
    Setting(
        "look_once",
        _looking_box,
        lambda config: config.cache,
        lambda _, values: {"cache": bool(values["look_once"])},
        row=2,
    ),
    Setting(
        "learn_for",
        lambda _, value: Number(value, minimum=0.01, label="Learn for", min_width=110, scale=1),
        lambda config: config.steps or config.epochs,
        _read_length,
        row=3,
        needed="Learn for",
    ),
    Setting(
        "counted_in",
        lambda _, value: gr.Radio(
            [("Steps", STEPS), ("Passes over the data", PASSES)],
            value=value,
            label="Counted in",
            scale=2,
            min_width=200,
        ),
        lambda config: STEPS if config.steps else PASSES,
        lambda *_: {},  # the length is read with it
        row=3,
    ),
    number_setting(
        "questions_a_step",
        "batch_size",
        "Questions a step",
        row=4,
        info="Batch size: more is steadier, and takes more memory",
    ),
    number_setting(
        "learning_rate",
        "learning_rate",
        "How far a step goes",
        row=4,
        info="Learning rate: more learns faster, too much learns nothing",
    ),
    replace(
        number_setting("most_questions", "limit", "Most questions (0: all)", row=5), advised=False
    ),
    number_setting(
        "measuring_questions",
        "answers",
        "Questions to measure with",
        row=6,
        info="Fewer than ten say little",
    ),
    number_setting("measure_after_steps", "eval_every", "Measure after steps (0: a pass)", row=6),
    number_setting(
        "longest_answer",
        "max_new_tokens",
        "Longest answer, in tokens",
        row=5,
        info="A token is about four letters",
    ),
    Setting(
        "number_format",
        _precision_menu,
        lambda config: config.precision,
        lambda _, values: {"precision": str(values["number_format"])},
        row=7,
        advised=False,
    ),
    Setting(
        "save_memory",
        _saving_box,
        lambda config: config.checkpointing,
        lambda _, values: {"checkpointing": bool(values["save_memory"])},
        row=7,
        advised=False,
    ),
)
"""All settings, in the order in which programs give them. To add one, add it here."""


@dataclass(frozen=True, eq=False)
class Settings:
    """Hold the components by the settings' names, and what is said of the recipe."""

    components: dict[str, Any]
    advice: gr.HTML

    @property
    def inputs(self) -> list[Any]:
        """Those that a person fills in, in the order of ``SETTINGS``."""
        return list(self.components.values())

    @property
    def advised(self) -> list[Any]:
        """Those that a recipe fills in."""
        return [*(self.components[s.name] for s in SETTINGS if s.advised), self.advice]

    def filled(self, found: TrainConfig) -> tuple[Any, ...]:
        """Return the values of ``advised`` for the settings of a recipe."""
        return *(s.shown(found) for s in SETTINGS if s.advised), _advice(found)


def build_settings(service: Service) -> Settings:
    """Lay out the settings, filled in for nano and the demo's forms."""
    first = recipe("nano", DEMO_FORMS, "full")
    made: dict[str, Any] = {}

    def build(rows: Iterable[int]) -> None:
        for row in rows:
            beside = [s for s in SETTINGS if s.row == row]
            with gr.Row() if len(beside) > 1 else nullcontext():
                made.update({s.name: s.build(service, s.shown(first)) for s in beside})

    rows = sorted({s.row for s in SETTINGS})
    build(row for row in rows if row < _MORE)
    advice = gr.HTML(_advice(first))
    with gr.Accordion("More settings", open=False):
        build(row for row in rows if row >= _MORE)
    return Settings({s.name: made[s.name] for s in SETTINGS}, advice)


def _advice(found: TrainConfig) -> str:
    named = Path(str(found.model)).name
    words = f"Settings to begin with for “{named}” are filled in: change what you like."
    said = [source_of(found.model, found.data, found.mode)]
    if found.mode != "full":
        said.append(_ONCE)
    why = "".join(ours(text, "p", "fd-note") for text in said)
    return (
        f'{ours(words, "p", "fd-note")}<details class="fd-why">'
        f"{ours('Where they come from', 'summary')}{why}</details>"
    )


_ONCE = (
    "Nothing changes the pictures here, and the vision part does not learn: looking at each picture"
    " once made a step of the base size 10.6 times as fast as the loop of the 2024 article on two"
    " cores, and 21.7 times on an H100."
)


def config_of(service: Service, data: Data, values: Sequence[Any]) -> TrainConfig:
    """Return the settings that the components' values stand for, with a recipe beneath.

    Args:
        service: The page's.
        data: What to learn from.
        values: Of ``Settings.inputs``.

    Raises:
        FlorenceDemoError: The model is none, or a setting is missing or makes no sense.
    """
    given = {s.name: value for s, value in zip(SETTINGS, values, strict=True)}
    for setting in SETTINGS:
        if setting.needed and (given[setting.name] is None or given[setting.name] == 0):
            raise InputError(f"Fill in “{setting.needed}”: a number that is more than 0.")
    chosen: dict[str, Any] = {}
    for setting in SETTINGS:
        chosen.update(setting.read(service, given))
    start = recipe(chosen["model"], data.source, chosen["mode"])
    steps = chosen["steps"]
    found = replace(
        start,
        **chosen,
        warmup=min(start.warmup, steps // 4) if steps else start.warmup,
        eval_data=data.held or "",
        device="cpu" if service.config.device == "cpu" else "auto",
        log_every=max(1, steps // _SHOWN_STEPS) if steps else 5,
    )
    found.check()
    return found
