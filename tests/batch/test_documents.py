"""Pages and frames through a job: one document, one film, as whole things again."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from PIL import Image

from florence_demo.batch.exporting import export
from florence_demo.batch.run import run
from florence_demo.data.batches import ROWS_FILE, rows_in
from florence_demo.errors import DatasetError
from florence_demo.pictures.frames import open_frames
from florence_demo.prediction import Detections, Prediction
from florence_demo.tasks import TASKS
from tests.batch.job import Answers, draw, job, model
from tests.document_makers import document, filled
from tests.film_makers import RATE, film


class Reads(Answers):
    """Read a line that names how dark the picture is, and find a thing that moves."""

    @staticmethod
    def _answer(request, text: str) -> Prediction:
        width, height = request.image.size
        dark = request.image.getpixel((width // 2, height // 2))[0]
        if request.task.name == "ocr_with_region":
            ring = np.array([[2, 2], [width - 2, 2], [width - 2, 12], [2, 12]], np.float32)
            found = Detections.from_polygons([[ring]], [f"shade {dark}"])
            said = f"shade {dark}"
        else:
            x = dark % 8
            found = Detections(np.array([[x, 2, x + 20, 22]], np.float32), ("ball",))
            said = ""
        task = request.task
        return Prediction(task.name, task.prompt, said, said, (width, height), found, {})


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """A document of three pages, a film of two seconds with sound, and a picture."""
    root = tmp_path_factory.mktemp("documents")
    draw(root / "in", 1, size=(60, 40))
    shades = [filled((s, s, s), (0, 0, 600, 850)) for s in (0.2, 0.4, 0.6)]
    (root / "in" / "letters ü.pdf").write_bytes(document(shades))
    (root / "in" / "film.mp4").write_bytes(film(2 * RATE, sound=True))
    run(job(root / "in", root / "out", tasks=("ocr_with_region", "od")), model(Reads()))
    return root / "out"


def test_pages_and_frames_are_rows(done):
    rows = list(rows_in(done / ROWS_FILE))
    assert [(r["source"], r.get("page"), r.get("time")) for r in rows] == [
        ("00000.png", None, None),
        ("film.mp4", None, 0.0),
        ("film.mp4", None, 1.0),
        ("letters ü.pdf", 1, None),
        ("letters ü.pdf", 2, None),
        ("letters ü.pdf", 3, None),
    ]
    assert not any("error" in row for row in rows)


def test_a_document_is_one_text_in_the_order_of_its_pages(done):
    folder, _ = export(done, "text")
    text = (folder / "letters ü.pdf.txt").read_text("utf-8")
    assert text.split("\n\f\n") == ["shade 51", "shade 102", "shade 153\n"]
    folder, _ = export(done, "markdown")
    assert (folder / "letters ü.pdf.md").read_text("utf-8").count("---") == 2
    assert (folder / "00000.png.md").is_file()


class Says(Reads):
    """Say something about the picture too."""

    @staticmethod
    def _answer(request, text: str) -> Prediction:
        found = Reads._answer(request, text)
        said = "A grey picture." if request.task.name == "caption" else found.text
        return replace(found, text=said)


@pytest.mark.parametrize(("kind", "heading"), [("text", "{}:\n"), ("markdown", "## {}\n\n")])
def test_no_answer_in_words_is_left_out(tmp_path, kind, heading):
    draw(tmp_path / "in", 1)
    tasks = ("caption", "od", "ocr_with_region")
    run(job(tmp_path / "in", tmp_path / "out", tasks=tasks), model(Says()))
    folder, _ = export(tmp_path / "out", kind)
    (file,) = folder.iterdir()
    said, read = (heading.format(TASKS[name].title) for name in ("caption", "ocr_with_region"))
    text = file.read_text("utf-8")
    assert text.startswith(f"{said}A grey picture.\n\n{read}")
    assert "shade" in text
    assert "ball" not in text


def test_pages_and_frames_keep_their_names_in_a_set(done):
    folder, _ = export(done, "coco")
    table = json.loads((folder / "_annotations.coco.json").read_text("utf-8"))
    assert sorted(image["file_name"] for image in table["images"]) == [
        "00000.png",
        *(f"film-frame-{n}.png" for n in (0, RATE)),
        *(f"letters ü-page-{n}.png" for n in (1, 2, 3)),
    ]


def test_a_document_becomes_searchable(done):
    folder, problems = export(done, "pdf")
    assert problems == []
    assert sorted(path.name for path in folder.iterdir()) == ["00000.png.pdf", "letters ü.pdf"]
    with pypdfium2.PdfDocument(folder / "letters ü.pdf") as written:
        assert len(written) == 3
        width, height = written[0].get_size()
        assert (round(width), round(height)) == (595, 842)
        found = written[1].get_textpage().search("shade 102").get_next()
        assert found is not None


def test_a_film_is_written_with_its_answers(done, tmp_path):
    folder, problems = export(done, "film")
    assert problems == []
    before = (done.parent / "in" / "film.mp4").stat().st_size
    assert (folder / "film.mp4").stat().st_size != before
    frames = list(open_frames(folder / "film.mp4", "1"))
    assert len(frames) == 2 * RATE
    plain = next(open_frames(done.parent / "in" / "film.mp4", "1")).picture
    drawn = np.asarray(frames[0].picture, int) - np.asarray(plain, int)
    assert np.abs(drawn).max() > 60, "something is drawn on it"


def test_what_stays_keeps_its_number(done):
    folder, _ = export(done, "csv")
    with (folder / "answers.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    balls = [row for row in rows if row["label"] == "ball"]
    assert [(r["source"], r["track"]) for r in balls if r["source"] == "film.mp4"] == [
        ("film.mp4", "1"),
        ("film.mp4", "1"),
    ]
    assert {row["track"] for row in balls if row["source"] != "film.mp4"} == {""}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("pdf", "ocr_with_region"),
        ("film", "no video"),
        ("text", "answers in words"),
        ("markdown", "answers in words"),
    ],
    ids=str,
)
def test_what_is_no_document_is_told(tmp_path, name, problem):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    run(job(tmp_path / "a.png", tmp_path / "out", tasks=("od",)), model(Reads()))
    with pytest.raises(DatasetError, match=problem):
        export(tmp_path / "out", name)
