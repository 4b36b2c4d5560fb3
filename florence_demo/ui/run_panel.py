"""How a run looks on the page: one piece of HTML, made anew whenever the run's files change.

Knows layout. Everything that comes from data or from a model is escaped; paths of this machine stay
on it. The words for a run are ``run_words``'.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from florence_demo.errors import InputError
from florence_demo.files import without_paths
from florence_demo.machine import in_bytes
from florence_demo.training.estimate import in_time
from florence_demo.training.runs import Run
from florence_demo.training.samples import Sample, samples_of
from florence_demo.training.status import OTHER, State, is_number, read_log
from florence_demo.ui.languages import ours
from florence_demo.ui.report_panel import LOWER
from florence_demo.ui.run_curve import curve
from florence_demo.ui.run_view import pressing
from florence_demo.ui.run_words import (
    data_words,
    field_name,
    field_settings,
    metric_words,
    model_words,
    number,
    others_of,
    result_words,
    too_few,
    trained_words,
)

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
_MOST_SHOWN = 200
"""Letters of a question, an answer or a metric's name."""
_MOST_PICTURE = 1 << 20
"""Bytes of a run's small picture."""
_MOST_RUNS = 20
"""Earlier runs that are listed."""

_WHOLE = "It learned all its steps."
_EARLY = "It ended early: other pictures went no better any more, and what was best is kept."

EMPTY = (
    '<section class="fd-run fd-run-empty" aria-label="The run" data-words="all"><h3>No run yet</h3>'
    "<ol><li><b>Choose data.</b> The demo forms need nothing from you.</li>"
    "<li><b>Choose where to start.</b> nano learns in minutes without a GPU.</li>"
    "<li><b>Press “Start”</b> and watch it learn here.</li></ol>"
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
        ours(trained_words(run), "p", "fd-note") if status.step else "",
        _progress(run),
        _message(run, private),
        _facts(run),
        _results(run),
        curve(log, status.steps),
        _samples(run),
        _details(run, log),
    ]
    return (
        '<section class="fd-run" data-words="label" aria-label="The run">'
        f"{''.join(parts)}</section>"
    )


def runs_panel(runs: Sequence[Run]) -> str:
    """Return earlier runs that hold a model, the newest first, each with a button to try it."""
    if not runs:
        return ""
    items = "".join(map(_earlier, runs[:_MOST_RUNS]))
    return (
        '<section class="fd-earlier" data-words="label" aria-label="Earlier runs">'
        f"{ours('Earlier runs', 'h4')}<ul>{items}</ul></section>"
    )


def _earlier(run: Run) -> str:
    said = f"{ours(trained_words(run))}{ours(result_words(run.status))}"
    name = escape(run.name)
    return (
        f"<li><div><b>{name}</b>{said}</div>"
        f'<button {pressing(run.name)} class="fd-press" data-words="all"'
        f' aria-label="Try {name} now">Try it now</button></li>'
    )


def _head(run: Run) -> str:
    state = run.status.state
    title = "Stopping …" if run.stopping else _STATES[state]
    kind = "live" if run.live else state
    return f"<header>{ours(title, kind=f'fd-badge fd-{kind}')}<h3>{escape(run.name)}</h3></header>"


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
        f'<div class="fd-bar{busy}" data-words="label" role="progressbar" aria-label="Progress"'
        f' aria-valuemin="0" aria-valuemax="100" aria-valuenow="{share:.0f}"'
        f' aria-valuetext="{words}">'
        f'<i style="width:{share:.1f}%"></i></div>'
        f'<p class="fd-split">{ours(words)}{ours(left)}</p>'
    )


