"""The page's address: which tab is open stands in it.

Knows the browser's history and the names of the tabs. Does not know what is in them.
"""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from florence_demo.ui.components import read_script

_OPEN = "(name) => ({selected: name, __type__: 'update'})"
_TELL = "(name) => document.dispatchEvent(new CustomEvent('fd-tab', {detail: name}))"


class Address(gr.HTML):
    """Keep the open tab in the page's address; its value is the tab that the address names.

    It triggers ``go`` where the address has come to name another one: by a link, or by Back.
    """

    def __init__(self, tabs: list[str]) -> None:
        super().__init__(
            value="",
            html_template="<span hidden></span>",
            js_on_load=read_script("address.js").replace("__TABS__", json.dumps(tabs)),
            label="Address",
            apply_default_css=False,
            padding=False,
            elem_classes="fd-address",
        )

    def api_info(self) -> dict[str, Any]:
        """Tell clients that there is nothing to give."""
        return {"type": "string"}


def connect_address(tabs: gr.Tabs) -> Address:
    """Let the address name the open one of these tabs, whoever opens it."""
    each = {str(tab.id): tab for tab in tabs.children if isinstance(tab, gr.Tab)}
    address = Address(list(each))
    address.go(None, address, tabs, js=_OPEN).then(None, address, None, js=_TELL)
    for name, tab in each.items():
        tab.select(None, None, None, js=f"() => ({_TELL})({json.dumps(name)})")
    return address
