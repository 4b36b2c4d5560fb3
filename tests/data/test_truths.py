from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from florence_demo.data.example import Example
from florence_demo.data.reading import open_data
from florence_demo.data.truths import TRUTH_FILE, truth_line
from florence_demo.prediction import Detections

RING = np.array([[1, 1], [8, 1], [8, 8.25], [1, 8]], np.float32)
PLACES = Detections(
    np.array([[1, 2, 9, 9], [0.5, 0.25, 3, 4]], np.float32),
    ("cat", "Straße ☃"),
    ((), (RING, RING[:3] / 2)),
)
ROWS = [
    Example(Path("a.png"), "caption", answer="two cats", references=("two cats", "cats")),
    Example(Path("a.png"), "vqa", "how many?", answer="2"),
    Example(Path("a.png"), "region_to_category", region=(0.0, 1.5, 9.0, 9.0), answer="cat"),
    Example(Path("a.png"), "caption_to_phrase_grounding", "a cat", detections=PLACES),
]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    (tmp_path / TRUTH_FILE).write_text(truth_line("a.png", ("sign", "unseen"), ROWS))
    rows = open_data(str(tmp_path))
    for read, row in zip(rows, ROWS, strict=True):
        assert read.image == tmp_path / "a.png"
        assert read.tags == ("sign", "unseen")
        for name in ("task", "text", "region", "answer", "references"):
            assert getattr(read, name) == getattr(row, name), name
        assert read.detections.labels == row.detections.labels
        np.testing.assert_allclose(read.detections.xyxy, row.detections.xyxy, atol=0.051)
        for found, true in zip(read.detections.polygons, row.detections.polygons, strict=True):
            for ring, other in zip(found, true, strict=True):
                np.testing.assert_allclose(ring, other, atol=0.051)


def test_a_scene_about_which_nothing_is_asked_keeps_its_kind_and_style(tmp_path: Path) -> None:
    line = truth_line("a.png", ("sign", "known"), [])
    assert line == '{"image":"a.png","kind":"sign","style":"known","truths":[]}\n'
