"""A part of the page that shows runs as HTML, in which a run or one of its samples is pressed.

Knows the browser. What is in it, escaped, is ``run_panel``'s and ``checkpoint_card``'s business.
"""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from florence_demo.errors import InputError
from florence_demo.ui.components import read_script, said_by


class RunView(gr.HTML):
    """Show HTML of ours; pressing what ``pressing`` marked triggers ``pick`` with it."""

    def __init__(self, value: str = "", **kwargs: Any) -> None:
        super().__init__(value=value, js_on_load=read_script("run_view.js"), **kwargs)


def pressing(run: str, sample: int | None = None) -> str:
    """Return the attributes of a button that stands for a run, or for one of its samples.

    Args:
        run: The run's name, as ``checkpoint_names`` gives it.
        sample: Which of its samples.
    """
    of = "" if sample is None else f' data-sample="{sample}"'
    return f'type="button" data-run="{escape(run)}"{of}'


def pressed(event: gr.EventData) -> tuple[str, int | None]:
    """Return the run that was pressed, and which of its samples; from a browser, to be checked.

    Raises:
        InputError: The event does not say.
    """
    run, sample = said_by(event, "run"), said_by(event, "sample")
    is_sample = sample is None or (type(sample) is int and 0 <= sample < _MOST)
    if not isinstance(run, str) or not is_sample:
        raise InputError("This is no longer here: open the tab again and choose another one.")
    return run, sample


_MOST = 1_000
"""Samples that no run has."""
