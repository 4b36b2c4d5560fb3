"""The page's own components, each a thin subclass of one of Gradio's.

Knows the browser. Does not know models. A ``gr.HTML`` template is filled by Handlebars first and
then evaluated as a JavaScript template string, so that a value with ``${...}`` in it would run as
code. Therefore no template here contains a value: templates are fixed skeletons and the scripts
write values with ``textContent``. The one exception is the overlay, which ``output`` escapes.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import gradio as gr
from gradio.data_classes import ImageData, ListFiles
from gradio.processing_utils import save_bytes_to_cache
from PIL import Image

from florence_demo.engine.question import Regions, regions_given
from florence_demo.engine.several import MOST_REGIONS
from florence_demo.errors import InputError
from florence_demo.pictures.images import as_jpeg, with_file
from florence_demo.pictures.room import ROOM
from florence_demo.pictures.web import fetch_image, is_url
from florence_demo.tasks import TASKS

_ASSETS = Path(__file__).parent / "js"


def read_script(name: str) -> str:
    """Return a script of ours, to hand to a component."""
    return (_ASSETS / name).read_text(encoding="utf-8")


def own_file(component: gr.components.Component, path: Any) -> Path:
    """Return a file that a browser names, where it lies in the component's own cache.

    Gradio checks paths only in values that call themselves files; here all are checked.

    Raises:
        InputError: It lies elsewhere or is gone; which of them is nobody's business.
    """
    try:
        file = Path(path).resolve(strict=True)
        own = file.is_file() and file.is_relative_to(Path(component.GRADIO_CACHE).resolve())
    except (OSError, ValueError, TypeError, RuntimeError):
        own = False
    if not own:
        # The page's files are deleted after a while.
        raise InputError("This file is no longer here: upload it again.")
    with suppress(OSError):
        os.utime(file)  # it is still used
    return file


class SafeImage(gr.Image):
    """Take a picture as ``images`` reads it: right colours, right way up, within limits.

    An address in the place of a file is fetched by the rules of ``web``, not by gradio's.
    """

    def get_block_name(self) -> str:
        """Name the component that the browser draws."""
        return "image"

    async def async_move_resource_to_block_cache(
        self, url_or_file_path: str | Path | None
    ) -> str | None:
        """Return the path of a copy in this component's cache."""
        if url_or_file_path and is_url(str(url_or_file_path)):
            return await anyio.to_thread.run_sync(self._fetched, str(url_or_file_path))
        moved: str | None = await super().async_move_resource_to_block_cache(url_or_file_path)
        return moved

    def _fetched(self, address: str) -> str:
        data = as_jpeg(fetch_image(address))
        path: str = save_bytes_to_cache(data, "picture.jpg", self.GRADIO_CACHE)
        return path

    def preprocess(self, payload: ImageData | None) -> Image.Image | None:
        """Return the picture in RGB, or None.

        Raises:
            InputError: The file is no picture, not here or exceeds the limits, in one sentence.
        """
        if payload is None:
            return None
        if payload.path:
            file = own_file(self, payload.path)
            return with_file(ROOM.open(file), file)
        if payload.url and payload.url.startswith("data:"):
            return ROOM.open(payload.url)
        raise InputError("No picture arrived: upload it again.")


class Names(gr.Dropdown):
    """Offer names of what is there; whoever uses a name checks it.

    Gradio would take none but those that were there when the page was built.
    """

    def get_block_name(self) -> str:
        """Name the component that the browser draws."""
        return "dropdown"

    def preprocess(self, payload: Any) -> str | None:
        """Return the chosen name, or None.

        Raises:
            InputError: It is no name at all.
        """
        if payload is None or isinstance(payload, str):
            return payload
        raise InputError("Choose one name from the list.")