def _message(run: Run, private: Sequence[Path]) -> str:
    status = run.status
    text = without_paths(status.message, run.folder, *private)
    if status.state == "done":
        early = 0 < status.step < status.steps
        return f'<p class="fd-note">{ours(_EARLY if early else _WHOLE)} {ours(_PRESS)}</p>'
    if run.stopping:
        text = "It finishes what it is doing, keeps a checkpoint and measures once more."
    if not text or status.state == "training":
        return ""
    if status.state == "failed":
        return f'<p class="fd-alert" role="alert">{ours(text)}</p>'
    return ours(text, "p", "fd-note")


_PRESS = "Press “Try it now” to ask it about a picture it did not learn from."


def _facts(run: Run) -> str:
    status = run.status
    facts = {"Time so far" if run.live else "Time": ours(in_time(max(status.seconds, 1)))}
    if status.samples_per_second:
        facts["Questions a second"] = ours(f"{status.samples_per_second:,.1f}")
    return _listed(facts)


def _listed(facts: Mapping[str, str]) -> str:
    """Return names of ours, each with a value as HTML."""
    items = "".join(
        f"<div>{ours(name, 'dt')}<dd>{value}</dd></div>" for name, value in facts.items()
    )
    return f'<dl class="fd-facts">{items}</dl>'


