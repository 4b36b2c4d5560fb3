"""What the page's buttons do, without any layout.

Knows the engine and turns its answers into what the components show. Does not know where things
stand on the page.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from PIL import Image

from florence_demo.engine.feature_cache import fingerprint
from florence_demo.engine.question import Question, Regions, as_regions
from florence_demo.engine.request import Options
from florence_demo.engine.tiles import squeezed
from florence_demo.errors import FlorenceDemoError, InputError
from florence_demo.files import disk_full_told
from florence_demo.models.catalogue import ASSETS, ModelSpec, Named, spec_of
from florence_demo.output.export import Parcel
from florence_demo.output.filtering import Filter, filtered
from florence_demo.pictures.images import as_jpeg, display_copy, file_of
from florence_demo.pictures.web import fetch_image
from florence_demo.prediction import Prediction
from florence_demo.serving.answering import NOBODY, Answered, Answering, Caller, News
from florence_demo.serving.config import AppConfig
from florence_demo.serving.conversation import Conversation, Conversations
from florence_demo.serving.engines import EngineCache
from florence_demo.serving.health import Health
from florence_demo.serving.lending import on_zero_gpu
from florence_demo.serving.metrics import Metrics
from florence_demo.serving.questions import Kept, Shown, summary
from florence_demo.serving.scratch import Scratch
from florence_demo.serving.showing import show
from florence_demo.serving.taking_home import stem_of, take_home
from florence_demo.serving.uploads import Uploads
from florence_demo.serving.watching import Watch
from florence_demo.tasks import TASKS
from florence_demo.trust import OPERATOR

log = logging.getLogger(__name__)

EXAMPLES = ASSETS / "examples"

FETCHES = 2
"""Pictures that may be fetched for one visitor at a time."""

KEPT_FREE = 1 << 30
"""Bytes of the disk that uploads leave free."""

SMALL = 96
"""Longest side of the picture beside a conversation's cards, in pixels."""

ROOM_FOR_DOWNLOADS = 64 << 20
"""Bytes that must be free before a download is put together."""


