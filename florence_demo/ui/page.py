"""The page as a whole: header, tabs, its door, and what ``launch`` must be told."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import gradio as gr
from gradio.route_utils import FnIndexInferError
from gradio_client.utils import is_file_obj, traverse

from florence_demo.api.application import Beside
from florence_demo.api.tools import check_tools
from florence_demo.errors import FlorenceDemoError, InputError
from florence_demo.models.catalogue import MODELS
from florence_demo.output.overlay import OVERLAY_CSS
from florence_demo.pictures.web import is_url
from florence_demo.serving.asking import Service
from florence_demo.serving.config import AppConfig
from florence_demo.serving.gate import BYTES, VISITOR, Gate, mark_refused, request_id_of
from florence_demo.serving.health import ENDING
from florence_demo.serving.logs import REQUEST
from florence_demo.ui.address import connect_address
from florence_demo.ui.ask_layout import Model
from florence_demo.ui.ask_tab import build_surface
from florence_demo.ui.checkpoint_tab import build_checkpoint_tab
from florence_demo.ui.compare_tab import build_compare_tab
from florence_demo.ui.components import SafeImage
from florence_demo.ui.correcting import connect_learning
from florence_demo.ui.evaluate_tab import build_evaluate_tab
from florence_demo.ui.finetune_tab import After, build_finetune_tab
from florence_demo.ui.handlers import OurFault, message
from florence_demo.ui.languages import for_launch, mark, mark_config, plain
from florence_demo.ui.many_tab import build_many_tab
from florence_demo.ui.programs import connect_programs
from florence_demo.ui.sessions import SESSIONS, Sessions
from florence_demo.ui.settings import connect_settings
from florence_demo.ui.theme import CSS_FILES, HEADER, theme

TITLE = "Florence-2, on your pictures"

QUEUE = 256
"""Questions that may wait; one visitor's share is far smaller, see ``Rules``."""

_THREADS = 2 * QUEUE
"""Threads for events: each question that waits keeps one."""


_NO_STATISTICS = {
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(sys.maxsize),
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",
}
"""Gradio's own of events, ten thousand of them in a new table at each event's end: ours are at
``/metrics``."""


class Page(gr.Blocks):
    """Gradio's page, whose every refusal is a sentence and whose door is a ``Gate``."""

    def __init__(self, service: Service, **kwargs: Any) -> None:
        self.service = service
        self._gate: Gate | None = None
        self._login = ""
        super().__init__(**kwargs)

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], state: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Turn what a browser sent into what handlers take; most of it is checked here first."""
        try:
            _refuse_addresses(block_fn, inputs)
            return await super().preprocess_data(block_fn, inputs, state, *args, **kwargs)
        except FlorenceDemoError:
            raise
        except Exception as exc:  # gradio's own are no sentences
            # gradio wraps what a component of ours says.
            if isinstance(exc.__cause__, FlorenceDemoError):
                raise exc.__cause__ from exc
            raise InputError(
                "One of the values is not of the kind that is asked for: give numbers where numbers"
                " are asked, one of the choices where there are choices, and upload files."
            ) from exc

    async def process_api(self, block_fn: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer one event; whatever goes wrong on the way is told in a sentence."""
        # The event is answered elsewhere than the request that brought it.
        REQUEST.set(request_id_of(kwargs.get("request")))
        try:
            known = self.fns.get(block_fn) if isinstance(block_fn, int) else block_fn
            if known is None or known.fn is None:
                raise InputError("The page does this by itself: there is nothing to ask for here.")
            return _in_words(known, await super().process_api(known, *args, **kwargs))
        except Exception as exc:
            error = message(exc)
            if not isinstance(error, OurFault):
                mark_refused(kwargs.get("request"))
            raise error from exc

    def get_config_file(self) -> Any:
        """Return what the browser is told of the page, our words marked for translation."""
        return mark_config(super().get_config_file())

    def get_api_info(self, *args: Any, **kwargs: Any) -> Any:
        """Return what programs are told of the page, in English."""
        return plain(super().get_api_info(*args, **kwargs))

    def serve(self, **kwargs: Any) -> Any:
        """Launch with everything that belongs to this page; the arguments are ``launch``'s."""
        config = self.service.config
        auth = kwargs.get("auth")
        self._login = ":".join(auth[0]) if auth else ""
        return self.launch(
            theme=theme(),
            css_paths=list(CSS_FILES),
            css=OVERLAY_CSS,
            enable_monitoring=False,
            # Gradio would load the page once, and give up where a busy machine takes three seconds.
            _frontend=False,
            run_history=False,
            footer_links=["api", "gradio", "settings"],
            state_session_capacity=SESSIONS,
            max_threads=_THREADS,
            max_file_size=config.rules().upload_bytes,
            app_kwargs={"lifespan": self._open_gate},
            **for_launch(),
            **kwargs,
        )

    @asynccontextmanager
    async def _open_gate(self, app: Any) -> AsyncIterator[None]:
        app.state_holder = Sessions()
        app.state_holder.set_blocks(self)
        # Here, because gradio puts its own middleware before any that it is handed: the gate
        # would come after the one that greets foreign origins.
        beside = Beside(app.middleware_stack, self.service)
        health = self.service.health
        app.middleware_stack = self._gate = Gate(
            beside,
            replace(self.service.config.rules(), login=self._login),
            self._in_work,
            self.service.room,
            (TypeError, ValueError, LookupError, FnIndexInferError),
            lambda: ENDING if health.ending else "",
            self.service.metrics.refused,
        )
        async with beside.working():
            yield

    def is_busy(self) -> bool:
        """Say whether somebody waits for an answer."""
        asking = self._gate is not None and self._gate.asking
        return asking or any(True for _ in self._in_work())

    def close(self, *args: Any, **kwargs: Any) -> None:
        """Stop serving; who only listens is waited for a moment."""
        if server := getattr(self, "server", None):
            server.config.timeout_graceful_shutdown = 1
        super().close(*args, **kwargs)

    def _in_work(self) -> Iterator[tuple[str, int]]:
        """Yield who asked each question that waits or runs, and its bytes."""
        unread = self._queue.pending_event_ids_session
        if len(unread) > 2 * SESSIONS:
            # Answers that nobody fetched are given up one by one; their names would stay.
            for session in unread.keys() - self._queue.pending_messages_per_session.keys():
                del unread[session]
        waiting = [e for q in self._queue.event_queue_per_concurrency_id.values() for e in q.queue]
        running = [e for job in self._queue.active_jobs if job for e in job]
        for event in (*waiting, *running):
            scope = event.request.scope
            yield scope.get(VISITOR, ""), scope.get(BYTES, 0)


