"""What the columns of a table mean: which holds the picture, the question, the answer.

Knows the names that people give to columns, what a person says of them instead, and how the cells
of a row become a question with its answer. Does not know files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from florence_demo.codec import TEXT
from florence_demo.data.annotated import Annotated
from florence_demo.data.example import Example, Picture, example_from_answers
from florence_demo.data.listings import MALFORMED, answers_of, check_places, in_pixels
from florence_demo.data.source import MAX_COLUMN, MAX_COLUMNS
from florence_demo.errors import DatasetError, InputError, LeftOut, plain
from florence_demo.prediction import Detections
from florence_demo.tasks import task_named

ROLES: dict[str, tuple[str, ...]] = {
    "image": (
        "image", "img", "file_name", "filename", "picture", "photo", "image_path", "image_file",
        "img_path", "image_name", "path", "file", "jpg", "jpeg", "png", "webp",
    ),
    "prefix": ("prefix",),
    "suffix": ("suffix",),
    "objects": ("objects", "annotations"),
    "question": ("question", "query", "prompt", "instruction"),
    "answer": (
        "answers", "answer", "response", "caption", "label", "output", "description",
        "ground_truth", "transcription", "captions", "txt",
    ),
    "task": ("task",),
}  # fmt: skip
"""What a column may be, and the names by which each is known, in small letters."""

BOX_FORMAT = "box_format"
"""What a person says of boxes beside the columns: one of the two ways in which tables tell them."""
SIDES, CORNERS = "xywh", "xyxy"
_SAID = {SIDES: "x, y, width, height", CORNERS: "corners x1, y1, x2, y2"}

_TEXT = "text"  # the question beside an answer, the answer where there is no other
_SHOWN = 30
_SIDES = ("bbox", "bboxes", "boxes")
_NAMES = ("categories", "category", "labels", "label", "classes", "category_id")

Names = Callable[[Any], str | None]
"""From the cell of a category to its name; None where it is a number that nothing names."""


@dataclass(frozen=True)
class Columns:
    """Hold which columns are taken.

    Attributes:
        taken: The column of each role that there is.
        task: The task of all rows where no column tells it, "" for the usual one.
        others: The columns that are left alone.
        boxes: How boxes are told, ``SIDES`` or ``CORNERS``; "" where nobody has said it yet.
    """

    taken: Mapping[str, str]
    task: str = ""
    others: tuple[str, ...] = ()
    boxes: str = ""

    def note(self, where: str) -> LeftOut:
        """Return what was taken for what, for a person who may know better."""
        taken = ", ".join(f"{role} = {plain(name)}" for role, name in self.taken.items())
        task = f", task = {self.task}" if self.task else ""
        if "objects" in self.taken:
            task += f", boxes as {_SAID[self.boxes or SIDES]}"
        alone = f"; left alone: {_listed(self.others)}" if self.others else ""
        return LeftOut(f"{where}: columns taken: {taken}{task}{alone}.")


def _listed(names: Collection[str]) -> str:
    shown = [plain(name) for name in list(names)[:_SHOWN]]
    return ", ".join(shown) + (" …" if len(names) > _SHOWN else "")


def pairs_of(texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return the pairs of texts such as "image=img".

    Raises:
        DatasetError: A text is none.
    """
    pairs = []
    for text in texts:
        role, sign, column = text.partition("=")
        if not sign:
            raise DatasetError(f"“{plain(text)}” names no column: write it as image=img.")
        pairs.append((role.strip().lower(), column.strip()))
    return tuple(pairs)