class Service:
    """Answer the page's events with engines from one cache."""

    def __init__(
        self,
        config: AppConfig,
        engines: EngineCache | None = None,
        scratch: Scratch | None = None,
    ) -> None:
        self.config = config.resolved()
        self.scratch = scratch or Scratch()
        self.conversations = Conversations()
        self.uploads = Uploads(self.scratch)
        self._fetching: Counter[str] = Counter()
        self._measuring: set[str] = set()
        self._lock = threading.Lock()
        self.health, self.metrics = Health(config.hang), Metrics()
        self.engines = engines or EngineCache(
            config.max_models,
            device=config.device,
            dtype=config.dtype,
            trust=self.config.trust(),
            tally=self.metrics,
        )
        self.answers = Answering(self.engines, Watch(self.health, self.metrics.ended))
        self.metrics.watch(self.answers.queue, self.engines, self.scratch.size)
        self.loads = self.answers.loads

    def warm_up(self) -> None:
        """Load the first model so that the first answer does not wait for it."""
        try:
            # As one of those who wait: who comes meanwhile joins, and none of them stops it.
            with self.loads.joined(self.given) as load:
                self.health.waits(lambda: f"The first model is not here yet: {load.words}.")
                load.result()
            self.health.ready()
        except Exception as exc:
            self.health.waits(lambda: "The first model could not be loaded: the log says why.")
            if not isinstance(exc, FlorenceDemoError):
                raise
            log.warning("%s", exc)

    @cached_property
    def given(self) -> ModelSpec:
        """The model chosen at first, which may be a folder: its name is the operator's word.

        Raises:
            CheckpointError: There is no such model.
        """
        return spec_of(self.config.model, OPERATOR)

    def check_model(self, name: object) -> ModelSpec:
        """Return the model that a visitor names.

        Raises:
            CheckpointError: It is neither in the catalogue nor an allowed id of the hub.
        """
        if name == self.config.model:
            return self.given
        return spec_of(str(name or ""), self.config.trust())

    # -- pictures ---------------------------------------------------------------------------

    def prepare(self, image: Image.Image | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what the region picker and the answer show of a picture that has just arrived."""
        if image is None:
            return {}, {}
        data, mime = display_copy(image)
        shown = self.handed_out(data, mime)
        small = squeezed(image.size)
        more = f"{small} " if small else ""
        hint = f"{image.width} × {image.height} pixels. {more}Choose a task and press Ask."
        return (
            {"picture": shown, "size": list(image.size), "box": None},
            {"hint": hint},
        )

    def unfamiliar(self, image: Image.Image, model: Named) -> bool:
        """Say whether a picture is of a kind that a model was not trained on.

        The model is loaded for that; what it sees of the picture is kept for the question.

        Raises:
            CheckpointError: The model cannot be loaded.
        """
        if on_zero_gpu():  # a look would cost the visitor a GPU
            return False
        with self.loads.joined(model) as load:
            return not load.result().knows(image)

    def kept(self, image: Image.Image | None, talk: Conversation) -> Kept | None:
        """Return what a conversation's cards keep of a picture: its file and copies to show."""
        if image is None:
            return None
        file = file_of(image)
        return talk.picture(file) or Kept(
            file,
            image.size,
            self.handed_out(*display_copy(image)),
            self.handed_out(*display_copy(image, SMALL)),
        )

    def handed_out(self, data: bytes, mime: str) -> dict[str, Any]:
        """Return an encoded picture as a file that the page may show."""
        name = f"picture.{mime.split('/')[1]}"
        path = self.scratch.keep(data, name)
        return {"path": str(path), "meta": {"_type": "gradio.FileData"}, "mime_type": mime}

    def fetch(self, url: str, visitor: str = "") -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Return the picture at a web address as a file, and what ``prepare`` returns.

        Args:
            url: The address.
            visitor: Who asks; the same one waits for few fetches at a time.

        Raises:
            InputError: There is no address, no picture at it, or too much is being fetched.
        """
        image = self.fetched(url, visitor)
        return str(self.scratch.keep(as_jpeg(image), "picture.jpg")), *self.prepare(image)

    def fetched(self, url: str, visitor: str = "") -> Image.Image:
        """Return the picture at a web address; arguments and errors are those of ``fetch``."""
        if not (url or "").strip():
            raise InputError("Type the address of a picture first: https://….")
        with self._lock:
            if self._fetching[visitor] >= FETCHES:
                raise InputError("Two of your pictures are being fetched already: wait for them.")
            self._fetching[visitor] += 1
        try:
            return fetch_image(url.strip())
        finally:
            with self._lock:
                self._fetching[visitor] -= 1
                self._fetching += Counter()  # forgets those who wait for nothing

    @contextmanager
    def measuring(self, visitor: str) -> Iterator[None]:
        """Let one visitor measure once at a time: others wait for it.

        Raises:
            InputError: The same visitor is measuring already.
        """
        with self._lock:
            if visitor in self._measuring:
                raise InputError(
                    "A measurement of yours is going on: wait for its end, or stop it."
                )
            self._measuring.add(visitor)
        try:
            yield
        finally:
            with self._lock:
                self._measuring.discard(visitor)

    def room(self) -> int:
        """Return the bytes that uploads may still take: of the app's share, and of the disk."""
        free = shutil.disk_usage(self.scratch.served).free - KEPT_FREE
        return max(0, min(self.config.disk - self.scratch.size(), free))

    # -- asking -----------------------------------------------------------------------------

    def ask(
        self,
        image: Image.Image | None,
        task: str,
        text: str,
        region: Regions,
        model: Named,
        options: Options,
        caller: Caller = NOBODY,
        tiles: str = "",
    ) -> Iterator[tuple[dict[str, Any], Prediction | None]]:
        """Yield the answer as it grows, each time with the finished prediction or None.

        What is shown is empty where there is no news, at first of all: gradio can close a
        generator that has yielded once, and does so at a yield.

        Args:
            image: The picture.
            task: Name of the task.
            text: Words, or a list of names where the task takes one; dropped where it takes no
                words, since the page hides the box then.
            region: Box in pixels, or several; dropped likewise.
            model: What ``check_model`` returned, or a folder that this program made or listed.
            options: How the answer is searched.
            caller: Who asks.
            tiles: "auto" or rows by columns looks closely; "" at the whole picture alone.
        """
        yield {}, None
        chosen = TASKS[task]
        text = (text if chosen.asks == "text" else "") or ""
        regions = as_regions(region) if chosen.asks == "region" else ()
        question = Question(_there(image), chosen, text, regions, tiles)
        for each in self.answers.ask(question, model, options, caller):
            if isinstance(each, Answered):
                yield show(each.found, each.engine), each.found
            else:
                yield told(each), None

    def ask_all(
        self,
        image: Image.Image | None,
        model: Named,
        options: Options,
        caller: Caller = NOBODY,
    ) -> Iterator[tuple[dict[str, Any], list[Shown]]]:
        """Ask every task that needs a picture alone, as one batch: the picture is encoded once.

        Args:
            image: The picture.
            model: What ``check_model`` returned, or a folder that this program made or listed.
            options: How the answers are searched.
            caller: Who asks.

        Yields:
            What is shown while the first answer grows, nothing where there is no news, and no
            answers; at the end what they come to, and all of them.
        """
        yield {}, []
        for each in self.answers.ask_all(_there(image), model, options, caller):
            if isinstance(each, Answered):
                answers = [(show(found, each.engine), found) for found in each.found]
                yield summary(answers), answers
            else:
                yield told(each), []

    # -- downloads --------------------------------------------------------------------------

    def download(
        self, image: Image.Image | None, found: Prediction | None, kind: str, kept: Any = None
    ) -> str:
        """Return a file with the answer in the chosen format, called as the picture's own.

        Args:
            image: The picture.
            found: The answer.
            kind: The format.
            kept: What of it is kept, as ``Filter.given`` takes it from a browser.

        Raises:
            InputError: There is no answer yet, nothing of it in this format, or no room; or the
                picture was changed since.
        """
        image, found = same_picture(image, found)
        found = filtered(found, Filter.given(kept, found.detections))
        if self.room() < ROOM_FOR_DOWNLOADS:
            raise InputError("There is no room on this server for a download: try again later.")
        file = file_of(image)
        parcel = Parcel(found, image, stem_of(file), file)
        with disk_full_told():
            return str(take_home(parcel, kind, self.scratch.new_served_folder()))


def told(news: News) -> dict[str, Any]:
    """Return what the page shows of news, nothing where there are none."""
    if news.hint:
        return {"hint": news.hint, "busy": True}
    return {"sentence": news.text, "busy": True} if news.text else {}


def _there(image: Image.Image | None) -> Image.Image:
    if image is None:
        raise InputError("There is no picture yet: upload one, or press an example.")
    return image


def same_picture(
    image: Image.Image | None, found: Prediction | None
) -> tuple[Image.Image, Prediction]:
    """Return a picture and the answer about it.

    Raises:
        InputError: There is no answer yet, or the picture was changed since.
    """
    if image is None or found is None:
        raise InputError("There is no answer yet: ask something first.")
    if image.size != found.size or found.picture not in ("", fingerprint(image)):
        raise InputError("The picture was changed since the answer: ask again first.")
    return image, found


def load_examples() -> list[dict[str, Any]]:
    """Return the example questions: file, title, task, text, region."""
    listing = EXAMPLES / "examples.json"
    if not listing.is_file():
        return []
    rows: list[dict[str, Any]] = json.loads(listing.read_text(encoding="utf-8"))
    return rows
