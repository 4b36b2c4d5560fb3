"""Scenes on the grid that a training step compares with.

Knows the grid of cells: what stands in each (class, box, sub-mask, colour, characters), and the
questions about a scene as token numbers with the cells they mean. Does not know the model's layers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from transformers import PreTrainedTokenizerFast

from florence_demo.errors import InputError
from florence_demo.nano.scenes.catalogue import CLASSES, COLORS
from florence_demo.nano.scenes.types import Scene, TextLine, Truth
from florence_demo.nano.tokenizer import CELLS, SIDE, numbers
from florence_demo.tasks import TASKS

IGNORE = -100
SLOTS = 8
"""Characters a cell can hold: two lines of small print."""
FINE = 2 * CELLS
"""Cells a side of the tower's map before the last: small print has about a character in each."""
COLOURS = tuple(COLORS)
ALPHABET = "".join(map(chr, [*range(33, 127), *range(0xC0, 0x100)])) + "€£"
"""Characters that the tower names; 0 is an empty slot, any other character is left out."""
TEXT_CLASS = len(CLASSES) + 1
LONGEST = 480
"""Tokens of an answer or question; a longer one costs more than it teaches."""

_CHARACTERS = {c: i + 1 for i, c in enumerate(ALPHABET)}
_CLASS = {name: i + 1 for i, name in enumerate(CLASSES)}
_COLOUR = {name: i for i, name in enumerate(COLOURS)}

# How often a task is asked where a scene offers it: what a visitor tries first comes first.
WEIGHTS = {
    "caption": 1.5,
    "detailed_caption": 1.2,
    "more_detailed_caption": 1.0,
    "od": 2.5,
    "dense_region_caption": 1.2,
    "region_proposal": 0.5,
    "caption_to_phrase_grounding": 2.0,
    "open_vocabulary_detection": 2.0,
    "referring_expression_segmentation": 1.6,
    "region_to_segmentation": 1.3,
    "region_to_category": 0.7,
    "region_to_description": 0.7,
    "region_to_ocr": 1.0,
    "ocr": 2.0,
    "ocr_with_region": 2.5,
    "docvqa": 1.5,
    "vqa": 1.5,
}


@dataclass(frozen=True, eq=False)
class Question:
    """Hold one prompt and its answer as token numbers.

    Attributes:
        task: Name of the task.
        prompt: Token numbers, ``<s>`` and ``</s>`` included.
        answer: Token numbers, ``<s>`` and ``</s>`` included.
        marks: (cells,) float32, how much of a cell the answer or the region covers; -1 everywhere
            for a question that is not about places.
        truth: Where the question comes from.
    """

    task: str
    prompt: list[int]
    answer: list[int]
    marks: NDArray[np.float32]
    truth: Truth


@dataclass(frozen=True, eq=False)
class Sample:
    """Hold one scene on the grid. N is the number of cells, row by row.

    Attributes:
        pixels: (SIDE, SIDE, 3) uint8.
        classes: (N,) int64, 0 for background, the last one for text.
        boxes: (N, 4) float32 0..1 of the picture, of the thing or line in the cell.
        masks: (N, 16) float32, the 4 x 4 parts of the cell that belong to its object.
        colours: (N,) int64 or IGNORE.
        slots: (N, SLOTS) int64, the cell's characters in reading order; 0 is empty.
        letters: (FINE * FINE,) int64, the character seen in each fine cell, or IGNORE.
        questions: What is asked about it.
    """

    pixels: NDArray[np.uint8]
    classes: NDArray[np.int64]
    boxes: NDArray[np.float32]
    masks: NDArray[np.float32]
    colours: NDArray[np.int64]
    slots: NDArray[np.int64]
    letters: NDArray[np.int64]
    questions: tuple[Question, ...]


