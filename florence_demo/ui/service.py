"""What the page's buttons do, without any layout.

Knows the engine and turns its answers into what the components show. Does not know where things
stand on the page.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import queue
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import gradio as gr
from gradio import processing_utils
from PIL import Image

from florence_demo.engine import Engine, OnStep, Options, Request, Stopped, fingerprint
from florence_demo.engine_cache import EngineCache
from florence_demo.errors import CheckpointError, FlorenceDemoError, InputError
from florence_demo.export import EXPORTERS
from florence_demo.images import display_copy
from florence_demo.models import ASSETS, MODELS
from florence_demo.prediction import Prediction
from florence_demo.render import annotate, color_of, overlay
from florence_demo.tasks import TASKS, Region
from florence_demo.web import fetch_image

log = logging.getLogger(__name__)

EXAMPLES = ASSETS / "examples"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_P = ParamSpec("_P")
_R = TypeVar("_R")

PICTURE_TASKS = tuple(task for task in TASKS.values() if task.needs == "nothing")
"""What can be asked of a picture alone."""

TICK = 0.2
"""Seconds between two looks at a running answer."""

Shown = tuple[dict[str, Any], Prediction]
"""What the answer's pane shows, and the answer itself."""

ANNOTATED = "annotated picture"
"""The download that is no exporter of ``export``: the picture with its drawing."""


@dataclass(frozen=True)
class AppConfig:
    """Hold how the app is served.

    Attributes:
        model: Name of the model chosen at first.
        device: "auto", "cpu", "cuda".
        dtype: "auto", "fp32", "bf16", "fp16", "int8".
        max_models: Models kept in memory beside nano.
        checkpoints: The one folder whose checkpoints visitors may open.
        open_hub: Whether visitors may name any model of the hub.
        allow_pickle: Whether checkpoints under that folder may be pickled; uploads never may.
        data: The one folder whose data sets visitors may learn from and measure on.
        training: Whether visitors may fine-tune: it takes the whole machine for a while.
    """

    model: str = "nano"
    device: str = "auto"
    dtype: str = "auto"
    max_models: int = 1
    checkpoints: Path = Path("checkpoints")
    open_hub: bool = True
    allow_pickle: bool = False
    data: Path = Path("data")
    training: bool = True


def _message(exc: Exception) -> gr.Error:
    """Return the toast for an error; a bug of ours goes to the log with its traceback."""
    if isinstance(exc, FlorenceDemoError):
        return gr.Error(str(exc), duration=15, print_exception=False)
    if isinstance(exc, gr.Error):
        return exc
    log.exception("unexpected error", exc_info=exc)
    return gr.Error(
        "Something went wrong on our side; it is in the log. Your picture and settings are kept:"
        " try again, or try another task.",
        duration=15,
        print_exception=False,
    )


