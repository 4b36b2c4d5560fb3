"""The page's address: the open tab and the last question stand in it, so that a link brings both.

Knows the browser's history and what a question is made of. Does not know how links are checked.
"""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from florence_demo.serving.asking import Service
from florence_demo.serving.links import read_link
from florence_demo.tasks import TASKS
from florence_demo.ui.ask_layout import Surface
from florence_demo.ui.components import read_script, said_by
from florence_demo.ui.handlers import as_text, friendly
from florence_demo.ui.pickers import LATEST, QUIET
from florence_demo.ui.settings import settings_of

_OPEN = "(name) => ({selected: name, __type__: 'update'})"
_ASKED = """
(...values) => {
  const detail = Object.fromEntries(__NAMES__.map((name, at) => [name, values[at]]));
  if (!__WORDY__.includes(detail.task)) detail.words = '';
  document.dispatchEvent(new CustomEvent('fd-asked', {detail}));
}
"""


class Address(gr.HTML):
    """Keep the open tab and the last question in the page's address.

    Its value is the tab that the address names. It triggers ``go`` where the address has come to
    name another one, by a link or by Back, and ``linked`` with the ``query`` of a link.

    Args:
        tabs: Their names, that which is open at first first.
        usual: What a question has at first: left out of links.
    """

    def __init__(self, tabs: list[str], usual: dict[str, Any]) -> None:
        script = read_script("address.js").replace("__TABS__", json.dumps(tabs))
        super().__init__(
            value="",
            html_template="<span hidden></span>",
            js_on_load=script.replace("__USUAL__", json.dumps(usual)),
            label="Address",
            apply_default_css=False,
            padding=False,
            elem_classes="fd-address",
        )


def connect_address(service: Service, tabs: gr.Tabs, surface: Surface) -> None:
    """Let the address name the open one of these tabs, and the question of the first one."""
    names = [str(tab.id) for tab in tabs.children if isinstance(tab, gr.Tab)]
    settings = {each.name: each.component for each in settings_of(service, surface)}
    usual = {name: component.value for name, component in settings.items()}
    address = Address(names, usual)
    address.go(None, address, tabs, js=_OPEN, **LATEST)
    _connect_links(service, address, surface, settings)


def _connect_links(
    service: Service, address: Address, surface: Surface, settings: dict[str, Any]
) -> None:
    q, view = surface.question, surface.answer.view
    wordy = [task.name for task in TASKS.values() if task.asks == "text"]
    script = _ASKED.replace("__NAMES__", json.dumps(list(settings)))
    script = script.replace("__WORDY__", json.dumps(wordy))
    gr.on([q.ask.click, q.words.submit], None, list(settings.values()), None, js=script)

    @friendly
    def follow(event: gr.EventData) -> tuple[Any, ...]:
        linked = read_link(said_by(event, "query"), service.check_model)
        told = {"hint": as_text(" ".join(linked.problems))} if linked.problems else gr.skip()
        return *(linked.settings.get(name, gr.skip()) for name in settings), told

    address.linked(follow, None, [*settings.values(), view], **QUIET)
