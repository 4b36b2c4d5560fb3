"""The picture and what is asked about it: how a picture gets onto the canvas, what a task shows.

Knows the components that every part of the page has that asks about one picture. Does not know who
answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from florence_demo.engine.closely import can_look_closely
from florence_demo.tasks import TASKS
from florence_demo.ui.components import Canvas, SafeImage
from florence_demo.ui.handlers import WHY
from florence_demo.ui.pickers import QUIET
from florence_demo.ui.task_menu import TaskMenu

_LARGE = 2 * 768
"""Pixels of a side from which a picture is squeezed a lot: most models see 768."""

# What a task and a picture show, decided in the browser so that it never waits behind an answer.
_SWITCH = """
(task, canvas) => {
  const ask = __ASKS__[task] || {};
  const here = Boolean(canvas && canvas.picture);
  const update = extra => ({...extra, __type__: 'update'});
  return [
    update({visible: ask.needs === 'text', label: fd.say(ask.label || 'Words'),
            placeholder: ask.example
              ? fd.say('For example: {words}', {words: ask.example}) : ''}),
    {...canvas, draw: ask.needs === 'region'},
    update({visible: here ? 'hidden' : true}),
    update({visible: here && ask.closely && Math.max(...canvas.size) >= __LARGE__}),
  ].slice(0, __COUNT__);
}
"""
_AWAY = "() => [null, {}, {}]"
# What is no picture does not stay: it would be in the way of the one before, and of every question.
_NOT_TAKEN = f"""
async () => {{
  const why = await ({WHY})();
  return [null, {{}}, {{hint: 'This file was not taken.', notices: why ? [why] : []}}];
}}
"""
_BROUGHT = "(canvas) => canvas.brought || null"


@dataclass(frozen=True, eq=False)
class CanvasInputs:
    """Hold what a question about one picture is made of.

    Attributes:
        menu: The tasks.
        words: Of tasks that take some.
        picture: The upload.
        canvas: The same picture as the server read it.
        closely: Whether parts of a large picture are looked at too; None where that is not offered.
    """

    menu: TaskMenu
    words: gr.Textbox
    picture: SafeImage
    canvas: Canvas
    closely: gr.Checkbox | None = None

    def switch_after(self, event: Callable[..., Any]) -> Any:
        """Show the inputs that the chosen task needs, whenever an event comes."""
        shown = [self.words, self.canvas, self.picture]
        shown += [self.closely] if self.closely is not None else []
        script = _SWITCH.replace("__ASKS__", _asks()).replace("__LARGE__", str(_LARGE))
        script = script.replace("__COUNT__", str(len(shown)))
        return event(None, [self.menu, self.canvas], shown, js=script)

    def connect(self, read: Callable[..., Any], answer: Any) -> list[Any]:
        """Connect what brings a picture and takes it away, and return those events.

        Args:
            read: From the picture to the canvas' value and that of ``answer``.
            answer: The component that shows what is answered.
        """
        shown = [self.canvas, answer]
        self.switch_after(self.menu.change)
        arrived = self.picture.input(read, self.picture, shown, **QUIET)
        gone = self.canvas.away(None, None, [self.picture, *shown], js=_AWAY)
        brought = self.canvas.bring(None, self.canvas, self.picture, js=_BROUGHT).then(
            read, self.picture, shown, **QUIET
        )
        empty = [self.picture, *shown]
        refused = [each.failure(None, None, empty, js=_NOT_TAKEN) for each in (arrived, brought)]
        for event in (arrived, gone, brought, *refused):
            self.switch_after(event.then)
        return [self.picture.input, self.canvas.away, self.canvas.bring]


def _asks() -> str:
    return json.dumps(
        {
            t.name: {
                "needs": t.asks,
                "label": t.text_label,
                "example": t.example,
                "closely": can_look_closely(t),
            }
            for t in TASKS.values()
        }
    )