def friendly(fn: Callable[_P, _R]) -> Callable[_P, _R]:
    """Turn every error of a handler into a sentence on the page."""

    @functools.wraps(fn)
    def handler(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return fn(*args, **kwargs)
        except Exception as exc:
            raise _message(exc) from exc

    return handler


def friendly_stream(fn: Callable[_P, Iterator[_R]]) -> Callable[_P, Iterator[_R]]:
    """Turn every error of a handler that yields into a sentence on the page."""

    @functools.wraps(fn)
    def handler(*args: _P.args, **kwargs: _P.kwargs) -> Iterator[_R]:
        try:
            yield from fn(*args, **kwargs)
        except Exception as exc:
            raise _message(exc) from exc

    return handler


def on_zero_gpu() -> bool:
    """Return whether each call runs in a process of its own on a shared GPU."""
    return bool(os.environ.get("SPACES_ZERO_GPU"))


class Service:
    """Answer the page's events with engines from one cache."""

    def __init__(self, config: AppConfig, engines: EngineCache | None = None) -> None:
        self.config = config
        self.engines = engines or EngineCache(
            config.max_models,
            device=config.device,
            dtype=config.dtype,
            trusted=False,
            open_hub=config.open_hub,
            allow_pickle=config.allow_pickle,
        )
        self._predict = _with_gpu(self._predict_here)
        self._predict_all = _with_gpu(self._predict_all_here)

    def warm_up(self) -> None:
        """Load the first model so that the first answer does not wait for it."""
        try:
            self.engines.get(self.config.model)
        except FlorenceDemoError as exc:
            log.warning("%s", exc)

    def check_model(self, name: str) -> str:
        """Return the model's name where a visitor may ask for it.

        Raises:
            CheckpointError: It is neither in the catalogue nor an allowed id of the hub.
        """
        name = (name or "").strip()
        if name in MODELS:
            return name
        if self.config.open_hub and _HUB_ID.fullmatch(name) and not Path(name).exists():
            return name
        also = " or an id of the Hugging Face hub (owner/name)" if self.config.open_hub else ""
        raise CheckpointError(f"There is no model “{name}”: choose {', '.join(MODELS)}{also}.")

    # -- pictures ---------------------------------------------------------------------------

    def prepare(self, image: Image.Image | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what the region picker and the answer show of a picture that has just arrived."""
        if image is None:
            return {}, {"picture": None}
        data, mime = display_copy(image)
        path = processing_utils.save_bytes_to_cache(
            data, f"picture.{mime.split('/')[1]}", cache_folder()
        )
        shown = {"path": path, "meta": {"_type": "gradio.FileData"}, "mime_type": mime}
        hint = f"{image.width} × {image.height} pixels. Choose a task and press Ask."
        return (
            {"picture": shown, "size": list(image.size), "box": None},
            {"picture": dict(shown), "hint": hint},
        )

    def fetch(self, url: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Return the picture at a web address as a file, and what ``prepare`` returns."""
        if not (url or "").strip():
            raise InputError("Type the address of a picture first: https://….")
        image = fetch_image(url.strip())
        return save_picture(image), *self.prepare(image)

    # -- asking -----------------------------------------------------------------------------

    def ask(
        self,
        image: Image.Image | None,
        task: str,
        text: str,
        region: Region | None,
        model: str,
        options: Options,
        progress: Callable[[float, str], None] | None = None,
    ) -> Iterator[tuple[dict[str, Any], Prediction | None]]:
        """Yield the answer as it grows, each time with the finished prediction or None.

        What is shown is empty where there is no news, at first of all: gradio can close a
        generator that has yielded once, and does so at a yield.

        Args:
            image: The picture.
            task: Name of the task.
            text: Words; dropped where the task takes none, since the page hides the box then.
            region: Box in pixels; dropped likewise.
            model: A name that ``check_model`` returned, or a trusted folder.
            options: How the answer is searched.
            progress: Told about downloads.
        """
        yield {}, None
        if image is None:
            raise InputError("There is no picture yet: upload one, or press an example.")
        chosen = TASKS[task]
        text = text if chosen.asks == "text" else ""
        region = region if chosen.asks == "region" else None
        # Wrong input is told before a model is loaded for it.
        if not chosen.after:
            chosen.build_prompt(text or "", region, image.size)
        options.check()
        engine = self.engines.get(model, progress)
        question = (model, image, task, text or "", region, options)
        for found, partial in self._answers(self._predict, question):
            if found is not None:
                yield show(found, engine), found
            else:
                yield {"sentence": partial, "busy": True} if partial else {}, None

    def ask_all(
        self,
        image: Image.Image | None,
        model: str,
        options: Options,
        progress: Callable[[float, str], None] | None = None,
    ) -> Iterator[tuple[str, list[Shown]]]:
        """Ask every task that needs a picture alone, as one batch: the picture is encoded once.

        Args:
            image: The picture.
            model: A name that ``check_model`` returned, or a trusted folder.
            options: How the answers are searched.
            progress: Told about downloads.

        Yields:
            The first answer so far and no answers, "" where there is no news; at the end "" and
            all of them.
        """
        yield "", []
        if image is None:
            raise InputError("There is no picture yet: upload one, or press an example.")
        options.check()
        engine = self.engines.get(model, progress)
        for found, partial in self._answers(self._predict_all, (model, image, options)):
            if found is not None:
                yield "", [(show(each, engine), each) for each in found]
            else:
                yield partial, []

    @staticmethod
    def _answers(
        predict: Callable[..., _R], question: tuple[Any, ...]
    ) -> Iterator[tuple[_R | None, str]]:
        """Yield the answer so far, then the answer."""
        if on_zero_gpu():
            yield predict(*question), ""
        else:
            yield from _stream(lambda on_step: predict(*question, on_step=on_step))

    # A shared GPU's process is sent these arguments; an engine could not be, its name can.

    def _predict_here(
        self,
        model: str,
        image: Image.Image,
        task: str,
        text: str,
        region: Region | None,
        options: Options,
        *,
        on_step: OnStep | None = None,
    ) -> Prediction:
        engine = self.engines.get(model)
        return engine.predict(image, TASKS[task], text, region, options, on_step=on_step)

    def _predict_all_here(
        self,
        model: str,
        image: Image.Image,
        options: Options,
        *,
        on_step: OnStep | None = None,
    ) -> list[Prediction]:
        asked = [Request(image, task) for task in PICTURE_TASKS]
        return self.engines.get(model).predict_batch(asked, options, on_step=on_step)

    # -- downloads --------------------------------------------------------------------------

    def download(self, image: Image.Image | None, found: Prediction | None, kind: str) -> str:
        """Return a file with the answer in the chosen format.

        Raises:
            InputError: There is no answer yet, or the picture was changed since.
        """
        if image is None or found is None:
            raise InputError("There is no answer to download yet: ask something first.")
        if image.size != found.size or found.picture not in ("", fingerprint(image)):
            raise InputError("The picture was changed since the answer: ask again, then download.")
        folder = Path(tempfile.mkdtemp(dir=cache_folder()))
        stem = f"florence-{found.task}"
        if kind == ANNOTATED:
            target = folder / f"{stem}.png"
            annotate(image, found.detections).save(target, compress_level=1)
            return str(target)
        exporter = EXPORTERS[kind]
        target = folder / f"{stem}{exporter.suffix}"
        target.write_bytes(exporter.write(found, image, stem))
        return str(target)


def _stream(work: Callable[[OnStep], _R]) -> Iterator[tuple[_R | None, str]]:
    """Run work in a thread and yield the text so far some times a second, then its result.

    It yields on even where there is no text yet: closing a generator takes effect at a yield.
    """
    news: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    stop = threading.Event()
    last = time.monotonic()

    def on_step(partial: Callable[[], Any]) -> bool:
        nonlocal last
        # Quick answers come whole; slow ones are shown while they grow.
        if time.monotonic() - last > TICK:
            news.put(("text", partial().text))
            last = time.monotonic()
        return not stop.is_set()

    def run() -> None:
        try:
            news.put(("result", work(on_step)))
        except Exception as exc:
            news.put(("error", exc))

    threading.Thread(target=run, daemon=True).start()
    try:
        while True:
            try:
                kind, item = news.get(timeout=TICK)
            except queue.Empty:
                kind, item = "text", ""
            if kind == "text":
                yield None, item
            elif kind == "result":
                yield item, ""
                return
            elif isinstance(item, Stopped):
                return
            else:
                raise item
    finally:
        # Closing the page or pressing Stop closes this generator.
        stop.set()


def show(found: Prediction, engine: Engine) -> dict[str, Any]:
    """Return what the answer's pane shows of a prediction."""
    places, names = found.detections.scores, found.detections.label_scores
    rows = [
        {
            "label": label,
            "name": None if names is None or not label else float(names[i]),
            "place": None if places is None else float(places[i]),
            "box": [float(v) for v in found.detections.xyxy[i]],
            "color": color_of(label),
        }
        for i, label in enumerate(found.detections.labels)
    ]
    speed = f"{found.seconds:.2f} s · {found.tokens} tokens"
    return {
        "sentence": found.sentence(),
        "overlay": overlay(found),
        "notices": list(found.notices),
        "rows": rows,
        "meta": " · ".join((speed, engine.loaded.describe(), *gpu_memory(engine))),
    }


def gpu_memory(engine: Engine) -> tuple[str, ...]:
    """Return a GPU's memory in use and its peak, or nothing on a CPU."""
    device = engine.loaded.device
    if device.type != "cuda":
        return ()
    import torch

    now, peak = torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)
    return (f"GPU memory {now / 1e9:.1f} GB now, {peak / 1e9:.1f} GB at most",)


def save_picture(image: Image.Image) -> str:
    """Return a file of the app's cache with the picture, for ``gr.Image`` to show."""
    folder = Path(tempfile.mkdtemp(dir=cache_folder()))
    target = folder / "picture.jpg"
    image.save(target, quality=95)
    return str(target)


def load_examples() -> list[dict[str, Any]]:
    """Return the example questions: file, title, task, text, region."""
    listing = EXAMPLES / "examples.json"
    if not listing.is_file():
        return []
    rows: list[dict[str, Any]] = json.loads(listing.read_text(encoding="utf-8"))
    return rows


def cache_folder() -> str:
    """Return the folder whose files the page may hand out, and forgets after a while."""
    folder = os.environ.get("GRADIO_TEMP_DIR") or str(Path(tempfile.gettempdir()) / "gradio")
    Path(folder).mkdir(parents=True, exist_ok=True)
    return folder


def _with_gpu(fn: Callable[..., _R]) -> Callable[..., _R]:
    """Ask for a shared GPU for the length of a call where the host lends them."""
    if not on_zero_gpu():
        return fn
    import spaces

    def duration(*args: Any, **_: Any) -> int:
        # Visitors pay for what is asked, not for what is used: ask for little.
        tokens = next((a.max_new_tokens for a in args if isinstance(a, Options)), 1024)
        return min(60, 10 + tokens // 40)

    wrapped: Callable[..., _R] = spaces.GPU(duration=duration)(fn)
    return wrapped
