"""The tab "Fine-tuned checkpoints": find one, see what it is, load it, ask it.

A checkpoint comes from a folder under the one allowed root, from the visitor's own upload (which
nobody else sees) or from the hub. What the browser sends is checked again here.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import psutil

from florence_demo.checkpoints.folders import checkpoint_names, checkpoint_under, unpack_upload
from florence_demo.checkpoints.inspection import inspect_checkpoint
from florence_demo.errors import InputError
from florence_demo.machine import device_memory, in_bytes
from florence_demo.models.catalogue import ModelSpec, spec_at
from florence_demo.models.finding import folder_of
from florence_demo.serving.asking import Service
from florence_demo.ui.ask_layout import Model
from florence_demo.ui.ask_tab import build_surface
from florence_demo.ui.components import Names, SafeFiles
from florence_demo.ui.handlers import friendly
from florence_demo.ui.pickers import LATEST, QUIET

_CHOOSE = "Choose a checkpoint to see what it holds."


@dataclass(frozen=True, eq=False)
class CheckpointTab:
    """Hold what another tab needs to choose a checkpoint in this one.

    Attributes:
        outputs: The components that show the choice.
        choose: From a folder's name under the root to their values.
    """

    outputs: list[Any]
    choose: Callable[[str], tuple[Any, ...]]


@dataclass(frozen=True, eq=False)
class _Parts:
    """Hold the tab's components.

    Attributes:
        candidate: The checkpoint that was described last; like ``loaded`` a path that this server
            found or made, never text of the browser.
        loaded: The checkpoint that is asked.
        folder: Names of those under the root.
        refresh: Looks for new ones.
        upload: Takes a visitor's own.
        hub: Takes an id.
        card: Says what the candidate is.
        load: Puts it into memory.
        unload: Gives its memory back.
        memory: Shows what is in memory.
    """

    candidate: gr.State
    loaded: gr.State
    folder: Names
    refresh: gr.Button
    upload: SafeFiles
    hub: gr.Textbox
    card: gr.Markdown
    load: gr.Button
    unload: gr.Button
    memory: gr.HTML


def build_checkpoint_tab(service: Service, tab: gr.Tab) -> CheckpointTab:
    """Lay out the tab and connect it.

    Args:
        service: The page's.
        tab: The tab itself, to measure the memory when it is opened.
    """
    parts = _laid_out(service)
    build_surface(
        service, Model(parts.loaded, _resolve), api="ask_checkpoint", task="docvqa", examples=False
    )
    # What was trained meanwhile, here or by the command line, is there when one looks.
    tab.select(_seen(service), None, [parts.folder, parts.memory], **QUIET)
    _connect_finding(service, parts)
    _connect_loading(service, parts)
    root = service.config.checkpoints

    def choose(name: str) -> tuple[Any, ...]:
        path, words = _described(checkpoint_under(root, name))
        return gr.update(choices=checkpoint_names(root), value=name), path, words

    return CheckpointTab([parts.folder, parts.candidate, parts.card], choose)


def _seen(service: Service) -> Callable[[], tuple[Any, str]]:
    """Return what tells which checkpoints there are now, and what is in memory."""

    def look() -> tuple[Any, str]:
        names = checkpoint_names(service.config.checkpoints)
        return gr.update(choices=names), memory_bar(service.engines)

    return look


def _laid_out(service: Service) -> _Parts:
    root = service.config.checkpoints
    candidate, loaded = gr.State(None), gr.State(None)
    with gr.Row():
        with gr.Column(scale=5, min_width=320):
            with gr.Row(equal_height=True):
                folder = Names(
                    checkpoint_names(root),
                    value=None,
                    label=f"A folder under {root.name}/",
                    scale=4,
                )
                refresh = gr.Button("Look again", scale=1, min_width=110)
            with gr.Accordion("Upload one, or take one from the hub", open=False):
                upload = SafeFiles(
                    label="A zip, or the files of one checkpoint (safetensors and JSON)",
                    file_count="multiple",
                    height=120,
                )
                hub = gr.Textbox(
                    label="Id of a model on the Hugging Face hub",
                    placeholder="owner/name, or owner/name@revision",
                    max_lines=1,
                    visible=service.config.open_hub,
                    submit_btn="Look",
                )
        with gr.Column(scale=7, min_width=320):
            card = gr.Markdown(_nothing(root), elem_classes="fd-about", min_height=60)
            with gr.Row():
                load = gr.Button("Load", variant="primary", scale=2)
                unload = gr.Button("Unload", scale=1)
            memory = gr.HTML(memory_bar(service.engines))
    return _Parts(candidate, loaded, folder, refresh, upload, hub, card, load, unload, memory)


def _connect_finding(service: Service, parts: _Parts) -> None:
    """Let a person find a checkpoint and read what it is: a folder, an upload, an id of the hub."""
    root, found = service.config.checkpoints, [parts.candidate, parts.card]

    @friendly
    def look_again() -> tuple[Any, str, str]:
        names = checkpoint_names(root)
        return gr.update(choices=names, value=None), _nothing(root), memory_bar(service.engines)

    @friendly
    def describe(name: str | None) -> tuple[str | None, str]:
        """Say in words what a checkpoint's folder holds, without opening its weights."""
        if not name:
            return None, _nothing(root)
        return _described(checkpoint_under(root, name))

    @friendly
    def take_upload(files: list[Path] | None) -> tuple[str | None, str]:
        """Take a zip or the loose files of a checkpoint; only this visitor sees it."""
        if not files:
            return None, _nothing(root)
        return _described(unpack_upload(files, service.scratch.new_folder() / "upload"))

    @friendly
    def take_hub(
        name: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[str | None, str]:
        """Fetch a checkpoint from the hub by its id and say what it holds."""
        checked = service.check_model(name)
        trust = service.config.trust()
        return _described(folder_of(checked, trust, lambda done, what: progress(done, desc=what)))

    looked = [parts.folder, parts.card, parts.memory]
    parts.refresh.click(look_again, None, looked, api_visibility="private")
    parts.folder.input(describe, parts.folder, found, api_name="describe_checkpoint", **LATEST)
    parts.upload.upload(take_upload, parts.upload, found, api_name="upload_checkpoint", **LATEST)
    parts.hub.submit(take_hub, parts.hub, found, api_name="hub_checkpoint")


def _connect_loading(service: Service, parts: _Parts) -> None:
    """Let a person put the checkpoint that was found into memory, and out of it."""

    @friendly
    def open_candidate(
        path: str | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[str | None, str, str]:
        """Load the checkpoint that was described last."""
        if not path:
            raise InputError("Choose a checkpoint first: a folder, an upload or a hub id.")
        service.scratch.touch(Path(path))
        info = inspect_checkpoint(Path(path))
        spec = spec_at(info.path)
        engine = service.engines.get(spec, lambda done, what: progress(done, desc=what))
        done = f"**Loaded:** {_escape(engine.loaded.describe())}. Ask it below."
        return path, f"{_card(info.sentences())}\n\n{done}", memory_bar(service.engines)

    @friendly
    def close_loaded(path: str | None) -> tuple[None, str, str]:
        """Forget the loaded checkpoint and give its memory back."""
        if not path or not service.engines.drop(spec_at(Path(path))):
            raise InputError("No checkpoint is in memory: describe one above and load it.")
        return None, "Unloaded; its memory is free again.", memory_bar(service.engines)

    # Loads wait for each other, not for answers.
    queue: dict[str, Any] = {"concurrency_id": "load", "concurrency_limit": 1}
    shown = [parts.loaded, parts.card, parts.memory]
    parts.load.click(open_candidate, parts.candidate, shown, api_name="load_checkpoint", **queue)
    parts.unload.click(close_loaded, parts.loaded, shown, api_name="unload_checkpoint")


def _described(path: Path) -> tuple[str, str]:
    return str(path), _card(inspect_checkpoint(path).sentences())


def _resolve(path: Any) -> ModelSpec:
    if not path:
        raise InputError("No checkpoint is loaded: choose one above and press Load.")
    return spec_at(Path(path))


def _nothing(root: Path) -> str:
    if checkpoint_names(root):
        return _CHOOSE
    return (
        f"There is no checkpoint yet. Put its folder into `{root.name}/` beside the app and press"
        " **Look again**, start the app with `--checkpoints DIR`, or upload one."
    )


def _card(sentences: list[str]) -> str:
    return "\n".join(f"- {_escape(sentence)}" for sentence in sentences)


def _escape(text: str) -> str:
    """Return text that Markdown shows as it is: names come from strangers' files."""
    return html.escape(re.sub(r"([\\`*_{}\[\]()#+!|$~])", r"\\\1", text), quote=False)


def memory_bar(engines: Any) -> str:
    """Return the bar as HTML: main memory, a GPU's memory where there is one, and each model.

    Args:
        engines: The cache whose models are listed.
    """
    running = engines.loaded()
    models = [engine.loaded for engine in running]
    used, total = psutil.Process().memory_info().rss, psutil.virtual_memory().total
    bars = [_bar(used, total, f"This app uses {in_bytes(used)} of {in_bytes(total)} memory")]
    for device in {str(m.device) for m in models if m.device.type == "cuda"}:
        import torch

        taken = device_memory(device)
        captured = sum(e.captured_bytes for e in running if str(e.loaded.device) == device)
        whole = torch.cuda.get_device_properties(device).total_memory
        text = (
            f"{device}: {in_bytes(taken['allocated'])} allocated, {in_bytes(taken['reserved'])}"
            f" reserved ({in_bytes(captured)} of it for passes that are replayed),"
            f" {in_bytes(taken['peak'])} at most, of {in_bytes(whole)}"
        )
        bars.append(_bar(taken["reserved"], whole, text))
    listed = "; ".join(m.describe() for m in models) or "no model is loaded yet"
    return f'{"".join(bars)}<p class="fd-note">In memory: {html.escape(listed)}</p>'


def _bar(part: float, whole: float, text: str) -> str:
    share = 100 * min(1.0, part / whole)
    return (
        f'<div class="fd-meter" role="meter" aria-valuemin="0" aria-valuemax="100"'
        f' aria-valuenow="{share:.0f}" aria-label="{html.escape(text)}">'
        f'<i style="width:{share:.1f}%"></i></div><p class="fd-note">{html.escape(text)}</p>'
    )
