"""What a measurement found, and the ways to read it: JSON, Markdown, one HTML page.

Knows rows of numbers, judged answers and how to write them down. Does not know models or how a
number is computed.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from florence_demo.data.example import Example
from florence_demo.errors import FlorenceDemoError
from florence_demo.output.annotate import annotate
from florence_demo.prediction import Prediction
from florence_demo.tasks import TASKS

LEAST = 10
"""Questions below which nothing is said about others of the same kind."""
TOO_FEW = "too few to say: ask at least ten"

SHOWN = 6
"""Worst and best answers that the page shows, of each."""


@dataclass(frozen=True)
class Row:
    """Hold one number.

    Attributes:
        task: Name of the task.
        metric: Name of the metric: "anls", "map50".
        title: What the field calls it.
        value: The number; NaN where nothing could be measured.
        low: Lower end of its 95 % interval by bootstrap.
        high: Upper end.
        count: Rows of data behind it.
        lower_is_better: Whether it is an error.
        said: What it tells, for a person who never heard of it.
    """

    task: str
    metric: str
    title: str
    value: float
    low: float
    high: float
    count: int
    lower_is_better: bool = False
    said: str = ""

    @property
    def few(self) -> bool:
        """Whether so few questions say nothing about others."""
        return self.count < LEAST

    @property
    def interval(self) -> tuple[float, float] | None:
        """Its 95 % interval, None where there is none or too few questions were asked for one."""
        known = math.isfinite(self.low) and math.isfinite(self.high)
        return (self.low, self.high) if known and not self.few else None

    @property
    def key(self) -> str:
        """Its name in the JSON."""
        return f"{self.task}/{self.metric}"


@dataclass(frozen=True, eq=False)
class Judged:
    """Hold one answer and what it is worth, 0 to 1."""

    example: Example
    prediction: Prediction
    score: float


@dataclass(frozen=True)
class Reliability:
    """Hold whether a task's things are as often right as the model says.

    Attributes:
        task: Name of the task.
        points: (mean confidence, share right, count) of tenths of the confidence.
    """

    task: str
    points: tuple[tuple[float, float, int], ...]

    @property
    def count(self) -> int:
        """Things in all."""
        return sum(n for *_, n in self.points)

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance of the two, weighted by count."""
        gaps = sum(abs(said - right) * n for said, right, n in self.points)
        return gaps / self.count if self.count else math.nan

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        points = [[round(said, 4), round(right, 4), n] for said, right, n in self.points]
        return {"error": _number(self.error), "count": self.count, "points": points}


@dataclass(frozen=True)
class Sensitivity:
    """Hold whether answers change with the question.

    Attributes:
        asked: Questions asked about a picture to which they do not belong.
        changed: How many of them changed the answer.
    """

    asked: int
    changed: int

    def sentence(self) -> str:
        """Return the finding for a person."""
        if self.asked < LEAST:
            return f"Whether the model reads the question: {TOO_FEW}."
        share = self.changed / self.asked
        finding = f"Asked another question, the model changed {share:.0%} of its answers"
        if share < 0.2:
            return f"{finding}: it hardly reads the question. Check what it was trained on."
        return f"{finding}: it reads the question."


