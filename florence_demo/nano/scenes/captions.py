"""Captions of scenes at three lengths.

Knows how each kind of scene is described. Does not know tasks.
"""

from __future__ import annotations

from collections.abc import Callable

from florence_demo.nano.scenes.phrases import (
    NUMBERS,
    Facts,
    at_position,
    counted,
    dense_phrase,
    groups,
    join,
    name,
    sentence,
    spoken,
    with_article,
)


def captions(facts: Facts) -> tuple[str, str, str]:
    """Return the caption at three lengths."""
    return _DOCUMENT_CAPTIONS.get(facts.kind, _object_captions)(facts)


def _object_captions(facts: Facts) -> tuple[str, str, str]:
    objects, size = facts.objects, facts.size
    says = f" sign that says {spoken(facts.lines)}" if facts.lines else ""
    short = join([counted(phrase, len(indices)) for phrase, indices in groups(objects)])
    placed = [f"{with_article(name(o))} {at_position(o, size)}" for o in objects]
    middle = f"The image shows {join(placed)}."
    count = (
        f"There {'is one object' if len(objects) == 1 else f'are {NUMBERS[len(objects)]} objects'}"
    )
    long = [f"{count} in the image."]
    long += [sentence(f"{at_position(o, size)} is {dense_phrase(o, size)}") for o in objects]
    behind = f"The background is {facts.background}."
    if says:
        sign = f"there is {with_article(facts.about['color'])}{says}"
        return (
            sentence(f"{short} with a{says}"),
            f"{middle} {sentence(sign)} {behind}",
            f"{' '.join(long)} {sentence(sign)} {behind}",
        )
    return sentence(short), f"{middle} {behind}", f"{' '.join(long)} {behind}"


def _sign_captions(facts: Facts) -> tuple[str, str, str]:
    says, color, count = spoken(facts.lines), facts.about["color"], len(facts.lines)
    middle = sentence(f"The image shows {with_article(color)} sign that says {says}")
    rows = "one line" if count == 1 else f"{NUMBERS[count]} lines"
    behind = f"The background is {facts.background}."
    long = f"{middle} There {'is' if count == 1 else 'are'} {rows} of text on the sign. {behind}"
    return sentence(f"A sign that says {says}"), f"{middle} {behind}", long


def _page_captions(facts: Facts) -> tuple[str, str, str]:
    title, count = facts.about.get("title"), len(facts.lines)
    called = f" with the title {title}" if title else ""
    rows = "one line" if count == 1 else f"{NUMBERS[count] if count < 11 else count} lines"
    middle = f"The image shows a page of text with {rows}."
    first = sentence(f"The first line says {facts.lines[0].text}")
    return sentence(f"A page of text{called}"), middle, f"{middle} {first}"


def _receipt_captions(facts: Facts) -> tuple[str, str, str]:
    count = int(facts.about["count"])
    items = "one item" if count == 1 else f"{NUMBERS[count]} items"
    middle = f"The image shows a receipt from {facts.about['shop']} with {items}."
    total = f"The total is {facts.about['total']}."
    bought = [
        q.removeprefix("What is the price of ").rstrip("?") for q, _ in facts.facts if "price" in q
    ]
    return (
        f"A receipt with {items}.",
        f"{middle} {total}",
        f"{middle} It lists {join(bought)}. {total}",
    )


def _form_captions(facts: Facts) -> tuple[str, str, str]:
    count = int(facts.about["count"])
    fields = "one field" if count == 1 else f"{NUMBERS[count]} fields"
    middle = f"The image shows a form with the title {facts.about['title']} and {fields}."
    return (
        f"A form with {fields}.",
        middle,
        f"{middle} It gives {join(facts.about['fields'].split('|'))}.",
    )


def _table_captions(facts: Facts) -> tuple[str, str, str]:
    count = int(facts.about["count"])
    rows = "one row" if count == 1 else f"{NUMBERS[count]} rows"
    middle = f"The image shows a table of {facts.about['heads']} with {rows}."
    first = f"The first row is {facts.about['first']}."
    return f"A table with {rows}.", middle, f"{middle} {first}"


def _chart_captions(facts: Facts) -> tuple[str, str, str]:
    bars = f"{NUMBERS[int(facts.about['count'])]} bars"
    middle = f"The image shows a bar chart of {facts.about['title']} with {bars}."
    answers = dict(facts.facts)
    high, low = answers["Which bar is the highest?"], answers["Which bar is the lowest?"]
    long = f"{middle} The highest bar is {high} and the lowest bar is {low}."
    return f"A bar chart with {bars}.", middle, long


_DOCUMENT_CAPTIONS: dict[str, Callable[[Facts], tuple[str, str, str]]] = {
    "sign": _sign_captions,
    "page": _page_captions,
    "receipt": _receipt_captions,
    "form": _form_captions,
    "table": _table_captions,
    "chart": _chart_captions,
}
