"""A job's rows in the formats of others: one function a format, one entry in ``FORMATS``.

Sets for trainers are written by ``data``, drawings and tables by what ``output`` has for one
answer. Rows are read one after the other; of the pictures one is held at a time.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from florence_demo.batch.answers import Export, mirrored
from florence_demo.batch.documents import write_films, write_markdown, write_pdfs, write_text
from florence_demo.data.annotated import annotated_of
from florence_demo.data.batches import (
    ROWS_FILE,
    Row,
    errors_of,
    examples_of,
    rows_in,
)
from florence_demo.data.formats import READERS
from florence_demo.data.source import DataSource
from florence_demo.data.written import write_pictures
from florence_demo.errors import DatasetError, InputError, plain, printable
from florence_demo.files import is_disk_full
from florence_demo.output.annotate import annotate
from florence_demo.output.cutting import cut_out, name_of
from florence_demo.output.export import inert, write_mask
from florence_demo.pictures.images import save_picture
from florence_demo.prediction import Prediction

_BLOCK = 1_000


def _by_reader(name: str, *, as_asked: bool = False) -> Callable[[Export], None]:
    """Return what writes a set in one of the formats of ``data``."""
    write = READERS[name].write
    assert write is not None

    def written(export: Export) -> None:
        if as_asked:
            source = DataSource("batch", str(export.job))
            rows = [
                e
                for r in export.with_pictures()
                for e in examples_of(r, source, plain(r["source"]))
            ]
        else:
            rows = list(export.marks())
        if not rows:
            raise DatasetError("Nothing was written: no picture has an answer.")
        write(rows, export.target)

    return written


def _json(export: Export) -> None:
    for row in export.rows():
        told = {name: value for name, value in row.items() if name != "place"}
        told["answers"] = {
            name: answer if "error" in answer else _told(export, row, name, answer)
            for name, answer in row["answers"].items()
        }
        text = json.dumps(told, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace")
        export.place(mirrored(row), ".json").write_bytes(text + b"\n")


def _told(export: Export, row: Row, task: str, answer: dict[str, Any]) -> dict[str, Any]:
    told = {**answer, "detections": export.prediction(answer).detections.to_json()}
    for thing, number in zip(told["detections"], export.tracks_of(row, task), strict=False):
        thing["track"] = number
    return told


_COLUMNS = (
    "source", "page", "frame", "time", "width", "height", "task", "text", "label", "x1", "y1", "x2",
    "y2", "score", "track",
)  # fmt: skip


def _csv(export: Export) -> None:
    """Write one table: a line for each thing found, or for an answer in words."""
    export.target.mkdir(parents=True, exist_ok=True)
    # Excel reads names in the wrong encoding without a byte order mark.
    with (export.target / "answers.csv").open(
        "w", encoding="utf-8-sig", errors="backslashreplace", newline=""
    ) as out:
        table = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
        table.writerow(_COLUMNS)
        for row, task, answer in export.answers():
            head = [row.get(name, "") for name in ("page", "frame", "time")]
            head = [inert(row["source"]), *head, *answer.size, task]
            things = answer.detections.to_json()
            if answer.text or not things:
                table.writerow([*head, inert(answer.text), *[""] * 7])
            numbers = export.tracks_of(row, task) or ("",) * len(things)
            for thing, number in zip(things, numbers, strict=True):
                score = "" if thing["score"] is None else thing["score"]
                where = [*thing["box"], score, number]
                table.writerow([*head, "", inert(thing["label"]), *where])


def _metadata(export: Export) -> None:
    """Write the hub's folder of pictures: metadata.jsonl with a caption and the things found."""
    pictures = annotated_of(list(export.marks()))
    names = sorted({label for p in pictures for label in p.found.labels})
    lines = io.StringIO()
    for picture, name, _ in write_pictures(pictures, export.target):
        boxes = [
            [float(v) for v in (x1, y1, x2 - x1, y2 - y1)]
            for x1, y1, x2, y2 in picture.found.xyxy.tolist()
        ]
        line: dict[str, Any] = {"file_name": name}
        if picture.caption:
            line["text"] = picture.caption
        line["objects"] = {
            "bbox": boxes,
            "categories": [names.index(label) for label in picture.found.labels],
        }
        lines.write(json.dumps(line, ensure_ascii=False) + "\n")
    (export.target / "metadata.jsonl").write_text(lines.getvalue(), encoding="utf-8")
    (export.target / "classes.txt").write_text("".join(f"{n}\n" for n in names), encoding="utf-8")