def squeeze(image: Image.Image) -> Image.Image:
    """Return the picture as the processor squeezes it."""
    image = image if image.mode == "RGB" else image.convert("RGB")
    if image.size == (SIDE, SIDE):
        return image
    return image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def grid(scene: Scene) -> dict[str, Any]:
    """Return what stands in each cell, under the names of ``Sample``'s attributes."""
    cells = CELLS * CELLS
    classes = np.zeros(cells, np.int64)
    boxes = np.zeros((cells, 4), np.float32)
    colours = np.full(cells, IGNORE, np.int64)
    masks = np.zeros((cells, 16), np.float32)
    slots = np.zeros((cells, SLOTS), np.int64)
    size = np.asarray(scene.image.size, np.float32)
    if scene.objects:
        _set_objects(scene, classes, boxes, colours, masks)
    filled: Counter[int] = Counter()
    for line in scene.lines:
        quad = np.asarray(line.quad, np.float32).reshape(-1, 2) / size
        box = np.concatenate([quad.min(axis=0), quad.max(axis=0)])
        marks = np.asarray(line.chars, np.float32).reshape(-1, 4) / np.tile(size, 2)
        middles = ((marks[:, :2] + marks[:, 2:]) / 2 * CELLS).astype(int).tolist()
        seen = [
            (row * CELLS + column, character)
            for character, (column, row) in zip(line.text, middles, strict=False)
            if not character.isspace() and 0 <= column < CELLS and 0 <= row < CELLS
        ]
        under = [cell for cell, _ in seen]
        classes[under], boxes[under], colours[under] = TEXT_CLASS, box, IGNORE
        for cell, character in seen:
            if filled[cell] < SLOTS:
                slots[cell, filled[cell]] = _CHARACTERS.get(character, IGNORE)
                filled[cell] += 1
    return {
        "classes": classes,
        "boxes": np.clip(boxes, 0, 1),
        "masks": masks,
        "colours": colours,
        "slots": slots,
        "letters": fine_letters(scene),
    }


