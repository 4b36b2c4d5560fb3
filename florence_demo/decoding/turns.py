"""A lock that is given in the order in which it is asked for.

Knows threads. Does not know what they want of the machine: one reads a picture, another decodes a
step, and neither gets past who came before.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any


class Turns:
    """Let one thread at a time do something, the one that waits the longest first.

    Attributes:
        moved: When a turn last ended, or whoever has it said to go on, by ``time.monotonic``.
    """

    def __init__(self) -> None:
        self.moved = 0.0
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._taken = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Event()
            self._waiting.append(mine)
        mine.wait()  # whoever had the turn hands it over taken

    def __exit__(self, *_: Any) -> None:
        self.moved = time.monotonic()
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._taken = False