class SafeFiles(gr.File):
    """Take uploaded files, and no others of this machine."""

    def get_block_name(self) -> str:
        """Name the component that the browser draws."""
        return "file"

    def preprocess(self, payload: Any) -> list[Path] | None:
        """Return the uploaded files, or None.

        Raises:
            InputError: One of them is not here.
        """
        if payload is None:
            return None
        files = payload.root if isinstance(payload, ListFiles) else [payload]
        return [own_file(self, file.path) for file in files] or None


class Canvas(gr.HTML):
    """Show the picture with the answer on it, to drag boxes on and to point at things.

    Its value is ``{"picture": file, "size": [w, h], "draw": bool, "boxes": [[x1, y1, x2, y2],
    ...]}``, or with one ``box``, in pixels of the original picture. It triggers ``bring`` where a
    file was dropped on it or pasted, then in the value as ``brought``, ``away`` to be rid of the
    picture, and ``point`` where a thing is asked about, then in the value as ``pointed``:
    ``{"task": name, "box": [x1, y1, x2, y2]}``.
    """

    def __init__(self, uid: str, **kwargs: Any) -> None:
        script = "".join(read_script(name) for name in _CANVAS_SCRIPTS)
        script = script.replace("__UID__", uid).replace("__MOST__", str(MOST_REGIONS))
        super().__init__(
            value={"box": None},
            html_template=_CANVAS.replace("__ACTIONS__", _actions()),
            js_on_load=script,
            label="Region",
            apply_default_css=False,
            **kwargs,
        )

    def preprocess(self, payload: Any) -> Regions:
        """Return the box, several, or None where there is none; all else is ignored.

        Raises:
            InputError: A box is not four finite numbers, or they are too many.
        """
        regions = regions_given(payload)
        return regions if len(regions) > 1 else next(iter(regions), None)

    def postprocess(self, value: Any) -> Any:
        """Return the value as it is."""
        return value


def _actions() -> str:
    """Return a button for everything that can be asked about a thing that is pointed at."""
    titles = {task.name: task.title for task in TASKS.values() if task.asks == "region"}
    return "".join(
        f'<button type="button" data-task="{name}">{title}</button>'
        for name, title in {**_POINTING, **titles, **_POINTING}.items()
        if name in titles
    )


_POINTING = {
    "region_to_category": "What is this?",
    "region_to_description": "Describe",
    "region_to_ocr": "Read this",
    "region_to_segmentation": "Cut this out",
}
"""What tasks are called where a thing is pointed at; others have their titles."""


class Skeleton(gr.HTML):
    """Draw an object that a script of ours writes into a fixed skeleton.

    Args:
        html: The skeleton.
        script: The script.
        kwargs: As ``gr.HTML`` takes them.
    """

    def __init__(self, html: str, script: str, **kwargs: Any) -> None:
        # Gradio makes each page's component anew when it changes: they share what they are made of.
        super().__init__(
            value={},
            html_template=sys.intern(html),
            js_on_load=sys.intern(script),
            apply_default_css=False,
            **kwargs,
        )

    def preprocess(self, payload: Any) -> Any:
        """Return the value as it is."""
        return payload

    def postprocess(self, value: Any) -> Any:
        """Return the value as it is."""
        return value


_CANVAS_SCRIPTS = (
    "answers.js",
    "canvas_view.js",
    "canvas_boxes.js",
    "canvas_things.js",
    "canvas.js",
)

_CANVAS = (
    '<div class="fd-canvas" data-words hidden><div class="fd-view">'
    '<div class="fd-stage" tabindex="0"'
    ' role="application" aria-label="Your picture. Plus and minus zoom. For a question about a'
    " region, drag boxes: arrow keys move the chosen one, Shift with arrow keys resizes it, Delete"
    ' removes it, N adds one."><img alt="Your picture" draggable="false">'
    '<div class="fd-boxes"></div>'
    '<div class="fd-layer fd-before"></div><div class="fd-layer"></div></div>'
    '<div class="fd-tools"><button type="button" data-zoom="in" aria-label="Zoom in">+</button>'
    '<button type="button" data-zoom="out" aria-label="Zoom out">−</button>'
    '<button type="button" data-zoom="fit" aria-label="Whole picture" hidden>⤢</button>'
    '<button type="button" data-zoom="away" aria-label="Remove the picture">×</button></div></div>'
    '<div class="fd-menu" role="group" aria-label="Ask about this" hidden><b></b>__ACTIONS__'
    '<button type="button" data-menu="close" aria-label="Close">×</button></div>'
    '<div class="fd-regions" role="group" aria-label="Boxes" hidden><span class="fd-region-list">'
    '</span><button type="button" data-region="add">Add a box</button>'
    '<button type="button" data-region="clear">Clear</button></div>'
    '<p class="fd-hint" aria-live="polite" hidden></p></div>'
)

