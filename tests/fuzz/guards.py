"""Watch what a process does while strangers' input is in it: programs, files, connections.

Python tells an audit hook of each before it happens. What C++ opens by itself is not told.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fuzz.oracle import SECRET, Breach

_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.startfile")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Guard:
    """Remember what must not happen; ``check`` says so where the input is known.

    Attributes:
        ports: Ports of this machine that may be connected to.
    """

    def __init__(self) -> None:
        self.ports: set[int] = set()
        self._seen: list[str] = []
        self._on = False
        self._own = threading.local()
        self._home = os.path.realpath(tempfile.gettempdir())
        sys.addaudithook(self._hook)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch until the block ends."""
        self._seen.clear()
        self._on = True
        try:
            yield
        finally:
            self._on = False

    @contextmanager
    def client(self) -> Iterator[None]:
        """Leave out what this thread does: it is the stranger's part, not the app's."""
        self._own.client = True
        try:
            yield
        finally:
            self._own.client = False

    def check(self) -> None:
        """Raise Breach where something happened that must not."""
        if self._seen:
            raise Breach(self._seen[0])

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._on or getattr(self._own, "client", False):
            return
        if event in _STARTS:
            self._started(event, args)
        elif event == "open":
            self._opened(*args)
        elif event == "socket.connect":
            self._connected(args[1])

    def _started(self, event: str, args: tuple[Any, ...]) -> None:
        program = str(args[0])
        # Work may be given to a Python of its own.
        if not (event != "os.system" and Path(program).name.startswith("python")):
            self._seen.append(f"a program was started: {Path(program).name}")

    def _opened(self, path: Any, _mode: Any, flags: Any) -> None:
        if not isinstance(path, str | bytes):
            return
        try:
            name = os.path.realpath(os.fsdecode(path))
        except (OSError, ValueError):
            return  # it opens nothing, and what a hook raises would reach the app
        if name == SECRET:
            self._seen.append("a file of this machine was opened that is not the sender's")
        elif isinstance(flags, int) and flags & _WRITES:
            # A file without a name is opened by its folder's.
            inside = name.startswith((self._home + os.sep, "/dev/", "/proc/self/"))
            if not (inside or name == self._home) and "__pycache__" not in name:
                self._seen.append(f"a file was written outside of its folder: {name}")

    def _connected(self, address: Any) -> None:
        known = isinstance(address, tuple) and len(address) >= 2
        if known and not (address[0] in ("127.0.0.1", "::1") and address[1] in self.ports):
            self._seen.append(f"a connection was opened to {address[0]} port {address[1]}")