@dataclass(frozen=True, eq=False)
class Report:
    """Hold a whole measurement.

    Attributes:
        model: Title of the model.
        data: Where the rows came from.
        rows: Every number, by task.
        table: The rows one looks at first.
        judged: Every answer.
        confusion: (true name, found name, count), the commonest first; "" is none.
        calibrated: Whether the confidences were calibrated.
        reliability: Whether things are as often right as the model says, by task.
        fitted: The same for the curves that were fitted to these answers, tried on other rows than
            they were fitted to.
        sensitivity: Whether answers change with the question, where there were questions.
        failures: Rows that could not be asked, with the reason.
        seconds: Wall-clock time.
        options: How answers were searched.
    """

    model: str
    data: str
    rows: tuple[Row, ...]
    table: tuple[Row, ...] = ()
    judged: tuple[Judged, ...] = ()
    confusion: tuple[tuple[str, str, int], ...] = ()
    calibrated: bool = False
    reliability: tuple[Reliability, ...] = ()
    fitted: tuple[Reliability, ...] = ()
    sensitivity: Sensitivity | None = None
    failures: tuple[str, ...] = ()
    seconds: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values without the pictures; what is not a number is None."""
        return {
            "model": self.model,
            "data": self.data,
            "seconds": round(self.seconds, 1),
            "answers": len(self.judged),
            "options": self.options,
            "table": {r.title: _row_json(r) for r in self.table},
            "metrics": {r.key: _row_json(r) for r in self.rows},
            "confusion": [list(c) for c in self.confusion],
            "calibrated": self.calibrated,
            "reliability": {r.task: r.to_json() for r in self.reliability},
            "fitted": {r.task: r.to_json() for r in self.fitted},
            "question_sensitivity": asdict(self.sensitivity) if self.sensitivity else None,
            "failures": list(self.failures),
        }

    def to_markdown(self) -> str:
        """Return the tables with their intervals."""
        lines = [f"# {self.model} on {self.data}", ""]
        lines += [f"{len(self.judged):,} answers in {self.seconds:.0f} s.", ""]
        for title, rows in (("What counts", self.table), ("Everything", self.rows)):
            if rows:
                lines += [f"## {title}", "", _MARKDOWN_HEAD, *map(_markdown_row, rows), ""]
        if self.sensitivity:
            lines += [self.sensitivity.sentence(), ""]
        for title, found in ((self._sure(), self.reliability), (_FITTED, self.fitted)):
            if found:
                lines += [f"## {title}", "", "| | off by | things |", "|---|---|---|"]
                lines += [f"| {r.task} | {r.error:.3f} | {r.count:,} |" for r in found]
                lines += [""]
        if self.failures:
            lines += [self._failed(), ""]
        return "\n".join(lines)

    def _sure(self) -> str:
        return "Confidence and truth" + ("" if self.calibrated else " (not calibrated)")

    def _failed(self) -> str:
        if not self.failures:
            return ""
        return f"{len(self.failures):,} rows could not be asked: {self.failures[0]}"

    def to_html(self) -> str:
        """Return one page that needs nothing beside it."""
        by_score = sorted(self.judged, key=lambda j: j.score)
        worst, best = by_score[:SHOWN], by_score[::-1][:SHOWN]
        sentence = escape(self.sensitivity.sentence()) if self.sensitivity else ""
        parts = [
            f"<h1>{escape(self.model)}</h1>",
            f"<p>{escape(self.data)}: {len(self.judged):,} answers in {self.seconds:.0f} s.</p>",
            _html_table("What counts", self.table),
            _html_table("Everything", self.rows),
            f"<p>{sentence}</p>",
            f"<p>{escape(self._failed())}</p>",
            _html_reliability(self._sure(), self.reliability),
            _html_reliability(_FITTED, self.fitted),
            _html_confusion(self.confusion),
            _html_answers("Worst answers", worst),
            _html_answers("Best answers", best),
        ]
        body = "\n".join(p for p in parts if p)
        return (
            "<!doctype html><html lang='en'><meta charset='utf-8'>"
            "<meta name='viewport' content='width=device-width, initial-scale=1'>"
            f"<title>{escape(self.model)}</title><style>{_STYLE}</style>\n{body}</html>\n"
        )

    def write(self, folder: Path) -> list[Path]:
        """Write report.json, report.md and report.html and return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        files = {
            "report.json": json.dumps(self.to_json(), ensure_ascii=False, indent=1),
            "report.md": self.to_markdown(),
            "report.html": self.to_html(),
        }
        for name, content in files.items():
            (folder / name).write_text(content, encoding="utf-8")
        return [folder / name for name in files]


_FITTED = "Confidence and truth with the curves fitted here"
_MARKDOWN_HEAD = "| | value | 95 % interval | rows |\n|---|---|---|---|"


def _markdown_row(row: Row) -> str:
    return f"| {row.title} | {_shown(row.value)} | {_interval(row)} | {row.count:,} |"


