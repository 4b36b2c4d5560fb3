"""What the server counts, as Prometheus reads it.

Knows numbers and names that the operator chose: no label's value comes from a visitor. A registry
is a server's own, so that several in one process count apart.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from florence_demo.engine.tally import Tally
from florence_demo.machine import device_memory
from florence_demo.serving.keys import CODES
from florence_demo.serving.watching import Ended, label_of

if TYPE_CHECKING:
    from florence_demo.serving.engines import EngineCache
    from florence_demo.serving.fair_queue import FairQueue

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
_MINUTE = 60.0


class Metrics(Tally):
    """Count questions, answers and what they cost.

    Args:
        clock: Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        prometheus_client.disable_created_metrics()
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._clock = clock
        self._written: deque[tuple[float, int]] = deque(maxlen=10_000)
        asked = ("task", "model")
        self._questions = Counter(
            "florence_questions", "Questions that ended.", (*asked, "outcome"), registry=registry
        )
        self._seconds = Histogram(
            "florence_question_seconds",
            "Seconds in work of questions that were answered.",
            asked,
            buckets=_SECONDS,
            registry=registry,
        )
        self._queued = Histogram(
            "florence_queue_seconds",
            "Seconds that questions waited for their turn.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._tokens = Counter(
            "florence_tokens", "Tokens written in answers.", ("model",), registry=registry
        )
        self._errors = Counter(
            "florence_errors", "What ended questions, by its kind.", ("kind",), registry=registry
        )
        self._refused = Counter(
            "florence_refused",
            "Requests that the door answered itself.",
            ("code",),
            registry=registry,
        )
        self._batches = Histogram(
            "florence_batch_size",
            "Questions whose pictures were looked at together.",
            buckets=_SIZES,
            registry=registry,
        )
        self._features = Counter(
            "florence_feature_cache",
            "Pictures whose features were kept (hit) or computed (miss).",
            ("result",),
            registry=registry,
        )
        self._loads = Counter(
            "florence_model_loads", "Models loaded into memory.", ("model",), registry=registry
        )
        gauge = Gauge(
            "florence_tokens_per_second", "Tokens a second, of the last minute.", registry=registry
        )
        gauge.set_function(self._rate)

    def watch(self, queue: FairQueue, engines: EngineCache, disk: Callable[[], int]) -> None:
        """Look at these whenever somebody reads.

        Args:
            queue: The waiting line.
            engines: The models in memory.
            disk: Returns the bytes of temporary files.
        """
        self.registry.register(_Now(queue, engines, disk))

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return prometheus_client.generate_latest(self.registry)

    # -- what is told -----------------------------------------------------------------------

    def ended(self, question: Ended) -> None:
        """Hear how a question ended."""
        q = question
        self._questions.labels(q.task, q.model, q.outcome).inc()
        if q.error:
            self._errors.labels(q.error).inc()
        if q.queued is not None:
            self._queued.observe(q.queued)
        if q.outcome == "answered":
            self._seconds.labels(q.task, q.model).observe(q.seconds)
            self._tokens.labels(q.model).inc(q.tokens)
            self._written.append((self._clock(), q.tokens))

    def refused(self, status: int) -> None:
        """Hear that the door refused a request, by HTTP's status."""
        if status >= 400:
            self._refused.labels(CODES.get(status, "other")).inc()

    def batch(self, size: int) -> None:
        """Hear that so many questions' pictures were looked at together."""
        self._batches.observe(size)

    def looked_up(self, kept: int, new: int) -> None:
        """Hear of how many pictures the features were kept, and how many were encoded."""
        self._features.labels("hit").inc(kept)
        self._features.labels("miss").inc(new)

    def loaded(self, model: str) -> None:
        """Hear that a model was loaded, by its name."""
        self._loads.labels(label_of(model)).inc()

    def _rate(self) -> float:
        since = self._clock() - _MINUTE
        return sum(tokens for at, tokens in list(self._written) if at > since) / _MINUTE


class _Now(Collector):
    """Look at what is there at the moment."""

    def __init__(self, queue: FairQueue, engines: EngineCache, disk: Callable[[], int]) -> None:
        self._queue, self._engines, self._disk = queue, engines, disk

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield one family a number."""
        loaded = [engine.loaded for engine in self._engines.loaded()]
        held = sum(int(each.weight_bytes) for each in loaded)
        for name, help_text, value in (
            ("questions_waiting", "Questions that wait for their turn.", self._queue.waiting()),
            ("questions_working", "Questions in work.", self._queue.working()),
            ("models_loaded", "Models in memory.", len(loaded)),
            ("models_bytes", "Bytes of the weights in memory.", held),
            ("temporary_bytes", "Bytes of uploads and other temporary files.", self._disk()),
        ):
            yield GaugeMetricFamily(f"florence_{name}", help_text, value)
        yield _gpus({str(each.device) for each in loaded})

    def describe(self) -> list[Any]:
        """Return nothing: what is there is looked at only when somebody reads."""
        return []


def _gpus(devices: set[str]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "florence_gpu_bytes", "Memory of a GPU, as torch counts it.", labels=("device", "kind")
    )
    if "torch" in sys.modules:
        for device in sorted(d for d in devices if d.startswith("cuda")):
            for kind, value in device_memory(device).items():
                family.add_metric((device, kind), value)
    return family
