"""The engines in memory: each model loaded once, the one used longest ago given up first.

Knows how many models may be held, and that adapters of one base share it. Does not know how a model
answers (``engine``) nor how it is opened (``models``).
"""

from __future__ import annotations

import threading
import traceback
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from florence_demo.engine.engine import Engine
from florence_demo.engine.tally import UNHEARD, Tally
from florence_demo.machine import release_memory
from florence_demo.models.catalogue import MODELS, ModelSpec, Named, spec_of
from florence_demo.models.devices import choose_device
from florence_demo.models.fetching import Progress
from florence_demo.models.finding import Found, find
from florence_demo.models.hub import in_cache
from florence_demo.models.loading import load, switch_model
from florence_demo.trust import OPERATOR, Trust

_LOOK = 0.5
"""Seconds between two looks of who waits for another's download, and may be stopped."""


class EngineCache:
    """Keep the engines used last, so that a model is loaded once."""

    def __init__(
        self,
        max_models: int = 1,
        *,
        device: str = "auto",
        dtype: str = "auto",
        trust: Trust = OPERATOR,
        tally: Tally = UNHEARD,
    ) -> None:
        """Take how many models may be in memory and how they are loaded.

        Args:
            max_models: At least 1; nano does not count, it is smaller than a picture.
            device: As for ``load_model``.
            dtype: As for ``load_model``.
            trust: What names may say, and what models may do.
            tally: Told of loads, and of what the engines do.
        """
        self.max_models = max(1, max_models)
        self.device = device
        self.dtype = dtype
        self.trust = trust
        self._tally = tally
        self._engines: OrderedDict[ModelSpec, Engine] = OrderedDict()
        self._stamps: dict[ModelSpec, object] = {}
        self._lock = threading.Lock()
        self._arriving = threading.Lock()
        self._opening = threading.Lock()

    def get(self, model: Named, progress: Progress | None = None) -> Engine:
        """Return the engine of a model, loading it at first use.

        Args:
            model: A name, or what it names.
            progress: Called while files are downloaded and opened.

        Raises:
            CheckpointError: The model cannot be loaded; those in memory stay.
        """
        spec = spec_of(model, self.trust)
        engine = self._held(spec)
        if engine is not None:
            return engine
        with _nothing_left():
            stamp, device = _stamp(spec.folder), choose_device(self.device)
            with self._turn(spec, progress):
                found = find(spec, self.trust, progress)
            # One is opened at a time; models in memory go on answering meanwhile.
            with self._opening:
                engine = self._held(spec)
                if engine is None:
                    engine = self._switched(found) or Engine(
                        load(found, device, self.dtype, progress), self._tally
                    )
                    self._tally.loaded(spec.name)
                    with self._lock:
                        self._make_room(spec)
                        self._engines[spec], self._stamps[spec] = engine, stamp
                    release_memory()
            return engine

    def loaded(self) -> list[Engine]:
        """Return the engines in memory, the one used last at the end."""
        with self._lock:
            return list(self._engines.values())

    def holds(self, model: Named) -> bool:
        """Say whether a model is in memory."""
        with self._lock:
            return spec_of(model, self.trust) in self._engines

    def drop(self, model: Named) -> bool:
        """Forget a model and give its memory back; say whether it was there."""
        spec = spec_of(model, self.trust)
        with self._lock:
            found = self._engines.pop(spec, None) is not None
        if found:
            release_memory()
        return found

    @contextmanager
    def _turn(self, spec: ModelSpec, progress: Progress | None) -> Iterator[None]:
        """Let one model arrive from the hub at a time; those that are here wait for none."""
        if spec.folder is not None or in_cache(spec.source, spec.revision):
            yield
            return
        while not self._arriving.acquire(timeout=_LOOK):
            if progress:
                progress(0.0, "Another download goes first: waiting for it")
        try:
            yield
        finally:
            self._arriving.release()

    def _held(self, spec: ModelSpec) -> Engine | None:
        """Return a model in memory, unless its folder holds other weights by now."""
        stamp = _stamp(spec.folder)
        with self._lock:
            # A model whose folder is gone, or is being written this moment, goes on answering.
            if spec in self._engines and stamp in (None, self._stamps[spec]):
                self._engines.move_to_end(spec)
                return self._engines[spec]
            return None

    def _switched(self, found: Found) -> Engine | None:
        """Return an engine for an adapter whose base is in memory under another adapter."""
        if found.base is None:
            return None
        base = found.base.path
        with self._lock:
            siblings = [s for s, e in self._engines.items() if e.loaded.base == base]
            if not siblings:
                return None
            # Nobody new finds it meanwhile; those who hold it are answered before the change.
            sibling = self._engines.pop(siblings[-1])
        try:
            return sibling.hand_over(lambda loaded: switch_model(loaded, found))
        except BaseException:
            if not sibling.retired:
                with self._lock:
                    self._engines[siblings[-1]] = sibling
            raise

    def _make_room(self, spec: ModelSpec) -> None:
        nano = MODELS["nano"]
        others = [held for held in self._engines if held != nano]
        limit = self.max_models - (spec != nano)
        for old in others[: max(0, len(others) - limit)]:
            del self._engines[old]


@contextmanager
def _nothing_left() -> Iterator[None]:
    """Give the memory of a load back that fails: its error's frames hold half a model."""
    try:
        yield
    except BaseException as exc:
        failed: BaseException | None = exc
        while failed is not None:
            traceback.clear_frames(failed.__traceback__)
            failed = failed.__cause__ or failed.__context__
        release_memory()
        raise


def _stamp(folder: Path | None) -> object:
    """Return what changes when a folder is written anew, as a resumed training does; else None."""
    if folder is None or not folder.is_dir():
        return None
    try:
        files = sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".json", ".bin"))
        stats = [(p.name, p.stat()) for p in files]
    except OSError:
        return None
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