_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse}td,th{padding:.2rem .8rem;text-align:left;
border-bottom:1px solid #8884}td.n{text-align:right;font-variant-numeric:tabular-nums}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr));gap:1rem}
figure{margin:0}figure img{max-width:100%;max-height:20rem}pre{white-space:pre-wrap;
overflow-wrap:anywhere}svg{max-width:24rem}
"""


def _row_json(row: Row) -> dict[str, Any]:
    low, high = row.interval or (math.nan, math.nan)
    return {
        "key": row.key,
        "value": _number(row.value),
        "low": _number(low),
        "high": _number(high),
        "count": row.count,
        "lower_is_better": row.lower_is_better,
    }


def _number(value: float) -> float | None:
    return round(value, 5) if math.isfinite(value) else None


def _shown(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "not measured"


def _interval(row: Row) -> str:
    if row.few:
        return TOO_FEW
    return "{:.3f} to {:.3f}".format(*row.interval) if row.interval else ""


def _html_table(title: str, rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    body = "".join(
        f"<tr><td>{escape(r.title)}</td><td class='n'>{_shown(r.value)}</td>"
        f"<td>{_interval(r)}</td><td class='n'>{r.count:,}</td></tr>"
        for r in rows
    )
    head = "<tr><th></th><th>value</th><th>95 % interval</th><th>rows</th></tr>"
    return f"<h2>{escape(title)}</h2><table>{head}{body}</table>"


def _html_reliability(title: str, rows: Sequence[Reliability]) -> str:
    if not rows:
        return ""
    plots = "".join(_html_diagram(row) for row in rows)
    return (
        f"<h2>{escape(title)}</h2><p>Across: how sure the model said it was; up: how much of it is"
        f" right. A point on the line is right as often as it says.</p><div class='cards'>{plots}"
        "</div>"
    )


def _html_diagram(row: Reliability) -> str:
    points = "".join(
        f"<circle cx='{said * 100:.1f}' cy='{100 - right * 100:.1f}'"
        f" r='{1 + 2 * math.log10(n):.1f}'>"
        f"<title>confidence {said:.2f}: {right:.0%} right of {n:,}</title></circle>"
        for said, right, n in row.points
    )
    name = escape(TASKS[row.task].title)
    return (
        f"<figure><svg viewBox='-6 -6 112 112' role='img' aria-label='{name}: share right by"
        " confidence'><path d='M0 0V100H100M0 100L100 0' fill='none' stroke='gray'"
        f" stroke-width='.5'/><g fill='#2a6fdb'>{points}</g></svg>"
        f"<figcaption>{name}: off by {row.error:.3f}, {row.count:,} things</figcaption></figure>"
    )


def _html_confusion(rows: Iterable[tuple[str, str, int]]) -> str:
    wrong = [r for r in rows if r[0] != r[1]][:20]
    if not wrong:
        return ""
    body = "".join(
        f"<tr><td>{escape(true) or '<i>nothing</i>'}</td>"
        f"<td>{escape(found) or '<i>missed</i>'}</td><td class='n'>{count:,}</td></tr>"
        for true, found, count in wrong
    )
    head = "<tr><th>it is</th><th>the model says</th><th>times</th></tr>"
    return f"<h2>What is taken for what</h2><table>{head}{body}</table>"


def _html_answers(title: str, judged: Sequence[Judged]) -> str:
    if not judged:
        return ""
    cards = "".join(_html_answer(j) for j in judged)
    return f"<h2>{escape(title)}</h2><div class='cards'>{cards}</div>"


def _html_answer(judged: Judged) -> str:
    example, found = judged.example, judged.prediction
    question = f"{found.task} {example.text}".strip()
    try:
        image = example.load()
        truth = example.target(image.size)
        source = _data_url(annotate(image, found))
        picture = f"<img alt='{escape(question, quote=True)}' src='{source}'>"
    except FlorenceDemoError as exc:
        truth, picture = "", f"<p>{escape(str(exc))}</p>"
    return (
        f"<figure>{picture}<figcaption><b>{judged.score:.2f}</b> {escape(question)}"
        f"<pre>says  {escape(found.raw[:400])}\ntruth {escape(truth[:400])}</pre>"
        f"{escape(example.where)}</figcaption></figure>"
    )


def _data_url(image: Any) -> str:
    buffer = io.BytesIO()
    image.thumbnail((640, 640))
    image.convert("RGB").save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
