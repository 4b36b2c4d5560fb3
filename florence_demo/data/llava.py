"""LLaVA's conversations: a list of pictures, each with what a person asked and a model answered.

Knows the turns, each pair of which is a question with its answer, as JSON or as lines of it, and
the same as chat templates have it: "messages" with a role and a content. What a file says may be a
stranger's word.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from florence_demo.data.annotated import Rows
from florence_demo.data.example import Example
from florence_demo.data.listings import (
    MALFORMED,
    json_lines,
    json_of,
    listing_of,
    shows,
)
from florence_demo.data.named_pictures import Pictures
from florence_demo.data.parts import Listing
from florence_demo.data.source import DataSource
from florence_demo.data.written import write_rows
from florence_demo.errors import DatasetError, LeftOut
from florence_demo.tasks import task_named

FILE = "conversations.json"
_LINES = ".jsonl"
_PICTURE = "<image>"
_TASK = "vqa"
_ASKED, _ANSWERED = ("human", "user"), ("gpt", "assistant", "model")


_TURNS = {"conversations": ("from", "value"), "messages": ("role", "content")}
"""Where the turns are, with what tells of each who speaks and what is said."""


def _is_llava(path: Path) -> bool:
    # With a role alone it may be talk about nothing that is seen.
    seen = shows(path, b'"image') or shows(path, b'"conversations"')
    kinds = _TURNS.items()
    return seen and any(
        shows(path, f'"{turns}"'.encode()) and shows(path, f'"{who}"'.encode())
        for turns, (who, _) in kinds
    )


_LISTINGS = [Listing(suffix, _is_llava) for suffix in (".json", _LINES)]


def find_llava(location: str) -> Mapping[str, str] | None:
    """Return the parts of conversations."""
    path = Path(location)
    if not path.exists():  # no name tells that a file is of this format
        return None
    return next(filter(None, (listing.find(location) for listing in _LISTINGS)), None)


def read_llava(source: DataSource) -> Rows:
    """Yield a row for each question; conversations about no picture are left out and told."""
    path = listing_of(source)
    pictures = Pictures(source, path.parent, path.parent / "images", path.parent.parent)
    without = 0
    for where, row in _items(source, path):
        if isinstance(row, DatasetError):
            yield row
            continue
        given = row.get("image") or row.get("images")
        if not given:
            without += 1
            continue
        try:
            if isinstance(given, list):
                if len(given) > 1:
                    yield LeftOut(f"{where}: it is about {len(given)} pictures, and left out.")
                    continue
                given = given[0]
            image = pictures.path(given)
            turns = _turns(row)
            for question, answer in turns:
                yield Example(image, _TASK, question, answer=answer, where=where)
        except DatasetError as exc:
            yield DatasetError(f"{where}: {exc}")
        except MALFORMED as exc:
            yield DatasetError(f"{where}: the conversation is not in LLaVA's form ({exc!r}).")
    if without:
        noun = "conversation is" if without == 1 else "conversations are"
        yield LeftOut(f"{path.name}: {without:,} {noun} about no picture, and left out.")


def _items(source: DataSource, path: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix.lower() == _LINES:
        yield from json_lines(path, source.limits)
        return
    table = json_of(path, source.limits)
    if not isinstance(table, list):
        raise DatasetError(f"{path} is not in LLaVA's form: it must be a list of conversations.")
    for number, row in enumerate(table, 1):
        where = f"{path.name}: conversation {number}"
        if not isinstance(row, dict):
            row = DatasetError(f"{where}: it is no object with named values.")
        yield where, row


def _turns(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return each question of a conversation with its answer.

    Raises:
        DatasetError: Questions and answers do not take turns.
    """
    name = next((name for name in _TURNS if name in row), "conversations")
    who, said = _TURNS[name]
    turns = [(t[who], _words(t[said])) for t in row[name] if t[who] != "system"]
    if not all(isinstance(words, str) for _, words in turns):
        raise DatasetError("what is said must be text.")
    asked, answered = turns[::2], turns[1::2]
    if len(asked) != len(answered) or not asked:
        raise DatasetError("a question is without an answer: write one, or remove it.")
    if any(who not in _ASKED for who, _ in asked) or any(w not in _ANSWERED for w, _ in answered):
        raise DatasetError("“human” and “gpt” do not take turns: put them in their order.")
    return [
        (question.replace(_PICTURE, "").strip(), answer.strip())
        for (_, question), (_, answer) in zip(asked, answered, strict=True)
    ]


def _words(said: Any) -> Any:
    """Return the words of what is said, which chat templates put in a list beside the picture."""
    if not isinstance(said, list) or not all(isinstance(part, dict) for part in said):
        return said
    return "".join(part["text"] for part in said if part.get("type", "text") == "text")


def write_llava(rows: Sequence[Example], folder: Path) -> Path:
    """Write rows that answer in words as conversations about their pictures; return the folder.

    A row without a question of its own asks what its task says to the model.
    """
    table: list[dict[str, Any]] = []
    for name, about in write_rows(rows, folder):
        turns: list[dict[str, str]] = []
        for row in about:
            question = row.text or task_named(row.task).prompt
            lead = "" if turns else f"{_PICTURE}\n"
            turns.append({"from": "human", "value": lead + question})
            turns.append({"from": "gpt", "value": row.answer})
        table.append({"id": Path(name).stem, "image": name, "conversations": turns})
    text = json.dumps(table, ensure_ascii=False, indent=1)
    (folder / FILE).write_text(text, encoding="utf-8")
    return folder
