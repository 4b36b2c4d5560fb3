"""How a measurement looks on the page: what the numbers tell, and what to think of them.

Knows layout and words; names of tasks and data are escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from florence_demo.evaluation.report import LEAST, TOO_FEW, Report, Row

EMPTY = (
    '<section class="fd-run fd-run-empty" aria-label="The measurement"><h3>Nothing measured yet'
    "</h3><p>Choose a model and data whose right answers are known, and press <b>Measure</b>."
    " From ten questions on you also read how far other questions of the same kind may differ.</p>"
    "</section>"
)


_WORDS = (
    "<dl><dt>OD, OCR, VQA, DocVQA</dt><dd>Finding things; reading text; questions about pictures;"
    " questions about pages.</dd>"
    "<dt>95 % interval</dt><dd>By bootstrap: of a hundred such sets of questions, 95 come to lie in"
    " it.</dd>"
    "<dt>ANLS</dt><dd>How near the text is, letter by letter; 100 % is the same text.</dd>"
    "<dt>Accuracy at 0.5</dt><dd>Places right: at least half of the two areas is shared.</dd>"
    "<dt>mAP50, mAP75, mAP50:95</dt><dd>Things found in the right places under the right name, few"
    " false ones among them; the higher the number, the more exact the places must be.</dd>"
    "<dt>Quads at 0.5 IoU</dt><dd>Lines of text whose place is right: at least half of the two"
    " areas is shared.</dd>"
    "<dt>Exact</dt><dd>Answers that are the true one, letter by letter.</dd>"
    "<dt>ROUGE-L</dt><dd>How many of the words are there in the right order.</dd>"
    "<dt>Unseen style</dt><dd>Pictures drawn in a way that the model never learned from.</dd>"
    "<dt>IoU</dt><dd>How much of the two areas is shared.</dd>"
    "<dt>Error rate</dt><dd>Letters or words wrong, of those that are there; 0 % is best, and more"
    " than 100 % is text that is not there at all.</dd></dl>"
)


def progress_panel(done: int, total: int, doing: str) -> str:
    """Return how far a measurement is, as HTML."""
    share = 100 * done / total if total else 0.0
    words = f"{done:,} of {total:,} questions" if total else ""
    busy = "" if total and done < total else " fd-waiting"
    return (
        '<section class="fd-run" aria-label="The measurement"><header>'
        f'<span class="fd-badge fd-live">{escape(doing)}</span></header>'
        f'<div class="fd-bar{busy}" role="progressbar" aria-label="Progress" aria-valuemin="0"'
        f' aria-valuemax="100" aria-valuenow="{share:.0f}"><i style="width:{share:.1f}%"></i></div>'
        f'<p class="fd-split"><span>{words}</span></p></section>'
    )


def stopped_panel() -> str:
    """Return what is shown after a person stopped it."""
    return (
        '<section class="fd-run" aria-label="The measurement"><header>'
        '<span class="fd-badge fd-stopped">Stopped</span></header>'
        '<p class="fd-note">Nothing was measured to the end.</p></section>'
    )


def failed_panel() -> str:
    """Return what is shown where a measurement could not be made."""
    return (
        '<section class="fd-run" aria-label="The measurement"><header>'
        '<span class="fd-badge fd-failed">Not measured</span></header>'
        '<p class="fd-note">The message says why. Change what it names and press <b>Measure</b>'
        " again.</p></section>"
    )


def report_panel(report: Report) -> str:
    """Return a report as HTML: what it tells in words, the field's own numbers behind Details."""
    asked, first = len(report.judged), report.table or _firsts(report.rows)
    sensitivity = report.sensitivity.sentence() if report.sensitivity else ""
    failures = ""
    if report.failures:
        failures = (
            f'<p class="fd-alert">{len(report.failures):,} rows could not be asked:'
            f" {escape(report.failures[0][:300])}</p>"
        )
    few = ""
    if 0 < asked < LEAST:
        few = (
            f'<p class="fd-alert" role="status">{_questions(asked)} {_are(asked)} too few to say'
            " how good the model is: ask at least ten.</p>"
        )
    return (
        '<section class="fd-run" aria-label="The measurement"><header>'
        f'<span class="fd-badge fd-done">Done</span><h3>{escape(report.model)} on'
        f" {escape(report.data)}</h3></header>"
        f'<p class="fd-note">{_questions(asked)} in {report.seconds:.0f} s</p>'
        f"{few}{_table(first)}"
        f"{_said('Does it read the question?', sensitivity)}{failures}"
        f"<details><summary>Details: every number, by its name in the field</summary>"
        f"{_details((*report.table, *report.rows))}{_WORDS}</details></section>"
    )


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
    return f'<p class="fd-said"><b>{title}</b> {escape(sentence)}</p>'


def _table(rows: Sequence[Row]) -> str:
    """Return what some numbers tell a person."""
    body = "".join(_row(row) for row in rows)
    return (
        '<div class="fd-wide"><table class="fd-numbers"><thead><tr>'
        '<th scope="col">What</th><th scope="col">Here</th>'
        '<th scope="col">With other such questions</th>'
        f'<th scope="col">Questions</th></tr></thead><tbody>{body}</tbody></table></div>'
    )


def _row(row: Row) -> str:
    hint = ' <span class="fd-note">(lower is better)</span>' if row.lower_is_better else ""
    known = math.isfinite(row.value)
    shown = f"{row.value:.0%}" if row.few else f"<b>{row.value:.0%}</b>{_interval(row)}"
    value = shown if known else "not measured"
    return (
        f'<tr><th scope="row">{escape(row.said or row.title)}{hint}</th><td>{value}</td>'
        f"<td>{_between(row)}</td><td>{row.count:,}</td></tr>"
    )


def _between(row: Row) -> str:
    if row.few:
        return TOO_FEW
    if row.interval is None:
        return "–"
    low, high = (f"{end:.0%}" for end in row.interval)
    return f"about {low}" if low == high else f"{low} to {high}"


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
        '<div class="fd-wide"><table class="fd-numbers"><thead><tr><th scope="col">Metric</th>'
        '<th scope="col">Value</th><th scope="col">95 % interval</th>'
        f'<th scope="col">Rows</th></tr></thead><tbody>{body}</tbody></table></div>'
    )


def _ends(row: Row) -> str:
    if row.interval is None:
        return TOO_FEW if row.few else "–"
    return "{:.3f} to {:.3f}".format(*row.interval)