def _details(run: Run, log: Sequence[Mapping[str, Any]]) -> str:
    """Return what an expert wants to know, by the field's names."""
    status = run.status
    losses = {
        "Training loss": status.loss,
        "Validation loss": status.eval_loss,
    }
    facts = {name: f"{value:.4g}" for name, value in losses.items() if value is not None}
    facts["Optimizer steps"] = f"{status.step:,} / {status.steps:,}"
    facts["Epochs"] = f"{status.epoch:.2f}"
    if run.live and status.memory:
        facts["Memory now"] = in_bytes(status.memory)
    facts["Memory at most"] = in_bytes(status.memory_peak) if status.memory_peak else "–"
    try:
        config = run.config()
    except InputError:
        pass  # by another version
    else:
        facts |= field_settings(config)
        facts["Base model"] = escape(model_words(config.model))
        facts["Data"] = ours(data_words(config.data))
    rates = [e["learning_rate"] for e in log if is_number(e.get("learning_rate"))]
    if rates and run.live:
        facts["Learning rate now"] = f"{rates[-1]:.3g}"
    keys = dict.fromkeys((*status.before, *status.after))
    rows = "".join(
        f'<tr><th scope="row">{escape(field_name(key)[:_MOST_SHOWN])}</th>'
        f"<td>{_plain(status.before.get(key))}</td><td>{_plain(status.after.get(key))}</td></tr>"
        for key in keys
    )
    table = (
        '<table class="fd-beforeafter"><thead data-words="all"><tr><th scope="col">Metric</th>'
        '<th scope="col">Before</th><th scope="col">After</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )
    return (
        f'<details data-keep="details">{ours("Details", "summary")}'
        f"{_listed(facts)}{table if keys else ''}</details>"
    )


def _plain(value: Any) -> str:
    return f"{value:.4g}" if is_number(value) else "…"


def _results(run: Run) -> str:
    """Return the numbers before and after as a table."""
    status = run.status
    before, after = status.before, status.after
    if not before and not after:
        return ""
    few = too_few(status)
    own = [key for key in dict.fromkeys((*before, *after)) if not key.startswith(OTHER)]
    rows = "".join(_result(key, before.get(key), after.get(key), bool(few)) for key in own)
    warned = f'<p class="fd-alert" role="status">{ours(f"Measured on {few}.")}</p>' if few else ""
    return (
        '<table class="fd-beforeafter"><caption data-words="all">How right it is, on pictures it'
        ' does not learn from</caption><thead data-words="all"><tr><th scope="col">What</th>'
        f'<th scope="col">Before</th><th scope="col">After</th></tr></thead>'
        f"<tbody>{rows}{_others(before, after)}</tbody>"
        f"</table>{warned}"
    )


def _result(key: str, before: Any, after: Any, few: bool) -> str:
    task, said, lower = metric_words(key[:_MOST_SHOWN])
    hint = f" {LOWER}" if lower else ""
    title = f"{ours(task)}: {ours(said)}" if task else escape(said)
    change = "" if few else _change(before, after, lower)
    return _line(f"{title}{hint}", number(key, before), number(key, after), change)


def _others(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return in one line what became of the tasks that were not learned."""
    (count, was), (_, now) = others_of(before), others_of(after)
    if not count:
        return ""
    kept = f"What it could do before: {count} other task{'' if count == 1 else 's'}"
    first, then = (f"{value:.0%}" if value is not None else "…" for value in (was, now))
    return _line(ours(kept), first, then, _change(was, now, False))


def _line(title: str, before: str, after: str, change: str) -> str:
    return (
        f'<tr><th scope="row">{title}</th><td>{ours(before)}</td><td>{ours(after, "b")}{change}'
        "</td></tr>"
    )


def _change(before: Any, after: Any, lower: bool) -> str:
    if not is_number(before) or not is_number(after) or before == after:
        return ""
    better = "better" if (after < before) == lower else "worse"
    return f" {ours(better, kind=f'fd-{better}')}"


# -- answers as it learns -------------------------------------------------------------------------


def _samples(run: Run) -> str:
    samples = samples_of(run.folder, run.status)
    if not samples:
        return ""
    step = samples[0].step
    after = f" {ours(f'after step {step:,}', kind='fd-note')}" if step is not None else ""
    hint = "Press one to see it large." if any(s.can_be_asked for s in samples) else ""
    cards = "".join(_sample(run, i, sample) for i, sample in enumerate(samples))
    return (
        f"<h4>{ours('What it answers')}{after}</h4>{ours(hint, 'p', 'fd-note')}"
        f'<div class="fd-samples">{cards}</div>'
    )


def _sample(run: Run, number: int, sample: Sample) -> str:
    verdict = "right" if sample.score > 0.999 else "nearly" if sample.score >= 0.5 else "not yet"
    kind = "fd-better" if verdict == "right" else "fd-worse"
    counted = sample.sentences()
    answer, truth = (
        (ours(each[:_MOST_SHOWN]) for each in counted)
        if counted
        else (escape(each[:_MOST_SHOWN]) for each in (sample.answer, sample.truth))
    )
    if counted and counted[0] == counted[1] and verdict != "right":
        answer += f" {ours('(elsewhere)')}"
    said = (
        f"<span>{_question(sample)}</span>"
        f"<span><b>{answer or ours('(nothing)')}</b> {ours(verdict, kind=kind)}</span>"
        f'<span class="fd-note">{ours("Wanted:")} {truth}</span>'
    )
    inner = f"{_thumbnail(sample.small)}<span>{said}</span>"
    if sample.can_be_asked:
        inner = f'<button {pressing(run.name, number)} class="fd-look-at">{inner}</button>'
    return f'<article class="fd-sample">{inner}</article>'


def _question(sample: Sample) -> str:
    return escape(sample.words[:_MOST_SHOWN]) or ours(sample.title[:_MOST_SHOWN])


def sample_strip(run: Run, name: str) -> Iterator[str]:
    """Yield a button for each sample of a run that can be asked: its picture and its question.

    Args:
        run: The run.
        name: What a press tells, as ``pressing`` takes it.
    """
    for i, sample in enumerate(samples_of(run.folder, run.status)):
        if sample.can_be_asked:
            yield (
                f'<button {pressing(name, i)} class="fd-look-at fd-sample">'
                f"{_thumbnail(sample.small)}<span>{_question(sample)}</span>"
                "</button>"
            )


def _thumbnail(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        changed = path.stat()
        source = _data_url(path, changed.st_mtime_ns) if changed.st_size <= _MOST_PICTURE else ""
    except OSError:
        return ""
    return f'<img src="{source}" alt="" width="96" height="96">' if source else ""


@functools.lru_cache(64)
def _data_url(path: Path, _changed: int) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()