def _parquet(export: Export) -> None:
    """Write one table without pictures: a row for each answer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    lists = pa.list_(pa.list_(pa.float32()))
    kinds = {"page": pa.int32(), "frame": pa.int64(), "time": pa.float64()}
    kinds |= {name: pa.int32() for name in ("width", "height")}
    kinds |= {name: pa.string() for name in ("task", "text", "raw", "model")}
    kinds |= {"labels": pa.list_(pa.string()), "boxes": lists, "scores": pa.list_(pa.float32())}
    kinds["tracks"] = pa.list_(pa.int32())
    schema = pa.schema([("source", pa.string()), ("sha256", pa.string()), *kinds.items()])
    export.target.mkdir(parents=True, exist_ok=True)
    # Opened here: the library takes no path that is no UTF-8.
    with (
        (export.target / "answers.parquet").open("wb") as file,
        pq.ParquetWriter(file, schema) as out,
    ):
        block: list[dict[str, Any]] = []
        for row, task, answer in export.answers():
            block.append({**_cells(row, task, answer), "tracks": export.tracks_of(row, task)})
            if len(block) >= _BLOCK:
                out.write_table(pa.Table.from_pylist(block, schema))
                block.clear()
        out.write_table(pa.Table.from_pylist(block, schema))


def _cells(row: Row, task: str, answer: Prediction) -> dict[str, Any]:
    found = answer.detections
    source = row["source"].encode("utf-8", "backslashreplace").decode()
    told = {name: row.get(name) for name in ("sha256", "page", "frame", "time")}
    return {
        **told,
        "source": source,
        "width": answer.size[0],
        "height": answer.size[1],
        "task": task,
        "text": answer.text,
        "raw": answer.raw,
        "model": answer.model,
        "labels": list(found.labels),
        "boxes": found.xyxy.tolist(),
        "scores": None if found.scores is None else found.scores.tolist(),
    }


def _annotated(export: Export) -> None:
    for name, image, answers in export.opened():
        for task, answer in answers:
            if len(answer.detections) or len(answers) == 1:
                ending = f".{task}.jpg" if len(answers) > 1 else ".jpg"
                save_picture(annotate(image, answer, scores=True), export.place(name, ending))


def _cutouts(export: Export) -> None:
    """Write each thing found as a picture; of an outline what lies outside is transparent."""
    for name, image, answers in export.opened():
        for task, answer in answers:
            for i, piece in cut_out(image, answer.detections):
                said = name_of(answer.detections.labels[i], task)
                number = f"{task}-{i:03}" if len(answers) > 1 else f"{i:03}"
                save_picture(piece, export.place(name / f"{number}-{said}", ".png"))


def _masks(export: Export) -> None:
    for row, task, answer in export.answers():
        if not len(answer.detections):
            continue
        ending = f".{task}.mask.png" if len(row["answers"]) > 1 else ".mask.png"
        try:
            data = write_mask(answer)
        except InputError as exc:
            export.problems.append(f"{plain(row['source'])}: {exc}")
            continue
        export.place(mirrored(row), ending).write_bytes(data)


FORMATS: dict[str, tuple[str, Callable[[Export], None]]] = {
    "json": ("a .json beside each picture's name", _json),
    "csv": ("one table of everything found", _csv),
    "coco": ("a COCO set with its pictures", _by_reader("coco")),
    "yolo": ("a YOLO set with its pictures", _by_reader("yolo")),
    "voc": ("a Pascal VOC set with its pictures", _by_reader("voc")),
    "labelme": ("LabelMe's files, to correct", _by_reader("labelme")),
    "txt": ("pictures, each with its caption in a .txt", _by_reader("captions")),
    "metadata": ("the hub's folder with metadata.jsonl", _metadata),
    "jsonl": ("lines of prefix and suffix, to train on", _by_reader("jsonl", as_asked=True)),
    "webdataset": ("a .tar to train on", _by_reader("webdataset", as_asked=True)),
    "parquet": ("one table without pictures", _parquet),
    "text": ("what was read or said, as text", write_text),
    "markdown": ("what was read or said, as Markdown", write_markdown),
    "pdf": ("searchable PDFs of what was read", write_pdfs),
    "film": ("videos with the answers drawn on them", write_films),
    "annotated": ("pictures with the answers drawn on them", _annotated),
    "cutouts": ("each thing found as a picture", _cutouts),
    "masks": ("a mask of instances for each picture", _masks),
}
"""Every format, with what a person is told of it and what writes it."""


def check_formats(names: list[str]) -> None:
    """Raise InputError where a format is none."""
    for name in names:
        if name not in FORMATS:
            raise InputError(
                f"Nothing is written as “{plain(name)}”: choose of {', '.join(FORMATS)}."
            )


def export(job: Path, name: str, min_score: float = 0.0) -> tuple[Path, list[str]]:
    """Write a job's answers in a format, into a folder of this name in the job's own.

    An earlier one of this name is replaced when the new one is whole.

    Returns:
        The folder, and what had to be left out.

    Raises:
        FlorenceDemoError: There is no such format or job, or nothing in it for this format.
    """
    check_formats([name])
    target = job / name
    new = target.with_name(f"{name}.new")
    shutil.rmtree(new, ignore_errors=True)
    written = Export(job, new, min_score)
    try:
        FORMATS[name][1](written)
        new.mkdir(exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        new.rename(target)
    except BaseException as exc:
        shutil.rmtree(new, ignore_errors=True)
        if isinstance(exc, OSError) and is_disk_full(exc):
            raise InputError(f"The disk is full, so {name} was not written: make room.") from exc
        raise
    failures = sum(bool(errors_of(row)) for row in rows_in(job / ROWS_FILE))
    if failures:
        written.problems.append(f"{failures:,} pictures have no answer, and are left out.")
    return target, [printable(problem) for problem in written.problems]
