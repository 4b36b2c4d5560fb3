"""Honest uploads in the forms of the field's tools, to be bent."""

from __future__ import annotations

import io
import tarfile
from typing import Any

from tests.fuzz.mutations import dump

VOC = (
    "<annotation><filename>a.png</filename><size><width>37</width><height>23</height></size>"
    "<object><name>cat</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>2</ymin>"
    "<xmax>30</xmax><ymax>20</ymax></bndbox></object></annotation>"
)
LABELME: dict[str, Any] = {
    "version": "5.4.1",
    "shapes": [
        {"label": "cat", "points": [[1, 2], [30, 20]], "shape_type": "rectangle"},
        {"label": "dog", "points": [[1, 2], [30, 2], [30, 20]], "shape_type": "polygon"},
        {"label": "sun", "points": [[9, 9], [9, 12]], "shape_type": "circle", "group_id": 1},
    ],
    "imagePath": "a.png",
    "imageData": None,
}
LLAVA: list[Any] = [
    {
        "id": "1",
        "image": "a.png",
        "conversations": [
            {"from": "human", "value": "<image>\nWho?"},
            {"from": "gpt", "value": "Ada"},
        ],
    }
]
TABLE: dict[str, Any] = {
    "file_name": "a.png",
    "objects": {"bbox": [[1, 2, 10, 9]], "categories": ["cat"]},
}
CSV = 'image;question;answer\na.png;"Who; where?";Ada\na.png;What?;"A ""cat"""\n'
JSON = {"labelme": ("a.json", LABELME), "llava": ("train.json", LLAVA)}
"""Forms whose one listing is one value: its name and the value."""


def packed(files: dict[str, bytes]) -> bytes:
    """Return a tar archive of these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def forms(png: bytes) -> dict[str, dict[str, bytes]]:
    """Return an upload of each form; what names its picture comes first."""
    shard = {"größer.png": png, "größer.txt": b"A thing.", "b.png": png}
    shard["b.json"] = dump([{"prefix": "<VQA>Who?", "suffix": ["Ada", "A."]}])
    return {
        "voc": {"a.xml": VOC.encode(), "a.png": png},
        "tables": {"metadata.jsonl": dump(TABLE), "a.png": png},
        "csv": {"rows.csv": CSV.encode(), "a.png": png},
        "webdataset": {"train-0.tar": packed(shard)},
        **{kind: {name: dump(value), "a.png": png} for kind, (name, value) in JSON.items()},
    }
