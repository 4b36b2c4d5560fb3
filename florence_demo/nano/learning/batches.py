"""A batch as tensors alone: made beside the training, carried to it in one piece of memory.

Knows which cells, tokens and places each loss asks for, so that nothing has to be looked up, and
waited for, while a GPU learns. Does not know the losses or the model.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from florence_demo.codec import BINS
from florence_demo.nano.learning.samples import (
    ALPHABET,
    IGNORE,
    TEXT_CLASS,
    Question,
    Sample,
)
from florence_demo.nano.scenes.catalogue import CLASSES
from florence_demo.nano.tokenizer import CELLS, numbers

HELD = 12
"""Cells a question, on average, that are asked what they hold; they are drawn from all pictures."""
PLACES = slice(1, 5)
"""Which of the things that a cell says are its four places: first its label, last its letters."""


@dataclass(frozen=True, eq=False)
class Words:
    """Hold the token numbers that the targets are made of.

    Attributes:
        pad: Token that fills up a row.
        first: Token of ``<loc_0>``.
        classes: (TEXT_CLASS + 1,) int64, token of each class, IGNORE where there is no single one.
        letters: (len(ALPHABET) + 1,) int64, token of each character, the first for an empty slot.
    """

    pad: int
    first: int
    classes: Tensor
    letters: Tensor

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast) -> Words:
        """Return the numbers that a tokenizer gives."""
        classes = torch.tensor([IGNORE, *(_single(tokenizer, name) for name in CLASSES), IGNORE])
        assert len(classes) == TEXT_CLASS + 1
        pad = tokenizer.pad_token_id
        letters = torch.tensor([pad, *(_single(tokenizer, c) for c in ALPHABET)])
        return cls(pad, tokenizer.convert_tokens_to_ids("<loc_0>"), classes, letters)


@dataclass(frozen=True, eq=False)
class Group:
    """Hold Q questions whose answers are about equally long. N is the number of cells.

    Attributes:
        rows: (Q,) int64, the picture that each is about.
        prompts: (Q, P) int64 tokens, filled up with padding.
        answers: (Q, A) int64 tokens, likewise.
        tasks: (Q,) int64, places of their tasks in the batch's ``tasks``.
        lengths: (Q,) float32, tokens of each answer that are learned.
        learned: (R,) int64 places in the Q * A tokens of those that are learned.
        owners: (R,) int64, the question of each of them.
        shares: (R,) float32, how much each counts; over all groups of a batch a question's sum to
            its weight, those of all questions to 1.
        located: (L,) int64 places in R of those that are locations.
        placed: (M,) int64, the questions that are about places.
        marks: (M, N) float32, how much of each cell they are about.
        cells: (C,) int64 places in the Q * N cells of those that say what they hold.
        said: (S,) int64 places in the C * (5 + SLOTS) things they say of those that count: labels
            first, then places, then letters.
        targets: (S,) int64 tokens to be said.
        kinds: How many of S are labels, places and letters.
    """

    rows: Tensor
    prompts: Tensor
    answers: Tensor
    tasks: Tensor
    lengths: Tensor
    learned: Tensor
    owners: Tensor
    shares: Tensor
    located: Tensor
    placed: Tensor
    marks: Tensor
    cells: Tensor
    said: Tensor
    targets: Tensor
    kinds: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Batch:
    """Hold B pictures on the grid with all questions about them. N is the number of cells.

    Attributes:
        pixels: (B, SIDE, SIDE, 3) uint8.
        classes: (B, N) int64, as in ``Sample``; so are the next five.
        boxes: (B, N, 4) float32.
        masks: (B, N, 16) float32.
        colours: (B, N) int64.
        slots: (B, N, SLOTS) int64.
        letters: (B, FINE * FINE) int64.
        things: (T,) int64 places in the B * N cells of those that hold anything.
        solid: (O,) int64 places likewise of those that hold an object.
        written: (W,) int64 places likewise of those that hold text.
        spelled: (K,) int64 places in the B * FINE * FINE fine cells of those with a character.
        groups: The questions, shortest answers first.
        tasks: Names of the tasks that are asked.
        asked: (len(tasks),) float32, how often.
    """

    pixels: Tensor
    classes: Tensor
    boxes: Tensor
    masks: Tensor
    colours: Tensor
    slots: Tensor
    letters: Tensor
    things: Tensor
    solid: Tensor
    written: Tensor
    spelled: Tensor
    groups: tuple[Group, ...]
    tasks: tuple[str, ...]
    asked: Tensor

    @property
    def pairs(self) -> int:
        """Return how many questions there are."""
        return sum(len(group.rows) for group in self.groups)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        moved: Batch = _mapped(self, Tensor, lambda tensor: tensor.to(device))
        return moved


@dataclass(frozen=True)
class _Place:
    """Say where a tensor lies in a parcel."""

    start: int
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class Parcel:
    """Hold a batch in one piece of memory.

    Each tensor that goes from one process to another costs a file and a message, and each one that
    goes to a GPU a copy: a batch has a hundred.

    Attributes:
        memory: (bytes,) uint8; as a tensor it goes to another process through shared memory, as an
            array through a pipe.
        plan: The batch, with places in memory where it has tensors.
    """

    memory: Tensor | NDArray[np.uint8]
    plan: Any

    @classmethod
    def of(cls, batch: Batch, *, shared: bool = True) -> Parcel:
        """Pack a batch, for shared memory or for a pipe."""
        packed: list[tuple[_Place, Tensor]] = []
        end = 0

        def take(tensor: Tensor) -> _Place:
            nonlocal end
            place = _Place(end, tuple(tensor.shape), tensor.dtype)
            packed.append((place, tensor))
            # Every type may begin at a multiple of 16 bytes.
            end += -(-tensor.nbytes // 16) * 16
            return place

        plan = _mapped(batch, Tensor, take)
        memory = torch.empty(end, dtype=torch.uint8)
        for place, tensor in packed:
            _opened(memory, place).copy_(tensor)
        return cls(memory if shared else memory.numpy(), plan)

    def pin_memory(self) -> Parcel:
        """Return the parcel where a GPU fetches it by itself; the data loader calls this."""
        return Parcel(torch.as_tensor(self.memory).pin_memory(), self.plan)

    def to(self, device: torch.device | str) -> Batch:
        """Unpack the batch on a device; pinned memory is not waited for."""
        memory = torch.as_tensor(self.memory).to(device, non_blocking=True)
        batch: Batch = _mapped(self.plan, _Place, lambda place: _opened(memory, place))
        return batch


def _opened(memory: Tensor, place: _Place) -> Tensor:
    nbytes = math.prod(place.shape) * place.dtype.itemsize
    part = memory[place.start : place.start + nbytes]
    return part.view(place.dtype).view(place.shape)


def _mapped(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """Return a value with everything of a kind in it changed, in tuples and dataclasses too."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_mapped(part, kind, change) for part in value)
    if isinstance(value, Batch | Group):
        names = [f.name for f in dataclasses.fields(value)]
        return type(value)(**{n: _mapped(getattr(value, n), kind, change) for n in names})
    return value


