"""The files an answer can be taken home in: one function a format, one entry in ``EXPORTERS``.

Knows file formats, and what an answer must have for each. Does not know tasks or models: whatever
has boxes, polygons, labels or text is written the same way. Numbers stay numbers, labels stay what
they are in every script. Sets for trainers are ``data``'s business.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from florence_demo.errors import InputError
from florence_demo.output.annotate import annotate
from florence_demo.output.cutting import cut_out, name_of, pixels_of
from florence_demo.output.reading_order import to_markdown, to_text
from florence_demo.output.searchable import searchable
from florence_demo.output.tags import kind_of
from florence_demo.prediction import Detections, Prediction

MOST_INSTANCES = 255
"""Things that a mask of indices can number."""

MOST_CUT = 120_000_000
"""Pixels of all cut-outs of an answer: three pictures of the largest size."""

_DPI = 144  # of a picture as a page of a PDF


@dataclass(frozen=True, eq=False)
class Parcel:
    """Hold what is taken home: an answer and the picture that it is about.

    Attributes:
        found: The answer.
        picture: What was looked at.
        name: What the files are called, without an ending.
        file: The picture as it came; None where there is no such file.
    """

    found: Prediction
    picture: Image.Image
    name: str
    file: Path | None = None


Has = Callable[[Prediction], bool]
Files = Callable[[Parcel], Iterator[tuple[str, bytes]]]


@dataclass(frozen=True)
class Exporter:
    """Describe one format.

    Attributes:
        title: What the interface calls it.
        ending: What follows the picture's name in the download's; with ".zip" it is of more files.
        has: Says whether there is anything of an answer to write.
        files: Yields the files, each with its name.
    """

    title: str
    ending: str
    has: Has
    files: Files

    @property
    def packed(self) -> bool:
        """Say whether it is several files, to be put into a zip."""
        return self.ending.endswith(".zip")


def one_file(title: str, ending: str, has: Has, write: Callable[[Parcel], bytes]) -> Exporter:
    """Return the exporter of a format that is one file."""

    def files(parcel: Parcel) -> Iterator[tuple[str, bytes]]:
        yield f"{parcel.name}{ending}", write(parcel)

    return Exporter(title, ending, has, files)


def has_places(found: Prediction) -> bool:
    """Say whether an answer has boxes or outlines."""
    return len(found.detections) > 0


def has_lines(found: Prediction) -> bool:
    """Say whether an answer is lines of text with their places."""
    things = found.detections
    quads = all(kind_of(things, i) == "quad" for i in range(len(things)))
    return quads and any(label.strip() for label in things.labels)


def has_text(found: Prediction) -> bool:
    """Say whether an answer has words that are more than names."""
    return bool(found.text.strip()) or has_lines(found)


def spoken(found: Prediction) -> Prediction:
    """Return an answer whose words are its text: names of things are no lines of it."""
    return found if has_lines(found) else replace(found, detections=Detections.empty())


def words_of(found: Prediction) -> str:
    """Return what was read or said, in the order in which a person reads it; "" for nothing."""
    return to_text(spoken(found)).strip()


def write_text(found: Prediction) -> bytes:
    """Return what was read or said as a file of text."""
    return f"{words_of(found)}\n".encode("utf-8", "replace")


def write_markdown(found: Prediction) -> bytes:
    """Return what was read or said as Markdown."""
    return f"{to_markdown(spoken(found)).strip()}\n".encode("utf-8", "replace")


def write_json(prediction: Prediction) -> bytes:
    """Return the whole answer as JSON."""
    return _json(prediction.to_json())


def write_csv(prediction: Prediction) -> bytes:
    """Return a table, one row a detection; polygons are JSON inside their cell.

    It begins with a byte order mark, without which Excel reads the labels in the wrong encoding.
    """
    file = io.StringIO()
    # all quoted: of a label with a lone carriage return a reader would make two rows
    table = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    names = ("label", "x1", "y1", "x2", "y2", "score", "label_score", "place_score", "polygons")
    table.writerow(("index", *names))
    for i, row in enumerate(prediction.detections.to_json()):
        polygons = json.dumps(row["polygons"]) if row["polygons"] else ""
        numbers = (*row["box"], row["score"], row["label_score"], row["place_score"])
        table.writerow((i, inert(row["label"]), *numbers, polygons))
    return file.getvalue().encode("utf-8-sig", "replace")


def write_mask(prediction: Prediction) -> bytes:
    """Return an indexed PNG of the picture's size: 0 is nothing, i + 1 is detection i.

    An instance is the union of its parts, or its box where it has none. Small ones lie over large
    ones.
    """
    found = prediction.detections
    if len(found) > MOST_INSTANCES:
        raise InputError(f"A mask holds at most {MOST_INSTANCES} instances: choose another format.")
    mask = Image.new("P", prediction.size, 0)
    mask.putpalette(_mask_palette())
    draw = ImageDraw.Draw(mask)
    sides = found.xyxy[:, 2:] - found.xyxy[:, :2]
    for i in np.argsort(-sides[:, 0] * sides[:, 1], kind="stable").tolist():
        for ring in found.polygons[i]:
            draw.polygon(ring.ravel().tolist(), fill=i + 1)
        if not found.polygons[i]:
            x1, y1, x2, y2 = found.xyxy[i].round().tolist()
            draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), fill=i + 1)
    return _png(mask)


def _cutouts(parcel: Parcel) -> Iterator[tuple[str, bytes]]:
    """Yield each thing as a PNG, named by its number and its label."""
    things = parcel.found.detections
    for i, piece in cut_out(parcel.picture, things):
        yield f"{i + 1:03}-{name_of(things.labels[i], 'thing')}.png", _png(piece)


def _pdf(parcel: Parcel) -> bytes:
    width, height = parcel.picture.size
    points = (width * 72 / _DPI, height * 72 / _DPI)
    return searchable(parcel.picture, parcel.found, points)


def _few_pixels(found: Prediction) -> bool:
    return 0 < pixels_of(found.detections, found.size) <= MOST_CUT


def _few_outlines(found: Prediction) -> bool:
    return any(found.detections.polygons) and len(found.detections) <= MOST_INSTANCES


EXPORTERS: dict[str, Exporter] = {
    "annotated": one_file(
        "Annotated picture (PNG)",
        "-annotated.png",
        has_places,
        lambda parcel: _png(annotate(parcel.picture, parcel.found)),
    ),
    "text": one_file("Text (TXT)", ".txt", has_text, lambda parcel: write_text(parcel.found)),
    "markdown": one_file(
        "Text (Markdown)", ".md", has_text, lambda parcel: write_markdown(parcel.found)
    ),
    "pdf": one_file("Searchable PDF", ".pdf", has_lines, _pdf),
    "json": one_file(
        "The whole answer (JSON)", ".json", lambda _: True, lambda p: write_json(p.found)
    ),
    "csv": one_file("Table (CSV)", ".csv", has_places, lambda parcel: write_csv(parcel.found)),
    "cutouts": Exporter("Cut-outs (PNGs)", "-cutouts.zip", _few_pixels, _cutouts),
    "mask": one_file(
        "Masks (indexed PNG)",
        "-mask.png",
        _few_outlines,
        lambda parcel: write_mask(parcel.found),
    ),
}
"""Every format that is no set for trainers, in the order the interface shows them."""


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)  # a tenth larger, and four times as fast
    return buffer.getvalue()


def _json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    return (text + "\n").encode("utf-8", "replace")


_FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20"  # the last four are the wide forms
# where a spreadsheet that expects another separator would begin a cell, quoted or not
_CELL = re.compile(rf"([;|\t\r\n]\s*)([{re.escape(_FORMULA)}])")


def inert(label: str) -> str:
    """Return a label that no spreadsheet runs as a formula (OWASP, "CSV injection").

    What would begin one gets an apostrophe before it, also after signs that are not seen.
    """
    seen = next((c for c in label if c.isprintable() and not c.isspace()), "")
    begins = seen in set(_FORMULA) or label[:1] in set("\t\r\n")
    return ("'" if begins else "") + _CELL.sub(r"\1'\2", label)


def _mask_palette() -> list[int]:
    """Return 256 colours far from their neighbours: black, then bits spread as VOC's masks have."""
    colours = []
    for index in range(256):
        channels = [0, 0, 0]
        for bit in range(8):
            channels[bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
        colours += channels
    return colours
