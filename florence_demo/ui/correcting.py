"""What happens when an answer is put right: editing, adding to one's own data, going on with it.

Knows the events. What is taken of an edited answer is ``serving.correcting``'s business.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import gradio as gr
from PIL import Image

from florence_demo.data.own_set import NAME, Counted
from florence_demo.output.filtering import Filter, filtered
from florence_demo.pictures.images import display_copy
from florence_demo.prediction import Prediction
from florence_demo.serving.asking import Service, same_picture
from florence_demo.serving.correcting import add_corrected, editable, form_of, own_set
from florence_demo.serving.questions import Asked
from florence_demo.serving.showing import shown
from florence_demo.tasks import TASKS
from florence_demo.ui.ask_layout import Surface
from florence_demo.ui.handlers import friendly, press
from florence_demo.ui.pickers import FOLDER, QUIET, DataPicker

_IDS = itertools.count(1)

_SEEN = "visible => ({visible, __type__: 'update'})"
_CLOSE = f"() => {{ const seen = {_SEEN}; return [{{}}, seen(false), seen(true)]; }}"
_CLOSE_AND_SAVE = (
    f"() => {{ const seen = {_SEEN}; return [{{}}, seen(false), seen(true), seen(true)]; }}"
)


def connect_correcting(service: Service, surface: Surface) -> None:
    """Connect a surface's editor.

    Args:
        service: The page's.
        surface: The surface.
    """
    q, answer, picture = surface.question, surface.answer, surface.question.picture
    parts = answer.correcting
    editing = [parts.editor, parts.part, q.picker]
    parts.begin.click(
        _begin(service),
        [picture, answer.found, answer.holding],
        [*editing, answer.saving],
        api_visibility="private",
    )
    parts.cancel.click(None, None, [*editing, answer.saving], js=_CLOSE_AND_SAVE)
    for event in (q.ask.click, q.words.submit, q.every.click):
        close_editor(surface, event)
    parts.add.click(
        _add(service),
        [picture, answer.found, parts.editor],
        [*editing, *answer.outputs, parts.kept, parts.told],
        api_visibility="private",
        show_progress_on=parts.editor,
        show_progress="minimal",
    )
    parts.download.click(_pack(service), None, parts.file, api_visibility="private").success(
        None, None, None, js=press(parts.file)
    )


def close_editor(surface: Surface, event: Callable[..., Any]) -> None:
    """Show the picture in the place of the editor, whenever an event brings another answer."""
    parts = surface.answer.correcting
    event(None, None, [parts.editor, parts.part, surface.question.picker], js=_CLOSE)


def connect_learning(
    service: Service, app: gr.Blocks, surface: Surface, tabs: gr.Tabs, picker: DataPicker | None
) -> None:
    """Show what is kept when the page is loaded, and let a person go on to learn from it.

    Args:
        service: The page's.
        app: The page.
        surface: The surface.
        tabs: The page's tabs, to go to the one for fine-tuning.
        picker: Where that tab's data is chosen; None where nothing is learned here.
    """
    parts = surface.answer.correcting

    @friendly
    def kept(request: gr.Request) -> tuple[Any, ...]:
        counted = own_set(service, str(request.session_hash)).counted()
        return gr.update(visible=bool(counted.rows)), _told(counted)

    app.load(kept, None, [parts.kept, parts.told], **QUIET)
    if picker is None or service.config.public:
        return
    parts.learn.visible = True

    @friendly
    def learn() -> tuple[Any, ...]:
        folder = gr.update(choices=picker.folders(), value=NAME)
        return gr.Tabs(selected="finetune"), gr.update(value=FOLDER), folder

    parts.learn.click(learn, None, [tabs, picker.kind, picker.folder], api_visibility="private")


def _begin(service: Service) -> Any:
    @friendly
    def begin(image: Image.Image | None, found: Prediction | None, kept: Any) -> tuple[Any, ...]:
        picture, about = same_picture(image, found)
        about = filtered(about, Filter.given(kept, about.detections))
        value = {
            **form_of(about),
            "id": next(_IDS),
            "picture": service.handed_out(*display_copy(picture)),
            "edited": json.dumps(editable(about)),
        }
        # Out of the way, but as it was: it is shown again when the editor is closed.
        hidden = gr.update(visible="hidden")
        return value, gr.update(visible=True), hidden, gr.update(visible=False)

    return begin


def _add(service: Service) -> Any:
    @friendly
    def add(
        image: Image.Image | None, found: Prediction | None, edited: Any, request: gr.Request
    ) -> tuple[Any, ...]:
        kept = own_set(service, str(request.session_hash))
        right, counted = add_corrected(service, kept, image, found, edited)
        assert found is not None
        task = TASKS[found.task]
        view = {
            **shown(right),
            "question": Asked.of(task, *task.asked(found.prompt, found.size)).sentence(),
            "meta": "Corrected by hand, and added to your data.",
        }
        opened, closed = gr.update(visible=True), gr.update(visible=False)
        answer = (view, right.parsed, right.raw, right)
        return {}, closed, opened, *answer, opened, _told(counted)

    return add


def _pack(service: Service) -> Any:
    @friendly
    def pack(request: gr.Request) -> str:
        kept = own_set(service, str(request.session_hash))
        return str(kept.pack(service.scratch.new_served_folder() / f"{NAME}.zip"))

    return pack


def _told(counted: Counted) -> str:
    if not counted.rows:
        return ""
    answers, pictures = counted.words()
    return f"<p data-words><b>My data:</b> <span>{answers}</span> · <span>{pictures}</span></p>"