def collate(samples: Sequence[Sample], words: Words, group: int) -> Batch:
    """Return samples as one batch.

    Args:
        samples: The pictures with their questions, perhaps none.
        words: Token numbers of the model that learns.
        group: Questions a group, but for the last one.
    """
    names = ("pixels", "classes", "boxes", "masks", "colours", "slots", "letters")
    grids = {name: stack(samples, name) for name in names}
    classes = grids["classes"]
    asked = [(i, question) for i, sample in enumerate(samples) for question in sample.questions]
    # Short answers are not padded to long ones.
    asked.sort(key=lambda row: len(row[1].answer))
    tasks = tuple(dict.fromkeys(question.task for _, question in asked))
    counts = [sum(question.task == task for _, question in asked) for task in tasks]
    weight = sum(_weight(question) for _, question in asked)
    return Batch(
        **grids,
        things=_where(classes > 0),
        solid=_where((classes > 0) & (classes < TEXT_CLASS)),
        written=_where(classes == TEXT_CLASS),
        spelled=_where(grids["letters"] != IGNORE),
        groups=tuple(
            _group(asked[at : at + group], grids, words, tasks, weight)
            for at in range(0, len(asked), group)
        ),
        tasks=tasks,
        asked=torch.tensor(counts, dtype=torch.float32),
    )


