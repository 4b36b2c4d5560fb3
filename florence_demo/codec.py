"""The location-token language in which Florence-2 writes its answers.

Knows the grammar of every kind of answer and both directions: ``decode`` reads what a model wrote,
``encode`` writes what a model should learn. Coordinates travel as bins: ``floor(x / size * 1000)``
clamped to 0..999, and back as ``(bin + 0.5) * size / 1000``. Does not know prompts, tokenizers or
models: an answer is a string, or the same string cut into pieces with log-probabilities.

The grammar, as Florence-2 was trained on it (Xiao et al. 2023, arXiv:2311.06242, section 3.1)::

    TEXT               text [box]
    BOXES              { label box }              label may be empty
    PHRASES            { phrase box { box } }
    POLYGONS           { [phrase] rings | "<poly>" rings "</poly>" }     rings separated by "<sep>"
    QUADS              { text quad }
    BOXES_OR_POLYGONS  any mixture of BOXES, PHRASES and POLYGONS

``parsed`` keeps the shape and the float32 values of Florence-2's own post-processor. It differs
from it where that one loses something: letters outside ASCII, ``<`` in a label, the first line of a
text with a line break, corners in the wrong order, mixed boxes and polygons, phrases on a stop
list. ``<loc_1000>``, which is no token of the model, is text in an answer of words; where places
are due it is the last bin, so that what is named there is not lost; ``past_the_last`` tells of it.
``tests/test_codec.py`` lists each such case with its reason.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from florence_demo.prediction import Detections, FloatArray, Rings

BINS = 1000
"""Location tokens a side: ``<loc_0>`` to ``<loc_999>``."""

# Tokens that end the text before them or carry no text of their own.
_CONTROL = ("<s>", "</s>", "<pad>")
_TAGS = ("<poly>", "</poly>", "<sep>", "<and>", "<unk>")
_LEXER = re.compile(rf"<loc_(\d{{1,3}})>|({'|'.join(map(re.escape, _CONTROL + _TAGS))})")
# No token of the model, so it can only stand there as text: what its trainer wrote at the edge.
_PAST = re.compile(r"<loc_(?:[1-9]\d{3,8})>")
# Written by the model as ordinary text in front of a phrase; Florence-2 means to drop them.
_PHRASE_MARKS = re.compile(r"^\s*(?:<ground>|<obj>)")


@dataclass(frozen=True)
class Piece:
    """Hold one lexical piece of an answer: a run of text, a location or a tag.

    Attributes:
        text: The characters, "<loc_7>" for a location.
        loc: The bin of a location, -1 for text and tags.
        tag: Whether the piece is a control token such as ``<sep>``.
        logprobs: Natural-log probability of each token that makes up the piece, if known; of a
            location, that of about this place.
    """

    text: str
    loc: int = -1
    tag: bool = False
    logprobs: tuple[float, ...] = ()


def lex(raw: str) -> list[Piece]:
    """Cut a raw answer string into pieces; what is no known token stays text."""
    pieces: list[Piece] = []
    at = 0
    for match in _LEXER.finditer(raw):
        if match.start() > at:
            pieces.append(Piece(raw[at : match.start()]))
        if match[1] is not None:
            pieces.append(Piece(match[0], loc=int(match[1])))
        else:
            pieces.append(Piece(match[0], tag=True))
        at = match.end()
    if at < len(raw):
        pieces.append(Piece(raw[at:]))
    return pieces


def quantize(points: FloatArray, size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return bins 0..999 of pixels (..., 2k) that alternate x and y."""
    scale = np.resize(np.asarray(size, np.float64), points.shape[-1])
    bins = np.floor(np.asarray(points, np.float64) / scale * BINS)
    return np.minimum(np.maximum(bins, 0), BINS - 1).astype(np.int64)


def dequantize(bins: Sequence[int], size: tuple[int, int]) -> FloatArray:
    """Return the pixels (2k,) float32 at the middle of bins that alternate x and y."""
    # float32 at each step, as the original computes it, so that values agree to the last bit.
    per_bin = np.resize(np.asarray([s / BINS for s in size], np.float32), len(bins))
    result: FloatArray = (np.asarray(bins, np.float32) + np.float32(0.5)) * per_bin
    return result


def location_tokens(points: FloatArray, size: tuple[int, int]) -> str:
    """Return the location tokens of pixels (2k,) that alternate x and y."""
    return "".join([f"<loc_{b}>" for b in quantize(points, size).tolist()])


