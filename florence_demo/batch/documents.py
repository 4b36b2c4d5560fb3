"""A job's answers as documents and films: what belongs together is written into one file.

Knows which rows are pages of one document or frames of one film. How a PDF or a film is written is
``output``'s and ``pictures``' business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from florence_demo.batch.answers import Export, mirrored
from florence_demo.codec import QUADS
from florence_demo.data.batches import Row
from florence_demo.data.formats import NOTHING
from florence_demo.data.places import DPI
from florence_demo.errors import DatasetError, FlorenceDemoError, plain
from florence_demo.output.film import drawn
from florence_demo.output.reading_order import to_markdown, to_text
from florence_demo.output.searchable import write_searchable
from florence_demo.pictures.film import save_film
from florence_demo.pictures.frames import FILM_LIMITS, BrokenOff, open_frames
from florence_demo.prediction import Prediction
from florence_demo.tasks import TASKS


@dataclass(frozen=True)
class _Sheet:
    """Hold one page of a document, or one frame of a film, with its answer."""

    row: Row
    at: float
    answer: Prediction


def write_text(export: Export) -> None:
    """Write a .txt a picture or document, its pages apart by a form feed.

    Raises:
        DatasetError: No answer has words.
    """
    _write_words(export, ".txt", to_text, "\n\f\n")


def write_markdown(export: Export) -> None:
    """Write an .md a picture or document, its pages apart by a rule.

    Raises:
        DatasetError: No answer has words.
    """
    _write_words(export, ".md", to_markdown, "\n\n---\n\n")


def _write_words(
    export: Export, ending: str, words: Callable[[Prediction], str], between: str
) -> None:
    for name, sheets in _together(export, _spoken, NOTHING.format("answers in words")):
        said = between.join(words(sheet.answer).strip() for sheet in sheets)
        text = f"{said}\n".encode("utf-8", "backslashreplace")
        export.place(name, ending).write_bytes(text)


def write_pdfs(export: Export) -> None:
    """Write a searchable PDF a picture or document.

    Raises:
        DatasetError: No answer says where its text stands.
    """
    task = TASKS["ocr_with_region"]
    nothing = (
        f"Nothing was written: a searchable PDF needs the answers of “{task.title}” ({task.name})."
    )
    for name, sheets in _together(export, _read, nothing):
        pages = (
            (image, sheet.answer, (image.width * 72 / DPI, image.height * 72 / DPI))
            for sheet in sheets
            if (image := export.open(sheet.row)) is not None
        )
        ending = "" if name.suffix.lower() == ".pdf" else ".pdf"
        try:
            write_searchable(pages, export.place(name, ending))
        except FlorenceDemoError as exc:
            export.problems.append(f"{plain(name)}: {exc}")


def write_films(export: Export) -> None:
    """Write each film anew with its answers drawn on it, and its sound.

    Raises:
        DatasetError: There is no film among the pictures.
    """
    nothing = "Nothing was written: there is no video among the pictures."
    for name, sheets in _together(export, _placed, nothing, films=True):
        file = Path(sheets[0].row["place"]["path"])
        frames = ((f.seconds, f.picture) for f in open_frames(file, "1", limits=FILM_LIMITS))
        answers = ((sheet.at, sheet.answer) for sheet in sheets)
        target = export.place(name, "" if name.suffix.lower() == ".mp4" else ".mp4")
        try:
            told = save_film(drawn(frames, answers), target, sound_of=file)
        except BrokenOff as exc:  # with what there was
            told = (str(exc),)
        except FlorenceDemoError as exc:
            told = (str(exc),)
            target.unlink(missing_ok=True)
        export.problems += [f"{plain(name)}: {each}" for each in told]


Choose = Callable[[list[Prediction]], Prediction | None]


def _together(
    export: Export, choose: Choose, nothing: str, *, films: bool = False
) -> Iterator[tuple[PurePosixPath, list[_Sheet]]]:
    """Yield each document, film or picture with its answers in order.

    Args:
        export: What is written from.
        choose: Of a row's answers the one that is written, or None.
        nothing: What is said where there is none at all.
        films: Films and nothing else; otherwise all but films.

    Raises:
        DatasetError: There is none at all.
    """
    found = False
    groups: dict[str, list[_Sheet]] = {}
    for row in export.rows():
        if (row.get("frame") is not None) != films:
            continue
        answers = [export.prediction(a) for a in row["answers"].values() if "error" not in a]
        answer = choose(answers)
        if answer is None:
            continue
        found = True
        at = float(row["time"]) if films else float(row.get("page", 0))
        sheet = _Sheet(row, at, answer)
        if films or row.get("page"):
            groups.setdefault(row["source"], []).append(sheet)
        else:
            yield mirrored(row), [sheet]
    for sheets in groups.values():
        sheets.sort(key=lambda sheet: sheet.at)
        whole = {name: v for name, v in sheets[0].row.items() if name not in ("page", "frame")}
        yield mirrored(whole), sheets
    if not found:
        raise DatasetError(nothing)


def _spoken(answers: list[Prediction]) -> Prediction | None:
    """Return what was read where that was asked, or else the first answer in words."""
    return _read(answers) or next((a for a in answers if a.text), None)


def _read(answers: list[Prediction]) -> Prediction | None:
    return next((a for a in answers if TASKS[a.task].answer is QUADS), None)


def _placed(answers: list[Prediction]) -> Prediction | None:
    return next((a for a in answers if len(a.detections)), answers[0] if answers else None)
