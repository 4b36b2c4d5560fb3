"""The files an answer can be taken home in: one function a format, one entry in ``EXPORTERS``.

Knows file formats. Does not know tasks, models or drawing: whatever has boxes, polygons, labels or
text is written the same way. Numbers stay numbers, labels stay what they are in every script.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from florence_demo.errors import InputError, printable
from florence_demo.prediction import FloatArray, Prediction, Rings, bounds

Write = Callable[[Prediction, Image.Image | None, str], bytes]


@dataclass(frozen=True)
class Exporter:
    """Describe one format.

    Attributes:
        title: What the interface calls it.
        suffix: The ending of the file's name, dot included.
        write: Takes the answer, the picture where there is one, and the file's name without its
            ending; returns the bytes of the file.
    """

    title: str
    suffix: str
    write: Write


def write_json(prediction: Prediction, image: Image.Image | None, stem: str) -> bytes:
    """Return the whole answer as JSON."""
    return _json(prediction.to_json())


def write_csv(prediction: Prediction, image: Image.Image | None, stem: str) -> bytes:
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


def write_coco(prediction: Prediction, image: Image.Image | None, stem: str) -> bytes:
    """Return COCO's detection format (cocodataset.org, "Data format", object detection).

    A box without an outline gets itself as its outline, as COCO's own tools do it.
    """
    found = prediction.detections
    names = _names(prediction)
    annotations = []
    for i, row in enumerate(found.to_json()):
        x1, y1, x2, y2 = row["box"]
        outline = row["polygons"] or [[x1, y1, x2, y1, x2, y2, x1, y2]]
        annotation: dict[str, Any] = {
            "id": i + 1,
            "image_id": 1,
            "category_id": names.index(_name(row["label"])) + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": _area(found.polygons[i]) if row["polygons"] else (x2 - x1) * (y2 - y1),
            "segmentation": outline,
            "iscrowd": 0,
        }
        if row["score"] is not None:
            annotation["score"] = row["score"]
        annotations.append(annotation)
    width, height = prediction.size
    return _json(
        {
            "info": {"description": f"{prediction.model} {prediction.task}".strip()},
            "images": [{"id": 1, "file_name": f"{stem}.png", "width": width, "height": height}],
            "annotations": annotations,
            "categories": [{"id": k + 1, "name": name} for k, name in enumerate(names)],
        }
    )


def write_yolo(prediction: Prediction, image: Image.Image | None, stem: str) -> bytes:
    """Return a zip: classes.txt, labels/ with boxes and, where there are outlines, segments/.

    A line is a class number and then numbers of 0 to 1: centre, width and height of a box, or the
    points of an outline. The format has one outline an instance: parts are joined by a seam.
    """
    found = prediction.detections
    names = _names(prediction)
    size = np.array(prediction.size, np.float64)
    boxes, segments = [], []
    for i, label in enumerate(found.labels):
        number = names.index(_name(label))
        corners = np.clip(found.xyxy[i].reshape(2, 2) / size, 0, 1)
        box = np.concatenate([corners.mean(axis=0), corners[1] - corners[0]])
        boxes.append(_yolo_line(number, box))
        rings = found.polygons[i]
        around = corners.ravel()[[0, 1, 2, 1, 2, 3, 0, 3]]
        outline = np.clip(_joined(rings) / size, 0, 1).ravel() if rings else around
        segments.append(_yolo_line(number, outline))
    files = {"classes.txt": names, f"labels/{stem}.txt": boxes}
    if any(found.polygons):
        files[f"segments/{stem}.txt"] = segments
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, lines in files.items():
            # a fixed date: the same answer gives the same file
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            text = "".join(f"{line}\n" for line in lines)
            archive.writestr(entry, text.encode("utf-8", "replace"), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def write_voc(prediction: Prediction, image: Image.Image | None, stem: str) -> bytes:
    """Return Pascal VOC's XML; its boxes are whole pixels counted from one (VOC2012 devkit)."""
    width, height = prediction.size
    root = ElementTree.Element("annotation")
    _add(root, "folder", "images")
    _add(root, "filename", _name(f"{stem}.png"))
    _add(
        ElementTree.SubElement(root, "source"),
        "database",
        _name(prediction.model or "florence_demo"),
    )
    size = ElementTree.SubElement(root, "size")
    for name, number in (("width", width), ("height", height), ("depth", 3)):
        _add(size, name, number)
    _add(root, "segmented", 0)
    for label, (x1, y1, x2, y2) in zip(
        prediction.detections.labels, prediction.detections.xyxy.tolist(), strict=True
    ):
        thing = ElementTree.SubElement(root, "object")
        _add(thing, "name", _name(label))
        _add(thing, "pose", "Unspecified")
        _add(thing, "truncated", 0)
        _add(thing, "difficult", 0)
        box = ElementTree.SubElement(thing, "bndbox")
        left, top = (min(max(math.floor(v) + 1, 1), s) for v, s in ((x1, width), (y1, height)))
        _add(box, "xmin", left)
        _add(box, "ymin", top)
        _add(box, "xmax", min(max(math.ceil(x2), left), width))
        _add(box, "ymax", min(max(math.ceil(y2), top), height))
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def write_mask(prediction: Prediction, image: Image.Image | None, stem: str) -> bytes:
    """Return an indexed PNG of the picture's size: 0 is nothing, i + 1 is detection i.

    An instance is the union of its parts, or its box where it has none. Small ones lie over large
    ones.
    """
    found = prediction.detections
    if len(found) > 255:
        raise InputError("A mask holds at most 255 instances: choose another format.")
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
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue()


