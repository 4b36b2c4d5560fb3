"""Between the browser and what it asks for: errors that are sentences.

Knows gradio's errors and our own. Does not know models.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import gradio as gr

from florence_demo.errors import FlorenceDemoError
from florence_demo.files import is_disk_full
from florence_demo.serving.answering import Caller
from florence_demo.serving.gate import visitor_of
from florence_demo.serving.logs import our_fault

log = logging.getLogger(__name__)

_P = ParamSpec("_P")
_R = TypeVar("_R")

_LONGEST = 600
"""Letters of a sentence on the page; more is a stranger's text in it."""

# A toast renders markup; text of strangers' files in it must stay text, for programs too.
_AS_TEXT = str.maketrans({"<": "‹", ">": "›"})


WHY = """
async () => {
  await new Promise(done => setTimeout(done));
  const told = [...document.querySelectorAll('[data-testid=toast-text]:not([data-told])')];
  told.forEach(each => { each.dataset.told = ''; });
  return told.at(-1)?.textContent.trim();
}
"""
"""Return, in the browser, what the last message says that nobody asked for yet; several of one kind
share a frame."""


class OurFault(gr.Error):
    """Say that something of ours failed, whatever the person did."""


def as_text(sentence: str) -> str:
    """Return a sentence that no place of the page takes for markup."""
    plain = sentence.translate(_AS_TEXT).encode("utf-8", "replace").decode()
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"


def message(exc: Exception) -> gr.Error:
    """Return the toast for an error; a bug of ours goes to the log with its traceback."""
    if isinstance(exc, gr.Error):
        return exc
    if isinstance(exc, FlorenceDemoError):
        return _toast(gr.Error, str(exc))
    if is_disk_full(exc):
        log.error("the disk is full")
        sentence = (
            "The disk of this server is full, so nothing could be written. Nothing is lost: try"
            " again later."
        )
    else:
        log.exception("unexpected error", exc_info=exc)
        sentence = our_fault("Your picture and settings are kept: try again, or try another task.")
    return _toast(OurFault, sentence)


def _toast(kind: type[gr.Error], sentence: str) -> gr.Error:
    return kind(as_text(sentence), duration=15, print_exception=False)


def caller_of(request: gr.Request | None, progress: gr.Progress) -> Caller:
    """Return who asks an event, and how he is told of what goes on."""
    return Caller(lambda done, what: progress(done, desc=what), visitor_of(request))


def friendly(fn: Callable[_P, _R]) -> Callable[_P, _R]:
    """Turn every error of a handler into a sentence on the page."""

    @functools.wraps(fn)
    def handler(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return fn(*args, **kwargs)
        except Exception as exc:
            raise message(exc) from exc

    return handler


def friendly_stream(fn: Callable[_P, Iterator[_R]]) -> Callable[_P, Iterator[_R]]:
    """Turn every error of a handler that yields into a sentence on the page."""

    @functools.wraps(fn)
    def handler(*args: _P.args, **kwargs: _P.kwargs) -> Iterator[_R]:
        try:
            yield from fn(*args, **kwargs)
        except Exception as exc:
            raise message(exc) from exc

    return handler


def press(button: gr.Button | gr.DownloadButton) -> str:
    """Return the script that presses a button: one to ask, or a hidden one to fetch a file."""
    return (
        f"() => {{ setTimeout(() => document.querySelector('#{button.elem_id}')?.click(), 60); }}"
    )
