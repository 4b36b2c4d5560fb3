"""One row of training or evaluation data, and the batch a model learns from.

Knows what a usable row is, the prompt and the answer that belong to it, and how rows become
padded tensors. Does not know file formats (``reading``) or what a model makes of a batch.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from PIL import Image

from florence_demo.codec import POLYGONS, QUADS, TEXT, dequantize, location_tokens
from florence_demo.errors import DatasetError, FlorenceDemoError, InputError
from florence_demo.pictures.images import Source, open_image, upright_size
from florence_demo.prediction import Detections, Prediction
from florence_demo.regions import Region
from florence_demo.tasks import TASKS, Task, task_named

Picture = Path | Image.Image | Callable[[], Source]
"""A picture, or where it is, or how to get it: large sets are opened only when used."""


MAX_LETTERS, MAX_PLACES, MAX_POINTS, MAX_ANSWERS = 20_000, 1_000, 20_000, 100
"""What one row may have: the longest answer of a model, 4,096 tokens, holds less."""
MAX_SAID = 2_000
"""Letters of what is said about a row: its own words may be in it, after two paths at most."""

_LOC = re.compile(r"<loc_(\d+)>")
_TOKEN_LIKE = re.compile(r"<loc_[^<>]*>|</?poly>|<sep>|<and>|</?s>|<pad>")


@dataclass(frozen=True, eq=False)
class Example:
    """Hold one question about one picture with its true answer.

    Attributes:
        image: The picture, its path, or a function that returns it.
        task: Name of the task, such as "od".
        text: The words that the task needs, such as a question.
        region: x1, y1, x2, y2 in pixels, for a task that needs a region.
        answer: The true answer where it is words.
        detections: The true answer where it is places.
        references: Every accepted wording, ``answer`` among them; empty where it is the only one.
        where: "file:line", for messages.
        tags: What kind of row it is, to measure kinds apart: "sign", "unseen".
    """

    image: Picture
    task: str
    text: str = ""
    region: Region | None = None
    answer: str = ""
    detections: Detections = field(default_factory=Detections.empty)
    references: tuple[str, ...] = ()
    where: str = ""
    tags: tuple[str, ...] = ()

    @property
    def accepted(self) -> tuple[str, ...]:
        """Every accepted wording of the answer."""
        return self.references or (self.answer,)

    @property
    def shown(self) -> object:
        """What rows about one picture have in common: its file, or the object that gives it."""
        return self.image if isinstance(self.image, Path) else id(self.image)

    def load(self) -> Image.Image:
        """Return the picture, upright and in RGB.

        Raises:
            DatasetError: It is missing or no picture.
        """
        try:
            return open_image(self.image() if callable(self.image) else self.image)
        except (OSError, FlorenceDemoError) as exc:
            raise DatasetError(self.said(_picture_problem(self.image, exc))) from exc

    def size(self) -> tuple[int, int]:
        """Return (width, height) of the upright picture; its header is looked at once.

        Raises:
            DatasetError: It is missing or no picture.
        """
        found = _known_size(self.image)
        if isinstance(found, Exception):
            raise DatasetError(self.said(_picture_problem(self.image, found))) from found
        return found

    def prompt(self, size: tuple[int, int]) -> str:
        """Return the sentence a model is asked.

        Raises:
            InputError: The text or the region is not what the task needs.
        """
        return task_named(self.task).build_prompt(self.text, self.region, size)

    def target(self, size: tuple[int, int]) -> str:
        """Return the string a model should write."""
        return task_named(self.task).answer.encode(self.answer, self.detections, size)

    def truth(self, size: tuple[int, int]) -> Prediction:
        """Return the true answer in the form of a prediction, to draw or export it."""
        task = task_named(self.task)
        raw = self.target(size)
        decoded = task.answer.decode(raw, size)
        text = self.answer or decoded.text
        return Prediction(
            task.name,
            self.prompt(size),
            raw,
            text,
            size,
            self.detections,
            task.parse(decoded.value),
        )

    def said(self, problem: str) -> str:
        """Return a problem with the row's file and line in front."""
        return f"{self.where}: {problem}" if self.where else problem


