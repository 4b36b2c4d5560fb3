"""Whether the server is alive and ready, for whoever starts it again or sends it visitors.

Knows what was told to it: the first model's arrival, the steps of questions in work, a lost GPU,
the coming end. Looks at nothing by itself, so that asking it costs nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ENDING = "This server is ending: ask again in a minute."
"""What is said to who asks meanwhile."""


class Pulse:
    """Hold when a question in work made its last step.

    Args:
        model: What a person calls who answers it.
        moved: Returns when the model last did something for anybody, by the same clock.
        clock: Seconds.
    """

    def __init__(self, model: str, moved: Callable[[], float], clock: Callable[[], float]) -> None:
        self.model, self._moved, self._clock = model, moved, clock
        self._last = clock()

    def beat(self) -> None:
        """Say that a step is done."""
        self._last = self._clock()

    def still(self) -> float:
        """Return for how many seconds nothing has moved."""
        return self._clock() - max(self._last, self._moved())


class Health:
    """Hold how the server is.

    Args:
        hang: Seconds without a step, after which a question hangs.
        clock: Seconds.
    """

    def __init__(self, hang: float = 120.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._hang, self._clock = hang, clock
        self._waits: Callable[[], str] | None = lambda: "The first model is not asked for yet."
        self._lost = ""
        self._ending = False
        self._pulses: set[Pulse] = set()
        self._lock = threading.Lock()

    @contextmanager
    def working(self, model: str, moved: Callable[[], float]) -> Iterator[Pulse]:
        """Watch over a question as long as the thread that works on it does.

        Args:
            model: What a person calls who answers it.
            moved: As for ``Pulse``: a question that waits for others' steps does not hang.
        """
        pulse = Pulse(model, moved, self._clock)
        with self._lock:
            self._pulses.add(pulse)
        try:
            yield pulse
        finally:
            with self._lock:
                self._pulses.discard(pulse)

    def waits(self, words: Callable[[], str]) -> None:
        """Say what the server waits for before it is ready.

        Args:
            words: Returns it as a sentence.
        """
        self._waits = words

    def ready(self) -> None:
        """Say that the first model is there, or that a question was answered."""
        self._waits = None

    def lost(self, what: str) -> None:
        """Say that something is gone that only a new start brings back, in a sentence."""
        self._lost = what

    def end(self) -> None:
        """Say that the server takes no questions any more."""
        self._ending = True

    @property
    def ending(self) -> bool:
        """Whether the server takes no questions any more."""
        return self._ending

    def illness(self) -> str:
        """Return why the server should be started again in a sentence, "" where it is well."""
        if self._ending:
            return ENDING
        if self._lost:
            return self._lost
        with self._lock:
            pulses = list(self._pulses)
        stuck = max(pulses, key=Pulse.still, default=None)
        if stuck is not None and (seconds := stuck.still()) > self._hang:
            return f"A question to {stuck.model} has made no step for {seconds:.0f} seconds."
        return ""

    def unready(self) -> str:
        """Return why no visitors should be sent here in a sentence, "" where they are welcome."""
        waits = self._waits
        return self.illness() or (waits() if waits else "")
