"""The part in which an answer is put right: its components, and where they stand.

Knows layout. What happens when they are used is ``correcting``'s business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from florence_demo.bounded_json import JsonLimits, parse_json
from florence_demo.errors import InputError
from florence_demo.ui.components import Skeleton, read_script

_EDITED = JsonLimits(max_bytes=1 << 20, max_values=50_000, max_depth=6)


class AnswerEditor(Skeleton):
    """Let a person change an answer: its words, or its places and their names.

    Its value holds ``picture`` (a file), ``size``, ``kind``, ``named`` and ``asked`` as
    ``correcting.form_of`` tells them, ``id``, which is another one for each answer, and ``edited``:
    the answer as a JSON text, changed by every change. It is empty where nothing is edited.
    """

    def __init__(self, uid: str, **kwargs: Any) -> None:
        html = (
            '<section class="fd-editor" data-words aria-label="Put the answer right" hidden>'
            '<p class="fd-hint" aria-live="polite"></p>'
            '<div class="fd-edit-stage" tabindex="0" role="application" aria-label="The places on'
            " the picture. Arrow keys move the chosen one, Shift with arrow keys resizes it, Delete"
            ' removes it; choose one in the list below."><img alt="The picture" draggable="false">'
            '<svg class="fd-edit-shapes" preserveAspectRatio="none" aria-hidden="true"></svg>'
            '<div class="fd-edit-handles" aria-hidden="true"></div></div>'
            '<textarea class="fd-edit-text" rows="4" aria-label="The right answer"></textarea>'
            '<div class="fd-edit-bar"><button type="button" data-do="add">Add a place</button>'
            '<button type="button" data-do="undo">Undo</button>'
            '<span class="fd-edit-count" aria-live="polite"></span></div>'
            f'<ol class="fd-edit-rows"></ol><datalist id="fd-names-{uid}"></datalist></section>'
        )
        script = read_script("answer_editor.js")
        super().__init__(html, script, label="Put the answer right", **kwargs)

    def preprocess(self, payload: Any) -> Any:
        """Return the answer as it was edited, which is still to be checked.

        Raises:
            InputError: It is not what the editor writes, or larger than any answer.
        """
        edited = payload.get("edited") if isinstance(payload, dict) else None
        if not isinstance(edited, str):
            raise InputError("Nothing is being edited: press “Put it right” first.")
        try:
            return parse_json(edited.encode("utf-8", "replace"), _EDITED)
        except ValueError as exc:
            raise InputError(f"The edited answer {exc}: remove some places.") from exc


@dataclass(frozen=True, eq=False)
class Correcting:
    """Hold what an answer is put right with.

    Attributes:
        begin: Turns from the answer to its editor.
        part: What stands in the picture's place meanwhile.
        editor: The answer as it is being changed.
        add: Keeps it.
        cancel: Leaves the answer as it was.
        kept: What stands of the person's own data below the answer.
        told: How much that is.
        download: Hands it out.
        file: The hidden button that a browser downloads by.
        learn: Goes on to learn from it.
    """

    begin: gr.Button
    part: gr.Column
    editor: AnswerEditor
    add: gr.Button
    cancel: gr.Button
    kept: gr.Row
    told: gr.HTML
    download: gr.Button
    file: gr.DownloadButton
    learn: gr.Button


@dataclass(frozen=True, eq=False)
class Editing:
    """Hold what stands in the picture's place while an answer is edited."""

    part: gr.Column
    editor: AnswerEditor
    add: gr.Button
    cancel: gr.Button


def lay_out_editor(api: str) -> Editing:
    """Lay out the editor, where the picture is.

    Args:
        api: Name of the endpoint, which the elements' ids end in.
    """
    with gr.Column(visible=False) as part:
        editor = AnswerEditor(api)
        with gr.Row():
            add = gr.Button("Add to my data", variant="primary", scale=2)
            cancel = gr.Button("Cancel", scale=1, min_width=90)
    return Editing(part, editor, add, cancel)


def lay_out_kept(begin: gr.Button, editing: Editing, api: str) -> Correcting:
    """Lay out what is kept, and return it with the editor.

    Args:
        begin: The button that opens the editor.
        editing: The editor.
        api: Name of the endpoint, which the elements' ids end in.
    """
    with gr.Row(visible=False, equal_height=True, elem_classes="fd-kept") as kept:
        told = gr.HTML("", elem_classes="fd-small")
        download = gr.Button("Download my data", size="sm", scale=0, min_width=160)
        learn = gr.Button("Learn from it", size="sm", scale=0, min_width=130, visible=False)
    file = gr.DownloadButton(visible="hidden", elem_id=f"fd-own-{api}")
    return Correcting(
        begin, editing.part, editing.editor, editing.add, editing.cancel, kept, told, download,
        file, learn,
    )  # fmt: skip
