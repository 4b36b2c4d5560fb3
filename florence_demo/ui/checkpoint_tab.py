"""The tab "My models": find a checkpoint, see what it is, load it, ask it.

A checkpoint comes from a folder under the one allowed root, from the visitor's own upload (which
nobody else sees) or from the hub. What the browser sends is checked again here.
"""

from __future__ import annotations

import html
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
from florence_demo.training.runs import Run, read_run
from florence_demo.ui.ask_layout import Model, Surface
from florence_demo.ui.ask_tab import Asking, build_surface, inputs_of
from florence_demo.ui.checkpoint_card import NOTHING, Now, checkpoint_card, nothing_card
from florence_demo.ui.components import Names, SafeFiles
from florence_demo.ui.first_answer import filled, shows_data, values
from florence_demo.ui.handlers import friendly
from florence_demo.ui.pickers import LATEST, QUIET
from florence_demo.ui.run_panel import sample_strip
from florence_demo.ui.run_view import RunView, pressed

_LOADS: dict[str, Any] = {"concurrency_id": "load", "concurrency_limit": 1}
"""Loads wait for each other, not for answers."""

# The picture and Ask, wherever one was on the page.
_SEE_THE_PICTURE = """
() => setTimeout(() => [...document.querySelectorAll('.fd-surface')].find(e => e.offsetParent)
  ?.scrollIntoView({block: 'start',
    behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth'}), 60)
"""


@dataclass(frozen=True, eq=False)
class CheckpointTab:
    """Hold what another tab needs to open a run in this one.

    Attributes:
        opens: Connects an event to a handler that returns a run, and the number of one of its
            samples or None; the run is then chosen, its sample on the canvas, its model loaded.
        surface: Asks the checkpoint that is loaded.
    """

    opens: Callable[[Any, Callable[..., tuple[Run, int | None]]], None]
    surface: Surface


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
        card: Says what the candidate is, and what it can be tried with.
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
    card: RunView
    load: gr.Button
    unload: gr.Button
    memory: gr.HTML


def build_checkpoint_tab(
    service: Service, app: gr.Blocks, tab: gr.Tab, tabs: gr.Tabs
) -> CheckpointTab:
    """Lay out the tab and connect it.

    Args:
        service: The page's.
        app: The page, to look for checkpoints when it is loaded.
        tab: The tab itself, to look again when it is opened.
        tabs: The page's tabs, to come here from another one.
    """
    parts = _laid_out(service)
    asking = build_surface(
        service, Model(parts.loaded, _resolve), api="ask_checkpoint", task="docvqa", examples=False
    )
    # What was trained meanwhile, here or by the command line, is there when one looks.
    looked = [parts.folder, parts.card, parts.memory]
    gr.on([app.load, tab.select], _seen(service), parts.candidate, looked, **QUIET)
    _connect_finding(service, parts)
    _connect_loading(service, parts)
    opens = _opener(service, parts, asking, tabs)

    def shown_here(event: gr.EventData) -> tuple[Run, int | None]:
        name, number = pressed(event)
        run = read_run(checkpoint_under(service.config.checkpoints, name))
        if run is None:
            raise InputError("This run is no longer here: press “Look again”.")
        return run, number

    opens(parts.card.pick, shown_here)
    return CheckpointTab(opens, asking.surface)


def _seen(service: Service) -> Callable[..., tuple[Any, Any, str]]:
    """Return what tells which checkpoints there are now, and what is in memory."""
    root = service.config.checkpoints

    def look(candidate: str | None) -> tuple[Any, Any, str]:
        card = gr.skip() if candidate else _nothing(service)
        return gr.update(choices=checkpoint_names(root)), card, memory_bar(service.engines)

    return look


def _opener(
    service: Service, parts: _Parts, asking: Asking, tabs: gr.Tabs
) -> Callable[[Any, Callable[..., tuple[Run, int | None]]], None]:
    """Return what connects an event that opens a run: see ``CheckpointTab``."""
    root, surface = service.config.checkpoints, asking.surface
    chosen = [tabs, parts.folder, parts.candidate, parts.loaded, parts.card]

    def opens(event: Any, find: Callable[..., tuple[Run, int | None]]) -> None:
        @friendly
        def open_run(pressed_on: gr.EventData) -> tuple[Any, ...]:
            run, number = find(pressed_on)
            name, names = _name_under(root, run.folder), checkpoint_names(root)
            path = str(checkpoint_under(root, name)) if run.trained else None
            return (
                gr.Tabs(selected="checkpoints"),
                gr.update(choices=names, value=name if name in names else None),
                path,
                # At once: who asks before it is loaded waits for it, and is told so.
                path,
                _card(service, Path(path)) if path else _nothing(service),
                *values(service, run, number),
            )

        asking.makes_room_for(event)
        opened = event(open_run, None, [*chosen, *filled(surface)], api_visibility="private")
        inputs_of(surface).switch_after(opened.success)
        opened.success(None, None, None, js=_SEE_THE_PICTURE)
        opened.success(
            _warm(service),
            parts.candidate,
            [parts.card, parts.memory],
            api_visibility="private",
            show_progress_on=parts.card,
            show_progress="minimal",
            **_LOADS,
        )

    return opens


