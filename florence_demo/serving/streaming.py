"""Work in a thread of its own, and what it tells meanwhile, as a generator.

Knows threads. Does not know what the work is.
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from florence_demo.engine.request import Stopped

_N = TypeVar("_N")
_R = TypeVar("_R")


class Line(Generic[_N]):
    """Lead from the work to whoever waits for it."""

    def __init__(self) -> None:
        self._said: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._closed = threading.Event()

    def tell(self, news: _N) -> None:
        """Tell something on the way."""
        self._said.put(("news", news))

    @property
    def closed(self) -> bool:
        """Whether nobody waits any more: the work should raise ``Stopped``."""
        return self._closed.is_set()


def stream(
    work: Callable[[Line[_N]], _R], *, tick: float | None = None, name: str | None = None
) -> Iterator[tuple[_N | None, _R | None]]:
    """Run work in a thread and yield (news, None) as it tells them, then (None, its result).

    Closing the generator closes the line to the work. It takes effect at a yield, so where there
    may be no news for long, a tick is asked for.

    Args:
        work: Takes the line by which it tells; ends in silence by ``Stopped``.
        tick: Seconds after which (None, None) is yielded where there is no news, None for never.
        name: Of the thread.
    """
    line: Line[_N] = Line()
    said = line._said

    def run() -> None:
        try:
            said.put(("result", work(line)))
        except Exception as exc:
            said.put(("error", exc))

    # What the thread logs belongs to the request that began it.
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name=name, daemon=True).start()
    try:
        while True:
            try:
                kind, item = said.get(timeout=tick)
            except queue.Empty:
                yield None, None
                continue
            if kind == "news":
                yield item, None
            elif kind == "result":
                yield None, item
                return
            elif isinstance(item, Stopped):
                return
            else:
                raise item
    finally:
        line._closed.set()
