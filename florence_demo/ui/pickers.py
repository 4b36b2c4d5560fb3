"""What the tabs "Fine-tune" and "How good is it?" both ask for: a model, and data.

What the browser sends is checked again here; paths of this machine stay on it.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from florence_demo.data.chosen import Data, Upload
from florence_demo.data.folders import data_under, list_data, take_data
from florence_demo.data.formats import upload_kinds
from florence_demo.data.forms import DEMO_FORMS, DEMO_FORMS_HELD, DEMO_ROWS
from florence_demo.data.saved_sets import is_revision
from florence_demo.data.source import DataSource
from florence_demo.errors import InputError
from florence_demo.models.catalogue import ASSETS, MODELS
from florence_demo.serving.asking import Service
from florence_demo.serving.own_models import own_names
from florence_demo.ui.components import SafeFiles
from florence_demo.ui.handlers import WHY, friendly

LATEST: dict[str, Any] = {"trigger_mode": "always_last"}
"""For events that tell of a value: gradio drops one that comes while the one before is answered,
and the page would go on with what is no longer there."""

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", **LATEST}
"""For events that are no action of a person."""

FORMS, HELDOUT, UPLOAD, FOLDER, HUB = "forms", "heldout", "upload", "folder", "hub"
_TITLES = {
    FORMS: "Demo: forms",
    HELDOUT: "Held-out scenes",
    UPLOAD: "My own files",
    FOLDER: "A folder here",
    HUB: "From the hub",
}


def model_choices(service: Service) -> list[tuple[str, str]]:
    """Return (title, value) of every model one may start from."""
    own = [(name, name) for name in own_names(service)]
    known = [(spec.label, spec.name) for spec in MODELS.values()]
    given = service.config.model
    return known + ([] if given in MODELS else [(given, given)]) + own


@dataclass(frozen=True, eq=False)
class DataPicker:
    """Hold the components that data is chosen with, and what they mean."""

    service: Service
    kind: gr.Radio
    folder: gr.Dropdown
    uploaded: gr.State
    hub: gr.Textbox

    @property
    def inputs(self) -> list[Any]:
        """The components, in the order in which ``chosen`` takes their values."""
        return [self.kind, self.folder, self.uploaded, self.hub]

    def folders(self) -> list[str]:
        """Return the names of the sets there are."""
        return _folders(self.service)

    def look_again_with(self, event: Any) -> None:
        """Offer the sets that are there by then whenever an event comes."""
        event(lambda: gr.update(choices=self.folders()), None, self.folder, **QUIET)

    def chosen(self, kind: str, folder: str | None, uploaded: Upload | None, hub: str) -> Data:
        """Return the data that the components' values stand for.

        Raises:
            FlorenceDemoError: Nothing is chosen, or it is not there, in one sentence.
        """
        if kind == FORMS:
            return Data(DEMO_FORMS, "forms", DEMO_FORMS_HELD, rows=DEMO_ROWS)
        if kind == HELDOUT:
            return Data(DataSource("heldout", str(ASSETS / "heldout")), "held-out scenes")
        if kind == UPLOAD:
            if not uploaded:
                raise InputError("Upload your data first, or choose “Demo: forms”.")
            self.service.scratch.touch(Path(uploaded.source.location))
            return Data(uploaded.source, "upload", rows=uploaded.rows)
        if kind == HUB and self.service.config.open_hub:
            source = _hub_source(hub)
            return Data(source, str(source))
        if kind == FOLDER:
            root = self.service.config.data.absolute()
            if not folder:
                raise InputError(f"Choose a folder under {root.name}/ first.")
            return Data(data_under(root, folder), folder)
        raise InputError("Choose what the data is first.")


@dataclass(frozen=True, eq=False)
class _Around:
    """Hold what stands around the components that data is chosen with."""

    about: gr.HTML
    folder_row: gr.Row
    again: gr.Button
    upload_column: gr.Column
    files: SafeFiles
    note: gr.HTML


def build_data_picker(
    service: Service, kinds: tuple[str, ...], *, api: str, seen: str
) -> DataPicker:
    """Lay out the choice of data and connect it.

    Args:
        service: The page's.
        kinds: Which kinds to offer; the first is chosen.
        api: Name of the endpoint that takes an upload.
        seen: Who sees what is uploaded, in a sentence.
    """
    note = _upload_note(seen)
    picker, around = _laid_out(service, kinds, note)
    _connect_choice(picker, around)
    _connect_upload(picker, around, api, note)
    return picker


def _laid_out(
    service: Service, kinds: tuple[str, ...], upload_note: str
) -> tuple[DataPicker, _Around]:
    root = service.config.data
    offered = [k for k in kinds if k != HUB or service.config.open_hub]
    kind = gr.Radio([(_TITLES[k], k) for k in offered], value=kinds[0], label="Data")
    uploaded = gr.State(None)
    about = gr.HTML(_about(kinds[0], root))
    with gr.Row(equal_height=True, visible=False) as folder_row:
        folder = gr.Dropdown(
            _folders(service),
            value="",
            label="Folder",
            allow_custom_value=True,
            scale=4,
        )
        again = gr.Button("Look again", scale=1, min_width=110)
    with gr.Column(visible=False) as upload_column:
        files = SafeFiles(
            label="A zip, or the listing and its pictures", file_count="multiple", height=120
        )
        note = gr.HTML(upload_note)
    hub = gr.Textbox(
        "",
        label="Id of a data set on the Hugging Face hub",
        placeholder="HuggingFaceM4/DocumentVQA",
        info="With the columns image, question and answers; name#validation is that part of it.",
        max_lines=1,
        visible=False,
    )
    picker = DataPicker(service, kind, folder, uploaded, hub)
    return picker, _Around(about, folder_row, again, upload_column, files, note)


def _connect_choice(picker: DataPicker, around: _Around) -> None:
    """Show what belongs to the chosen kind."""
    service, kind = picker.service, picker.kind

    @friendly
    def look_again() -> Any:
        return gr.update(choices=_folders(service), value="")

    shown = [around.folder_row, around.upload_column, picker.hub]
    kind.change(None, kind, shown, js=_SWITCH)
    kind.change(
        lambda chosen: _about(chosen, service.config.data), kind, around.about, **QUIET, queue=False
    )
    around.again.click(look_again, None, picker.folder, api_visibility="private")


# Why an upload was not taken stays where it is: a message goes before all of it is read.
_WHY = f"""
async () => {{
  const told = document.createElement('p');
  told.className = 'fd-note fd-refused';
  told.textContent = await ({WHY})() || '';
  return told.outerHTML;
}}
"""


def _connect_upload(picker: DataPicker, around: _Around, api: str, upload_note: str) -> None:
    outputs = [picker.uploaded, around.note]
    taken = around.files.upload(
        _taker(picker.service, upload_note),
        around.files,
        outputs,
        api_name=api,
        # Nobody waits for another's upload, and no crowd takes the machine.
        concurrency_limit=_UPLOADS,
        concurrency_id="data uploads",
        **LATEST,
    )
    taken.failure(None, None, around.note, js=_WHY)
    nothing = (None, upload_note)
    # An upload that is removed while it is read does not come back when it has been.
    around.files.clear(lambda: nothing, None, outputs, cancels=taken, **QUIET)


def _taker(service: Service, upload_note: str) -> Any:
    """Return what takes an upload."""

    @friendly
    def take_upload(files: list[Path] | None) -> tuple[Upload | None, str]:
        """Take a zip, or a listing with its pictures, and check every row of it."""
        if not files:
            return None, upload_note
        folder = service.scratch.new_folder() / "upload"
        source, rows = take_data(files, folder, service.config.data_limits())
        tasks = sorted({row.task for row in rows})
        told = f"{len(rows):,} rows are fine. Tasks: {', '.join(tasks)}."
        return Upload(source, len(rows)), _note(told)

    return take_upload


def _about(kind: str, root: Path) -> str:
    """Return what a kind of data is, for a person."""
    words = {
        FORMS: "Drawn order forms with ticked boxes, and questions such as “Which drink is ticked?”"
        " Nothing to prepare: the quickest way to see a model learn.",
        HELDOUT: "300 drawn scenes that nano never saw, with the right answers of every task.",
        UPLOAD: "Your pictures with the right answers. Every row is checked when it arrives.",
        FOLDER: f"Data that the owner of this app put into {root.name}/.",
        HUB: "Fetched from the Hugging Face hub when it starts.",
    }
    return _note(words.get(kind, ""))


def _note(words: str) -> str:
    return f'<p class="fd-note" data-words="all">{html.escape(words)}</p>'


def _upload_note(seen: str) -> str:
    """Return what may be uploaded, and who sees it."""
    kinds = (html.escape(kind.replace("`", "")) for kind in upload_kinds())
    listed = "".join(f"<li>{kind[:1].upper()}{kind[1:]}</li>" for kind in kinds)
    return (
        '<details class="fd-note" data-words="all"><summary>What may be uploaded</summary>'
        f"<ul>{listed}</ul></details>{_note(seen)}"
    )


_UPLOADS = 3
"""Uploads that are unpacked and checked at a time, of all visitors."""
_SWITCH = (
    "(kind) => ['folder', 'upload', 'hub'].map(k => ({visible: kind === k, __type__: 'update'}))"
)


def _folders(service: Service) -> list[str]:
    return list_data(service.config.data)


def _hub_source(hub: str) -> DataSource:
    found = _HUB.fullmatch((hub or "").strip())
    if found is None or not is_revision(found[2] or "main"):
        raise InputError(
            "Type the id of a data set as the hub writes it: owner/name, or owner/name@revision."
        )
    location = f"{found[1]}@{found[2]}" if found[2] else found[1]
    return DataSource("hub", location, found[3] or "")


_HUB = re.compile(
    r"(\w[\w.-]{0,95}/\w[\w.-]{0,95})(?:@([^#\s]{1,95}))?(?:#(\w[\w.-]{0,95}))?", re.ASCII
)