def build_app(config: AppConfig | None = None, service: Service | None = None) -> Page:
    """Return the page, ready to serve.

    Args:
        config: How the app is served.
        service: What the buttons do; a test hands in one with a fake engine.
    """
    service = service or Service(config or AppConfig())
    config = service.config
    if config.mcp:
        check_tools()
    os.environ.update(_NO_STATISTICS)
    # Visitors' pictures go after an hour.
    app = Page(service, title=TITLE, delete_cache=(600, 3600), analytics_enabled=False)
    with app:
        gr.HTML(HEADER, padding=False, elem_classes="fd-top")
        with gr.Tabs(elem_classes="fd-tabs") as tabs:
            with _tab("Try it", "try"):
                model = gr.Dropdown(
                    [(spec.label, spec.name) for spec in MODELS.values()],
                    value=config.model,
                    label="Model",
                    info=_model_info(config),
                    allow_custom_value=config.open_hub or config.model not in MODELS,
                    render=False,
                )
                asking = build_surface(
                    service,
                    Model(model, service.check_model, render=True),
                    api="ask",
                )
            with _tab("Many pictures", "many") as many:
                build_many_tab(service, many, tabs, asking)
            with _tab("My models", "checkpoints") as opened:
                checkpoints = build_checkpoint_tab(service, app, opened, tabs)
            with _tab("Compare", "compare") as comparing:
                after = After(checkpoints, build_compare_tab(service, comparing))
            with _tab("Fine-tune", "finetune") as finetune:
                picker = build_finetune_tab(service, app, finetune, tabs, after)
            with _tab("How good is it?", "evaluate") as evaluate:
                build_evaluate_tab(service, evaluate)
        connect_learning(service, app, asking.surface, tabs, picker)
        for surface in (asking.surface, checkpoints.surface):
            connect_settings(service, app, surface)
        connect_address(service, tabs, asking.surface)
        connect_programs(service, app)
    # The routes beside the queue, which skip its limits, are closed.
    app.queue(max_size=QUEUE, default_concurrency_limit=8, api_open=False)
    app._queue.pending_messages_per_session.max_size = SESSIONS
    return app


def _in_words(block_fn: Any, answer: Any) -> Any:
    """Return an event's answer with our words marked in what it changes of components."""
    for component, change in zip(block_fn.outputs, answer.get("data") or (), strict=False):
        if isinstance(change, dict) and change.get("__type__") == "update":
            mark(change, component.get_block_name())
    return answer


def _refuse_addresses(block_fn: Any, inputs: list[Any]) -> None:
    """Refuse a web address in the place of a file: gradio would fetch it, whatever its size."""

    def check(file: dict[str, Any]) -> dict[str, Any]:
        if is_url(str(file.get("path", ""))):
            raise InputError("Upload the file itself; an address is taken for a picture only.")
        return file

    for component, value in zip(block_fn.inputs, inputs, strict=False):
        if not isinstance(component, SafeImage):
            traverse(value, check, is_file_obj)


def _tab(title: str, name: str) -> gr.Tab:
    return gr.Tab(title, id=name, elem_id=f"fd-tab-{name}")


def _model_info(config: AppConfig) -> str:
    base = (
        "nano is our own tiny model and knows drawn scenes only. The others are Microsoft's and"
        " are downloaded at first use."
    )
    return f"{base} Any id of the hub works too." if config.open_hub else base
