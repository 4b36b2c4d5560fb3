"""A job's answers as they are written from: rows, pictures, and where a file of each goes.

Knows a job's folder, and what a picture is called among the answers. Does not know formats. Rows
are read one after the other; of the pictures one is held at a time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from florence_demo.codec import QUADS, TEXT
from florence_demo.data.batches import ROWS_FILE, Row, found_in, open_picture, picture_of, rows_in
from florence_demo.data.example import Example
from florence_demo.errors import FlorenceDemoError, plain
from florence_demo.output.tracks import Tracks
from florence_demo.pictures.web import is_url
from florence_demo.prediction import Detections, Prediction
from florence_demo.tasks import TASKS

_MAX_NAME = 200


@dataclass
class Export:
    """Hold what is written from.

    Attributes:
        job: The job's folder.
        target: Where to.
        min_score: Things less sure than this are left out.
        problems: Takes what had to be left out.
    """

    job: Path
    target: Path
    min_score: float = 0.0
    problems: list[str] = field(default_factory=list)

    def rows(self) -> Iterator[Row]:
        """Yield the rows that have answers."""
        return (row for row in rows_in(self.job / ROWS_FILE) if "answers" in row)

    def answers(self) -> Iterator[tuple[Row, str, Prediction]]:
        """Yield each answer with its row and the name of its task."""
        for row in self.rows():
            for name, answer in row["answers"].items():
                if "error" not in answer:
                    yield row, name, self.prediction(answer)

    @cached_property
    def tracks(self) -> dict[tuple[str, int, str], tuple[int, ...]]:
        """The numbers of what stays in films: of each answer's things, by source, frame, task."""
        films: dict[tuple[str, str], list[tuple[int, Detections]]] = {}
        for row in self.rows():
            if row.get("frame") is None:
                continue
            for name, answer in row["answers"].items():
                if "error" not in answer:
                    found = (int(row["frame"]), found_in(answer, self.min_score))
                    films.setdefault((row["source"], name), []).append(found)
        numbers = {}
        for (source, name), answers in films.items():
            follow = Tracks().follow
            for frame, things in sorted(answers, key=lambda each: each[0]):
                numbers[source, frame, name] = follow(things)
        return numbers

    def tracks_of(self, row: Row, task: str) -> tuple[int, ...]:
        """Return the numbers of an answer's things; none of what is no frame of a film."""
        frame = row.get("frame")
        return () if frame is None else self.tracks[row["source"], int(frame), task]

    def prediction(self, answer: dict[str, Any]) -> Prediction:
        """Return an answer of a row, without what it is less sure of than is wanted."""
        told = Prediction.from_json(answer)
        return replace(told, detections=found_in(answer, self.min_score))

    def with_pictures(self) -> Iterator[Row]:
        """Yield the rows whose pictures are still there; the others are told."""
        for row in self.rows():
            picture = picture_of(row)
            if isinstance(picture, Path) and not picture.is_file():
                self.problems.append(f"{plain(row['source'])} is not there any more.")
            else:
                yield row

    def marks(self) -> Iterator[Example]:
        """Yield each picture with what is marked on it, and with the sentence about it."""
        for row in self.with_pictures():
            picture, where = picture_of(row), plain(row["source"])
            answers = [a for a in row["answers"].values() if "error" not in a]
            named = next((f for f in self._marked(answers) if any(f.labels)), Detections.empty())
            yield Example(picture, "od", detections=_all_named(named), where=where)
            words = next((a["text"] for a in answers if a["text"] and not a["detections"]), "")
            if words:
                yield Example(picture, "caption", answer=words, where=where)

    def _marked(self, answers: Sequence[dict[str, Any]]) -> Iterator[Detections]:
        """Yield what answers mark; what was read is no name of a thing where things were asked."""
        things = [a for a in answers if TASKS[a["task"]].answer not in (TEXT, QUADS)]
        return (found_in(answer, self.min_score) for answer in things or answers)

    def opened(self) -> Iterator[tuple[PurePosixPath, Image.Image, list[tuple[str, Prediction]]]]:
        """Yield each picture with its mirrored name and its answers; one that fails is told."""
        for row in self.with_pictures():
            answers = [
                (name, self.prediction(a)) for name, a in row["answers"].items() if "error" not in a
            ]
            image = self.open(row)
            if image is not None:
                yield mirrored(row), image, answers

    def open(self, row: Row) -> Image.Image | None:
        """Return a row's picture; None, and told, where it cannot be read."""
        try:
            return open_picture(row)
        except (FlorenceDemoError, OSError) as exc:
            self.problems.append(f"{plain(row['source'])}: {exc}")
            return None

    def place(self, name: PurePosixPath, ending: str) -> Path:
        """Return where a file of a picture goes; its folders are made."""
        path = self.target / name.with_name(name.name + ending)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _all_named(found: Detections) -> Detections:
    """Return things, each with a name: a trainer's list of classes has no empty one."""
    return replace(found, labels=tuple(label or "object" for label in found.labels))


def mirrored(row: Row) -> PurePosixPath:
    """Return a picture's place among the answers: its own path, its ending kept.

    "a.jpg" and "a.png" stay two, and nothing leads out of a folder.
    """
    source = row["source"]
    if is_url(source):
        parts = urlsplit(source)
        source = f"{parts.netloc}{parts.path}"
        if parts.query:
            source += "-" + hashlib.sha256(parts.query.encode()).hexdigest()[:8]
    if row.get("page"):
        source += f".page-{row['page']:04}"
    if row.get("frame") is not None:
        source += f".frame-{row['frame']:06}"
    kept = [_name(part) for part in source.split("/") if part not in ("", ".", "..")]
    return PurePosixPath(*(kept or ["picture"]))


def _name(part: str) -> str:
    """Return a name with room for an ending: one too long is cut, and told apart by a digest."""
    data = os.fsencode(part.replace("\0", "_"))
    if len(data) <= _MAX_NAME:
        return os.fsdecode(data)
    digest = hashlib.sha256(data).hexdigest()[:8]
    return data[: _MAX_NAME - 9].decode("utf-8", "ignore") + f"-{digest}"
