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
from typing import Any

from florence_demo.engine.engine import Engine
from florence_demo.machine import release_memory
from florence_demo.models.finding import base_of
from florence_demo.models.hub import Progress
from florence_demo.models.loading import load_model, switch_model


class EngineCache:
    """Keep the engines used last, so that a model is loaded once."""

    def __init__(self, max_models: int = 1, **load: Any) -> None:
        """Take how many models may be in memory and what ``load_model`` is given.

        Args:
            max_models: At least 1; nano does not count, it is smaller than a picture.
            load: ``device``, ``dtype``, ``trusted``, ``open_hub``, ``allow_pickle`` for
                ``load_model``.
        """
        self.max_models = max(1, max_models)
        self._load = load
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._stamps: dict[str, object] = {}
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def get(self, name: str, progress: Progress | None = None) -> Engine:
        """Return the engine of a model, loading it at first use.

        Raises:
            CheckpointError: The model cannot be loaded; those in memory stay.
        """
        engine = self._held(name)
        if engine is not None:
            return engine
        # One load at a time; models in memory go on answering meanwhile.
        with self._loading, _nothing_left():
            engine = self._held(name)
            if engine is None:
                stamp = _stamp(name)
                engine = self._switched(name, progress) or Engine(
                    load_model(name, progress=progress, **self._load)
                )
                with self._lock:
                    self._make_room(name)
                    self._engines[name], self._stamps[name] = engine, stamp
                release_memory()
            return engine

    def loaded(self) -> list[Engine]:
        """Return the engines in memory, the one used last at the end."""
        with self._lock:
            return list(self._engines.values())

    def drop(self, name: str) -> bool:
        """Forget a model and give its memory back; say whether it was there."""
        with self._lock:
            found = self._engines.pop(name, None) is not None
        if found:
            release_memory()
        return found

    def _held(self, name: str) -> Engine | None:
        """Return a model in memory, unless its folder holds other weights by now."""
        stamp = _stamp(name)
        with self._lock:
            # A model whose folder is gone, or is being written this moment, goes on answering.
            if name in self._engines and stamp in (None, self._stamps[name]):
                self._engines.move_to_end(name)
                return self._engines[name]
            return None

    def _switched(self, name: str, progress: Progress | None) -> Engine | None:
        """Return an engine for an adapter whose base is in memory under another adapter."""
        limits = {key: self._load[key] for key in ("trusted", "open_hub") if key in self._load}
        base = base_of(name, progress, **limits)
        with self._lock:
            siblings = [n for n, e in self._engines.items() if base and e.loaded.base == base]
            if not siblings:
                return None
            # Nobody new finds it meanwhile; those who hold it are answered before the change.
            sibling = self._engines.pop(siblings[-1])
        allowed = bool(self._load.get("allow_pickle"))
        try:
            return sibling.hand_over(
                lambda loaded: switch_model(loaded, name, allow_pickle=allowed)
            )
        except BaseException:
            if not sibling.retired:
                with self._lock:
                    self._engines[siblings[-1]] = sibling
            raise

    def _make_room(self, name: str) -> None:
        others = [n for n in self._engines if n != "nano"]
        limit = self.max_models - (name != "nano")
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


def _stamp(name: str) -> object:
    """Return what changes when a folder is written anew, as a resumed training does; else None."""
    folder = Path(name)
    if not folder.is_dir():
        return None
    try:
        files = sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".json", ".bin"))
        stats = [(p.name, p.stat()) for p in files]
    except OSError:
        return None
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