_SURE = "How sure the model is that this thing is there, of this name"
_ROUGH = (
    "For this model nobody has measured how often it is right when it is so sure: compare the"
    " numbers with each other."
)


class AnswerView(Skeleton):
    """Show an answer in words and as a table; what is drawn of it goes to the canvas.

    Its value holds any of ``question``, ``overlay`` (SVG, escaped), which the canvas draws,
    ``sentence``,
    ``counted`` (whether that is a sentence of ours, not the model's), ``words`` (copied in its
    place), ``notices``, ``rows`` ([{label, asked, sure, box,
    color}]; what has no name is called as it was asked for),
    ``calibrated``, ``meta``, ``hint``, ``busy``, and ``asked``, the number of the press that it
    answers: what comes late, of one before, is not shown.
    """

    def __init__(self, uid: str, **kwargs: Any) -> None:
        html = (
            '<section class="fd-answer" data-words aria-label="Answer">'
            '<p class="fd-question" hidden></p>'
            '<p class="fd-sentence"></p>'
            '<button type="button" class="fd-copy" aria-live="polite" hidden>Copy</button>'
            '<div class="fd-notices" role="status"></div>'
            '<div class="fd-tablebox" hidden><table class="fd-table"><thead><tr><th>#</th>'
            f'<th>What</th><th title="{_SURE}">Sure</th><th>Where (x1, y1, x2, y2)</th></tr>'
            "</thead>"
            f'<tbody></tbody></table><p class="fd-rough" hidden>{_ROUGH}</p></div>'
            '<details class="fd-details" hidden><summary>Details</summary><p class="fd-meta"></p>'
            "</details></section>"
        )
        script = (read_script("answers.js") + read_script("answer_view.js")).replace("__UID__", uid)
        super().__init__(html, script, label="Answer", **kwargs)


def said_by(event: gr.EventData, name: str) -> Any:
    """Return what an event says under a name, None where it says nothing: a program's may not."""
    try:
        return getattr(event, name)
    except (AttributeError, TypeError):
        return None


def index_of(event: gr.EventData, count: int) -> int:
    """Return which of some things was pressed.

    Raises:
        InputError: The event does not say, or there is no such thing.
    """
    given = said_by(event, "index")
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < count:
        raise InputError("This is no longer here: choose another one, or ask again.")
    return given


class ExampleStrip(gr.HTML):
    """Offer example pictures as buttons; pressing one triggers ``pick`` with its index."""

    def __init__(self, examples: list[dict[str, Any]], **kwargs: Any) -> None:
        items = "".join(
            f'<button type="button" class="fd-example" data-index="{i}">'
            f'<img alt="" loading="lazy" src="{e["thumbnail"]}">'
            f"<span>{e['title']}</span></button>"
            for i, e in enumerate(examples)
        )
        super().__init__(
            value="",
            html_template=(
                '<div class="fd-examples" role="toolbar" aria-label="Examples" data-words'
                f' data-keys=".fd-example">{items}</div>'
            ),
            js_on_load=(
                "element.addEventListener('click', e => {"
                " const b = e.target.closest('.fd-example');"
                " if (b) trigger('pick', {index: Number(b.dataset.index)}); });"
            ),
            label="Examples",
            apply_default_css=False,
            **kwargs,
        )
