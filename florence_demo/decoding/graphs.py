"""Replay a whole decoding step on a GPU as one CUDA graph.

Knows that a ``step`` is always the same work on the same memory. Does not know what the step
computes.

Launching the kernels of a step takes a GPU's host ten times longer than computing them. A graph
launches them at once, but it is bound to shapes and addresses. So answers are decoded in buffers of
a few sizes that are kept from request to request, each with two graphs: how answers begin in it,
and a step. Both are captured while nothing is in the buffers, so there is nothing to save. Where
capturing fails, and while another request holds the buffers, the same work runs one kernel at a
time: the same code, the same tokens.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from florence_demo.decoding.forward import Cache, DecoderStep
from florence_demo.decoding.rules import DecodeOptions
from florence_demo.decoding.search import ROWS, Search, Shape, start_search
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
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        work()
    return graph.replay


def filled_up(rows: int) -> int:
    """Return the size of the buffers that hold so many rows."""
    return next((size for size in SIZES if size >= rows), rows)


def filled_up_width(length: int) -> int:
    """Return the size of the buffers that hold so many of the encoder's outputs."""
    return -(-length // WIDTH) * WIDTH


@dataclass(frozen=True)
class Size:
    """Hold the sizes of buffers: answers, the encoder's outputs and tokens there is room for."""

    batch: int
    length: int
    room: int


class Buffers:
    """Hold answers at fixed addresses, and how they begin and go on there.

    Args:
        step: The decoder.
        options: The rules of the search.
        size: How much there is room for.
    """

    def __init__(self, step: DecoderStep, options: DecodeOptions, size: Size) -> None:
        self._step, self.size = step, size
        like = step.embed.weight
        shape = Shape(size.batch, size.room, step.vocabulary, len(step.places))
        self.search: Search = start_search(shape, options, like.device)
        self.cache: Cache = step.cache(size.batch, size.length, options.num_beams, size.room)
        self.rows = torch.arange(size.batch, device=like.device)
        self.limits = torch.ones_like(self.rows)
        self.hidden = like.new_zeros(size.batch, size.length, like.shape[1])
        self.mask = torch.ones(size.batch, size.length, dtype=torch.long, device=like.device)
        self.begin: Callable[[], None] = self._begin
        self.advance: Callable[[], None] = self._advance

    @property
    def room(self) -> int:
        """Return how many tokens there is room for."""
        return self.size.room

    def capture(self, capture: Capture) -> None:
        """Make beginning and going on repeatable.

        Raises:
            RuntimeError: That cannot be captured here.
        """
        begin, advance = capture(self._begin), capture(self._advance)
        self.begin, self.advance = begin, advance

    def fill(self, hidden: Tensor, mask: Tensor, options: DecodeOptions) -> None:
        """Let answers begin; rows beyond theirs are done.

        Args:
            hidden: The encoder's output, (n, S, C).
            mask: (n, S), 1 for what is read and 0 for padding.
            options: Their length and their chance.
        """
        rows, length = mask.shape
        self.hidden[:rows, :length] = hidden
        self.mask.zero_()
        self.mask[:rows, :length] = mask
        self.mask[rows:] = 1
        self.limits.fill_(options.max_new_tokens + 1)
        for row in range(rows):
            self.search.pick.begin(row, options.seed)
        self.begin()
        self.search.done[rows:] = True

    def load(self, other: Buffers) -> None:
        """Go on with the answers of smaller buffers."""
        mine, theirs = self.search, other.search
        for name in ROWS:
            new, old = getattr(mine, name), getattr(theirs, name)
            new[..., : old.shape[-1]].copy_(old)
        mine.pick.load(theirs.pick)
        self.cache.load(other.cache)

    def grow(self, room: int) -> None:
        """Make room for so many tokens, at other addresses."""
        self.size = replace(self.size, room=room)
        self.search.grow(room)
        self.cache.grow(room)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows (n,) alone, at other addresses."""
        self.search.keep(rows)
        self.cache.keep(rows)

    def _begin(self) -> None:
        self.search.begin(self.rows, self.limits)
        self._step.begin(self.cache, self.rows, self.hidden, self.mask)

    def _advance(self) -> None:
        take_step(self._step, self.search, self.cache)


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

    def take(self, options: DecodeOptions, size: Size) -> Buffers:
        """Return buffers of a size for answers under some rules, with graphs where possible."""
        # Each answer has its own length and its own chance; what repeats itself the host sees.
        rules = replace(options, max_new_tokens=1, seed=None, loop_guard=False)
        buffers = self.kept.get((rules, size))
        if buffers is None:
            buffers = self.kept[rules, size] = Buffers(self.step, rules, size)
            while len(self.kept) > KEPT:
                self.kept.popitem(last=False)
            self._capture(buffers)
        self.kept.move_to_end((rules, size))
        return buffers

    def _capture(self, buffers: Buffers) -> None:
        if self.broken:
            return
        try:
            buffers.capture(self.capture)
        except RuntimeError as exc:
            log.warning("decoding without CUDA graphs: %s", exc)
            self.broken = True
