"""How a run looks on the page: one piece of HTML, made anew whenever the run's files change.

Knows layout and words. Everything that comes from data or from a model is escaped; paths of this
machine stay on it.
"""

from __future__ import annotations

import base64
import functools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from florence_demo.evaluation.scoring import METRICS
from florence_demo.files import without_paths
from florence_demo.machine import in_bytes
from florence_demo.tasks import TASKS
from florence_demo.training.estimate import in_time
from florence_demo.training.runs import Run
from florence_demo.training.status import OTHER, SAMPLES_FOLDER, State, is_number, read_log

_STATES: dict[State, str] = {
    "starting": "Getting ready",
    "measuring": "Measuring the model as it is",
    "caching": "Looking at the pictures once",
    "training": "Learning",
    "evaluating": "Measuring what it learned",
    "done": "Done",
    "stopped": "Stopped",
    "failed": "It ended early",
}
_MOST_POINTS = 240
_MOST_SHOWN = 200
"""Letters of a question, an answer or a metric's name."""
_MOST_PICTURE = 1 << 20
"""Bytes of a run's small picture."""
_BOUNDED = ("anls", "exact", "accuracy", "boxes", "classes", "quads", "iou", "objects")
"""Metrics that people read as a share of all answers."""

_WHOLE = "It learned all its steps."
_EARLY = "It ended early, as the validation loss got no better, and what was best is kept."

Point = tuple[float, float]

EMPTY = (
    '<section class="fd-run fd-run-empty" aria-label="The run"><h3>No run yet</h3>'
    "<ol><li><b>Choose data</b>: the demo forms need nothing from you.</li>"
    "<li><b>Choose a model</b> to start from.</li>"
    "<li>Press <b>Start</b> and watch it learn here.</li></ol>"
    '<p class="fd-note">You can close this page meanwhile: the run goes on and is found again.</p>'
    "</section>"
)


def run_panel(run: Run | None, *private: Path) -> str:
    """Return a run as HTML, or what to do where there is none.

    Args:
        run: The run.
        private: Folders whose paths are left out of messages.
    """
    if run is None:
        return EMPTY
    status = run.status
    log = read_log(run.folder)
    parts = [
        _head(run),
        _progress(run),
        _message(run, private),
        _facts(run),
        _results(status.before, status.after),
        _curve(log, status.steps),
        _samples(status.samples, run.folder),
    ]
    return f'<section class="fd-run" aria-label="The run">{"".join(parts)}</section>'


def _head(run: Run) -> str:
    state = run.status.state
    title = "Stopping …" if run.stopping else _STATES[state]
    kind = "live" if run.live else state
    return (
        f'<header><span class="fd-badge fd-{kind}">{title}</span>'
        f"<h3>{escape(run.name)}</h3></header>"
    )


def _progress(run: Run) -> str:
    status = run.status
    if not run.live and status.state != "stopped":
        return ""
    share = min(100 * status.step / status.steps, 100) if status.steps else 0.0
    words = f"Step {status.step:,} of {status.steps:,}" if status.steps else "Not begun"
    left = ""
    if run.live and status.state == "training" and status.seconds_left is not None:
        left = f"about {in_time(max(status.seconds_left, 1))} left"
    busy = " fd-waiting" if run.live and status.state != "training" else ""
    return (
        f'<div class="fd-bar{busy}" role="progressbar" aria-label="Progress" aria-valuemin="0"'
        f' aria-valuemax="100" aria-valuenow="{share:.0f}" aria-valuetext="{words}">'
        f'<i style="width:{share:.1f}%"></i></div>'
        f'<p class="fd-split"><span>{words}</span><span>{left}</span></p>'
    )


def _message(run: Run, private: Sequence[Path]) -> str:
    status = run.status
    text = without_paths(status.message, run.folder, *private)
    if run.stopping:
        text = "It finishes what it is doing, keeps a checkpoint and measures once more."
    if status.state == "done":
        text = "Open the result with the button below and ask it."
        early = 0 < status.step < status.steps
        text = f"{_EARLY if early else _WHOLE} {text}"
    if not text or status.state == "training":
        return ""
    if status.state == "failed":
        return f'<p class="fd-alert" role="alert">{escape(text)}</p>'
    return f'<p class="fd-note">{escape(text)}</p>'