EXPORTERS: dict[str, Exporter] = {
    "json": Exporter("Everything (JSON)", ".json", write_json),
    "csv": Exporter("Table (CSV)", ".csv", write_csv),
    "coco": Exporter("COCO (JSON)", ".coco.json", write_coco),
    "yolo": Exporter("YOLO (zip)", ".yolo.zip", write_yolo),
    "voc": Exporter("Pascal VOC (XML)", ".xml", write_voc),
    "mask": Exporter("Instance mask (PNG)", ".mask.png", write_mask),
}
"""Every format, in the order the interface shows them."""


def _json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    return (text + "\n").encode("utf-8", "replace")


def _name(label: str) -> str:
    """Return a class name: one line, no control characters, never empty."""
    return " ".join(printable(label).split()) or "object"


def _names(prediction: Prediction) -> list[str]:
    """Return the class names in the order of their first appearance."""
    return list(dict.fromkeys(_name(label) for label in prediction.detections.labels))


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


def _area(rings: Rings) -> float:
    """Return the area of the union of some rings in square pixels."""
    if len(rings) == 1:
        x, y = rings[0].T.astype(np.float64)
        return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
    corners = bounds(rings)
    left, top = np.floor(corners[:2])
    size = (math.ceil(corners[2] - left) + 1, math.ceil(corners[3] - top) + 1)
    mask = Image.new("1", size)
    draw = ImageDraw.Draw(mask)
    for ring in rings:
        draw.polygon((ring - (left, top)).ravel().tolist(), fill=1)
    return float(np.count_nonzero(np.asarray(mask)))


def _joined(rings: Rings) -> FloatArray:
    """Return one outline (k, 2) through all rings, going back to the first point after each."""
    home = rings[0][:1]
    parts = [rings[0]]
    for ring in rings[1:]:
        parts += [home, ring, ring[:1]]
    return np.concatenate(parts)


def _yolo_line(number: int, values: NDArray[Any]) -> str:
    return " ".join([str(number), *(f"{value:.6f}" for value in values)])


def _add(parent: ElementTree.Element, name: str, value: str | int) -> None:
    ElementTree.SubElement(parent, name).text = str(value)


def _mask_palette() -> list[int]:
    """Return 256 colours far from their neighbours: black, then bits spread as VOC's masks have."""
    colours = []
    for index in range(256):
        channels = [0, 0, 0]
        for bit in range(8):
            channels[bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
        colours += channels
    return colours