_Size = tuple[int, int] | Exception
"""A picture's size, or why it has none: rows about one picture share it either way."""
_SIZES: WeakKeyDictionary[Callable[[], Source], tuple[int, _Size]] = WeakKeyDictionary()
_KNOWN_FOR = 60
"""Seconds for which a size is known: what was wrong may pass, such as a lack of memory."""


def _known_size(image: Picture) -> _Size:
    now = int(monotonic() / _KNOWN_FOR)
    if isinstance(image, Path):
        try:
            stat = image.stat()
        except (OSError, ValueError) as exc:
            return exc
        return _size_of_file(image, stat.st_size, stat.st_mtime_ns, now)
    if isinstance(image, Image.Image):
        return _size(image)
    since, size = _SIZES.get(image, (-1, (0, 0)))
    if since != now:
        size = _size(image)
        _SIZES[image] = (now, size)
    return size


@functools.lru_cache(65_536)
def _size_of_file(path: Path, _bytes: int, _changed: int, _now: int) -> _Size:
    return _size(path)


def _size(image: Picture) -> _Size:
    try:
        source = image() if callable(image) else image
        if isinstance(source, Image.Image) and not source.getexif():
            return source.size
        if isinstance(source, Image.Image | np.ndarray):
            return open_image(source).size
        return upright_size(source)
    except (OSError, FlorenceDemoError) as exc:
        # Kept without the frames it went through: they hold the picture's bytes.
        return InputError(str(exc))


def _picture_problem(image: Picture, exc: Exception) -> str:
    if isinstance(image, Path) and not _is_file(image):
        return f"there is no picture {image}: correct the path, or remove the row."
    name = f" {image}" if isinstance(image, Path) else ""
    return f"the picture{name} cannot be read ({exc})"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no path at all: too long, or with a zero byte
        return False


def check_example(example: Example) -> tuple[int, int]:
    """Return the picture's (width, height) after checking that a row can be learned from.

    An empty list of places is a true answer ("nothing there"); an empty text is not.

    Raises:
        DatasetError: With file and line: the picture, the task, the text, the region, the answer
            or a box is not usable.
    """
    problem = _too_much(example)
    if problem:
        raise DatasetError(example.said(problem))
    size = example.size()
    try:
        task = task_named(example.task)
        example.prompt(size)
    except InputError as exc:
        raise DatasetError(example.said(str(exc))) from exc
    problem = _answer_problem(example, task, size)
    if problem:
        raise DatasetError(example.said(problem))
    return size


def _too_much(example: Example) -> str:
    """Return what of a row is more than any model takes, before anything is done with it."""
    found = example.detections
    texts = (example.text, *example.accepted, *found.labels)
    points = sum(len(ring) for rings in found.polygons for ring in rings)
    for count, most, what in (
        (len(found), MAX_PLACES, "places"),
        (points, MAX_POINTS, "points"),
        (len(example.references), MAX_ANSWERS, "accepted answers"),
        (max(map(len, texts)), MAX_LETTERS, "letters"),
        (sum(map(len, found.labels)), MAX_LETTERS, "letters"),
    ):
        if count > most:
            return f"the row has {count:,} {what}, at most {most:,} are read: shorten it."
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return "the row holds half of a character: save it again as UTF-8."
    return ""


def _answer_problem(example: Example, task: Task, size: tuple[int, int]) -> str:
    found = example.detections
    if task.answer is TEXT and not example.answer.strip():
        return "the answer is empty: write one, or remove the row."
    if task.answer is POLYGONS and not all(found.polygons):
        return f"“{task.title}” needs an outline for each thing, not only a box."
    if task.answer is QUADS and not all([len(ring) for ring in r] == [4] for r in found.polygons):
        return f"“{task.title}” needs four corners around each line of text."
    for label in found.labels:
        if _TOKEN_LIKE.search(label):
            return f"the label “{label}” contains one of the model's own tokens."
    points = [found.xyxy.reshape(-1, 2), *(ring for rings in found.polygons for ring in rings)]
    limits = np.asarray(size, np.float32) + 1  # a pixel of grace: exporters round
    for corners in points:
        if not np.isfinite(corners).all() or (corners < -1).any() or (corners > limits).any():
            return f"a place lies outside the picture of {size[0]} x {size[1]} pixels."
    if (found.xyxy[:, 2:] < found.xyxy[:, :2]).any():
        return "a box has its corners in the wrong order: x1, y1, x2, y2 with x1 <= x2, y1 <= y2."
    return ""