def _facts(run: Run) -> str:
    status = run.status
    speed = status.samples_per_second
    facts = [
        ("Samples a second", f"{speed:,.1f}" if speed else "–"),
        ("Memory now", in_bytes(status.memory) if run.live and status.memory else "–"),
        ("Memory at most", in_bytes(status.memory_peak) if status.memory_peak else "–"),
        ("Time so far" if run.live else "Time", in_time(max(status.seconds, 1))),
    ]
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return f'<dl class="fd-facts">{items}</dl>'


def _results(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return the numbers before and after as a table."""
    if not before and not after:
        return ""
    rows = "".join(
        _result(key, before.get(key), after.get(key)) for key in dict.fromkeys((*before, *after))
    )
    anls = any(key.endswith("/anls") for key in (*before, *after))
    hint = '<p class="fd-note">ANLS is 100% where every letter is right.</p>' if anls else ""
    return (
        '<table class="fd-beforeafter"><caption>Right answers on pictures it does not learn from'
        '</caption><thead><tr><th scope="col">What</th><th scope="col">Before</th>'
        f'<th scope="col">After</th></tr></thead><tbody>{rows}</tbody></table>{hint}'
    )


def _result(key: str, before: Any, after: Any) -> str:
    title, lower = metric_title(key[:_MOST_SHOWN])
    better = ""
    if is_number(before) and is_number(after) and before != after:
        better = "better" if (after < before) == lower else "worse"
    change = f' <span class="fd-{better}">{better}</span>' if better else ""
    hint = ' <span class="fd-note">(lower is better)</span>' if lower else ""
    return (
        f'<tr><th scope="row">{escape(title)}{hint}</th><td>{_number(key, before)}</td>'
        f"<td><b>{_number(key, after)}</b>{change}</td></tr>"
    )


def metric_title(key: str) -> tuple[str, bool]:
    """Return what a person reads for "task/metric", and whether less is better."""
    if key.startswith(OTHER):
        title, lower = metric_title(key.removeprefix(OTHER))
        return f"{title}, which it did not learn here", lower
    task, _, name = key.partition("/")
    shown = TASKS[task].title if task in TASKS else task
    metric = next((m for kind in METRICS.values() for m in kind if m.name == name), None)
    return (f"{shown}: {metric.title}", metric.lower_is_better) if metric else (key, False)


def _number(key: str, value: Any) -> str:
    if not is_number(value):
        return "…"
    name = key.partition("/")[2]
    return f"{value:.0%}" if name in _BOUNDED or name.startswith("map") else f"{value:.3f}"


# -- the curve ----------------------------------------------------------------------------------


def _curve(log: Sequence[Mapping[str, Any]], steps: int) -> str:
    """Return the losses over the steps: a drawing that stretches, with its scale as text beside."""
    train = _thinned([(e["step"], e["loss"]) for e in log if is_number(e.get("loss"))])
    valid = _thinned([(e["step"], e["eval_loss"]) for e in log if is_number(e.get("eval_loss"))])
    points = [*train, *valid]
    if not points:
        return ""
    right = float(max(steps, *(x for x, _ in points), 1))
    top, ticks = scale(max(y for _, y in points))
    grid = "".join(f'<path class="fd-grid" d="M0 {_y(t, top)}H1000"/>' for t in ticks)
    # A line of one point is none.
    first = _marks(train, right, top) if len(train) == 1 else ""
    labels = "".join(f'<span style="top:{_y(t, top) / 3:.2f}%">{t:g}</span>' for t in ticks)
    said = _said(train, valid, steps)
    return (
        f'<figure class="fd-curve"><figcaption><b>Loss</b> <span class="fd-note">how wrong it is:'
        ' lower is better</span><span class="fd-legend"><i class="fd-train"></i>training'
        '<i class="fd-valid"></i>validation</span></figcaption><div class="fd-plot">'
        f'<div class="fd-y" aria-hidden="true">{labels}</div>'
        f'<svg viewBox="0 0 1000 300" preserveAspectRatio="none" role="img" aria-label="{said}">'
        f'{grid}<path class="fd-line fd-train" d="{_line(train, right, top)}"/>'
        f'<path class="fd-line fd-valid" d="{_line(valid, right, top)}"/>'
        f'<path class="fd-marks fd-train" d="{first}"/>'
        f'<path class="fd-marks fd-valid" d="{_marks(valid, right, top)}"/></svg></div>'
        f'<p class="fd-x" aria-hidden="true"><span>0</span><span>step {right / 2:,.0f}</span>'
        f"<span>{right:,.0f}</span></p></figure>"
    )


def scale(most: float) -> tuple[float, list[float]]:
    """Return the top of a scale from 0 that holds a value, and its round marks."""
    most = max(most, 1e-6)
    unit = 10.0 ** math.floor(math.log10(most))
    step = next(s * unit for s in (0.2, 0.5, 1, 2, 2.5) if most / (s * unit) <= 5)
    count = math.ceil(most / step - 1e-9)
    return step * count, [round(step * i, 12) for i in range(count + 1)]


def _x(value: float, right: float) -> float:
    return round(1000 * value / right, 1)


def _y(value: float, top: float) -> float:
    # A little room keeps the line's width inside.
    return round(296 - 292 * value / top, 1)


def _line(points: Sequence[Point], right: float, top: float) -> str:
    return "".join(
        f"{'L' if i else 'M'}{_x(x, right)} {_y(y, top)}" for i, (x, y) in enumerate(points)
    )


def _marks(points: Sequence[Point], right: float, top: float) -> str:
    return "".join(f"M{_x(x, right)} {_y(y, top)}h0" for x, y in points)


def _thinned(points: Sequence[Point]) -> list[Point]:
    every = -(-len(points) // _MOST_POINTS) or 1
    return [p for i, p in enumerate(points) if i % every == 0 or i == len(points) - 1]


def _said(train: Sequence[Point], valid: Sequence[Point], steps: int) -> str:
    def told() -> Iterator[str]:
        for name, points in (("training", train), ("validation", valid)):
            if points:
                (_, first), (step, last) = points[0], points[-1]
                yield f"{name} loss from {first:.3g} to {last:.3g} at step {step:,.0f}"

    return f"Curve of the loss over {steps:,} steps: {'; '.join(told())}"


# -- answers as it learns -------------------------------------------------------------------------


def _samples(samples: Sequence[Mapping[str, Any]], folder: Path) -> str:
    if not samples:
        return ""
    cards = "".join(_sample(sample, folder) for sample in samples)
    step: Any = samples[0].get("step")
    after = f' <span class="fd-note">after step {step:,}</span>' if is_number(step) else ""
    return f'<h4>What it answers{after}</h4><div class="fd-samples">{cards}</div>'


def _sample(sample: Mapping[str, Any], folder: Path) -> str:
    answer, truth = str(sample.get("answer", "")), str(sample.get("truth", ""))
    score: Any = sample.get("score")
    worth = float(score) if is_number(score) else 0.0
    verdict = "right" if worth > 0.999 else "nearly" if worth >= 0.5 else "not yet"
    source = _thumbnail(folder / SAMPLES_FOLDER / Path(str(sample.get("picture", ""))).name)
    picture = f'<img src="{source}" alt="" width="96" height="96">' if source else ""
    return (
        f'<article class="fd-sample">{picture}<div>'
        f"<p>{escape(_question(str(sample.get('question', ''))))}</p>"
        f"<p><b>{escape(answer[:_MOST_SHOWN]) or '(nothing)'}</b>"
        f' <span class="{"fd-better" if verdict == "right" else "fd-worse"}">{verdict}</span></p>'
        f'<p class="fd-note">True: {escape(truth[:_MOST_SHOWN])}</p></div></article>'
    )


def _question(text: str) -> str:
    """Return a question as a person asks it: the task's title, or the words without its token."""
    task, _, words = text[:_MOST_SHOWN].partition(" ")
    words = re.sub(r"^\s*<\w+>", "", words).strip()
    return words or (TASKS[task].title if task in TASKS else task)


def _thumbnail(path: Path) -> str:
    try:
        small = path.is_file() and path.stat().st_size <= _MOST_PICTURE
        return _data_url(path, path.stat().st_mtime_ns) if small else ""
    except OSError:
        return ""


@functools.lru_cache(64)
def _data_url(path: Path, _changed: int) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()
