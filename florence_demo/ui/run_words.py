"""What a person reads of a run: what it learned, from what, how right it is.

Knows a run's settings and numbers, and words for them. Does not know layout. A path of this machine
is nobody's business: of a folder, only its name is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from florence_demo.data.forms import FORMS
from florence_demo.data.source import Spec
from florence_demo.errors import InputError, plain
from florence_demo.evaluation.report import LEAST, TOO_FEW
from florence_demo.evaluation.scoring import metric_named
from florence_demo.models.catalogue import Named, is_hub_name
from florence_demo.tasks import TASKS
from florence_demo.training.config import TrainConfig
from florence_demo.training.runs import DATA_FOLDER, Run
from florence_demo.training.status import OTHER, Status, is_number
from florence_demo.training.trainable import Mode

MODES: dict[Mode, str] = {
    "lora": "A small add-on (LoRA)",
    "language": "Language part only",
    "full": "Everything",
}
"""What learns, for a person who chooses it."""
_LEARNED: dict[Mode, str] = {
    "lora": "a small add-on (LoRA)",
    "language": "language part only",
    "full": "all of it",
}

_MOST = 200
"""Letters of a name that a stranger's file may hold."""


def trained_words(run: Run) -> str:
    """Return what a run did: "Trained 20 steps on demo forms from nano; language part only."."""
    status = run.status
    try:
        config = run.config()
    except InputError:
        return f"Trained {_steps(status)}."  # by another version
    learned = _LEARNED[config.mode]
    data, start = data_words(config.data), model_words(config.model)
    if run.live:
        return f"Learning {data}, from {start}; {learned}."
    return f"Trained {_steps(status)} on {data} from {start}; {learned}."


def _steps(status: Status) -> str:
    done = f"{status.step:,}"
    if status.steps > status.step:
        return f"{done} of {status.steps:,} steps"
    return f"{done} step{'' if status.step == 1 else 's'}"


def data_words(data: Spec) -> str:
    """Return what a person calls the data of a run; no path."""
    name = data if isinstance(data, str) else data.location
    if name.startswith(FORMS):
        return "demo forms"
    if isinstance(data, str) and is_hub_name(name.partition("#")[0]):
        return plain(name, _MOST)
    if not isinstance(data, str) and data.format == "hub":
        return plain(str(data), _MOST)
    last = PurePath(name.partition("#")[0] if isinstance(data, str) else name).name
    return "an upload" if last == DATA_FOLDER else f"“{plain(last, _MOST)}”"


def model_words(model: Named) -> str:
    """Return what a person calls the model that a run began with; no path."""
    name = str(model)
    return plain(name if is_hub_name(name) else PurePath(name).name, _MOST)


def result_words(status: Status) -> str:
    """Return what a run came to: "Answers right: 12% before, 93% after.", "" where unmeasured."""
    key = next((k for k in status.after if not k.startswith(OTHER)), "")
    if not key or not is_number(status.after[key]):
        return ""
    _, said, _ = metric_words(key)
    before = status.before.get(key)
    was = f"{number(key, before)} before, " if is_number(before) else ""
    few = f" ({too_few(status)})" if too_few(status) else ""
    after = number(key, status.after[key])
    return f"{said[0].upper()}{said[1:]}: {was}{after} after, on what it did not learn from{few}."


def too_few(status: Status) -> str:
    """Return that the numbers of a run are made of too few questions to say anything, or ""."""
    asked = status.measured
    if not 0 < asked < LEAST:
        return ""
    return f"{asked} question{'' if asked == 1 else 's'}, {TOO_FEW}"


def metric_words(key: str) -> tuple[str, str, bool]:
    """Return of "task/metric" the task's title, what it tells, and whether less is better."""
    name, _, metric = key.partition("/")
    found = metric_named(name, metric)
    return (TASKS[name].title, found[1], found[2]) if found else ("", key, False)


def others_of(numbers: Mapping[str, Any]) -> tuple[int, float | None]:
    """Return how many tasks were asked that a run did not learn, and the mean of their numbers.

    Args:
        numbers: Before or after, by metric; the first metric of a task is a share of what is right.
    """
    told = [value for key, value in numbers.items() if key.startswith(OTHER)]
    known = [value for value in told if is_number(value)]
    return len(told), sum(known) / len(known) if known else None


def field_name(key: str) -> str:
    """Return what the field calls "task/metric"."""
    name, _, metric = key.removeprefix(OTHER).partition("/")
    found = metric_named(name, metric)
    other = OTHER if key.startswith(OTHER) else ""
    return f"{other}{TASKS[name].title}: {found[0]}" if found else key


def number(key: str, value: Any) -> str:
    """Return a number of a metric as a person reads it: a share, where it is known to be one."""
    if not is_number(value):
        return "…"
    name, _, metric = key.removeprefix(OTHER).partition("/")
    return f"{value:.0%}" if metric_named(name, metric) else f"{value:.3f}"


def field_settings(config: TrainConfig) -> Mapping[str, str]:
    """Return the settings of a run by their names in the field."""
    told = {
        "Mode": config.mode,
        "Learning rate": f"{config.learning_rate:g}",
        "Batch size": f"{config.batch_size:,}",
        "Precision": config.precision,
    }
    if config.mode == "lora":
        told["LoRA rank"] = f"{config.lora_rank}"
    return told
