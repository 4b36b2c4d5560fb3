"""The log as the app writes it, caught for as long as a test wants it."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from florence_demo.serving.logs import REQUEST, configure


@contextmanager
def caught(form: str = "json", level: str = "info") -> Iterator[io.StringIO]:
    """Log into what is yielded, and as before afterwards."""
    names = ("", "florence_demo", "florence_demo.engine.engine")
    loggers = [logging.getLogger(name) for name in names]
    handlers, levels = loggers[0].handlers[:], [logger.level for logger in loggers]
    hook, stream = threading.excepthook, io.StringIO()
    # basicConfig closes the handlers that it finds.
    loggers[0].handlers.clear()
    configure(form, level, stream)
    try:
        yield stream
    finally:
        loggers[0].handlers[:] = handlers
        for logger, before in zip(loggers, levels, strict=True):
            logger.setLevel(before)
        threading.excepthook = hook
        logging.captureWarnings(False)
        REQUEST.set("")
