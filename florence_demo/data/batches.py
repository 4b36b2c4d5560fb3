"""A job's answers as data: the rows that ``batch`` writes, read as if a person had marked them.

Knows what a row says: its picture's place, and an answer a task. What a model answered is no truth:
somebody looks it through first. Does not know how a job is done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from florence_demo.data.annotated import Rows
from florence_demo.data.example import Example, Picture
from florence_demo.data.listings import MALFORMED, check_places, floats_of
from florence_demo.data.parts import WHOLE
from florence_demo.data.places import Place
from florence_demo.data.source import DataSource
from florence_demo.errors import DatasetError, InputError, LeftOut, plain
from florence_demo.pictures.images import open_image
from florence_demo.prediction import Detections
from florence_demo.tasks import TASKS

ROWS_FILE, RUN_FILE = "results.jsonl", "run.json"

Row = dict[str, Any]


def key_of(row: Row) -> str:
    """Return what tells a row's picture from every other one of the job."""
    return "\0".join((row["source"], str(row.get("page", 0)), str(row.get("frame"))))


def errors_of(row: Row) -> list[str]:
    """Return why a row lacks answers, sentence by sentence; nothing where it lacks none."""
    told = (row, *row.get("answers", {}).values())
    return [str(each["error"]) for each in told if "error" in each]


def short_digest(text: str) -> bytes:
    """Return sixteen bytes that stand for a text of any length."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def rows_in(path: Path) -> Iterator[Row]:
    """Yield the rows of a file in their order; of a picture that has several, the last.

    Raises:
        InputError: There is no such file, or a line is no row.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise InputError(
            f"{plain(path.parent)} holds no {path.name}: name the folder that a job was given as"
            " --out."
        ) from None
    with file:
        last = {short_digest(key_of(row)): at for at, row in whole_lines(file, path)}
        file.seek(0)
        for at, row in whole_lines(file, path):
            if last[short_digest(key_of(row))] == at:
                yield row


def whole_lines(file: BinaryIO, path: Path) -> Iterator[tuple[int, Row]]:
    """Yield the rows, each with where it begins; a torn last one is left out.

    Raises:
        InputError: A line is no row.
    """
    at = 0
    for number, line in enumerate(file, 1):
        if not line.endswith(b"\n"):
            return
        try:
            row = json.loads(line)
            key_of(row)
            errors_of(row)
        except MALFORMED as exc:
            raise InputError(
                f"Line {number} of {plain(path)} is no row: remove it, or begin anew with"
                " --overwrite."
            ) from exc
        yield at, row
        at += len(line)


@dataclass(frozen=True, eq=False)
class PlacePicture:
    """Get a picture from its place when it is used.

    Attributes:
        place: Where it is.
    """

    place: Place

    @property
    def stem(self) -> str:
        """What a file of it may be called, without its ending; "" where nothing names it."""
        return self.place.stem

    def __call__(self) -> bytes | Image.Image:
        """Return the picture, or its bytes.

        Raises:
            FlorenceDemoError: It is not there any more, or cannot be read.
        """
        return self.place.read()


def picture_of(row: Row) -> Picture:
    """Return a row's picture: its path where it is a file.

    Raises:
        ValueError: The row does not say where it is.
    """
    place = Place.from_json(row.get("place"))
    return Path(place.path) if place.kind == "file" else PlacePicture(place)


def open_picture(row: Row) -> Image.Image:
    """Return a row's picture, upright and in RGB.

    Raises:
        FlorenceDemoError: It is not there any more, or cannot be read.
        OSError: The same.
    """
    picture = picture_of(row)
    return open_image(picture() if callable(picture) else picture)


def found_in(answer: Mapping[str, Any], min_score: float = 0.0) -> Detections:
    """Return what an answer marks, without what it is less sure of.

    Raises:
        DatasetError: There is more than a picture may have.
        Exception: One of ``MALFORMED``: the answer is not in the form of an answer.
    """
    rows = [
        row
        for row in answer.get("detections", ())
        if _score(row) is None or row["score"] >= min_score
    ]
    if not rows:
        return Detections.empty()
    check_places(rows)
    scores = [_score(row) for row in rows]
    return Detections(
        floats_of([row["box"] for row in rows]),
        tuple(str(row.get("label", "")) for row in rows),
        tuple(
            tuple(floats_of(ring).reshape(-1, 2) for ring in row.get("polygons", ()))
            for row in rows
        ),
        None if None in scores else floats_of(scores),
    )


def _is_sure(row: Mapping[str, Any], least: float) -> bool:
    score = _score(row)
    return score is None or score >= least


def _score(row: Mapping[str, Any]) -> float | None:
    value = row.get("score")
    return float(value) if value is not None else None


def find_batch(location: str) -> Mapping[str, str] | None:
    """Return a job's folder as a set of one part."""
    folder = Path(location)
    known = (folder / ROWS_FILE).is_file() and (folder / RUN_FILE).is_file()
    return {WHOLE: location} if known else None


def read_batch(source: DataSource) -> Rows:
    """Yield an example for each answer of a job; failures are left out."""
    path = Path(source.location) / ROWS_FILE
    lost = 0
    try:
        for row in rows_in(path):
            where = f"{ROWS_FILE}: {plain(row['source'])}"
            lost += bool(errors_of(row))
            try:
                yield from examples_of(row, source, where)
            except DatasetError as exc:
                yield DatasetError(f"{where}: {exc}")
            except MALFORMED as exc:
                yield DatasetError(f"{where}: the row is not in the form of a row ({exc!r}).")
    except InputError as exc:
        raise DatasetError(str(exc)) from exc
    if lost:
        yield LeftOut(f"{ROWS_FILE}: pictures without an answer are left out: {lost:,}.")


def examples_of(row: Row, source: DataSource, where: str) -> Iterator[Example]:
    """Yield an example for each answer of a row.

    Raises:
        DatasetError: Its picture lies where this source's files may not.
    """
    if "error" in row:
        return
    place = Place.from_json(row.get("place"))
    if source.root and (place.kind in ("web", "cell") or not source.holds(Path(place.path))):
        raise DatasetError("its picture lies outside the data's own folder.")
    picture = picture_of(row)
    for name, answer in row["answers"].items():
        task = TASKS.get(name)
        if task is None or "error" in answer:
            continue
        text, _ = task.asked(answer["prompt"], tuple(answer["size"]))
        words = "" if task.after or answer["detections"] else str(answer["text"])
        yield Example(picture, name, text, None, words, found_in(answer), where=where)
