"""What a run answers as it learns: written beside it, and read again to be looked at and asked.

Knows a run's folder and its status. Does not know how questions are chosen (``measuring``) or how
they look. What is read may be a stranger's: only pictures within the run's own folder are named.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from florence_demo.codec import TEXT
from florence_demo.errors import InputError
from florence_demo.evaluation.report import Judged
from florence_demo.files import stays
from florence_demo.pictures.images import as_jpeg, display_copy
from florence_demo.prediction import Prediction
from florence_demo.regions import Region
from florence_demo.tasks import MAX_TEXT, TASKS
from florence_demo.training.status import SAMPLES_FOLDER, Status, is_number

_SHOWN = 1_000
"""Letters of an answer in words."""
_RAW = 8_000
"""Letters of an answer as a model writes it: a status is written often, and read within bounds."""
_SMALL = 240
"""Pixels of the longer side of the small picture beside an answer."""


def record(judged: Judged, number: int, folder: Path) -> dict[str, Any]:
    """Return an answer as a run's status tells it; its picture is written once.

    Args:
        judged: The answer.
        number: Which of the answers it is.
        folder: The run's.

    Raises:
        DatasetError: The picture is gone.
    """
    row, found = judged.example, judged.prediction
    region = None if row.region is None else [round(float(v), 2) for v in row.region]
    target = row.target(found.size)
    return {
        "question": f"{row.task} {row.text}".strip()[: MAX_TEXT + 100],
        "region": region,
        "answer": (found.text or found.raw)[:_SHOWN],
        "raw": found.raw[:_RAW],
        "truth": (row.answer or target)[:_SHOWN],
        "target": target[:_RAW],
        "score": round(judged.score, 4),
        "where": row.where,
        **_pictures(judged, number, folder / SAMPLES_FOLDER),
    }


def _pictures(judged: Judged, number: int, folder: Path) -> dict[str, str]:
    """Write a picture whole and small, and return the names of both."""
    whole, small = folder / f"{number}-whole.jpg", folder / f"{number}.jpg"
    if not (whole.exists() and small.exists()):
        folder.mkdir(exist_ok=True)
        image = judged.example.load()
        whole.write_bytes(as_jpeg(image))
        small.write_bytes(display_copy(image, _SMALL)[0])
    return {"picture": small.name, "whole": whole.name}


@dataclass(frozen=True, eq=False)
class Sample:
    """Hold one question that a run was asked as it learned, about a picture it does not learn from.

    Attributes:
        task: Name of the task; one that nobody knows where a stranger's file says so.
        text: The words that the task was given.
        region: x1, y1, x2, y2 in pixels, for a task that needs a region.
        answer: What the model answered, in words.
        truth: The true answer, in words.
        raw: What the model wrote.
        target: What it should have written.
        score: What the answer is worth, 0 to 1.
        step: After how many steps; None where nobody told.
        small: A small copy of the picture, None where there is none.
        whole: The picture, None where there is none.
    """

    task: str
    text: str
    region: Region | None
    answer: str
    truth: str
    raw: str
    target: str
    score: float
    step: int | None
    small: Path | None
    whole: Path | None

    @property
    def can_be_asked(self) -> bool:
        """Whether all that a question takes is here."""
        return self.whole is not None and self.task in TASKS

    @property
    def words(self) -> str:
        """What a person reads of the question: its words without a token."""
        return re.sub(r"^\s*<\w+>", "", self.text).strip()

    @property
    def title(self) -> str:
        """What the task is called."""
        return TASKS[self.task].title if self.task in TASKS else self.task

    def sentences(self) -> tuple[str, str] | None:
        """Return what was answered and what is true where that is places: what is at them, counted.

        None of an answer in words.
        """
        if self.task not in TASKS or TASKS[self.task].answer is TEXT:
            return None
        anywhere = (1000, 1000)
        return self.given(anywhere, "").sentence(), self.wanted(anywhere).sentence()

    def given(self, size: tuple[int, int], model: str) -> Prediction:
        """Return what the model answered about its picture of a size."""
        return self._read(self.raw, self.answer, size, model)

    def wanted(self, size: tuple[int, int]) -> Prediction:
        """Return the true answer about its picture of a size."""
        return self._read(self.target, self.truth, size, "")

    def _read(self, raw: str, words: str, size: tuple[int, int], model: str) -> Prediction:
        task = TASKS[self.task]
        decoded = task.answer.decode(raw, size)
        try:
            prompt = task.build_prompt(self.text, self.region, size)
        except InputError:
            prompt = ""  # of a run of another version
        text = "" if len(decoded.detections) else decoded.text or words
        parsed = task.parse(decoded.value)
        return Prediction(
            task.name, prompt, raw, text, size, decoded.detections, parsed, model=model
        )


def samples_of(folder: Path, status: Status) -> tuple[Sample, ...]:
    """Return what a run answered last.

    Args:
        folder: The run's.
        status: Its status.
    """
    return tuple(_sample(values, folder) for values in status.samples)


def _sample(values: Mapping[str, Any], folder: Path) -> Sample:
    task, _, text = _text(values, "question").partition(" ")
    answer, truth = _text(values, "answer"), _text(values, "truth")
    score: Any = values.get("score")
    step: Any = values.get("step")
    small = _file(folder, _text(values, "picture"))
    return Sample(
        task,
        text,
        _region(values.get("region")),
        answer,
        truth,
        _text(values, "raw") or answer,
        _text(values, "target") or truth,
        float(score) if is_number(score) else 0.0,
        int(step) if is_number(step) else None,
        small,
        _file(folder, _text(values, "whole")) or small,
    )


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name, "")
    return str(value)[:_RAW] if isinstance(value, str | int | float) else ""


def _file(folder: Path, name: str) -> Path | None:
    """Return a picture of a run by its name, wherever links would lead."""
    if not name:
        return None
    try:
        path = folder / SAMPLES_FOLDER / Path(name).name
        return path if path.is_file() and stays(path, folder) else None
    except (OSError, ValueError):  # no name of a file at all
        return None


def _region(value: Any) -> Region | None:
    if not isinstance(value, list) or len(value) != 4 or not all(map(is_number, value)):
        return None
    x1, y1, x2, y2 = (float(v) for v in value)
    return (x1, y1, x2, y2) if all(map(math.isfinite, (x1, y1, x2, y2))) else None
