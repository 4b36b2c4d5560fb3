"""Replay a whole decoding step on a GPU as one CUDA graph.

Knows that a ``step`` is always the same work on the same memory. Does not know what the step
computes.

Launching the kernels of a step takes a GPU's host ten times longer than computing them. A graph
launches them at once, but it is bound to shapes and addresses. So answers are decoded in buffers of
a few sizes that are kept from request to request, each with its graphs: how answers begin in it,
all or one of them, and a step. They are captured while nothing is in the buffers, so there is
nothing to save. Where capturing fails the same work runs one kernel at a time: the same code, the
same tokens.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from florence_demo.decoding.forward import Cache, DecoderStep
from florence_demo.decoding.rules import DecodeOptions
from florence_demo.decoding.search import ROWS, Search, Shape
from florence_demo.decoding.step import take_step
from florence_demo.decoding.suited import suited_search

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


@dataclass(frozen=True, eq=False)
class Beginning:
    """Hold what n answers begin with.

    Attributes:
        hidden: The encoder's output, (n, S, C).
        mask: (n, S), 1 for what is read and 0 for padding.
        options: Their rules, length and chance.
    """

    hidden: Tensor
    mask: Tensor
    options: DecodeOptions

    def row(self, at: int) -> Beginning:
        """Return what one of the answers begins with."""
        return replace(self, hidden=self.hidden[at : at + 1], mask=self.mask[at : at + 1])


class _Replays(NamedTuple):
    """Hold how answers begin, all or one of them, and a step, each as one launch."""

    begin_all: Callable[[], None]
    begin_one: Callable[[], None]
    advance: Callable[[], None]


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
        self.search: Search = suited_search(shape, options, like.device)
        self.cache: Cache = step.cache(size.batch, size.length, options.num_beams, size.room)
        # What a graph reads of answers that begin: the first ones here, at the rows named here.
        self._order = torch.arange(size.batch, device=like.device)
        self._rows = self._order.clone()
        self._limits = torch.ones_like(self._order)
        self._hidden = like.new_zeros(size.batch, size.length, like.shape[1])
        self._mask = torch.ones(size.batch, size.length, dtype=torch.long, device=like.device)
        # No method of ours is kept here: buffers that hold themselves, ten megabytes and more of
        # them an answer, would stay until the collector of cycles comes.
        self._replays: _Replays | None = None

    def capture(self, capture: Capture) -> None:
        """Make beginning and going on repeatable.

        Raises:
            RuntimeError: That cannot be captured here.
        """
        every = capture(partial(self._begin, self.size.batch))
        advance = capture(self._advance)
        one = capture(partial(self._begin, 1)) if self.size.batch > 1 else every
        self._replays = _Replays(every, one, advance)

    def advance(self) -> None:
        """Take a step."""
        if self._replays is None:
            self._advance()
        else:
            self._replays.advance()

    def begin(self, rows: list[int], new: Beginning, *, alone: bool) -> None:
        """Let answers begin.

        Args:
            rows: Where; the first ones where they are alone.
            new: What they begin with.
            alone: Whether nobody else is here: then all other rows are done.
        """
        count = len(rows)
        for row in rows:
            self.search.pick.begin(row, new.options.seed)
        if self._replays is None:
            self._take_in(rows, new)
            self._begin(count)
        elif alone:
            self._rows.copy_(self._order)
            self._take_in(None, new)
            self._replays.begin_all()
        else:
            for at, row in enumerate(rows):
                self._take_in([row], new.row(at))
                self._replays.begin_one()
        if alone:
            self.search.done[count:] = True
        if self._hidden.device.type == "cpu" and self._replays is None:
            self.cache.leave_mask_out()

    def _take_in(self, rows: list[int] | None, new: Beginning) -> None:
        """Put what answers begin with where a graph reads it."""
        count, length = new.mask.shape
        if rows is not None:
            self._rows[:count] = torch.tensor(rows, device=self._rows.device)
        self._hidden[:count, :length] = new.hidden
        if length < self.size.length:
            self._mask[:count, length:] = 0
        self._mask[:count, :length] = new.mask
        self._limits.fill_(new.options.max_new_tokens + 1)

    def load(self, other: Buffers, rows: list[int]) -> None:
        """Go on with these rows of other buffers, as the first ones here; the rest are done."""
        mine, theirs, count = self.search, other.search, len(rows)
        taken = torch.tensor(rows, device=mine.done.device)
        for name in ROWS:
            new, old = getattr(mine, name)[:count], getattr(theirs, name)[taken]
            (new if new.dim() == 1 else new[..., : old.shape[-1]]).copy_(old)
        mine.done[count:] = True
        mine.pick.load(theirs.pick, rows)
        self.cache.load(other.cache, taken)

    def grow(self, room: int) -> None:
        """Make room for so many tokens, at other addresses."""
        self.size = replace(self.size, room=room)
        self.search.grow(room)
        self.cache.grow(room)

    def keep(self, rows: list[int]) -> None:
        """Go on with these rows alone, at other addresses."""
        self.size = replace(self.size, batch=len(rows))
        self.search.keep(torch.tensor(rows))
        self.cache.keep(torch.tensor(rows))

    def _begin(self, count: int) -> None:
        self.search.begin(self._rows[:count], self._limits[:count])
        self._step.begin(self.cache, self._rows[:count], self._hidden[:count], self._mask[:count])

    def _advance(self) -> None:
        take_step(self._step, self.search, self.cache)


@dataclass(eq=False)
class Graphs:
    """Keep buffers and graphs for the steps of one decoder.

    Attributes:
        step: The decoder.
        capture: How work becomes repeatable; a test on a CPU hands in the identity.
        room: Tokens that there is room for at first, and four times as many, and so on: few graphs.
        broken: Whether capturing has failed here, so that it is not tried again.
    """

    step: DecoderStep
    capture: Capture = capture_cuda
    room: int = 256
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
