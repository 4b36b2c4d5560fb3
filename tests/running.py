"""The app as a process of its own, as an operator starts it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[1]


class Running:
    """Hold a process that serves, and what it wrote until its address was told."""

    def __init__(self, process: subprocess.Popen[str], lines: list[str]) -> None:
        self.process, self.lines = process, lines
        (self.url,) = re.findall(r"http://[\w.:]+", lines[-1])
        self.http = httpx.Client(base_url=self.url, timeout=60)

    def until_ready(self, seconds: float = 120) -> None:
        """Wait until the first model is there."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            with suppress(httpx.TransportError):
                if self.http.get("/readyz").status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError("the app is not ready")


@contextmanager
def started(folder: Path, *flags: str, code: str = "", **environment: str) -> Iterator[Running]:
    """Start the app and yield it once its address is told; it is killed at the end.

    Args:
        folder: Where its files go.
        flags: Those of ``app.py``.
        code: Python that runs in the place of ``app.py``, with the flags in ``sys.argv``.
        environment: Variables beside the tests' own.
    """
    folder.mkdir(exist_ok=True)
    program = ["-c", code] if code else ["app.py"]
    process = subprocess.Popen(
        [sys.executable, *program, "--model", "nano", "--device", "cpu",
         "--checkpoints", str(folder / "checkpoints"), "--data", str(folder / "data"), *flags],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "GRADIO_TEMP_DIR": str(folder), "PYTHONUNBUFFERED": "1", **environment},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        lines = []
        for line in iter(process.stdout.readline, ""):
            lines.append(line)
            if "The page is at" in line:
                break
        else:
            raise AssertionError(f"the app ended: {lines}")
        yield Running(process, lines)
    finally:
        process.kill()
        process.wait()
