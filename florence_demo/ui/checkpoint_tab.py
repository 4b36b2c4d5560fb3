"""The tab "Fine-tuned checkpoints": find a folder, see what it is, load it, ask it.

Only folders under the one allowed root are offered, and a name is checked against it again when it
comes back from the browser.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import gradio as gr

from florence_demo.checkpoints import checkpoint_under, inspect_checkpoint, list_checkpoints
from florence_demo.errors import InputError
from florence_demo.ui.service import Service, friendly
from florence_demo.ui.surface import Model, build_surface


def build_checkpoint_tab(service: Service) -> None:
    """Lay out the tab and connect it."""
    root = service.config.checkpoints
    chosen = gr.State(None)
    with gr.Row(equal_height=True):
        folder = gr.Dropdown(
            _names(root),
            label="Checkpoint",
            info=f"Folders under {root.name}/ on the machine that runs this page.",
            scale=5,
        )
        refresh = gr.Button("Look again", scale=1, min_width=120)
        load = gr.Button("Load", variant="primary", scale=1, min_width=120)
        unload = gr.Button("Unload", scale=1, min_width=120)
    card = gr.Markdown(_nothing(root), elem_classes="fd-card")
    build_surface(service, Model(chosen, _resolve), api="ask_checkpoint", task="docvqa")

    @friendly
    def look_again() -> Any:
        names = _names(root)
        return gr.update(choices=names, value=names[0] if names else None), (
            _nothing(root) if not names else "Choose a folder and press Load."
        )

    @friendly
    def describe(name: str | None) -> str:
        """Say in words what a checkpoint's folder holds, without opening its weights."""
        if not name:
            return _nothing(root)
        return _card(inspect_checkpoint(checkpoint_under(root, name)).sentences())

    @friendly
    def open_folder(
        name: str | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[str | None, str]:
        """Load a checkpoint by its folder's name under the allowed root."""
        if not name:
            raise InputError("Choose a checkpoint first.")
        path = checkpoint_under(root, name)
        info = inspect_checkpoint(path)
        engine = service.engines.get(str(path), lambda done, what: progress(done, desc=what))
        loaded = f"**Loaded:** {engine.loaded.describe()}. Ask it below."
        return str(path), f"{_card(info.sentences())}\n\n{loaded}"

    @friendly
    def close_folder(path: str | None) -> tuple[None, str]:
        """Forget the loaded checkpoint and give its memory back."""
        if not path or not service.engines.drop(path):
            raise InputError("No checkpoint is loaded.")
        return None, "Unloaded; its memory is free again."

    refresh.click(look_again, None, [folder, card], api_visibility="private")
    folder.change(describe, folder, card, api_name="describe_checkpoint")
    load.click(
        open_folder,
        folder,
        [chosen, card],
        api_name="load_checkpoint",
        concurrency_id="model",
        concurrency_limit=1,
    )
    unload.click(close_folder, chosen, [chosen, card], api_name="unload_checkpoint")


def _resolve(path: Any) -> str:
    if not path:
        raise InputError("No checkpoint is loaded: choose a folder above and press Load.")
    return str(path)


def _names(root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in list_checkpoints(root)] if root.is_dir() else []


def _nothing(root: Path) -> str:
    if _names(root):
        return "Choose a folder to see what it holds."
    return (
        f"There is no checkpoint yet. Put its folder into `{root.name}/` beside the app, or start"
        " the app with `--checkpoints DIR`, then press **Look again**."
    )


def _card(sentences: list[str]) -> str:
    return "\n".join(f"- {_escape(sentence)}" for sentence in sentences)


def _escape(text: str) -> str:
    """Return text that Markdown shows as it is: names come from strangers' files."""
    return html.escape(re.sub(r"([\\`*_{}\[\]()#+!|$~])", r"\\\1", text), quote=False)
