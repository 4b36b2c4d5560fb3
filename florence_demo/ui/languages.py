"""The page's own words in the visitor's language.

The English words in the code are the keys of the tables in ``words/``, one a language. What Gradio
draws is marked here for Gradio's own translation, on its way to the browser, so that programs and
sentences of the server stay English; what scripts and skeletons of ours draw, ``js/words.js`` does.
"""

from __future__ import annotations

import functools
import json
import re
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from florence_demo.ui.components import read_script

WORDS = Path(__file__).parent / "words"

LANGUAGES = ("en", "de", "fr", "es", "zh")
"""Those that the page speaks; English has a table too, for its plurals."""

_SPOKEN = ("label", "info", "placeholder", "submit_btn")
_SPEAKS = ("button", "downloadbutton", "markdown")
"""Kinds of components whose value is words of ours, and nobody's data."""

_NAME = re.compile(r"[a-z0-9_./-]+")
"""Words that could be the name of a model, a folder or a choice: Gradio, which translates such
values as if they were words, is not told of these."""

_MARK = re.compile(r"__i18n__(\{[^}]*\})")


@functools.cache
def tables() -> dict[str, dict[str, Any]]:
    """Return of each language the words for the English ones, or their forms by number."""
    return {
        each: json.loads((WORDS / f"{each}.json").read_text(encoding="utf-8")) for each in LANGUAGES
    }


def for_launch() -> dict[str, Any]:
    """Return what ``launch`` must be told: the tables, and the scripts that use them."""
    told, kept = (
        {each: {w: said for w, said in table.items() if bool(_NAME.fullmatch(w)) is names}
         for each, table in tables().items()}
        for names in (False, True)
    )  # fmt: skip
    files = ("words.js", "keys.js", "picture_files.js")
    scripts = [f"window.fdNames = {json.dumps(kept)}", *map(read_script, files)]
    return {
        "i18n": gr.I18n(**told),
        "head": "".join(f"<script>{script}</script>" for script in scripts),
    }


def mark_config(config: Any) -> Any:
    """Mark our words in what the browser is told of the page's components."""
    for component in config["components"]:
        mark(component["props"], component["type"])
    return config


def mark(props: dict[str, Any], kind: str) -> None:
    """Mark our words among a component's properties, or in an update of them.

    Args:
        props: The properties; changed in place.
        kind: What Gradio calls the component: "button".
    """
    for name in (*_SPOKEN, *(("value",) if kind in _SPEAKS else ())):
        if name in props:
            props[name] = marked(props[name])
    if props.get("choices"):
        props["choices"] = [[marked(choice[0]), *choice[1:]] for choice in props["choices"]]


def marked(words: Any) -> Any:
    """Return words of ours so that Gradio translates them, anything else as it is."""
    ours = isinstance(words, str) and isinstance(tables()["de"].get(words), str)
    ours = ours and not set("{}") & set(words) and not _NAME.fullmatch(words)
    return str(gr.I18n()(words)) if ours else words


def ours(words: str, tag: str = "span", kind: str = "") -> str:
    """Return words of ours as an element of HTML that the page translates, "" where there are none.

    Args:
        words: A sentence, a phrase, a number with its unit; what is data stands in a form of ours.
        tag: The element's.
        kind: Its classes.
    """
    of = f' class="{kind}"' if kind else ""
    return f'<{tag}{of} data-words="all">{escape(words)}</{tag}>' if words else ""


def plain(value: Any) -> Any:
    """Return JSON as it was before anything in it was marked."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, str):
        return _MARK.sub(lambda found: json.loads(found[1])["key"], value)
    return value