@dataclass(frozen=True)
class Decoded:
    """Hold a decoded answer.

    Attributes:
        text: What a person reads; "" where the answer is places only.
        detections: Boxes and polygons in pixels of the original image.
        value: What stands under the task's token in Florence-2's own dict.
    """

    text: str
    detections: Detections
    value: Any


@dataclass(frozen=True)
class Answer:
    """Hold one kind of answer: its name, both directions of its grammar, and its form in a dict.

    Attributes:
        name: Name of the grammar, as in the module's docstring.
        decode: From a raw string, or pieces, and (width, height) to ``Decoded``.
        encode: From text, detections and (width, height) to the string a model should write.
        value: From text and detections to what stands in Florence-2's own dict, all digits kept.
    """

    name: str
    decode: Callable[[str | Sequence[Piece], tuple[int, int]], Decoded]
    encode: Callable[[str, Detections, tuple[int, int]], str]
    value: Callable[[str, Detections], Any]


@dataclass
class _Group:
    """Hold a label and the rings of bins that follow it."""

    label: str = ""
    label_logprobs: list[float] = field(default_factory=list)
    rings: list[list[int]] = field(default_factory=lambda: [[]])
    logprobs: list[list[float]] = field(default_factory=lambda: [[]])
    is_poly: bool = False

    def __bool__(self) -> bool:
        return any(self.rings)


def _pieces(answer: str | Sequence[Piece]) -> list[Piece]:
    pieces = lex(answer) if isinstance(answer, str) else list(answer)
    return [p for p in pieces if p.text not in _CONTROL or not p.tag]


def past_the_last(answer: str | Sequence[Piece]) -> int:
    """Return how many locations of an answer are past ``<loc_999>``, the last there is."""
    return sum(len(_PAST.findall(p.text)) for p in _pieces(answer) if p.loc < 0 and not p.tag)


def _places(answer: str | Sequence[Piece]) -> Iterator[Piece]:
    """Yield the pieces of an answer of places, locations past the last read as the last."""
    for piece in _pieces(answer):
        if piece.loc >= 0 or piece.tag or not _PAST.search(piece.text):
            yield piece
            continue
        at = 0
        for match in _PAST.finditer(piece.text):
            if match.start() > at:
                yield Piece(piece.text[at : match.start()], logprobs=piece.logprobs)
            # Which tokens of the run wrote it is not known: all of them count.
            yield Piece(match[0], loc=BINS - 1, logprobs=piece.logprobs)
            at = match.end()
        if at < len(piece.text):
            yield Piece(piece.text[at:], logprobs=piece.logprobs)


def _groups(answer: str | Sequence[Piece]) -> Iterator[_Group]:
    """Yield each label with the locations after it, up to the next label or ``</poly>``."""
    group = _Group()
    for piece in _places(answer):
        if piece.loc >= 0:
            group.rings[-1].append(piece.loc)
            # One number a bin keeps rings and probabilities in step, also without any.
            group.logprobs[-1].append(sum(piece.logprobs) if piece.logprobs else math.nan)
        elif piece.text == "<sep>" and piece.tag:
            group.rings.append([])
            group.logprobs.append([])
        elif piece.tag and piece.text == "<poly>":
            if group:
                # "<poly>" after a finished instance: another instance of the same phrase.
                yield group
                group = _Group(group.label, group.label_logprobs)
            group.is_poly = True
        elif piece.tag and piece.text == "</poly>":
            if group:
                yield group
            group = _Group(group.label, group.label_logprobs)
        else:
            if group:
                yield group
                group = _Group()
            elif group.label and not piece.tag:
                # The label was used up by "</poly>": this text begins the next one.
                group = _Group()
            if not piece.tag:
                group.label += piece.text
                group.label_logprobs = list(piece.logprobs)
    if group:
        yield group


def _mean_probability(logprobs: Sequence[float]) -> float:
    """Return the geometric mean probability, 1 for no token at all."""
    return math.exp(sum(logprobs) / len(logprobs)) if len(logprobs) else 1.0


