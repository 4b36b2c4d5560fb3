"""The menu of tasks: first what one wants to do, then how exactly, then whether also where.

Knows the browser and which model is chosen. A task is known by its name alone: what its entry of
the menu means is told by ``Task``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from florence_demo.errors import FlorenceDemoError
from florence_demo.models.catalogue import Named
from florence_demo.tasks import TASKS, Task, task_named
from florence_demo.training.learned import questions_learned
from florence_demo.ui.components import read_script
from florence_demo.ui.pickers import QUIET


class TaskMenu(gr.HTML):
    """Offer the tasks in groups; its value is a task's name.

    An entry may mean several tasks. One of them also says where: that is a switch's business. Of
    prompts for one and the same question a person who picks the entry gets the first of those that
    the model learned, ``suited``; a task that comes from elsewhere, such as a link or an example,
    stays what it is where the model knows it.
    """

    def __init__(
        self, value: str = "caption", *, uid: str, suited: Sequence[str] = (), **kwargs: Any
    ) -> None:
        groups: dict[str, list[dict[str, Any]]] = {}
        for task in TASKS.values():
            if not task.entry:
                groups.setdefault(task.group, []).append(_entry(task))
        script = read_script("task_menu.js")
        script = script.replace("__TASKS__", json.dumps(groups)).replace("__UID__", uid)
        super().__init__(
            value=value,
            html_template=_html(groups, uid),
            js_on_load=script,
            label="Task",
            show_label=False,
            apply_default_css=False,
            suited=list(suited),
            **kwargs,
        )
        # Of an attribute that is none gradio makes an event, and would send that with an update.
        self.suited = list(suited)

    def preprocess(self, payload: Any) -> str:
        """Return the task's name.

        Raises:
            InputError: There is no such task.
        """
        return task_named(str(payload)).name

    def postprocess(self, value: Any) -> Any:
        """Return the name as it is."""
        return value

    def suit(self, model: gr.components.Component, resolve: Callable[[Any], Named]) -> None:
        """Ask questions as the chosen model learned them, whenever another one is chosen.

        Args:
            model: Holds the model's name.
            resolve: Turns its value into a model, or raises.
        """

        def suited(value: Any) -> list[str]:
            try:
                return list(questions_learned(resolve(value)))
            except FlorenceDemoError:  # there is none yet, or one that is told when it is asked
                return []

        self.props["suited"] = suited(model.value)
        model.change(lambda value: gr.update(suited=suited(value)), model, self, **QUIET)


def _entry(task: Task) -> dict[str, Any]:
    """Return what the script knows of an entry; it is called as the first of its tasks."""
    meant = [task, *(each for each in TASKS.values() if each.entry == task.name)]
    return {
        "name": task.name,
        "title": task.short or task.title,
        "placed": task.placed,
        "helps": {each.name: each.help for each in meant},
    }


def _html(groups: dict[str, list[dict[str, Any]]], uid: str) -> str:
    """Return the skeleton: a row of groups, then one row of tasks a group, and the switch."""
    tabs = "".join(
        f'<label class="fd-chip fd-group"><input type="radio" name="{uid}-group" value="{i}">'
        f"<span>{name}</span></label>"
        for i, name in enumerate(groups)
    )
    rows = "".join(
        f'<div class="fd-row" role="radiogroup" aria-label="{name}" data-group="{i}" hidden>'
        + "".join(
            f'<label class="fd-chip"><input type="radio" name="{uid}-task" value="{t["name"]}">'
            f"<span>{t['title']}</span></label>"
            for t in entries
        )
        + "</div>"
        for i, (name, entries) in enumerate(groups.items())
    )
    return (
        '<div class="fd-tasks" data-words><div class="fd-groups" role="radiogroup"'
        f' aria-label="What to do">{tabs}</div><div class="fd-variants">{rows}'
        '<label class="fd-where" hidden><input type="checkbox" role="switch">'
        '<span>Show where</span></label></div><p class="fd-help" aria-live="polite"></p></div>'
    )
