"""The page as a whole: header, tabs, and what ``launch`` must be told."""

from __future__ import annotations

from typing import Any

import gradio as gr

from florence_demo.models import MODELS
from florence_demo.render import OVERLAY_CSS
from florence_demo.ui.checkpoint_tab import build_checkpoint_tab
from florence_demo.ui.evaluate_tab import build_evaluate_tab
from florence_demo.ui.finetune_tab import build_finetune_tab
from florence_demo.ui.service import AppConfig, Service
from florence_demo.ui.surface import Model, build_surface
from florence_demo.ui.theme import CSS_FILES, HEADER, theme

TITLE = "Florence-2, on your pictures"

LAUNCH: dict[str, Any] = {
    "theme": theme(),
    "css_paths": list(CSS_FILES),
    "css": OVERLAY_CSS,
    "enable_monitoring": False,
    "run_history": False,
    "footer_links": ["api", "gradio", "settings"],
}
"""Arguments of ``Blocks.launch`` that belong to this page; pictures have limits of their own."""


def build_app(config: AppConfig | None = None, service: Service | None = None) -> gr.Blocks:
    """Return the page, ready to launch.

    Args:
        config: How the app is served.
        service: What the buttons do; a test hands in one with a fake engine.
    """
    config = config or AppConfig()
    service = service or Service(config)
    # Visitors' pictures go after an hour.
    with gr.Blocks(title=TITLE, delete_cache=(600, 3600), analytics_enabled=False) as app:
        gr.HTML(HEADER, padding=False)
        with gr.Tabs() as tabs:
            with gr.Tab("Try it", id="try"):
                model = gr.Dropdown(
                    [(spec.title, spec.name) for spec in MODELS.values()],
                    value=config.model,
                    label="Model",
                    info=_model_info(config),
                    allow_custom_value=config.open_hub or config.model not in MODELS,
                    render=False,
                )
                build_surface(
                    service,
                    Model(model, _resolver(service, config), render=True),
                    api="ask",
                )
            with gr.Tab("Fine-tuned checkpoints", id="checkpoints") as opened:
                checkpoints = build_checkpoint_tab(service, opened)
            with gr.Tab("Fine-tune", id="finetune") as finetune:
                build_finetune_tab(service, app, finetune, tabs, checkpoints)
            with gr.Tab("Evaluate", id="evaluate") as evaluate:
                build_evaluate_tab(service, evaluate)
    app.queue(max_size=32)
    return app


def _model_info(config: AppConfig) -> str:
    base = (
        "nano is our own tiny model; it knows drawn scenes only. The others are Microsoft's"
        " and are fetched at first use."
    )
    return base + (" Any hub id works too." if config.open_hub else "")


def _resolver(service: Service, config: AppConfig) -> Any:
    def resolve(name: Any) -> str:
        # The operator's own choice may be a folder; a visitor's may not.
        return config.model if name == config.model else service.check_model(str(name or ""))

    return resolve