class _Builder:
    """Collect instances and their scores, then freeze them into Detections."""

    def __init__(self) -> None:
        self.boxes: list[FloatArray] = []
        self.labels: list[str] = []
        self.polygons: list[Rings] = []
        self.place_scores: list[float] = []
        self.label_scores: list[float] = []

    def add(
        self, group: _Group, box: FloatArray, rings: Rings = (), logprobs: Sequence[float] = ()
    ) -> None:
        self.boxes.append(box)
        self.labels.append(_clean(group.label))
        self.polygons.append(rings)
        self.place_scores.append(_mean_probability(logprobs))
        # A line of text is right where all of it is: its mean would rank worse and say too much.
        self.label_scores.append(math.exp(sum(group.label_logprobs)))

    def build(self) -> Detections:
        places = np.asarray(self.place_scores, np.float32)
        names = np.asarray(self.label_scores, np.float32)
        scored = len(places) > 0 and not np.isnan(places).any()
        return Detections(
            np.asarray(self.boxes, np.float32).reshape(-1, 4),
            tuple(self.labels),
            tuple(self.polygons),
            *((names * places, names, places) if scored else ()),
        )


def _clean(label: str) -> str:
    return _PHRASE_MARKS.sub("", label).strip()


def _ordered(box: FloatArray) -> FloatArray:
    """Return the box with x1 <= x2 and y1 <= y2: a model may write the corners in any order."""
    x1, y1, x2, y2 = box
    return np.array([min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)], np.float32)


def _add_boxes(out: _Builder, group: _Group, size: tuple[int, int]) -> None:
    """Add a box for every four bins; a rest of fewer than four was cut off."""
    bins = [b for ring in group.rings for b in ring]
    logprobs = [p for ring in group.logprobs for p in ring]
    for at in range(0, len(bins) - 3, 4):
        box = _ordered(dequantize(bins[at : at + 4], size))
        out.add(group, box, logprobs=logprobs[at : at + 4])


