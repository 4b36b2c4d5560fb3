"""How a measurement looks on the page: what the numbers tell, and what to think of them.

Knows layout and words; names of tasks and data are escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from florence_demo.evaluation.report import LEAST, TOO_FEW, Report, Row
from florence_demo.tasks import TASKS
from florence_demo.ui.languages import ours

EMPTY = (
    '<section class="fd-run fd-run-empty" aria-label="The measurement" data-words="all">'
    "<h3>Nothing measured yet</h3><p>Choose a model and data whose right answers are known, and"
    " press “Measure”. From ten questions on you also read how far other questions of the same kind"
    " may differ.</p></section>"
)


_FIELD = {
    "OD, OCR, VQA, DocVQA": "Finding things; reading text; questions about pictures;"
    " questions about pages.",
    "95 %": "By bootstrap: of a hundred such sets of questions, 95 come to lie in it.",
    "ANLS": "How near the text is, letter by letter; 100 % is the same text.",
    "Accuracy at 0.5": "Places right: at least half of the two areas is shared.",
    "mAP50, mAP75, mAP50:95": "Things found in the right places under the right name, few false"
    " ones among them; the higher the number, the more exact the places must be.",
    "Quads at 0.5 IoU": "Lines of text whose place is right: at least half of the two areas is"
    " shared.",
    "Exact": "Answers that are the true one, letter by letter.",
    "ROUGE-L": "How many of the words are there in the right order.",
    "Unseen style": "Pictures drawn in a way that the model never learned from.",
    "IoU": "How much of the two areas is shared.",
    "Error rate": "Letters or words wrong, of those that are there; 0 % is best, and more than"
    " 100 % is text that is not there at all.",
}
"""The names of the field, and what they mean to a person."""

_WORDS = "".join(f"<dt>{name}</dt>{ours(told, 'dd')}" for name, told in _FIELD.items())


def progress_panel(done: int, total: int, doing: str) -> str:
    """Return how far a measurement is, as HTML."""
    share = 100 * done / total if total else 0.0
    words = f"{done:,} of {total:,} questions" if total else ""
    busy = "" if total and done < total else " fd-waiting"
    return (
        f"{_BEGIN}<header>{ours(doing, kind='fd-badge fd-live')}</header>"
        f'<div class="fd-bar{busy}" data-words="label" role="progressbar" aria-label="Progress"'
        f' aria-valuemin="0" aria-valuemax="100" aria-valuenow="{share:.0f}">'
        f'<i style="width:{share:.1f}%"></i></div>'
        f'<p class="fd-split">{ours(words)}</p></section>'
    )


def stopped_panel() -> str:
    """Return what is shown after a person stopped it."""
    return (
        f"{_BEGIN}<header>{ours('Stopped', kind='fd-badge fd-stopped')}</header>"
        f"{ours('Nothing was measured to the end.', 'p', 'fd-note')}</section>"
    )


def failed_panel() -> str:
    """Return what is shown where a measurement could not be made."""
    words = "The message says why. Change what it names and press “Measure” again."
    return (
        f"{_BEGIN}<header>{ours('Not measured', kind='fd-badge fd-failed')}</header>"
        f"{ours(words, 'p', 'fd-note')}</section>"
    )


def report_panel(report: Report) -> str:
    """Return a report as HTML: what it tells in words, the field's own numbers behind Details."""
    asked, first = len(report.judged), report.table or _firsts(report.rows)
    sensitivity = report.sensitivity.sentence() if report.sensitivity else ""
    failures, few = "", ""
    if report.failures:
        words = (
            f"{len(report.failures):,} rows could not be asked: {report.failures[0][:300].strip()}"
        )
        failures = ours(words, "p", "fd-alert")
    if 0 < asked < LEAST:
        words = (
            f"{_questions(asked)} {_are(asked)} too few to say how good the model is: ask at least"
            " ten."
        )
        few = f'<p class="fd-alert" role="status">{ours(words)}</p>'
    # A stranger's name for data is not translated.
    data = ours(report.data) if report.data in _OUR_DATA else escape(report.data)
    return (
        f"{_BEGIN}<header>{ours('Done', kind='fd-badge fd-done')}"
        f"<h3>{escape(report.model)} · {data}</h3></header>"
        f"{ours(f'{_questions(asked)} in {report.seconds:.0f} s', 'p', 'fd-note')}"
        f"{few}{_table(first)}"
        f"{_said('Does it read the question?', sensitivity)}{failures}"
        f"<details>{ours('Details: every number, by its name in the field', 'summary')}"
        f"{_details((*report.table, *report.rows))}<dl>{_WORDS}</dl></details></section>"
    )


