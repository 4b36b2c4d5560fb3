"""A run as it is seen in a terminal: a line a log step, a bar where somebody looks, or JSON lines.

Knows what a run tells (``status``) and two streams: results go to stdout, everything else to
stderr. Does not know how a run goes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any, TextIO

from florence_demo.files import finite
from florence_demo.machine import in_bytes
from florence_demo.training.estimate import in_time
from florence_demo.training.status import Status


class Terminal:
    """Tell a run as it goes on; a context, at whose end the bar goes."""

    def __init__(
        self, as_json: bool = False, out: TextIO | None = None, err: TextIO | None = None
    ) -> None:
        """Choose where to tell.

        Args:
            as_json: Whether lines are JSON objects on stdout, instead of words on stderr.
            out: Instead of stdout.
            err: Instead of stderr; a bar is drawn where it is a terminal.
        """
        self.as_json = as_json
        self._out, self._err = out or sys.stdout, err or sys.stderr
        self._bar: Any = None
        self._valid: float | None = None
        self._last = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def told(self, status: Status, changes: dict[str, Any]) -> None:
        """Write what a run says it is doing, once; one more picture in a cache is no line."""
        message = changes.get("message", "")
        said = self._last == ("caching" if status.state == "caching" else message)
        # The outcome, or the error, is written by whoever started the run.
        if not message or said or status.state in ("done", "stopped", "failed"):
            return
        self._last = "caching" if status.state == "caching" else message
        self._write({"state": status.state, "message": message}, message)

    def logged(self, status: Status, entry: dict[str, Any]) -> None:
        """Write one line of the run's log."""
        self._valid = entry.get("eval_loss", self._valid)
        self._write(entry, ", ".join(_words(status, entry, self._valid)))

    def stepped(self, step: int, steps: int) -> None:
        """Draw the bar up to a step."""
        if not self._err.isatty():
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=steps, initial=step, file=self._err, unit="step", dynamic_ncols=True
            )
        self._bar.update(step - self._bar.n)

    def _write(self, values: dict[str, Any], words: str) -> None:
        if self.as_json:
            print(json.dumps(finite(values), ensure_ascii=False), file=self._out, flush=True)
        elif self._bar is not None:
            # Above the bar, which stays the last line.
            self._bar.write(words, file=self._err)
        else:
            print(words, file=self._err, flush=True)


def _words(status: Status, entry: dict[str, Any], valid: float | None) -> Iterator[str]:
    """Yield the parts of a line; a number that is none is said to be so."""
    if "epoch_loss" in entry:
        yield f"epoch {entry['epoch']:g}: average training loss {entry['epoch_loss']:.4f}"
        return
    steps = f" of {status.steps:,}" if status.steps else ""
    yield f"step {entry['step']:,}{steps}"
    if "loss" in entry:
        yield f"loss {entry['loss']:.4f}"
    if valid is not None:
        yield f"validation {valid:.4f}"
    if "learning_rate" in entry:
        yield f"rate {entry['learning_rate']:.2e}"
    if entry.get("samples_per_second"):
        yield f"{entry['samples_per_second']:,.2f} samples/s"
    if entry.get("memory"):
        yield in_bytes(entry["memory"])
    if entry.get("seconds_left") is not None:
        yield f"about {in_time(max(entry['seconds_left'], 1))} left"
