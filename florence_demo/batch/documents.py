"""A job's answers as documents and films: what belongs together is written into one file.

Knows which rows are pages of one document or frames of one film. How a PDF or a film is written is
``output``'s and ``pictures``' business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from florence_demo.batch.answers import Export, mirrored
from florence_demo.codec import QUADS, TEXT
from florence_demo.data.batches import Row
from florence_demo.data.formats import NOTHING
from florence_demo.data.places import DPI
from florence_demo.errors import DatasetError, FlorenceDemoError, plain
from florence_demo.output.export import spoken
from florence_demo.output.film import drawn
from florence_demo.output.reading_order import to_markdown, to_text
from florence_demo.output.searchable import write_searchable
from florence_demo.pictures.film import save_film
from florence_demo.pictures.frames import FILM_LIMITS, BrokenOff, open_frames
from florence_demo.prediction import Prediction
from florence_demo.tasks import TASKS


@dataclass(frozen=True)
class _Sheet:
    """Hold one page of a document, or one frame of a film, with its answers, one at least."""

    row: Row
    at: float
    answers: list[Prediction]


def write_text(export: Export) -> None:
    """Write a .txt a picture or document, its pages apart by a form feed.

    Where a picture has several answers in words each stands below what was asked.

    Raises:
        DatasetError: No answer has words.
    """
    _write_words(export, ".txt", to_text, "{}:", "\n\f\n")


def write_markdown(export: Export) -> None:
    """Write an .md a picture or document, its pages apart by a rule.

    Where a picture has several answers in words each has a heading.

    Raises:
        DatasetError: No answer has words.
    """
    _write_words(export, ".md", to_markdown, "## {}\n", "\n\n---\n\n")


def _write_words(
    export: Export, ending: str, words: Callable[[Prediction], str], heading: str, between: str
) -> None:
    def page(answers: list[Prediction]) -> str:
        said = [(TASKS[answer.task].title, words(spoken(answer)).strip()) for answer in answers]
        if len(said) == 1:
            return said[0][1]
        return "\n\n".join(f"{heading.format(title)}\n{text}" for title, text in said if text)

    for name, sheets in _together(export, _spoken, NOTHING.format("answers in words")):
        said = between.join(page(sheet.answers) for sheet in sheets)
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
            (image, sheet.answers[0], (image.width * 72 / DPI, image.height * 72 / DPI))
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
        answers = ((sheet.at, sheet.answers[0]) for sheet in sheets)
        target = export.place(name, "" if name.suffix.lower() == ".mp4" else ".mp4")
        try:
            told = save_film(drawn(frames, answers), target, sound_of=file)
        except BrokenOff as exc:  # with what there was
            told = (str(exc),)
        except FlorenceDemoError as exc:
            told = (str(exc),)
            target.unlink(missing_ok=True)
        export.problems += [f"{plain(name)}: {each}" for each in told]


Choose = Callable[[list[Prediction]], list[Prediction]]


def _together(
    export: Export, choose: Choose, nothing: str, *, films: bool = False
) -> Iterator[tuple[PurePosixPath, list[_Sheet]]]:
    """Yield each document, film or picture with its answers in order.

    Args:
        export: What is written from.
        choose: Of a row's answers those that are written.
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
        chosen = choose(answers)
        if not chosen:
            continue
        found = True
        at = float(row["time"]) if films else float(row.get("page", 0))
        sheet = _Sheet(row, at, chosen)
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


def _spoken(answers: list[Prediction]) -> list[Prediction]:
    """Return what was read or said; names of things are neither."""
    tasks = ((answer, TASKS[answer.task]) for answer in answers)
    return [answer for answer, task in tasks if task.answer in (QUADS, TEXT) or task.after]


def _read(answers: list[Prediction]) -> list[Prediction]:
    return [a for a in answers if TASKS[a.task].answer is QUADS][:1]


def _placed(answers: list[Prediction]) -> list[Prediction]:
    return [a for a in answers if len(a.detections)][:1] or answers[:1]