def _add_polygon(out: _Builder, group: _Group, size: tuple[int, int]) -> None:
    """Add one instance of all rings with three points or more; half a point was cut off."""
    rings = tuple(
        dequantize(ring[: len(ring) // 2 * 2], size).reshape(-1, 2)
        for ring in group.rings
        if len(ring) >= 6
    )
    if rings:
        points = np.concatenate(rings)
        box = np.concatenate([points.min(axis=0), points.max(axis=0)])
        out.add(group, box, rings, [p for ring in group.logprobs for p in ring])


def _floats(values: FloatArray) -> list[float]:
    return [float(v) for v in values.ravel()]


def _decode_text(answer: str | Sequence[Piece], size: tuple[int, int]) -> Decoded:
    pieces = _pieces(answer)
    value = "".join(p.text for p in pieces)
    end = len(pieces)
    while end and pieces[end - 1].loc >= 0:
        end -= 1
    # The tasks that read a region repeat it after their words.
    out = _Builder()
    words = "".join(p.text for p in pieces[:end]).strip()
    if len(pieces) - end == 4:
        group = _Group(words, [lp for p in pieces[:end] for lp in p.logprobs])
        group.rings = [[p.loc for p in pieces[end:]]]
        group.logprobs = [[sum(p.logprobs) if p.logprobs else math.nan for p in pieces[end:]]]
        _add_boxes(out, group, size)
        return Decoded(words, out.build(), value)
    return Decoded(value.strip(), Detections.empty(), value)


def _decode_boxes(answer: str | Sequence[Piece], size: tuple[int, int]) -> Decoded:
    out = _Builder()
    for group in _groups(answer):
        _add_boxes(out, group, size)
    found = out.build()
    return Decoded("", found, _boxes_value("", found))


def _decode_polygons(answer: str | Sequence[Piece], size: tuple[int, int]) -> Decoded:
    out = _Builder()
    for group in _groups(answer):
        _add_polygon(out, group, size)
    found = out.build()
    return Decoded("", found, _polygons_value("", found))


def _decode_quads(answer: str | Sequence[Piece], size: tuple[int, int]) -> Decoded:
    out = _Builder()
    raw_labels: list[str] = []
    for group in _groups(answer):
        bins, logprobs = group.rings[0], group.logprobs[0]
        if len(bins) == 4:
            # An upright box where a quadrilateral is due: its four corners say the same.
            x1, y1, x2, y2 = bins
            bins = [x1, y1, x2, y1, x2, y2, x1, y2]
        for at in range(0, len(bins) - 7, 8):
            quad = dequantize(bins[at : at + 8], size).reshape(4, 2)
            box = np.concatenate([quad.min(axis=0), quad.max(axis=0)])
            out.add(group, box, (quad,), logprobs[at : at + 8])
            raw_labels.append(group.label)
    found = out.build()
    value = {**_quads_value("", found), "labels": raw_labels}
    return Decoded("\n".join(found.labels), found, value)


def _decode_boxes_or_polygons(answer: str | Sequence[Piece], size: tuple[int, int]) -> Decoded:
    out = _Builder()
    for group in _groups(answer):
        if group.is_poly:
            _add_polygon(out, group, size)
        else:
            _add_boxes(out, group, size)
    found = out.build()
    return Decoded("", found, _boxes_or_polygons_value("", found))


def _text_value(text: str, _found: Detections) -> str:
    return text


def _boxes_value(_text: str, found: Detections) -> dict[str, Any]:
    return {"bboxes": [_floats(box) for box in found.xyxy], "labels": list(found.labels)}


def _polygons_value(_text: str, found: Detections) -> dict[str, Any]:
    polygons = [[_floats(ring) for ring in rings] for rings in found.polygons]
    return {"polygons": polygons, "labels": list(found.labels)}


def _quads_value(_text: str, found: Detections) -> dict[str, Any]:
    quads = [_floats(rings[0]) for rings in found.polygons]
    return {"quad_boxes": quads, "labels": list(found.labels)}


def _boxes_or_polygons_value(_text: str, found: Detections) -> dict[str, Any]:
    rows = list(zip(found.xyxy, found.labels, found.polygons, strict=True))
    return {
        "bboxes": [_floats(box) for box, _, rings in rows if not rings],
        "bboxes_labels": [label for _, label, rings in rows if not rings],
        "polygons": [[_floats(ring) for ring in rings] for _, _, rings in rows if rings],
        "polygons_labels": [label for _, label, rings in rows if rings],
    }


def _encode_text(text: str, detections: Detections, size: tuple[int, int]) -> str:
    return text + "".join(location_tokens(box, size) for box in detections.xyxy)


def _encode_boxes(_text: str, detections: Detections, size: tuple[int, int]) -> str:
    rows = zip(detections.labels, detections.xyxy, strict=True)
    return "".join(label + location_tokens(box, size) for label, box in rows)


def _encode_phrases(_text: str, detections: Detections, size: tuple[int, int]) -> str:
    parts: list[str] = []
    previous: str | None = None
    for label, box in zip(detections.labels, detections.xyxy, strict=True):
        parts.append(("" if label == previous else label) + location_tokens(box, size))
        previous = label
    return "".join(parts)


def _rings(rings: Rings, size: tuple[int, int]) -> str:
    return "<sep>".join(location_tokens(ring.ravel(), size) for ring in rings)


def _encode_polygons(_text: str, detections: Detections, size: tuple[int, int]) -> str:
    rows = list(zip(detections.labels, detections.polygons, strict=True))
    if len(rows) == 1 and not rows[0][0]:
        # One unnamed mask is written bare, as Florence-2 writes it.
        return _rings(rows[0][1], size)
    return "".join(f"{label}<poly>{_rings(rings, size)}</poly>" for label, rings in rows)


def _encode_quads(_text: str, detections: Detections, size: tuple[int, int]) -> str:
    rows = zip(detections.labels, detections.polygons, strict=True)
    return "".join(label + location_tokens(rings[0].ravel(), size) for label, rings in rows)


def _encode_boxes_or_polygons(_text: str, detections: Detections, size: tuple[int, int]) -> str:
    rows = zip(detections.labels, detections.xyxy, detections.polygons, strict=True)
    return "".join(
        f"{label}<poly>{_rings(rings, size)}</poly>"
        if rings
        else label + location_tokens(box, size)
        for label, box, rings in rows
    )


TEXT = Answer("TEXT", _decode_text, _encode_text, _text_value)
BOXES = Answer("BOXES", _decode_boxes, _encode_boxes, _boxes_value)
PHRASES = Answer("PHRASES", _decode_boxes, _encode_phrases, _boxes_value)
POLYGONS = Answer("POLYGONS", _decode_polygons, _encode_polygons, _polygons_value)
QUADS = Answer("QUADS", _decode_quads, _encode_quads, _quads_value)
BOXES_OR_POLYGONS = Answer(
    "BOXES_OR_POLYGONS",
    _decode_boxes_or_polygons,
    _encode_boxes_or_polygons,
    _boxes_or_polygons_value,
)

ANSWERS = {a.name: a for a in (TEXT, BOXES, PHRASES, POLYGONS, QUADS, BOXES_OR_POLYGONS)}