def example_from_strings(
    image: Picture, prefix: str, suffix: str, where: str, references: tuple[str, ...] = ()
) -> Example:
    """Build a row from a prompt "<OD>", "<DocVQA>question" and an answer in Florence's tokens.

    A word in brackets that is no task is a task of the person's own: its prompt goes to the model
    as it stands.

    Raises:
        DatasetError: A location is no bin 0..999, or the locations do not make up whole places.
    """
    problem = _too_much(Example(image, "", prefix, answer=suffix, references=references))
    if problem:
        raise DatasetError(f"{where}: {problem}")
    bad = next((m for m in _LOC.finditer(prefix + suffix) if len(m[1]) > 3), None)
    if bad:
        raise DatasetError(
            f"{where}: {bad[0][:20]} is no location: they go from <loc_0> to <loc_999>."
        )
    task, rest = split_prefix(prefix)
    probe = Example(image, task.name, where=where)
    needs_size = "<loc_" in prefix + suffix
    size = probe.size() if needs_size else (1, 1)
    region: Region | None = None
    if task.needs == "region":
        bins = [int(b) for b in _LOC.findall(rest)]
        if len(bins) != 4 or _LOC.sub("", rest).strip():
            raise DatasetError(f"{where}: {task.token} needs four locations after it.")
        x1, y1, x2, y2 = (float(v) for v in dequantize(bins, size))
        region, rest = (x1, y1, x2, y2), ""
    decoded = task.answer.decode(suffix, size)
    answer = decoded.text if task.answer is TEXT else ""
    encoded = task.answer.encode(answer, decoded.detections, size)
    if _LOC.findall(encoded) != _LOC.findall(suffix) or (suffix.strip() and not encoded):
        raise DatasetError(
            f"{where}: the answer is not one for {task.token}: label and four locations a box"
            " (left, top, right, bottom), eight a quadrilateral, six or more an outline."
        )
    return Example(
        image, task.name, rest, region, answer, decoded.detections, references, where=where
    )


def example_from_answers(
    image: Picture, prefix: str, answers: tuple[str, ...], where: str
) -> Example:
    """Build a row as ``example_from_strings`` does, of all accepted answers, the true one first.

    Raises:
        DatasetError: As there.
    """
    first = answers[0] if answers else ""
    return example_from_strings(image, prefix, first, where, answers[1:] and answers)


def split_prefix(prefix: str) -> tuple[Task, str]:
    """Return the task of a prompt that begins with its token, and the rest of the prompt."""
    match = re.match(r"\s*<(\w+)>", prefix)
    task = TASKS.get(match[1].lower()) if match else None
    if match is None or task is None or task.prompt == "{input}":
        return TASKS["custom"], prefix.strip()
    return task, prefix[match.end() :].strip()


def as_strings(example: Example, size: tuple[int, int]) -> tuple[str, str]:
    """Return the prefix and the suffix that ``example_from_strings`` reads back."""
    task = task_named(example.task)
    rest = example.text
    if example.region is not None:
        rest = location_tokens(np.asarray(example.region, np.float32), size)
    token = "" if task.prompt == "{input}" else task.token
    return token + rest, example.target(size)


def as_line(example: Example) -> dict[str, Any]:
    """Return {"prefix", "suffix"}; several accepted answers are a list, the true one first."""
    prefix, suffix = as_strings(example, example.size())
    if len(example.accepted) < 2:
        return {"prefix": prefix, "suffix": suffix}
    others = [answer for answer in example.accepted if answer != suffix]
    return {"prefix": prefix, "suffix": [suffix, *others]}