def checked(pairs: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return pairs of a role and a column as they are, each role once.

    Raises:
        DatasetError: A role is none or is named twice, or a column has no name.
    """
    for role, column in pairs:
        if role == BOX_FORMAT and column not in _SAID:
            raise DatasetError(f"Boxes are told as {' or '.join(_SAID)}, not “{plain(column)}”.")
        if role not in (*ROLES, BOX_FORMAT):
            raise DatasetError(f"A column is no “{plain(role)}”: choose of {', '.join(ROLES)}.")
        if not 0 < len(column) <= MAX_COLUMN or "\0" in column:
            raise DatasetError(f"The column for {role} needs a name of 1 to {MAX_COLUMN} letters.")
    if len(dict(pairs)) < len(pairs) or len(pairs) > MAX_COLUMNS:
        raise DatasetError("Two columns have one role: name a column for each role once.")
    return tuple(pairs)


def fits(columns: Iterable[str]) -> bool:
    """Say whether columns of these names make rows, without a person's word on them."""
    try:
        columns_of("", tuple(columns), ())
    except DatasetError:
        return False
    return True


def columns_of(
    where: str,
    columns: Sequence[str],
    given: Sequence[tuple[str, str]],
    unlike: Collection[str] = (),
    pictures: Collection[str] = (),
) -> Columns:
    """Return what the columns of a table mean.

    Args:
        where: What the table is called, for messages.
        columns: Their names.
        given: What a person said of them.
        unlike: Columns that are not taken unless they are named, such as those of classes.
        pictures: Columns that are known to hold pictures: one of them is taken where there are any.

    Raises:
        DatasetError: There is no picture, or no answer, among them.
    """
    taken, task = _as_told(where, columns, given)
    free = {c.lower(): c for c in columns if c not in taken.values() and c not in unlike}
    for role, known in ROLES.items():
        names = [name for name in known if name in free]
        if role == "image" and pictures:
            held = [name for name in free if free[name] in pictures]
            names = [name for name in names if name in held] or held
        name = free[names[0]] if names else None
        # A task that a person named holds for all rows.
        if name and role not in taken and not (role == "task" and task):
            taken[role] = free.pop(name.lower())
    if "objects" in taken and "question" not in dict(given):
        taken.pop("question", None)  # places are no answer to it
    elif _TEXT in free:
        role = "question" if "answer" in taken else "answer"
        if role not in taken:
            taken[role] = free.pop(_TEXT)
    strings = "prefix" in taken and "suffix" in taken
    if "image" not in taken or not (strings or "answer" in taken or "objects" in taken):
        raise DatasetError(
            f"{where} has the columns {_listed(columns)}: one for the picture and one for the"
            " answer are needed; say which they are, such as --columns image=img answer=reply."
        )
    if not strings:
        taken = {role: c for role, c in taken.items() if role not in ("prefix", "suffix")}
    alone = tuple(c for c in columns if c not in taken.values())
    by_role = {role: taken[role] for role in ROLES if role in taken}
    return Columns(by_role, task, alone, dict(given).get(BOX_FORMAT, ""))


def _as_told(
    where: str, columns: Sequence[str], given: Sequence[tuple[str, str]]
) -> tuple[dict[str, str], str]:
    """Return the columns that a person named by their roles, and the task, "" for none.

    Raises:
        DatasetError: A column is not there.
    """
    taken: dict[str, str] = {}
    task = ""
    for role, column in given:
        if role == BOX_FORMAT:
            continue
        if column in columns:
            taken[role] = column
        elif role == "task":
            try:
                task = task_named(column).name
            except InputError as exc:
                raise DatasetError(
                    f"{where}: “{plain(column)}” is neither a task nor a column: there are"
                    f" {_listed(columns)}."
                ) from exc
        else:
            raise DatasetError(
                f"{where}: there is no column “{plain(column)}”, only {_listed(columns)}."
            )
    return taken, task


def row_of(
    columns: Columns,
    cells: Mapping[str, Any],
    picture: Picture,
    where: str,
    named: Names = lambda cell: None,
    names: tuple[str, ...] = (),
) -> Example | Annotated:
    """Return what the cells of a row mean.

    Args:
        columns: What its columns mean.
        cells: By column.
        picture: The row's picture.
        where: "file:line", for messages.
        named: Gives the name of a category that is a number.
        names: All names of categories, where the table tells them.

    Raises:
        DatasetError: They make no row.
    """
    try:
        return _row(columns, cells, picture, where, named, names)
    except (DatasetError, InputError) as exc:
        said = str(exc)
        raise DatasetError(said if said.startswith(where) else f"{where}: {said}") from exc


def _row(
    columns: Columns,
    cells: Mapping[str, Any],
    picture: Picture,
    where: str,
    named: Names,
    names: tuple[str, ...],
) -> Example | Annotated:
    cell = {role: cells.get(column) for role, column in columns.taken.items()}
    if "suffix" in cell and "prefix" in cell:
        if not isinstance(cell["prefix"], str):
            raise DatasetError("the prefix must be text.")
        return example_from_answers(picture, cell["prefix"], answers_of(cell["suffix"]), where)
    if "objects" in cell:
        if cell["objects"] is None:
            raise DatasetError("the row has no objects: write an empty list if nothing is there.")
        caption = next(iter(answers_of(cell.get("answer"))), "")
        return Annotated(picture, _objects(cell["objects"], named, columns), names, caption, where)
    question = cell.get("question")
    question = question.strip() if isinstance(question, str) else ""
    accepted = answers_of(cell.get("answer"))
    usual = "docvqa" if "question" in columns.taken else "caption"
    task = task_named(str(cell.get("task") or columns.task or usual))
    if task.answer is not TEXT or task.needs == "region":
        return example_from_answers(picture, task.token + question, accepted, where)
    words = question if task.needs == "text" else ""
    answer = accepted[0] if accepted else ""
    return Example(picture, task.name, words, answer=answer, references=accepted, where=where)


def _objects(given: Any, named: Names, columns: Columns) -> Detections:
    """Return the boxes of a cell of objects: lists of places and of names, or a list of things."""
    try:
        rows = things_of(given)
        check_places(rows)
        boxes = in_pixels([box for box, _ in rows])
        if columns.boxes != CORNERS:
            boxes[:, 2:] += boxes[:, :2]
        return Detections(boxes, tuple(_label(name, named) for _, name in rows))
    except MALFORMED as exc:
        raise DatasetError(
            "the objects are not in the hub's form: bbox holds lists of four numbers, and"
            " categories a name for each."
        ) from exc


def things_of(given: Any) -> list[tuple[Any, Any]]:
    """Return the place and the name of each thing in a cell of objects; raises ``MALFORMED``."""
    if isinstance(given, Mapping):
        boxes = _of(given, _SIDES)
        return list(zip(boxes, _of(given, _NAMES), strict=True))
    return [(_of(thing, _SIDES), _of(thing, _NAMES)) for thing in given]


def _of(cell: Mapping[str, Any], names: Sequence[str]) -> Any:
    return cell[next((name for name in names if name in cell), names[0])]


def _label(category: Any, named: Names) -> str:
    if isinstance(category, str):
        return category
    found = named(category)
    if found is None and not isinstance(category, int):
        raise ValueError("a category is a name or a number")
    return str(category) if found is None else found
