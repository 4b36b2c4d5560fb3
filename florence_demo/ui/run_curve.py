"""The curve of a run's losses: a drawing that stretches, with its scale as text beside it.

Knows layout and words. Does not know where the numbers come from (``status``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from florence_demo.training.status import is_number
from florence_demo.ui.languages import ours

_MOST_POINTS = 240

Point = tuple[float, float]


def curve(log: Sequence[Mapping[str, Any]], steps: int) -> str:
    """Return the losses over the steps as HTML, "" where none is told yet.

    Args:
        log: The run's log.
        steps: Optimizer steps in all.
    """
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
        '<figure class="fd-curve"><figcaption data-words="all"><b>How wrong it still is</b>'
        ' <span class="fd-note">(lower is better)</span><span class="fd-legend">'
        '<i class="fd-train"></i>on what it learns from<i class="fd-valid"></i>on other pictures'
        '</span></figcaption><div class="fd-plot">'
        f'<div class="fd-y" aria-hidden="true">{labels}</div>'
        '<svg data-words="label" viewBox="0 0 1000 300" preserveAspectRatio="none" role="img"'
        f' aria-label="{said}">'
        f'{grid}<path class="fd-line fd-train" d="{_line(train, right, top)}"/>'
        f'<path class="fd-line fd-valid" d="{_line(valid, right, top)}"/>'
        f'<path class="fd-marks fd-train" d="{first}"/>'
        f'<path class="fd-marks fd-valid" d="{_marks(valid, right, top)}"/></svg></div>'
        f'<p class="fd-x" aria-hidden="true"><span>0</span>'
        f"{ours(f'step {right / 2:,.0f}')}"
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
        for name, points in (("on what it learns from", train), ("on other pictures", valid)):
            if points:
                (_, first), (step, last) = points[0], points[-1]
                yield f"{name} {first:.3g} at first, {last:.3g} at step {step:,.0f}"

    return f"How wrong it still is over {steps:,} steps: {'; '.join(told())}"