def _set_objects(
    scene: Scene,
    classes: NDArray[np.int64],
    boxes: NDArray[np.float32],
    colours: NDArray[np.int64],
    masks: NDArray[np.float32],
) -> None:
    """Write the object that covers most of a cell, if it covers enough, into the grid's arrays."""
    small = Image.fromarray(scene.instances).resize(
        (SIDE // 4, SIDE // 4), Image.Resampling.NEAREST
    )
    parts = np.asarray(small).reshape(CELLS, 4, CELLS, 4).transpose(0, 2, 1, 3).reshape(-1, 16)
    counts = np.stack([(parts == i + 1).sum(axis=1) for i in range(len(scene.objects))], 1)
    held = np.flatnonzero(counts.max(axis=1) >= 3)
    winner = counts[held].argmax(axis=1)
    size = np.tile(np.asarray(scene.image.size, np.float32), 2)
    classes[held] = np.array([_CLASS[o.label] for o in scene.objects])[winner]
    colours[held] = np.array([_COLOUR.get(o.color or "", IGNORE) for o in scene.objects])[winner]
    boxes[held] = (np.stack([o.xyxy for o in scene.objects]) / size)[winner]
    masks[held] = parts[held] == winner[:, None] + 1


def fine_letters(scene: Scene) -> NDArray[np.int64]:
    """Return the character of each fine cell: it covers the middle, or has its own middle there."""
    letters = np.full((FINE, FINE), IGNORE, np.int64)
    size = np.tile(np.asarray(scene.image.size, np.float32), 2)
    middles: list[tuple[int, int, int]] = []
    for line in scene.lines:
        marks = np.asarray(line.chars, np.float32) / size * FINE
        edges = np.maximum(np.rint(marks).astype(int), 0).tolist()
        own = ((marks[:, :2] + marks[:, 2:]) // 2).astype(int).tolist()
        numbers = map(_CHARACTERS.get, line.text)
        for number, (x1, y1, x2, y2), (x, y) in zip(numbers, edges, own, strict=False):
            if number is not None:
                letters[y1:y2, x1:x2] = number
                middles.append((number, x, y))
    # A narrow character may have no middle of a cell in it.
    for number, column, row in middles:
        if 0 <= column < FINE and 0 <= row < FINE:
            letters[row, column] = number
    return letters.reshape(-1)


def marked_cells(truth: Truth, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the share of each cell (N,) that a question is about, -1 where it names no place."""
    found = truth.detections
    if truth.region is None and not len(found):
        names_places = TASKS[truth.task].answer.name != "TEXT"
        # An absent thing is marked nowhere; a caption is not about places at all.
        return np.full(CELLS * CELLS, 0.0 if names_places else -1.0, np.float32)
    fine = 4 * CELLS
    canvas = Image.new("L", (fine, fine))
    draw = ImageDraw.Draw(canvas)
    scale = np.asarray([fine / size[0], fine / size[1]], np.float32)
    if len(found):
        for box, rings in zip(found.xyxy, found.polygons, strict=True):
            for ring in rings:
                draw.polygon((ring * scale).ravel().tolist(), fill=16, outline=16)
            if not rings:
                x1, y1, x2, y2 = (box.reshape(2, 2) * scale).ravel().tolist()
                draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), fill=16)
    else:
        x1, y1, x2, y2 = (np.asarray(truth.region).reshape(2, 2) * scale).ravel().tolist()
        draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), fill=16)
    # Each of the sixteen parts of a cell is 0 or 16: their mean is how many of them are covered.
    return np.asarray(canvas.reduce(4), np.float32).reshape(-1) / np.float32(16)


def ask(truth: Truth, size: tuple[int, int], tokenizer: PreTrainedTokenizerFast) -> Question | None:
    """Return a truth as token numbers, or nothing if it cannot be asked or is too long."""
    task = TASKS[truth.task]
    try:
        prompt = task.build_prompt(truth.text, truth.region, size)
    except InputError:
        return None
    answer = task.answer.encode(truth.answer, truth.detections, size)
    asked, answered = (numbers(tokenizer, f"<s>{text}</s>") for text in (prompt, answer))
    if max(len(asked), len(answered)) > LONGEST:
        return None
    return Question(truth.task, asked, answered, marked_cells(truth, size), truth)


def make_sample(
    scene: Scene, tokenizer: PreTrainedTokenizerFast, questions: int, rng: np.random.Generator
) -> Sample:
    """Return a scene on the grid with some of its questions, drawn by ``WEIGHTS``."""
    asked: list[Question] = []
    if questions:
        truths = [t for t in scene.truths if t.task in WEIGHTS]
        # A task with several truths counts once, else the many small ones drown the others.
        counts = Counter(t.task for t in truths)
        share = np.array([WEIGHTS[t.task] for t in truths])
        keys = rng.exponential(size=len(truths)) * [counts[t.task] for t in truths] / share
        for index in np.argsort(keys):
            question = ask(truths[index], scene.image.size, tokenizer)
            if question is not None:
                asked.append(question)
            if len(asked) == questions:
                break
    pixels = np.asarray(squeeze(scene.image))
    return Sample(pixels=pixels, questions=tuple(asked), **grid(scene))


def crowded(scenes: Sequence[Scene]) -> Scene:
    """Return the first scene with what there is room for of the others' objects.

    A tower that learns alone needs many things a picture more than it needs tidy pictures. Their
    outlines do not follow.
    """
    first = scenes[0]
    pixels = np.asarray(squeeze(first.image)).copy()
    instances = _square(first.instances).copy()
    scale = np.float32(SIDE) / np.asarray(first.image.size, np.float32)
    lines = tuple(
        TextLine(
            line.text,
            (line.quad * scale).astype(np.float32),
            (line.chars * np.tile(scale, 2)).astype(np.float32),
        )
        for line in first.lines
    )
    written = np.zeros((SIDE, SIDE), bool)
    for line in lines:
        (x1, y1), (x2, y2) = line.quad.min(axis=0).astype(int), line.quad.max(axis=0).astype(int)
        written[max(0, y1) : y2 + 1, max(0, x1) : x2 + 1] = True
    things = list(first.objects)
    for other in scenes[1:]:
        theirs, colours = _square(other.instances), np.asarray(squeeze(other.image))
        for i, thing in enumerate(other.objects):
            mask = theirs == i + 1
            taken = (mask & ((instances > 0) | written)).sum() / max(1, mask.sum())
            if taken < 0.3 and len(things) < 200:
                things.append(thing)
                mask &= ~written
                pixels[mask], instances[mask] = colours[mask], len(things)
    seen = []
    for i, thing in enumerate(things):
        rows, columns = np.nonzero(instances == i + 1)
        edges = (
            [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else [0] * 4
        )
        seen.append(replace(thing, xyxy=np.array(edges, np.float32)))
    image = Image.fromarray(pixels)
    return replace(
        first, image=image, instances=instances, objects=tuple(seen), lines=lines, truths=()
    )


def mirrored(scene: Scene) -> Scene:
    """Return a scene's pixels and instances the other way round; its truths do not follow."""
    image = scene.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return replace(scene, image=image, instances=scene.instances[:, ::-1], lines=(), truths=())


def _square(instances: NDArray[np.uint8]) -> NDArray[np.uint8]:
    square = Image.fromarray(instances).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    return np.asarray(square)
