"""The door for data: an uploaded zip is unpacked, its rows are read and their pictures opened."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from PIL import Image

from florence_demo.data.example import Example
from florence_demo.data.folders import take_data
from florence_demo.errors import DatasetError, FlorenceDemoError
from florence_demo.files import without_paths
from tests.fuzz import make_pictures
from tests.fuzz.doors import Door, Drive
from tests.fuzz.guards import Guard
from tests.fuzz.make_forms import JSON, TABLE, forms
from tests.fuzz.make_zips import bent_zips, hostile_zips, of_files
from tests.fuzz.mutations import (
    NAMES,
    TEXTS,
    Draw,
    among,
    bent_bytes,
    bent_value,
    dump,
    just,
    values,
)
from tests.fuzz.oracle import SECRET, Breach
from tests.fuzz.uploads import Upload

_OPENED = 20
"""Rows of an upload whose pictures are opened, as the first steps of a training do."""


def taken(files: Sequence[Path], folder: Path) -> list[Example]:
    """Take an upload as the page does, into a new folder."""
    source, rows = take_data(files, folder)
    assert Path(source.location).is_relative_to(folder)
    return rows


@contextmanager
def opened(folder: Path) -> Iterator[Drive]:
    """Take uploads, none of which may show a picture of this machine."""
    guard = Guard()
    with Image.open(SECRET) as image:
        secret = image.size

    def drive(data: bytes) -> None:
        with Upload(folder, data) as upload, guard.watching():
            try:
                rows = taken(upload.files, upload.target)
            except Exception:
                upload.check_nothing_left()
                raise
            finally:
                guard.check()
            try:
                _look(rows[:_OPENED], secret)
            except FlorenceDemoError as exc:
                # As the page says what a measurement or a training met.
                raise DatasetError(without_paths(str(exc), upload.target)) from exc
            finally:
                guard.check()

    for files in honest().values():
        drive(of_files(files))
    yield drive


def _look(rows: Sequence[Example], secret: tuple[int, int]) -> None:
    """Use rows as a measurement or the first steps of a training do."""
    for row in rows:
        size = row.load().size
        if size == secret:
            raise Breach("a row shows a picture of this machine")
        row.truth(size)


def _lines(*rows: Any) -> bytes:
    return b"\n".join(map(dump, rows))


_JSONL = (
    {"image": "images/a.png", "prefix": "<OD>", "suffix": "cat<loc_1><loc_2><loc_300><loc_400>"},
    {"image": "images/a.png", "prefix": "<DocVQA>Who?", "suffix": ["Ada", "Ada L."]},
    {
        "image": "images/a.png",
        "prefix": "<REGION_TO_OCR><loc_1><loc_2><loc_300><loc_400>",
        "suffix": "a",
    },
)
_THING = {"image_id": 1, "category_id": 7, "iscrowd": 0, "bbox": [5, 5, 20, 10], "id": 1}
_COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 37, "height": 23}],
    "categories": [{"id": 7, "name": "dog"}],
    "annotations": [_THING, {**_THING, "id": 2, "segmentation": [[5, 5, 25, 5, 25, 15]]}],
}
_HELDOUT = {
    "image": "images/a.png", "kind": "objects", "style": "known",
    "truths": [
        {
            "task": "od",
            "detections": [
                {"label": "cat", "box": [1, 2, 30, 20], "polygons": [[1, 2, 30, 2, 30, 20]]}
            ],
        },
        {"task": "region_to_category", "region": [1, 2, 30, 20], "answer": "cat"},
    ],
}  # fmt: skip


@functools.cache
def honest() -> dict[str, dict[str, bytes]]:
    """An upload of each format that is read."""
    png = make_pictures.encoded(make_pictures.picture(), "PNG")
    return {
        "jsonl": {"annotations.jsonl": _lines(*_JSONL), "images/a.png": png},
        "coco": {"instances.json": dump(_COCO), "images/a.png": png},
        "heldout": {"truth.jsonl": _lines(_HELDOUT), "images/a.png": png},
        "captions": {
            "a.png": png,
            "a.txt": b"A thing.",
            "b.png": png,
            "b.txt": b"Noch eins.",
        },
        **forms(png),
    }


@functools.cache
def saved_set(cells: tuple[tuple[bytes | None, str | None], ...]) -> dict[str, bytes]:
    """A set as the package ``datasets`` saves it, its pictures as bytes or as paths."""
    import pyarrow

    cell = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    table = pyarrow.table(
        {
            "image": pyarrow.array([{"bytes": b, "path": p} for b, p in cells], cell),
            "question": ["Who?"] * len(cells),
            "answers": [["Ada"]] * len(cells),
        }
    )
    text = {"dtype": "string", "_type": "Value"}
    features = {
        "image": {"_type": "Image"},
        "question": text,
        "answers": {"feature": text, "_type": "List"},
    }
    about = {"info": {"features": features}}
    table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
    buffer = io.BytesIO()
    with pyarrow.ipc.new_stream(buffer, table.schema) as stream:
        stream.write_table(table)
    state = {
        "_data_files": [{"filename": "data.txt"}], "_fingerprint": "a", "_format_columns": None,
        "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False, "_split": None,
    }  # fmt: skip
    return {
        "state.json": dump(state),
        "dataset_info.json": dump({"features": features}),
        "data.txt": buffer.getvalue(),
    }


def corpus() -> dict[str, Callable[[], bytes]]:
    """Uploads that lead elsewhere, cost much, or hold what is no picture."""
    found: dict[str, Callable[[], bytes]] = {}
    for name, files in honest().items():
        filler = "more.png"
        listing = next(f for f in files if not f.endswith(".png"))
        for kind, make in hostile_zips(files, listing, filler).items():
            if name == "jsonl" or kind.startswith(("a listing", "honest")):
                found[f"{name}: {kind}"] = make
    return {**found, **_rows(), **_pictures(), **_sets()}


def _with(kind: str, **files: bytes) -> Callable[[], bytes]:
    named = {name.replace("_dot_", "."): data for name, data in files.items()}
    return lambda: of_files({**honest()[kind], **named})


def _jsonl(*rows: Any) -> Callable[[], bytes]:
    return _with("jsonl", annotations_dot_jsonl=_lines(*rows))


def _rows() -> dict[str, Callable[[], bytes]]:
    first, thing = _JSONL[0], dict(_THING)
    found: dict[str, Callable[[], bytes]] = {
        "one row 300,000 times": _with(
            "jsonl", annotations_dot_jsonl=b"\n".join([dump(first)] * 300_000),
        ),
        "bad rows 300,000 times": _with(
            "jsonl", annotations_dot_jsonl=b"\n".join([b'{"image":1}'] * 300_000),
        ),
        "a row of 5 MB": _jsonl({**first, "suffix": "@long:5000000@"}),
        "a row of 400,000 places": _jsonl({**first, "suffix": "cat" + "<loc_5>" * 400_000}),
        "a row of 4,000 things": _jsonl(
            {**first, "suffix": "cat<loc_5><loc_5><loc_9><loc_9>" * 4000}
        ),
        "100,000 answers": _jsonl({**first, "prefix": "<VQA>a", "suffix": ["a"] * 100_000}),
        "a prefix of a million": _jsonl({**first, "prefix": "<VQA>" + "a " * 500_000}),
        "a row behind other line ends": _jsonl(
            {**first, "prefix": "<VQA>a\u2028b\x85\x0b\x0c\x1c"}
        ),
        "bare line ends": _with(
            "jsonl", annotations_dot_jsonl=_lines(*_JSONL).replace(b"\n", b"\r"),
        ),
        "UTF-16": _with("jsonl", annotations_dot_jsonl=_lines(*_JSONL).decode().encode("utf-16")),
        "two listings": _with("jsonl", train_dot_jsonl=_lines({**first, "image": SECRET})),
        "a COCO beside it": _with(
            "jsonl",
            annotations_dot_json=dump({**_COCO, "images": [{"id": 1, "file_name": SECRET}]}),
        ),
        "a COCO without things": _with(
            "coco", instances_dot_json=dump({**_COCO, "annotations": []}),
        ),
        "a COCO of 100,000 things": _with(
            "coco", instances_dot_json=dump({**_COCO, "annotations": [thing] * 100_000}),
        ),
        "a COCO of one ring of 300,000 numbers": _with(
            "coco",
            instances_dot_json=dump(
                {**_COCO, "annotations": [{**thing, "segmentation": [[5] * 300_000]}]}
            ),
        ),
        "a COCO of 60,000 rings": _with(
            "coco",
            instances_dot_json=dump(
                {
                    **_COCO,
                    "annotations": [{**thing, "segmentation": [[5, 5, 9, 5, 9, 9]] * 60_000}],
                }
            ),
        ),
        "a COCO of 60,000 names": _with(
            "coco",
            instances_dot_json=dump(
                {**_COCO, "categories": [{"id": i, "name": "x" * 20} for i in range(60_000)]}
            ),
        ),
        "a COCO that lists one picture 100,000 times": _with(
            "coco", instances_dot_json=dump({**_COCO, "images": _COCO["images"] * 100_000}),
        ),
        "a caption of 5 MB": _with("captions", a_dot_txt=b"word " * 1_000_000),
        "a caption that is none": _with("captions", a_dot_txt=bytes(range(256))),
        "captions alone": lambda: of_files({"a.txt": b"a"}),
        "a picture called as its caption": _with("captions", a_dot_txt=make_pictures.png(37, 23)),
    }  # fmt: skip
    for i, name in enumerate(
        (
            *NAMES,
            SECRET,
            f"images/../{SECRET}",
            f"file://{SECRET}",
            "images",
            "annotations.jsonl",
            "@nest:9@",
        )
    ):
        found[f"a row about {i}"] = _jsonl(first, {**first, "image": name})
        found[f"a picture {i} of COCO"] = _with(
            "coco", instances_dot_json=dump({**_COCO, "images": [{"id": 1, "file_name": name}]})
        )
        found[f"a scene about {i}"] = _with(
            "heldout", truth_dot_jsonl=_lines({**_HELDOUT, "image": name})
        )
    for i, text in enumerate(TEXTS):
        found[f"a label {i}"] = _jsonl(
            {**first, "suffix": f"{text}<loc_1><loc_2><loc_300><loc_400>"}
        )
        found[f"a word {i}"] = _jsonl({**first, "prefix": f"<VQA>{text}", "suffix": text})
        found[f"a category {i}"] = _with(
            "coco", instances_dot_json=dump({**_COCO, "categories": [{"id": 7, "name": text}]})
        )
    return found


def _pictures() -> dict[str, Callable[[], bytes]]:
    """Honest listings about pictures that are hostile."""
    from tests.fuzz.hostile_pictures import corpus as hostile

    chosen = (
        "PNG of 170",
        "EPS",
        "PS",
        "PDF",
        "SVG",
        "WMF",
        "JPEG with 20,000",
        "TIFF of 2,000,000 p",
        "AVIF of 36",
        "JPEG with a str",
    )

    def packed(
        kind: str, picture: Callable[[], bytes], listing: bytes | None
    ) -> Callable[[], bytes]:
        def make() -> bytes:
            files = dict(honest()[kind])
            files |= {name: picture() for name in files if name.endswith(".png")}
            if listing is not None:
                files["annotations.jsonl"] = listing
            return of_files(files)

        return make

    found: dict[str, Callable[[], bytes]] = {}
    large = hostile()["PNG of 64 megapixels"]
    for name, picture in hostile().items():
        if name.startswith(chosen):
            for kind in ("jsonl", "captions"):
                found[f"{kind} of {name}"] = packed(kind, picture, None)
    found["2,000 rows of 64 megapixels"] = packed("jsonl", large, _lines(*[_JSONL[0]] * 2000))
    return found


def _sets() -> dict[str, Callable[[], bytes]]:
    """Sets of the package ``datasets``, which would open any path and start a program for EPS."""
    from tests.fuzz.hostile_pictures import corpus as hostile

    png = make_pictures.encoded(make_pictures.picture(), "PNG")
    kinds: dict[str, tuple[tuple[bytes | None, str | None], ...]] = {
        "bytes": ((png, None),), "a path": ((None, SECRET),),
        "a path beside it": ((None, "images/a.png"),),
        "an address": ((None, "https://127.0.0.1:1/a.png"),), "both": ((png, SECRET),),
        "neither": ((None, None),), "EPS": ((hostile()["EPS"](), None),),
        "a path into a zip": ((None, f"zip://a.png::{SECRET}"),),
    }  # fmt: skip

    def packed(cells: Any, at: str, beside: str) -> Callable[[], bytes]:
        def make() -> bytes:
            inner = {f"{at}{name}": data for name, data in saved_set(cells).items()}
            return of_files(
                {**inner, **{f"{beside}{name}": data for name, data in honest()["jsonl"].items()}}
            )

        return make

    found: dict[str, Callable[[], bytes]] = {}
    for kind, cells in kinds.items():
        for at, beside in (
            ("a/", "a#b/"),
            ("a/", "a#/"),
            ("", "b/"),
            ("a#b/", "a/"),
            ("", ""),
            ("a/b/", "a/b#c/"),
            ("a/", "a/b#c/"),
        ):
            found[f"a set of {kind} in {at!r} beside {beside!r}"] = packed(cells, at, beside)
    whole = {"a/dataset_dict.json": b'{"splits": ["b"]}', "a#b/annotations.jsonl": _lines(*_JSONL)}
    for kind, cells in kinds.items():
        found[f"a part of a set of {kind}"] = lambda cells=cells: of_files(
            {**whole, **{f"a/b/{name}": data for name, data in saved_set(cells).items()}}
        )
    found["a set that loads code"] = lambda: of_files(
        {"a/a.py": b"1/0", "a/dataset_info.json": b"{}", "a#b/annotations.jsonl": _lines(*_JSONL)}
    )
    found["parts of a set"] = lambda: of_files(
        {
            "a/dataset_dict.json": b'{"splits": ["../../secret"]}',
            "a#b/annotations.jsonl": _lines(*_JSONL),
        }
    )
    return found


_KEYS = (
    "image", "prefix", "suffix", "file_name", "id", "bbox", "segmentation", "truths", "task",
    "text", "region", "answer", "detections", "references", "polygons", "label", "box", "iscrowd",
    "category_id", "shapes", "points", "label", "shape_type", "group_id", "imagePath", "imageData",
    "conversations", "from", "value", "objects", "categories", "question",
)  # fmt: skip


@st.composite
def _bent_listing(draw: Draw) -> dict[str, bytes]:
    """An honest upload whose listing has other values."""
    kind = draw(st.sampled_from(("jsonl", "coco", "heldout", "tables", *JSON)))
    value = st.one_of(st.sampled_from((SECRET, *NAMES)), st.sampled_from(TEXTS), values())
    files = dict(honest()[kind])
    if kind == "coco":
        files["instances.json"] = dump(draw(bent_value(just(_COCO), keys=_KEYS, value=value)))
    elif kind in JSON:
        name, honest_value = JSON[kind]
        files[name] = dump(draw(bent_value(just(honest_value), keys=_KEYS, value=value)))
    elif kind == "tables":
        files["metadata.jsonl"] = dump(draw(bent_value(just(TABLE), keys=_KEYS, value=value)))
    else:
        rows = draw(
            bent_value(
                just(list(_JSONL) if kind == "jsonl" else [_HELDOUT]), keys=_KEYS, value=value
            )
        )
        rows = rows if isinstance(rows, list) else [rows]
        files["annotations.jsonl" if kind == "jsonl" else "truth.jsonl"] = _lines(*rows)
    return files


@st.composite
def _bent_words(draw: Draw) -> dict[str, bytes]:
    """An honest upload, one file of which has other bytes."""
    files = dict(honest()[draw(st.sampled_from(("voc", "csv", "webdataset")))])
    name = next(iter(files))
    return {**files, name: draw(bent_bytes(just(files[name])))}


@st.composite
def _bent_pictures(draw: Draw) -> dict[str, bytes]:
    """An honest listing about bent pictures."""
    from tests.fuzz.door_pictures import inputs as pictures

    files = dict(honest()[draw(st.sampled_from(("jsonl", "coco", "captions", "heldout")))])
    bent = draw(pictures())
    return {name: bent if name.endswith(".png") else data for name, data in files.items()}


def inputs() -> st.SearchStrategy[bytes]:
    """Honest uploads, bent in the listing, in the pictures, or as zips."""
    plain = among(list(honest().values()))
    packed = st.booleans().flatmap(
        lambda loose: _bent_listing().map(lambda f: of_files(f, loose=loose))
    )
    bent = (_bent_words().map(of_files), _bent_pictures().map(of_files))
    return st.one_of(packed, packed, *bent, bent_zips(plain))


_QUICK = (
    "jsonl: no zip",
    "jsonl: a listing of 200 MB of lists",
    "coco: a listing of 200 MB of brackets",
    "jsonl: a zip of 5 GB",
    "jsonl: a link",
    "jsonl: the name 14",
    "jsonl: the name 0",
    "a row about 23",
    "a row about 35",
    "a picture 16 of COCO",
    "a scene about 38",
    "a label 8",
    "jsonl of EPS",
    "captions of PNG of 170 megapixels",
    "a set of a path in 'a/' beside 'a#/'",
    "a set of EPS in 'a/' beside 'a#/'",
    "a part of a set of a path",
)
"""One of each kind, small enough for every run of the tests."""

DOOR = Door("data", corpus, inputs, opened, _QUICK)
