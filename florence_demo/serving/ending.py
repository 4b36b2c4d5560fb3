"""The end of a server: what runs is finished, what waits and what comes is refused, nothing stays.

Knows the order and its seconds. Does not know who serves the page, nor what tells of the end.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from florence_demo.serving.asking import Service

log = logging.getLogger(__name__)

FINISH = 5.0
"""Seconds that questions in work may still take."""
LEAVE = 1.0
"""Seconds that those who were stopped, and then the answers on their way out, may still take."""
LAST = 9.5
"""Seconds after which the process ends whatever it is doing."""

_LOOK = 0.05
_FLUSH = 0.2


def finish(service: Service, is_busy: Callable[[], bool], hurry: threading.Event) -> None:
    """Take no more questions, and return when those in work are done and told.

    Args:
        service: Who answers.
        is_busy: Says whether an answer is still on its way out.
        hurry: Set where nothing is to be waited for.
    """
    service.health.end()
    service.answers.close()
    working = service.answers.queue.working
    log.info("Ending: %d questions in work are finished, no others are taken.", working())
    _wait(lambda: not working(), FINISH, hurry)
    service.answers.stop()
    _wait(lambda: not working(), LEAVE, hurry)
    _wait(lambda: not is_busy(), LEAVE, hurry)
    hurry.wait(_FLUSH)


def end_at_last(service: Service) -> None:
    """See to it that the process ends in time, though something hangs; what is temporary goes."""

    def leave() -> None:
        log.warning("Something did not end by itself within %g seconds.", LAST)
        clean_up(service)
        os._exit(1)

    timer = threading.Timer(LAST, leave)
    timer.daemon = True
    timer.start()


def clean_up(service: Service) -> None:
    """Delete what is temporary and end the processes that open files; a training goes on."""
    with suppress(psutil.Error, OSError):
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error, OSError):
                # A training has a session of its own: it outlives the page on purpose.
                if os.getsid(child.pid) == os.getsid(0):
                    child.kill()
    service.scratch.close()


def _wait(holds: Callable[[], bool], seconds: float, hurry: threading.Event) -> None:
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until and not hurry.wait(_LOOK):
        pass
