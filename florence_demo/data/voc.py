"""Pascal VOC: an XML file for each picture, with a box and a name for each thing.

Knows VOC's own folders (Annotations, JPEGImages, ImageSets) and those in which the files lie beside
the pictures. What a file says may be a stranger's word: of XML only elements and their text are
read, within bounds, and what defines entities is refused, so that a few lines cannot become
gigabytes and no file of this machine is named.

The first VOC counted pixels from 1; the tools that write it today count from 0, and nothing in a
file tells which. Boxes are taken as they stand: half a pixel is less than a model can say, and a
shift would be wrong for nearly every set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, TreeBuilder, indent, tostring
from xml.parsers import expat

from florence_demo.data.annotated import Annotated, Rows, with_all_names
from florence_demo.data.listings import (
    Counter,
    check_places,
    floats_of,
    in_pixels,
    text_of,
)
from florence_demo.data.named_pictures import Pictures, likely_names, spelled
from florence_demo.data.parts import (
    TRAIN,
    WHOLE,
    by_part,
    files_in,
    part_folders,
    subfolders,
)
from florence_demo.data.source import DataSource
from florence_demo.data.written import write_pictures
from florence_demo.errors import DatasetError, plain, printable
from florence_demo.prediction import Detections, Rings

MARKS, PICTURES = "Annotations", "JPEGImages"
_SETS = Path("ImageSets", "Main")
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_MAX_XML, _MAX_LIST = 4 << 20, 16 << 20
_MAX_ELEMENTS, _MAX_DEPTH = 50_000, 16
_LOOKED_AT, _BEGINNING = 20, 64 << 10


def find_voc(location: str) -> Mapping[str, str] | None:
    """Return the parts of a VOC set: its lists of names, or the folders that mean a part."""
    folder = Path(location)
    if not folder.is_dir():
        return None
    if not _is_voc(folder):
        marked = {part: str(p) for part, p in part_folders(folder).items() if _is_voc(p)}
        if marked:
            return marked
        years = [p for p in subfolders(folder) if (p / MARKS).is_dir() and _is_voc(p)]
        if len(years) != 1:
            return None
        folder = years[0]
    sets = folder / _SETS
    lists = by_part(filter(_alone, files_in(sets, ".txt") if sets.is_dir() else []))
    return {part: str(path) for part, path in lists.items()} or {WHOLE: str(folder)}


def _alone(path: Path) -> bool:
    """Say whether a list is of pictures: VOC has one for each class beside, "cat_train"."""
    return "_" not in path.stem


def _is_voc(folder: Path) -> bool:
    files = _files(_marks_of(folder))[:_LOOKED_AT]
    return any("<annotation" in text_of(path, _BEGINNING) for path in files)


def _marks_of(folder: Path) -> Path:
    """Return where the XML files of a folder lie: in it, or in one of its own."""
    own = (folder / MARKS, folder / MARKS.lower())
    return next((path for path in own if path.is_dir()), folder)


def _files(folder: Path) -> list[Path]:
    return files_in(folder, ".xml")


def read_voc(source: DataSource) -> Rows:
    """Yield each picture with its boxes and outlines; a file without things says "nothing there".

    Things that VOC calls difficult are there all the same.
    """
    path = Path(source.location)
    listed = path.suffix.lower() == ".txt" and path.is_file()
    folder = path.parent.parent.parent if listed else path
    marks = _marks_of(folder)
    if not source.holds(marks) or not source.holds(path):
        raise DatasetError(f"{path.name} lies outside the data's own folder.")
    pictures = Pictures(source, folder / PICTURES, marks, folder / "images", folder)
    count = Counter(source.limits)
    found: list[Annotated] = []
    for file in _listed(path, marks) if listed else _files(marks):
        try:
            found.append(_picture(source, file, pictures, count))
        except DatasetError as exc:
            yield DatasetError(f"{plain(file.name)}: {exc}")
    yield from with_all_names(found)


def _listed(path: Path, marks: Path) -> Iterator[Path]:
    """Yield the XML files of the names that a list has, one a line."""
    for line in text_of(path, _MAX_LIST).splitlines():
        if line.strip():
            named = marks / f"{line.strip()}.xml"
            yield spelled(named, marks) or named


def _picture(source: DataSource, file: Path, pictures: Pictures, count: Counter) -> Annotated:
    """Return a picture with what its file marks.

    Raises:
        DatasetError: The file or a thing in it cannot be read.
    """
    try:
        there = source.holds(file) and file.is_file()
    except (OSError, ValueError):  # no name at all
        there = False
    if not there:
        raise DatasetError("there is no such file in the data: take its name off the list.")
    root = _xml_of(file)
    things = root.findall("object")
    count.take(sum(1 for _ in root.iter()))
    check_places(things)
    boxes: list[Any] = []
    labels: list[str] = []
    outlines: list[Rings] = []
    for number, thing in enumerate(things, 1):
        boxes.append(_box(thing, number))
        labels.append(_text(thing.find("name")))
        outlines.append(_outline(thing, number))
        if not labels[-1]:
            raise DatasetError(f"thing {number} has no name: write one, or remove it.")
    image = pictures.first(*likely_names(_text(root.find("filename")), file.stem))
    found = Detections(in_pixels(boxes), tuple(labels), tuple(outlines))
    return Annotated(image, found, where=file.name)


def _text(element: Element | None) -> str:
    return (element.text or "").strip() if element is not None else ""


def _numbers(element: Element, names: Sequence[str], number: int) -> list[float]:
    try:
        return [float(_text(element.find(name))) for name in names]
    except ValueError as exc:
        raise DatasetError(f"thing {number} has a place that is no number.") from exc


def _box(thing: Element, number: int) -> list[float]:
    box = thing.find("bndbox")
    if box is None:
        raise DatasetError(f"thing {number} has no bndbox: draw its box, or remove it.")
    return _numbers(box, _SIDES, number)


def _outline(thing: Element, number: int) -> Rings:
    """Return the outline that some tools write beside a box: x1, y1, x2, y2 and so on."""
    polygon = thing.find("polygon")
    points = [] if polygon is None else [e for e in polygon if e.tag[:1] in ("x", "y")]
    if len(points) < 6 or len(points) % 2 or polygon is None:
        return ()
    return (floats_of(_numbers(polygon, [e.tag for e in points], number)).reshape(-1, 2),)


class _Refused(Exception):
    """Say why XML is not read."""


def _xml_of(path: Path) -> Element:
    """Return the root of a stranger's XML.

    Raises:
        DatasetError: It is none, is too large, or defines entities.
    """
    if path.stat().st_size > _MAX_XML:
        raise DatasetError(f"the file is larger than {_MAX_XML >> 20} MB: split the picture.")
    try:
        try:
            root = _parsed(path.read_bytes(), None)
        except expat.ExpatError:
            # Old tools write Windows' alphabet, whatever the first line says.
            root = _parsed(text_of(path, _MAX_XML).encode(), "utf-8")
    except _Refused as exc:
        raise DatasetError(f"the file {exc}") from exc
    except (expat.ExpatError, LookupError, ValueError) as exc:
        raise DatasetError(f"the file is no XML ({plain(exc)}): save it again.") from exc
    if root.tag != "annotation":
        own = root.tag == "annotations"
        raise DatasetError(
            "the file is CVAT's own form, which is not read: export the set as COCO or YOLO."
            if own
            else "the file is no annotation of Pascal VOC: take it out of the folder."
        )
    return root


def _parsed(data: bytes, encoding: str | None) -> Element:
    parser = expat.ParserCreate(encoding)
    tree = TreeBuilder()
    depth = elements = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth, elements = depth + 1, elements + 1
        if depth > _MAX_DEPTH or elements > _MAX_ELEMENTS:
            raise _Refused(f"holds more than {_MAX_ELEMENTS:,} elements, or too deep ones.")
        tree.start(tag, {})

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        tree.end(tag)

    def refuse(*_: Any) -> None:
        raise _Refused("has a DOCTYPE, which no annotation needs: save it without.")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = tree.data
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.Parse(data, True)
    return tree.close()


def write_voc(pictures: Sequence[Annotated], folder: Path) -> Path:
    """Write Annotations, JPEGImages and the list of the part "train"; return the folder.

    Places are whole pixels, as old readers want them.
    """
    marks, sets = folder / MARKS, folder / _SETS
    for made in (marks, sets):
        made.mkdir(parents=True, exist_ok=True)
    stems = []
    for picture, name, size in write_pictures(pictures, folder / PICTURES):
        stem = Path(name).stem
        stems.append(stem)
        root = _xml(picture.found, name, size)
        indent(root)
        (marks / f"{stem}.xml").write_text(tostring(root, "unicode") + "\n", encoding="utf-8")
    (sets / f"{TRAIN}.txt").write_text("".join(f"{s}\n" for s in stems), encoding="utf-8")
    return folder


def _xml(found: Detections, name: str, size: tuple[int, int]) -> Element:
    root = Element("annotation")
    for tag, text in (("folder", PICTURES), ("filename", name)):
        SubElement(root, tag).text = text
    about = SubElement(root, "size")
    for tag, number in (("width", size[0]), ("height", size[1]), ("depth", 3)):
        SubElement(about, tag).text = str(number)
    for box, label in zip(found.xyxy.tolist(), found.labels, strict=True):
        thing = SubElement(root, "object")
        # XML has no sign for what a terminal obeys.
        SubElement(thing, "name").text = printable(label)
        for tag, text in (("pose", "Unspecified"), ("truncated", "0"), ("difficult", "0")):
            SubElement(thing, tag).text = text
        sides = SubElement(thing, "bndbox")
        for tag, value in zip(_SIDES, box, strict=True):
            SubElement(sides, tag).text = str(round(value))
    return root