_BEGIN = '<section class="fd-run" data-words="label" aria-label="The measurement">'
_OUR_DATA = ("forms", "held-out scenes", "upload")
"""What the page calls data of its own."""


def _firsts(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the first number of each task: what its answers are judged by."""
    firsts: dict[str, Row] = {}
    for row in rows:
        firsts.setdefault(row.task, row)
    return tuple(firsts.values())


def _questions(count: int) -> str:
    return f"{count:,} question{'' if count == 1 else 's'}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _said(title: str, sentence: str) -> str:
    if not sentence:
        return ""
    return f'<p class="fd-said">{ours(title, "b")} {ours(sentence)}</p>'


def _table(rows: Sequence[Row]) -> str:
    """Return what some numbers tell a person."""
    body = "".join(_row(row) for row in rows)
    return (
        '<div class="fd-wide"><table class="fd-numbers"><thead data-words="all"><tr>'
        '<th scope="col">What</th><th scope="col">Here</th>'
        '<th scope="col">With other such questions</th>'
        f'<th scope="col">Questions</th></tr></thead><tbody>{body}</tbody></table></div>'
    )


def _row(row: Row) -> str:
    hint = f" {LOWER}" if row.lower_is_better else ""
    known = math.isfinite(row.value)
    value = ours(f"{row.value:.0%}", "span" if row.few else "b")
    value = f"{value}{_interval(row)}" if known else ours("not measured")
    return (
        f'<tr><th scope="row">{_what(row)}{hint}</th><td>{value}</td>'
        f"<td>{_between(row)}</td><td>{row.count:,}</td></tr>"
    )


def _what(row: Row) -> str:
    """Return what a number tells, after the task's title where that belongs to it."""
    task, said = TASKS[row.task].title, row.said or row.title
    if not said.startswith(f"{task}: "):
        return ours(said)
    return f"{ours(task)}: {ours(said.removeprefix(f'{task}: '))}"


LOWER = ours("(lower is better)", kind="fd-note")


def _between(row: Row) -> str:
    if row.few:
        return ours(TOO_FEW)
    if row.interval is None:
        return "–"
    low, high = (f"{end:.0%}" for end in row.interval)
    return ours(f"about {low}") if low == high else f"{ours(low)} – {ours(high)}"


def _interval(row: Row) -> str:
    """Return the number and its interval drawn on a scale from 0 to 1."""
    if row.interval is None:
        return ""
    low, value, high = (
        100 * min(1.0, max(0.0, v)) for v in (row.interval[0], row.value, row.interval[1])
    )
    return (
        f'<span class="fd-interval" aria-hidden="true"><i style="left:{low:.1f}%;'
        f'width:{max(high - low, 0.5):.1f}%"></i><b style="left:{value:.1f}%"></b></span>'
    )


def _details(rows: Sequence[Row]) -> str:
    """Return the same as the field writes it."""
    body = "".join(
        f'<tr><th scope="row">{escape(row.title.replace(" -> ", " → "))}</th>'
        f"<td>{row.value:.3f}</td><td>{_ends(row)}</td><td>{row.count:,}</td></tr>"
        for row in rows
        if math.isfinite(row.value)
    )
    return (
        '<div class="fd-wide"><table class="fd-numbers"><thead data-words="all"><tr>'
        '<th scope="col">Metric</th>'
        '<th scope="col">Value</th><th scope="col">95 % interval</th>'
        f'<th scope="col">Rows</th></tr></thead><tbody>{body}</tbody></table></div>'
    )


def _ends(row: Row) -> str:
    if row.interval is None:
        return ours(TOO_FEW) if row.few else "–"
    return "{:.3f} – {:.3f}".format(*row.interval)
