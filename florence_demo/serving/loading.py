"""Models that are loaded while others answer: one load, however many wait for it.

A load goes on as long as somebody waits; the last who leaves stops it, and what has arrived from
the hub is kept. Knows threads and who waits. Does not know how a model is loaded (``engines``) nor
how it is shown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Literal, TypeVar

from florence_demo.models.catalogue import Named
from florence_demo.models.fetching import DownloadStopped, Progress

_E = TypeVar("_E")

State = Literal["loading", "done", "stopped", "failed"]

STOPPED = "Stopped. What has arrived is kept, and goes on when the model is chosen again."


class Load(Generic[_E]):
    """Hold a model that is being loaded, or was.

    Attributes:
        model: What is loaded.
        share: How much of its download is here, 0..1.
        words: What is being done, for a person: bytes, speed and time left while it arrives.
    """

    def __init__(self, model: Named) -> None:
        self.model = model
        self.share = 0.0
        self.words = "Opening the model"
        self._waiting = 0
        self._stopping = False
        self._ended = threading.Event()
        self._engine: _E | None = None
        self._error: Exception | None = None

    @property
    def state(self) -> State:
        """How it stands."""
        if not self._ended.is_set():
            return "loading"
        if self._error is None:
            return "done"
        return "stopped" if isinstance(self._error, DownloadStopped) else "failed"

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end; say whether it came."""
        return self._ended.wait(seconds)

    def result(self) -> _E:
        """Return the engine once it is there.

        Raises:
            CheckpointError: It could not be loaded, or was stopped.
        """
        self._ended.wait()
        if self._error is not None:
            raise self._error
        assert self._engine is not None
        return self._engine

    def _tell(self, share: float, words: str) -> None:
        """Note how far it is; called in the load's thread, at every chunk."""
        if self._stopping:
            raise DownloadStopped(STOPPED)
        self.share, self.words = share, words

    def _run(self, get: Callable[[Named, Progress], _E], ended: Callable[[], None]) -> None:
        try:
            self._engine = get(self.model, self._tell)
        except Exception as exc:  # told to everybody who waits
            self._error = exc
        finally:
            ended()
            self._ended.set()


class Loads(Generic[_E]):
    """Load models in threads of their own, each once at a time."""

    def __init__(self, get: Callable[[Named, Progress], _E]) -> None:
        """Take what loads a model and tells how far it is; what the telling raises ends it."""
        self._get = get
        self._running: dict[Named, Load[_E]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def joined(self, model: Named) -> Iterator[Load[_E]]:
        """Wait for a model with all who do: the load that runs already, or a new one.

        Args:
            model: What ``get`` takes.
        """
        with self._lock:
            load = self._running.get(model)
            if load is None or load._stopping:
                load = self._running[model] = Load(model)
                threading.Thread(target=self._work, args=(load,), daemon=True).start()
            load._waiting += 1
        try:
            yield load
        finally:
            with self._lock:
                load._waiting -= 1
                load._stopping = not load._waiting

    def awaited(
        self, model: Named, progress: Progress | None = None, tick: float = 0.2
    ) -> Iterator[tuple[_E | None, str]]:
        """Yield (None, what is being done) while a model is loaded, then (its engine, "").

        Args:
            model: What ``get`` takes.
            progress: Told the same.
            tick: Seconds between two looks.

        Raises:
            CheckpointError: It could not be loaded, or was stopped.
        """
        with self.joined(model) as load:
            while not load.wait(tick):
                if progress:
                    progress(load.share, load.words)
                yield None, load.words
            yield load.result(), ""

    def _work(self, load: Load[_E]) -> None:
        def ended() -> None:
            with self._lock:
                if self._running.get(load.model) is load:
                    del self._running[load.model]

        load._run(self._get, ended)