def _warm(service: Service) -> Callable[..., tuple[Any, str]]:
    """Return what loads the checkpoint that was opened, where there is one."""

    @friendly
    def warm(path: str | None) -> tuple[Any, str]:
        if not path:
            return gr.skip(), memory_bar(service.engines)
        return _loaded(service, Path(path), None), memory_bar(service.engines)

    return warm


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
            card = RunView(_nothing(service), label="The checkpoint")
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
        return gr.update(choices=names, value=None), _nothing(service), memory_bar(service.engines)

    @friendly
    def describe(name: str | None) -> tuple[str | None, str]:
        """Say in words what a checkpoint's folder holds, without opening its weights."""
        if not name:
            return None, _nothing(service)
        return _described(service, checkpoint_under(root, name))

    @friendly
    def take_upload(files: list[Path] | None) -> tuple[str | None, str]:
        """Take a zip or the loose files of a checkpoint; only this visitor sees it."""
        if not files:
            return None, _nothing(service)
        return _described(service, unpack_upload(files, service.scratch.new_folder() / "upload"))

    @friendly
    def take_hub(
        name: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[str | None, str]:
        """Fetch a checkpoint from the hub by its id and say what it holds."""
        checked = service.check_model(name)
        trust = service.config.trust()
        folder = folder_of(checked, trust, lambda done, what: progress(done, desc=what))
        return _described(service, folder)

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
        return path, _loaded(service, Path(path), progress), memory_bar(service.engines)

    @friendly
    def close_loaded(path: str | None) -> tuple[None, str, str]:
        """Forget the loaded checkpoint and give its memory back."""
        if not path or not service.engines.drop(spec_at(Path(path))):
            raise InputError("No checkpoint is in memory: choose one above and load it.")
        card = _card(service, Path(path), Now("Unloaded; its memory is free again."))
        return None, card, memory_bar(service.engines)

    shown = [parts.loaded, parts.card, parts.memory]
    parts.load.click(open_candidate, parts.candidate, shown, api_name="load_checkpoint", **_LOADS)
    parts.unload.click(close_loaded, parts.loaded, shown, api_name="unload_checkpoint")


def _name_under(root: Path, folder: Path) -> str:
    """Return the name by which ``checkpoint_under`` finds a folder."""
    return str(folder.absolute().relative_to(root.absolute()))


def _nothing(service: Service) -> str:
    return nothing_card(service.config.checkpoints, bool(service.config.training))


def _described(service: Service, path: Path) -> tuple[str, str]:
    return str(path), _card(service, path)


def _card(service: Service, path: Path, now: Now = NOTHING) -> str:
    """Return what a folder that this server found or made says of itself.

    Raises:
        CheckpointError: There is no checkpoint in it.
    """
    root, info = service.config.checkpoints, inspect_checkpoint(path)
    # What a visitor uploads is no run of this page.
    if not path.is_relative_to(root):
        return checkpoint_card(info, now=now)
    run = read_run(path)
    strip = sample_strip(run, _name_under(root, path)) if run and shows_data(service.config) else ()
    return checkpoint_card(info, run, tuple(strip), now)


def _loaded(service: Service, path: Path, progress: gr.Progress | None) -> str:
    """Load a checkpoint and return what is said of it then.

    Raises:
        FlorenceDemoError: It cannot be loaded.
    """

    def told(done: float, what: str) -> None:
        if progress is not None:
            progress(done, desc=what)

    engine = service.engines.get(spec_at(path), told)
    now = Now("Loaded: ask it below.", f"Loaded as {engine.loaded.describe()}.")
    return _card(service, path, now)


def _resolve(path: Any) -> ModelSpec:
    if not path:
        raise InputError("No checkpoint is loaded: choose one above and press Load.")
    return spec_at(Path(path))


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
    titles = ", ".join(m.title for m in models) or "no model is loaded yet"
    items = "".join(f"<li>{html.escape(m.describe())}</li>" for m in models)
    details = f"<details><summary>Details</summary><ul>{items}</ul></details>" if models else ""
    return f'{"".join(bars)}<p class="fd-note">In memory: {html.escape(titles)}</p>{details}'


def _bar(part: float, whole: float, text: str) -> str:
    share = 100 * min(1.0, part / whole)
    return (
        f'<div class="fd-meter" role="meter" aria-valuemin="0" aria-valuemax="100"'
        f' aria-valuenow="{share:.0f}" aria-label="{html.escape(text)}">'
        f'<i style="width:{share:.1f}%"></i></div><p class="fd-note">{html.escape(text)}</p>'
    )