def _group(
    asked: Sequence[tuple[int, Question]],
    grids: dict[str, Tensor],
    words: Words,
    tasks: Sequence[str],
    weight: float,
) -> Group:
    """Return questions, each with its picture, as tensors; all of a batch weigh ``weight``."""
    rows = torch.tensor([row for row, _ in asked])
    questions = [question for _, question in asked]
    answers = pad([q.answer for q in questions], words.pad)
    # The answer's <s> is forced when decoding: it is no choice to learn.
    real = answers != words.pad
    real[:, 0] = False
    owners, columns = real.nonzero().unbind(1)
    lengths = real.sum(dim=1)
    weights = torch.tensor([_weight(q) / weight for q in questions])
    places = answers[owners, columns] - words.first
    placed = [i for i, q in enumerate(questions) if q.marks[0] >= 0]
    marks = [questions[i].marks for i in placed]
    cells, said, targets, kinds = _held(rows, grids, words)
    return Group(
        rows=rows,
        prompts=pad([q.prompt for q in questions], words.pad),
        answers=answers,
        tasks=torch.tensor([tasks.index(q.task) for q in questions]),
        lengths=lengths.float(),
        learned=owners * answers.shape[1] + columns,
        owners=owners,
        shares=(weights / lengths)[owners],
        located=_where((places >= 0) & (places < BINS)),
        placed=torch.tensor(placed, dtype=torch.int64),
        marks=torch.from_numpy(np.stack(marks)) if marks else torch.zeros(0, CELLS * CELLS),
        cells=cells,
        said=said,
        targets=targets,
        kinds=kinds,
    )


def _held(
    rows: Tensor, grids: dict[str, Tensor], words: Words
) -> tuple[Tensor, Tensor, Tensor, tuple[int, int, int]]:
    """Draw cells that hold something; return ``cells``, ``said``, ``targets``, ``kinds``."""
    held = (grids["classes"][rows] > 0).nonzero()
    if len(held):
        held = held[torch.randperm(len(held))[: HELD * len(rows)]]
    row, column = rows[held[:, 0]], held[:, 1]
    classes, slots = grids["classes"][row, column], grids["slots"][row, column]
    labels = words.classes[classes]
    places = locations(grids["boxes"][row, column]) + words.first
    letters = torch.where(slots >= 0, words.letters[slots.clamp(min=0)], IGNORE)
    targets = torch.cat([labels[:, None], places, letters], dim=1)
    # Empty slots outnumber the others and teach little: only the first one of a cell counts.
    empty = torch.cumsum(F.pad(slots == 0, (PLACES.stop, 0)), dim=1)
    keep = (targets != IGNORE) & (empty * (targets == words.letters[0]) <= 1)
    keep[classes != TEXT_CLASS, PLACES.stop :] = False
    said = _where(keep)
    thing = said % targets.shape[1]
    kind = (thing >= PLACES.start).long() + (thing >= PLACES.stop)
    said = said[kind.argsort(stable=True)]
    label, place, letter = torch.bincount(kind, minlength=3).tolist()
    cells = held[:, 0] * grids["classes"].shape[1] + column
    return cells, said, targets.flatten()[said], (label, place, letter)


def _weight(question: Question) -> float:
    """Return how much an answer counts: more than a short one, less than its length says."""
    return math.sqrt(len(question.answer))


def _where(mask: Tensor) -> Tensor:
    """Return the flat places (n,) where a mask is true."""
    return mask.flatten().nonzero()[:, 0]


def pad(rows: Sequence[list[int]], value: int) -> Tensor:
    """Return rows of numbers as one (n, longest) int64 tensor."""
    longest = max(map(len, rows))
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])


def stack(samples: Sequence[Sample], name: str) -> Tensor:
    """Return one attribute of all samples as a tensor."""
    return torch.from_numpy(np.stack([getattr(sample, name) for sample in samples]))


def locations(boxes: Tensor) -> Tensor:
    """Return bins 0..999 of coordinates in 0..1."""
    return (boxes * BINS).long().clamp(0, BINS - 1)


def _single(tokenizer: PreTrainedTokenizerFast, word: str) -> int:
    ids = numbers(tokenizer, word)
    return ids[0] if len(ids) == 1 else IGNORE
