"""Replay a whole decoding step on a GPU as one CUDA graph.

Knows that a ``step`` is always the same work on the same memory. Does not know what the step
computes.

A step is some 300 small kernels: launching them takes a GPU's host ten times longer than computing
them. A graph launches them at once, but it is bound to shapes and addresses. So answers are decoded
in buffers of a few sizes that are kept from request to request, each with its graph. Where
capturing fails, and while another request holds the buffers, steps run one kernel at a time: the
same code, the same tokens.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from florence_demo.decoding.forward import Cache, DecoderStep
from florence_demo.decoding.search import Search
from florence_demo.decoding.step import take_step

log = logging.getLogger(__name__)

SIZES = (1, 2, 4, 8, 16, 32, 64)
"""Rows of a batch that buffers exist for; others are filled up to the next."""

WIDTH = 64
"""The encoder's outputs are filled up to a multiple of this."""

KEPT = 12
"""Graphs kept at most; the one unused the longest goes first."""

Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""From work to a function that does it again."""


def capture_cuda(work: Callable[[], None]) -> Callable[[], None]:
    """Capture work as a CUDA graph and return its replay."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):  # lazy initialisation must happen before, and outside, the capture
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def filled_up(rows: int) -> int:
    """Return the size of the buffers that hold so many rows."""
    return next((size for size in SIZES if size >= rows), rows)


@dataclass(eq=False)
class Buffers:
    """Hold a search and its cache at fixed addresses, and the graph of one step on them."""

    search: Search
    cache: Cache
    replay: Callable[[], None] | None = None

    def tensors(self) -> list[Tensor]:
        """Return everything a step reads and changes."""
        return [*self.search.tensors(), *self.cache.tensors()]

    def load(self, search: Search, cache: Cache) -> None:
        """Take over the state of a search and cache of the same shapes."""
        source = Buffers(search, cache).tensors()
        for mine, theirs in zip(self.tensors(), source, strict=True):
            if mine is not theirs:
                mine.copy_(theirs)
        self.search.length = search.length


@dataclass(eq=False)
class Graphs:
    """Keep buffers and graphs for the steps of one decoder.

    Attributes:
        step: The decoder.
        capture: How work becomes repeatable; a test on a CPU hands in the identity.
        lock: Held by the one request that uses the buffers.
        broken: Whether capturing has failed here, so that it is not tried again.
    """

    step: DecoderStep
    capture: Capture = capture_cuda
    lock: threading.Lock = field(default_factory=threading.Lock)
    broken: bool = False
    kept: OrderedDict[Hashable, Buffers] = field(default_factory=OrderedDict)

    def adopt(self, search: Search, cache: Cache) -> Buffers:
        """Return buffers in the state of a search and its cache, of the same shapes."""
        shapes = tuple(tensor.shape for tensor in Buffers(search, cache).tensors())
        key = (search.options, shapes)
        buffers = self.kept.setdefault(key, Buffers(search, cache))
        self.kept.move_to_end(key)
        while len(self.kept) > KEPT:
            self.kept.popitem(last=False)
        buffers.load(search, cache)
        return buffers

    def advance(self, buffers: Buffers) -> None:
        """Take one step: replayed where it is like all others, else kernel by kernel."""
        search = buffers.search
        if self.broken or not search.steady:
            take_step(self.step, search, buffers.cache)
            return
        length = search.length
        if buffers.replay is None:
            self._capture(buffers)
        if buffers.replay is None:
            take_step(self.step, search, buffers.cache)
        else:
            buffers.replay()
        search.length = length + 1  # the host's count is no part of a graph

    def _capture(self, buffers: Buffers) -> None:
        """Capture a step, which tries it out, and put the state back as it was."""
        length = buffers.search.length
        before = [tensor.clone() for tensor in buffers.tensors()]

        def work() -> None:
            buffers.search.length = length
            take_step(self.step, buffers.search, buffers.cache)

        try:
            buffers.replay = self.capture(work)
        except RuntimeError as exc:
            log.warning("decoding without CUDA graphs: %s", exc)
            self.broken = True
        for tensor, value in zip(buffers.tensors(), before, strict=True):
            tensor.copy_(value)
        buffers.search.length = length
