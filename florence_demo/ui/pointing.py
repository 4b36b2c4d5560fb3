"""Pointing at a thing of an answer: a region task asks about its box, like any question of a box.

Knows the events. The box comes from the browser, as one that is drawn by hand does, and is checked
where every question is.
"""

from __future__ import annotations

from florence_demo.ui.ask_layout import Surface
from florence_demo.ui.handlers import press

# A thing's box becomes the question's, which is then asked as if a person had drawn it.
_POINT = """
canvas => {
  const {task, box} = canvas.pointed;
  return [task, {...canvas, draw: true, box: null, boxes: [box], pointed: null}];
}
"""


def connect_pointing(surface: Surface) -> None:
    """Connect a surface's canvas with its question."""
    q = surface.question
    q.picker.point(None, q.picker, [q.menu, q.picker], js=_POINT).then(
        None, None, None, js=press(q.ask)
    )
