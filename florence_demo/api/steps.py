"""What a verb yields, and how doors draw it: news while there is no answer, then the answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import closing
from typing import Any, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter

from florence_demo.serving.answering import News

_T = TypeVar("_T")
Steps = Iterator[News | _T]
"""News, then the answer; closing it ends the work."""


def answer_of(steps: Steps[Any], has_left: Callable[[], bool] = lambda: False) -> Any:
    """Return a verb's answer, whatever it tells on the way, or None to who has left meanwhile."""
    with closing(steps):  # type: ignore[type-var]
        for each in steps:
            if not isinstance(each, News):
                return each
            if has_left():
                break
    return None


async def drawn(steps: Steps[Any], threads: CapacityLimiter) -> AsyncGenerator[Any]:
    """Yield a verb's steps, each waited for in a thread; who leaves ends its work.

    Args:
        steps: The verb's.
        threads: How many are waited for at a time.
    """
    end = object()
    try:
        while True:
            each = await anyio.to_thread.run_sync(next, steps, end, limiter=threads)
            if each is end:
                return
            yield each
    finally:
        steps.close()  # type: ignore[attr-defined]
