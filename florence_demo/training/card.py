"""The model card of a run, as the hub reads it: what it learned, from what, how right it is.

Knows a run's settings and its outcome. A path of this machine is nobody else's business: of a
folder, only its name is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePath

from florence_demo.data.reading import as_source
from florence_demo.data.saved_sets import id_of
from florence_demo.data.source import Spec
from florence_demo.models.catalogue import is_hub_name
from florence_demo.training.config import Result, TrainConfig
from florence_demo.training.status import OTHER

_MICROSOFT = ("microsoft/", "florence-community/")
_NOTICE = (
    "It is a fine-tune of Florence-2, Copyright (c) Microsoft Corporation, under the MIT licence:"
    " keep this notice with every copy."
)
_TOLD = (
    *("mode", "steps", "epochs", "batch_size", "learning_rate", "schedule", "warmup"),
    *("weight_decay", "max_grad_norm", "lora_rank", "lora_alpha", "quantize", "precision", "seed"),
)


def model_card(
    config: TrainConfig, result: Result, base: tuple[str, str | None], origin: str | None = None
) -> str:
    """Return the text of a run's README.md.

    Args:
        config: Its settings.
        result: What it came to.
        base: What it started from: its id on the hub, name or folder, and the revision.
        origin: What that says it was fine-tuned from itself.
    """
    licence = _licence(base[0]) or _licence(origin or "")
    front, body = _front(config, base, bool(licence)), _body(config, result, base, licence)
    return "\n".join((*front, "", *body, ""))


def _front(config: TrainConfig, base: tuple[str, str | None], is_mit: bool) -> Iterator[str]:
    """Yield the lines between the rules, which the hub reads; JSON is YAML, whatever is quoted."""
    name, _ = base
    yield "---"
    if is_mit:
        yield "license: mit"
    if is_hub_name(name):
        yield f"base_model: {json.dumps(name)}"
    data = as_source(config.data)
    if data.format == "hub":
        yield f"datasets: [{json.dumps(id_of(data.location)[0])}]"
    yield "library_name: transformers"
    yield "pipeline_tag: image-text-to-text"
    yield f"tags: [florence2{', lora' if config.mode == 'lora' else ''}]"
    yield "---"


def _body(
    config: TrainConfig, result: Result, base: tuple[str, str | None], licence: str
) -> Iterator[str]:
    name, revision = base
    shown = f"{_short(name)} at {revision}" if revision else _short(name)
    yield f"# {result.folder.name}"
    yield ""
    yield f"A Florence-2 that was fine-tuned from {shown} on {_data(config.data)}."
    yield (
        f"{result.trainable:,} of {result.parameters:,} parameters learned, in {result.steps:,}"
        f" steps and {result.minutes:.1f} minutes{', and was stopped' if result.stopped else ''}."
    )
    yield ""
    held = _data(config.eval_data) if config.eval_data else "pictures it did not learn from"
    if result.before or result.after:
        yield f"## Before and after, on {held}"
        yield ""
        yield "| | before | after |"
        yield "|---|---|---|"
        keys = list(dict.fromkeys((*result.before, *result.after)))
        for key in keys:
            yield f"| {key} | {_number(result.before, key)} | {_number(result.after, key)} |"
        yield ""
        if any(key.startswith(OTHER) for key in keys):
            yield f"“{OTHER.strip()}” is what it did not learn here: it tells what was lost."
            yield ""
    yield "## Settings"
    yield ""
    yield "| | |"
    yield "|---|---|"
    for field in _TOLD:
        value = getattr(config, field)
        no_adapter = config.mode != "lora"
        unused = {
            "lora_rank": no_adapter,
            "lora_alpha": no_adapter,
            "quantize": not config.quantize,
            "epochs": config.steps is not None,
        }
        if value is not None and not unused.get(field):
            yield f"| {field} | {value} |"
    yield ""
    yield "## Licence"
    yield ""
    yield licence or (
        f"That of what it was fine-tuned from, {_short(name)}: name it here, and in the first lines"
        " of this file, before you share the model."
    )


def _licence(base: str) -> str:
    """Return the notice of a base's licence, "" where it is not known."""
    if base.startswith(_MICROSOFT):
        return _NOTICE
    return "MIT, as nano is." if base == "nano" else ""


def _short(name: str) -> str:
    return name if is_hub_name(name) else PurePath(name).name


def _data(data: Spec) -> str:
    source = as_source(data)
    shown = str(source) if source.format == "hub" else PurePath(source.location).name
    return f"“{shown}”"


def _number(numbers: dict[str, float], key: str) -> str:
    return f"{numbers[key]:.3f}" if key in numbers else ""
