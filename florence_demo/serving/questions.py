"""A question that was asked and what was answered, as a card that can be picked again.

Knows predictions and words. Does not know who asked, nor how a card looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from florence_demo.engine.question import Regions, as_regions
from florence_demo.output.export import words_of
from florence_demo.prediction import Prediction
from florence_demo.serving.calls import Call
from florence_demo.tasks import TASKS, Task

ASKING, DONE, STOPPED, FAILED = "asking", "done", "stopped", "failed"

GONE = (
    "The picture of this question is no longer on this server: put it in again to see the places"
    " on it, or to download."
)

_SAID, _COPIED = 300, 4000

Shown = tuple[dict[str, Any], Prediction]
"""What the answer's pane shows, and the answer itself."""


@dataclass(frozen=True)
class Press:
    """Hold where a question comes from, as a page says it.

    Attributes:
        conversation: The name of its conversation.
        page: Which page it is: a browser may show several.
        number: Grows with each press on that page.
    """

    conversation: str
    page: str
    number: int


@dataclass(frozen=True)
class Asked:
    """Hold a question as a person reads it: what was wanted, and its words or place.

    Attributes:
        title: What was wanted.
        about: Its words, or its place.
        call: How a program asks the same; None where none can.
    """

    title: str
    about: str = ""
    call: Call | None = None

    @classmethod
    def of(cls, task: Task, text: str, regions: Regions, call: Call | None = None) -> Asked:
        """Return the question that is asked by a task with what it takes."""
        about = ""
        if task.asks == "text":
            about = " ".join(text.split())[:_SAID]
        elif task.asks == "region":
            boxes = as_regions(regions)
            about = f"{len(boxes)} boxes" if boxes else ""
            if len(boxes) == 1:
                about = ", ".join(f"{v:.0f}" for v in boxes[0])
        return cls(task.title, about, call)

    def part(self, task: str) -> Asked:
        """Return the question of which an answer is one of several."""
        call = self.call
        if call is not None:
            call = Call(
                "ask", {"task": task, **{k: v for k, v in call.arguments.items() if k != "tasks"}}
            )
        return Asked(TASKS[task].title, call=call)

    def sentence(self) -> str:
        """Return it in one line."""
        return f"{self.title}: {self.about}" if self.about else self.title


EVERYTHING = Asked("Everything at once")


@dataclass(frozen=True)
class Kept:
    """Hold the picture that a card is about.

    Attributes:
        file: As it came; None where it came without one.
        size: (width, height) in pixels.
        copy: What the canvas shows of it, a file that the page may show.
        small: What a card shows of it, likewise.
    """

    file: Path | None
    size: tuple[int, int]
    copy: dict[str, Any]
    small: dict[str, Any]

    @property
    def alive(self) -> bool:
        """Whether it can be brought back."""
        return self.file is not None and all(file.is_file() for file in self._files)

    def touch(self, used: Callable[[Path], None]) -> None:
        """Say of each of its files that it is still used."""
        for file in self._files:
            used(file)

    @property
    def _files(self) -> list[Path]:
        copies = [Path(each["path"]) for each in (self.copy, self.small)]
        return [self.file, *copies] if self.file else copies


@dataclass(eq=False)
class Card:
    """Hold one answer, or what there is of it, and its question.

    Attributes:
        id: Grows with each card of a conversation.
        press: Which press of which page it answers.
        question: What was asked.
        picture: About what; None where there was no picture.
        state: "asking", "done", "stopped" or "failed".
        words: What was written so far, or why it failed.
        shown: What the pane shows of the answer.
        found: The answer.
        bytes: What it takes.
    """

    id: int
    press: Press
    question: Asked
    picture: Kept | None
    state: str = ASKING
    words: str = ""
    shown: dict[str, Any] = field(default_factory=dict)
    found: Prediction | None = None
    bytes: int = 0

    def pane(self) -> dict[str, Any]:
        """Return what the answer's pane shows of it."""
        asked = {"question": self.question.sentence()}
        if self.state == FAILED:
            return {**asked, "hint": "Not answered. Nothing is lost.", "notices": [self.words]}
        if self.state == STOPPED:
            told = {"sentence": self.words, "notices": [_STOPPED]} if self.words else {}
            return {**asked, "hint": "Stopped.", **told}
        if self.state == ASKING:
            return {**asked, "sentence": self.words, "hint": "Asking …", "busy": True}
        return {**asked, **self.shown}

    def told(self, model: bool = False) -> dict[str, Any]:
        """Return what the list of cards shows of it.

        Args:
            model: Whether it says which model answered.
        """
        words = words_of(self.found) if self.found is not None else self.words
        said = self.found.sentence() if self.found is not None else self.words
        return {
            "id": self.id,
            "title": self.question.title,
            "about": self.question.about,
            "counted": self.found is not None and self.found.counted,
            "said": said if len(said) <= _SAID else f"{said[: _SAID - 1]}…",
            # Longer ones are copied where they are shown whole.
            "words": words if self.state != FAILED and len(words) <= _COPIED else "",
            "meta": _meta(self.found, model) if self.found is not None else "",
            "sure": _sure(self.found) if self.found is not None else [],
            "state": self.state,
            "picture": self.picture.copy["path"] if self.picture else "",
            "call": self.question.call.to_json() if self.question.call else None,
        }


_STOPPED = "Stopped: this is what was written until then."


def summary(answers: Sequence[Shown]) -> dict[str, Any]:
    """Return what the pane says where everything was asked at once."""
    seconds = sum(found.seconds for _, found in answers)
    shared = [
        notice
        for notice in answers[0][1].notices
        if all(notice in found.notices for _, found in answers)
    ]
    return {
        "question": EVERYTHING.sentence(),
        "hint": f"{len(answers)} answers: pick one to see it on the picture.",
        "notices": shared,
        "meta": f"{seconds:.2f} s",
    }


def _meta(found: Prediction, model: bool) -> str:
    return f"{found.seconds:.2f} s · {found.model}" if model else f"{found.seconds:.2f} s"


def _sure(found: Prediction) -> list[float]:
    """Return the least and the most sure of what was found; nothing where nobody measured it."""
    scores = found.detections.scores
    if not found.calibrated or scores is None or not len(scores):
        return []
    return [float(scores.min()), float(scores.max())]
