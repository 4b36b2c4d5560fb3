"""The formats of data: what finds, reads and writes each, and what a person is told of it.

To add a format, write a module with its functions, as ``coco`` is one, and add a ``Reader`` to
``READERS``: whatever lists formats, takes uploads, converts or helps a person looks there. Does not
know who asks for which.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from florence_demo.data.annotated import Annotated, Rows, annotated_of
from florence_demo.data.batches import find_batch, read_batch
from florence_demo.data.captions import ENDINGS, find_captions, read_captions, write_captions
from florence_demo.data.coco import find_coco, read_coco, write_coco
from florence_demo.data.example import Example
from florence_demo.data.forms import FORMS, read_forms
from florence_demo.data.jsonl import find_jsonl, read_jsonl, write_jsonl
from florence_demo.data.labelme import find_labelme, read_labelme, write_labelme
from florence_demo.data.labelstudio import find_labelstudio, read_labelstudio
from florence_demo.data.listings import IMAGE_SUFFIXES
from florence_demo.data.llava import find_llava, read_llava, write_llava
from florence_demo.data.parts import WHOLE, Find, whole
from florence_demo.data.saved_sets import find_saved, is_revision, read_hub, read_saved
from florence_demo.data.source import DataSource
from florence_demo.data.tables import find_tables, read_tables
from florence_demo.data.truths import TRUTH_FILE, read_truths
from florence_demo.data.voc import find_voc, read_voc, write_voc
from florence_demo.data.webdataset import find_webdataset, read_webdataset, write_webdataset
from florence_demo.data.yolo import find_yolo, read_yolo, write_yolo
from florence_demo.errors import DatasetError

Write = Callable[[Sequence[Example], Path], Path]


def _of_pictures(
    write: Callable[[Sequence[Annotated], Path], Path],
    has: Callable[[Annotated], object],
    held: str,
) -> Write:
    """Return what writes rows in a format of pictures with marks or a caption.

    Pictures in which nothing is marked are written too, but never a set of them alone.
    """

    def pictures(rows: Sequence[Example], folder: Path) -> Path:
        found = annotated_of(rows)
        if not any(map(has, found)):
            raise DatasetError(NOTHING.format(held))
        return write(found, folder)

    return pictures


def _of_marks(write: Callable[[Sequence[Annotated], Path], Path]) -> Write:
    return _of_pictures(write, lambda picture: len(picture.found), "boxes with names")


def _spoken(rows: Sequence[Example], folder: Path) -> Path:
    """Write those rows that answer in words as conversations."""
    told = [row for row in rows if row.answer]
    if not told:
        raise DatasetError(NOTHING.format("answers in words"))
    return write_llava(told, folder)


NOTHING = "Nothing was written: this format holds {}, and there are none: choose another format."
"""What is said where a format has no place for anything that there is."""


@dataclass(frozen=True)
class Reader:
    """Hold one format.

    Attributes:
        name: What a person calls it.
        find: From a location, a path or a name, to its parts; None where it is of another format.
        read: From a source, whose location is that of its part, to rows.
        help: What the location looks like.
        write: Puts rows with their pictures into a folder and returns what to name as data; None
            where the format is only read.
        upload: What a visitor uploads of it, in Markdown; "" where a stranger's files may not be
            of this format. Each picture that its rows name must be found by ``Pictures``.
        suffixes: Of its files, pictures left out: only what is listed is kept of an upload.
        columns: Whether a person may say what its columns mean.
    """

    name: str
    find: Find
    read: Callable[[DataSource], Rows]
    help: str
    write: Write | None = None
    upload: str = ""
    suffixes: tuple[str, ...] = ()
    columns: bool = False


def _find_truths(location: str) -> Mapping[str, str] | None:
    file = Path(location, TRUTH_FILE)
    if Path(location).is_dir():
        return {WHOLE: str(file)} if file.is_file() else None
    return {WHOLE: location} if location.endswith(TRUTH_FILE) else None


def _is_hub_id(location: str) -> bool:
    name, at, revision = location.partition("@")
    known = re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(location).exists()
    return bool(known) and (not at or is_revision(revision))


READERS: dict[str, Reader] = {
    r.name: r
    for r in (
        Reader("forms", whole(lambda s: s.startswith(FORMS)), read_forms, "forms:FIRST:COUNT"),
        Reader(
            "heldout",
            _find_truths,
            read_truths,
            f"a folder with {TRUTH_FILE}",
            upload=f"`{TRUTH_FILE}` of drawn scenes",
            suffixes=(".jsonl",),
        ),
        Reader("batch", find_batch, read_batch, "the folder of a job of `batch`"),
        Reader("datasets", find_saved, read_saved, "a folder of `save_to_disk`", columns=True),
        Reader(
            "hub",
            whole(_is_hub_id),
            read_hub,
            "a hub id such as HuggingFaceM4/DocumentVQA, with @revision or without",
            columns=True,
        ),
        Reader(
            "llava",
            find_llava,
            read_llava,
            "a .json of LLaVA conversations",
            _spoken,
            upload="a `.json` of LLaVA conversations",
            suffixes=(".json", ".jsonl"),
        ),
        Reader(
            "jsonl",
            find_jsonl,
            read_jsonl,
            'a .jsonl file of {"image", "prefix", "suffix"}, or the folder with it',
            write_jsonl,
            upload='lines of `{"image": "a.png", "prefix": "<OD>", "suffix": "…"}` in'
            " `annotations.jsonl`",
            suffixes=(".jsonl",),
        ),
        Reader(
            "coco",
            find_coco,
            read_coco,
            "a COCO .json, or the folder with it",
            _of_marks(write_coco),
            upload="a COCO `.json`",
            suffixes=(".json",),
        ),
        Reader(
            "voc",
            find_voc,
            read_voc,
            "a folder of Pascal VOC .xml",
            _of_marks(write_voc),
            upload="Pascal VOC `.xml`",
            suffixes=(".xml", ".txt"),
        ),
        Reader(
            "labelme",
            find_labelme,
            read_labelme,
            "a folder of LabelMe .json",
            _of_marks(write_labelme),
            upload="LabelMe `.json`",
            suffixes=(".json",),
        ),
        Reader(
            "labelstudio",
            find_labelstudio,
            read_labelstudio,
            "Label Studio's .json or .json-min, or the folder with it",
            upload="Label Studio's `.json`",
            suffixes=(".json",),
        ),
        Reader(
            "yolo",
            find_yolo,
            read_yolo,
            "a folder of YOLO labels with data.yaml or classes.txt",
            _of_marks(write_yolo),
            upload="YOLO labels with `data.yaml`",
            suffixes=(".txt", ".yaml", ".yml", ".names"),
        ),
        Reader(
            "tables",
            find_tables,
            read_tables,
            "a table with columns for picture and answer: .csv, .json, .jsonl, .parquet, or the"
            " hub's folder with metadata",
            upload="a `.csv` or `.jsonl` with columns such as `image`, `question`, `answer`",
            suffixes=(".csv", ".tsv", ".jsonl", ".json"),
            columns=True,
        ),
        Reader(
            "webdataset",
            find_webdataset,
            read_webdataset,
            "a WebDataset .tar, or the folder with them",
            write_webdataset,
            upload="a WebDataset `.tar`",
            suffixes=(".tar",),
        ),
        Reader(
            "captions",
            find_captions,
            read_captions,
            "a folder of pictures with .txt captions",
            _of_pictures(write_captions, lambda picture: picture.caption, "captions"),
            upload="pictures with a `.txt` caption of the same name beside each",
            suffixes=ENDINGS,
        ),
    )
}
"""Formats by name; the first that finds a set in a location reads it, so that the particular come
first."""

USUAL = {".jsonl": "jsonl", ".json": "coco", ".csv": "tables", ".tsv": "tables"}
"""The format in which a file of unknown rows is read, by its ending."""

OPENED_FIRST = ("hub",)
"""Formats whose parts only the set itself knows, once it is open."""


def formats_help() -> str:
    """Return what an operator may name as data, for a command's help."""
    return "; ".join(reader.help for reader in READERS.values())


def upload_help() -> str:
    """Return what a visitor may upload as data, as a part of a sentence in Markdown."""
    *most, last = upload_kinds()
    return f"{', '.join(most)}, or {last}"


def upload_kinds() -> list[str]:
    """Return what a visitor may upload as data, in Markdown, the common kinds first."""
    return [reader.upload for reader in reversed(READERS.values()) if reader.upload]


def upload_suffixes() -> set[str]:
    """Return the endings of the files that are kept of an upload, in lower case."""
    return {*IMAGE_SUFFIXES, *(s for r in READERS.values() if r.upload for s in r.suffixes)}
