"""Numbers that a person fills in: taken as they come, then checked with a sentence.

Gradio compares what arrives with its own limits before a handler sees it, and stumbles over text
and over what is no number; these components leave that to ``number_of``.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from florence_demo.errors import InputError
from florence_demo.training.config import Bounds


class Number(gr.Number):
    """Show a box for a number, and hand on whatever arrives."""

    def get_block_name(self) -> str:
        """Name the component that the browser draws."""
        return "number"

    def preprocess(self, payload: Any) -> Any:
        """Return what arrived, for ``number_of``."""
        return payload


class Slider(gr.Slider):
    """Show a slider, and hand on whatever arrives."""

    def get_block_name(self) -> str:
        """Name the component that the browser draws."""
        return "slider"

    def preprocess(self, payload: Any) -> Any:
        """Return what arrived, for ``number_of``."""
        return payload


def number_of(label: str, value: Any, bounds: Bounds) -> Any:
    """Return a filled in number, as an int where it must be whole, None where it is left out.

    Args:
        label: What the page calls it.
        value: What arrived, from a browser or a program, so not to be believed.
        bounds: What it may be.

    Raises:
        InputError: It is no number, or out of bounds.
    """
    if bounds.whole and isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON knows one kind of number
    problem = bounds.problem(value)
    if problem:
        raise InputError(f"“{label}” {problem}.")
    return value
