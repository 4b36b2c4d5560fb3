"""The door for answers: what a stranger's checkpoint may write is read, drawn and exported."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml
from hypothesis import strategies as st
from PIL import Image

from florence_demo.codec import Piece, lex
from florence_demo.output.export import Parcel
from florence_demo.output.overlay import overlay
from florence_demo.pictures.decoder import MAX_SIDE
from florence_demo.prediction import Prediction
from florence_demo.serving.taking_home import FORMATS
from florence_demo.tasks import TASKS
from tests.fuzz.doors import Door, Drive
from tests.fuzz.mutations import TEXTS, Draw
from tests.fuzz.oracle import Breach

_FORMULA = tuple("=+-@\t\r\n")
_DRAWN = 2_000_000
"""Pixels up to which the answer is also drawn into its picture, to save time."""
_UNDRAWN = ("text", "markdown", "json", "csv", "mask")
"""Formats that need no picture."""


@contextmanager
def opened(_folder: Path) -> Iterator[Drive]:
    """Do with an answer all that the page can do with it."""

    def drive(data: bytes) -> None:
        given = json.loads(data)
        size = (given["size"][0], given["size"][1])
        found = _prediction(given, size)
        _check_markup(overlay(found))
        _as_json(found.to_json())
        _as_json(found.sentence())
        small = size[0] * size[1] <= _DRAWN
        parcel = Parcel(found, Image.new("RGB", size if small else (1, 1)), "a")
        for name, exporter in FORMATS.items():
            if exporter.has(found) and (small or name in _UNDRAWN):
                written = dict(exporter.files(parcel))
                _CHECKS.get(name, lambda *_: None)(written, found)

    drive(_packed("BOXES", "cat<loc_1><loc_2><loc_3><loc_4>", (200, 100)))
    yield drive


def _prediction(given: dict[str, Any], size: tuple[int, int]) -> Prediction:
    task = TASKS[given["task"]]
    pieces: list[Piece] | str = given["raw"]
    if given["scored"]:
        pieces = [Piece(p.text, p.loc, p.tag, (-0.5,)) for p in lex(given["raw"])]
    decoded = task.answer.decode(pieces, size)
    parsed = task.parse(decoded.value)
    return Prediction(
        task.name, "a", given["raw"], decoded.text, size, decoded.detections, parsed, given["model"]
    )


class _Markup(HTMLParser):
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        odd = [name for name, value in attrs if name.startswith("on") or "script:" in (value or "")]
        if odd or tag in ("script", "img", "image", "a", "iframe", "foreignobject", "use", "b"):
            raise Breach(f"a label became <{tag}> on the page")


def _check_markup(text: str) -> None:
    _Markup().feed(text)


def _as_json(value: Any) -> None:
    json.dumps(value, allow_nan=False)


def _check_csv(files: dict[str, bytes], found: Prediction) -> None:
    """A spreadsheet must find a row for each thing, and no formula."""
    (written,) = files.values()
    csv.field_size_limit(10_000_000)
    rows = list(csv.reader(io.StringIO(written.decode("utf-8-sig"), newline="")))
    if len(rows) != 1 + len(found.detections):
        raise Breach(f"the CSV has {len(rows) - 1} rows for {len(found.detections)} things")
    # Many a program ends a row at a bare CR, quoted or not.
    if b"\r" in written.replace(b'"', b"") and b'"' not in written:
        raise Breach("the CSV has a line end inside of a cell without quotes")
    for row in rows[1:]:
        if (
            len(row) != len(rows[0])
            or row[1].lstrip().startswith(_FORMULA)
            or row[1].startswith(_FORMULA)
        ):
            raise Breach(f"the CSV has the row {row!r:.100}")


def _learned(found: Prediction) -> int:
    """Return how many things a trainer gets: those with an area."""
    sides = found.detections.xyxy[:, 2:] - found.detections.xyxy[:, :2]
    return int((sides > 0).all(axis=1).sum())


def _check_yolo(files: dict[str, bytes], found: Prediction) -> None:
    lines = files["labels/train/a.txt"].decode().splitlines()
    names = yaml.safe_load(files["data.yaml"])["names"]
    if len(lines) != _learned(found) or any(int(line.split()[0]) not in names for line in lines):
        raise Breach("YOLO's lines are not those of the things")


def _check_xml(files: dict[str, bytes], found: Prediction) -> None:
    things = ElementTree.fromstring(files["Annotations/a.xml"]).findall("object")
    if len(things) != _learned(found):
        raise Breach("the XML has another number of objects")


def _check_json(files: dict[str, bytes], _found: Prediction) -> None:
    for name, written in files.items():
        if name.endswith(".json"):
            json.loads(written.decode(), parse_constant=lambda c: _odd(c))


def _odd(constant: str) -> None:
    raise Breach(f"the JSON holds {constant}")


_CHECKS: dict[str, Callable[[dict[str, bytes], Prediction], None]] = {
    "csv": _check_csv, "yolo": _check_yolo, "voc": _check_xml, "json": _check_json,
    "coco": _check_json, "labelme": _check_json,
}  # fmt: skip


def _packed(
    answer: str, raw: str, size: tuple[int, int], *, scored: bool = False, model: str = "nano"
) -> bytes:
    task = next(t.name for t in TASKS.values() if t.answer.name == answer)
    value = {"task": task, "raw": raw, "size": size, "scored": scored, "model": model}
    return json.dumps(value).encode()


_ANSWERS = ("TEXT", "BOXES", "PHRASES", "POLYGONS", "QUADS", "BOXES_OR_POLYGONS")
_LARGE = (8060, 8060)


def corpus() -> dict[str, Callable[[], bytes]]:
    """Answers of as many tokens as a model may write, about the largest picture."""
    ring = "<loc_1><loc_2><loc_990><loc_4><loc_500><loc_980>"
    raws = {
        "boxes": "cat<loc_0><loc_0><loc_999><loc_999>" * 800,
        "points": "<loc_5>" * 4096,
        "a long ring": "<loc_5><loc_900><loc_300>" * 1365,
        "rings": f"{ring}<sep>" * 580,
        "instances of two rings": f"<poly>{ring}<sep>{ring}</poly>" * 270,
        "names": "".join(f"name {i}<loc_1><loc_1><loc_9><loc_9>" for i in range(800)),
        "one name": "x" * 200_000 + "<loc_1><loc_1><loc_9><loc_9>",
        "spaces": " " * 100_000,
        "brackets": "<" * 50_000 + "<loc_" * 10_000,
        "marks": "<ground>" * 10_000 + "<loc_1><loc_1><loc_9><loc_9>",
        "tags": "<poly></poly><sep><and></s>" * 800,
        "digits": "<loc_" + "9" * 5000 + "><loc_٣><loc_-1><loc_1e9>",
    }
    found = {
        f"{answer}: {name}": (
            lambda answer=answer, raw=raw: _packed(answer, raw, _LARGE, scored=True)
        )
        for answer in _ANSWERS
        for name, raw in raws.items()
    }
    for i, text in enumerate(
        (*TEXTS, "a\rb", "\r=1", "\u2028", " =1", "\x00=1", "<script>1</script>", "]]>&\"'")
    ):
        raw = f"{text}<loc_1><loc_1><loc_9><loc_9>"
        found[f"the label {i}"] = lambda raw=raw: _packed("BOXES", raw, (200, 100))
        found[f"the model {i}"] = lambda text=text: _packed("BOXES", "", (200, 100), model=text)
    return found


@st.composite
def inputs(draw: Draw) -> bytes:
    """Tokens in any order, names that hurt between them."""
    words = st.one_of(
        st.sampled_from(TEXTS), st.text(max_size=8), st.sampled_from(("cat", "a\rb", "<ground>"))
    )
    places = st.lists(st.integers(-1, 1001), max_size=12).map(
        lambda n: "".join(f"<loc_{i}>" for i in n)
    )
    tags = st.sampled_from(
        ("<poly>", "</poly>", "<sep>", "<and>", "</s>", "<s>", "<pad>", "<unk>", "<loc_")
    )
    raw = "".join(draw(st.lists(st.one_of(words, places, places, tags), max_size=20)))
    side = st.one_of(st.integers(1, 1000), st.sampled_from([1, 2, 2500, MAX_SIDE]))
    width = draw(side)
    height = draw(st.integers(1, max(1, min(1000, 5_000_000 // width))))
    model = draw(words)
    return _packed(
        draw(st.sampled_from(_ANSWERS)),
        raw,
        (width, height),
        scored=draw(st.booleans()),
        model=model,
    )


_QUICK = (
    "BOXES: boxes",
    "TEXT: spaces",
    "QUADS: points",
    "the label 8",
    "the label 10",
    "the label 24",
)
"""One of each kind, small enough for every run of the tests."""

DOOR = Door("answers", corpus, inputs, opened, _QUICK)
