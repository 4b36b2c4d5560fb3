"""A PDF whose text is found where it stands on the picture, and is not seen."""

from __future__ import annotations

import gc
import math
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from PIL import Image

from florence_demo.errors import InputError
from florence_demo.output.searchable import searchable, write_searchable
from florence_demo.prediction import Detections, Prediction

SIZE, POINTS = (800, 1000), (400.0, 500.0)


def quad(x: float, y: float, width: float, height: float, turn: float = 0) -> np.ndarray:
    """A quadrilateral by its text's top left corner, turned clockwise by so many degrees."""
    angle = math.radians(turn)
    matrix = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    ring = np.array([[0, 0], [width, 0], [width, height], [0, height]])
    return (ring @ matrix + [x, y]).astype(np.float32)


LINES = {
    "plain words here": quad(100, 50, 320, 30),
    "Grüße aus Köln": quad(100, 100, 280, 40),
    "turned by ten": quad(100, 200, 260, 40, 10),
    "你好世界": quad(100, 400, 240, 60),
    "привет, мир": quad(400, 500, 220, 30),
    "going down": quad(700, 600, 200, 40, 90),
    "head over heels": quad(600, 960, 300, 40, 180),
    "narrow": quad(500, 50, 20, 40),
}

FOUND = {
    "words": ("plain words here", 6, 5),
    "Grüße": ("Grüße aus Köln", 0, 5),
    "köln": ("Grüße aus Köln", 10, 4),
    "ten": ("turned by ten", 10, 3),
    "世界": ("你好世界", 2, 2),
    "мир": ("привет, мир", 8, 3),
    "down": ("going down", 6, 4),
    "heels": ("head over heels", 10, 5),
    "narrow": ("narrow", 0, 6),
}
"""A word, its line, where it begins there, and how many letters it has."""


def noise() -> Image.Image:
    values = np.random.default_rng(1).integers(0, 255, (20, 16, 3), np.uint8)
    return Image.fromarray(values).resize(SIZE)


def page(lines: dict[str, np.ndarray] | None = None) -> Detections:
    lines = LINES if lines is None else lines
    return Detections.from_polygons([[ring] for ring in lines.values()], list(lines))


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pypdfium2.PdfDocument]:
    target = tmp_path_factory.mktemp("pdf") / "a.pdf"
    write_searchable([(noise(), page(), POINTS), (noise(), page({}), (100.0, 50.0))], target)
    with pypdfium2.PdfDocument(target) as opened:
        yield opened


@pytest.mark.parametrize("word", FOUND)
def test_a_word_is_found_at_its_place(document: pypdfium2.PdfDocument, word: str) -> None:
    line, start, length = FOUND[word]
    text = document[0].get_textpage()
    found = text.search(word).get_next()
    assert found is not None
    boxes = np.array([text.get_charbox(found[0] + i) for i in range(found[1])])
    ring = LINES[line]
    along, down = ring[1] - ring[0], ring[3] - ring[0]
    ends = [ring[0] + along * share / len(line) for share in (start, start + length)]
    corners = np.array([*ends, *(end + down for end in ends)]) / 2  # two pixels a point
    left, top, right, low = *corners.min(axis=0), *corners.max(axis=0)
    expected = (left, POINTS[1] - low, right, POINTS[1] - top)
    measured = (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0))
    assert measured == pytest.approx(expected, abs=2)


def test_the_text_is_copied_as_it_was_read(document: pypdfium2.PdfDocument) -> None:
    text = document[0].get_textpage().get_text_range()
    for line in LINES:
        assert line in text.replace("\r\n", " ")


def test_pages_have_their_sizes(document: pypdfium2.PdfDocument) -> None:
    assert [document[i].get_size() for i in range(len(document))] == [POINTS, (100.0, 50.0)]


def test_only_the_picture_is_seen(document: pypdfium2.PdfDocument) -> None:
    shown = np.asarray(document[0].render(scale=2).to_pil().convert("RGB"), int)
    assert np.abs(shown - np.asarray(noise(), int)).mean() < 3


def read(target: Path, number: int = 0) -> str:
    with pypdfium2.PdfDocument(target) as opened:
        return opened[number].get_textpage().get_text_range()


ODD = {
    "signs of PDF": "(a) <b> \\ [c] %d",
    "beyond the basic plane": "𝒳 and 🔎 it",
    "half a character": "a\ud800b",
    "control characters": "a\0b\tc\nd",
    "parts of letters": "u\u0308ber",
    "very long": "word " * 500,
}
READ = {"half a character": "a b", "control characters": "a b c d", "parts of letters": "über"}


@pytest.mark.parametrize("name", ODD)
def test_whatever_was_read_is_text(tmp_path: Path, name: str) -> None:
    target = tmp_path / "a.pdf"
    found = page({ODD[name]: quad(10, 10, 700, 30)})
    write_searchable([(noise(), found, POINTS)], target)
    assert read(target).replace("\r\n", " ") == READ.get(name, ODD[name].strip())


PLACES = {
    "no width": quad(10, 10, 0, 30), "no height": quad(10, 10, 90, 0),
    "a point": quad(10, 10, 0, 0), "outside": quad(-900, 5000, 90, 30),
    "far outside": quad(-1e9, 1e9, 1e9, 1e9),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_whatever_place_is_written(tmp_path: Path, name: str) -> None:
    found = page({"odd": PLACES[name], "and this": quad(10, 100, 90, 30)})
    write_searchable([(noise(), found, POINTS)], tmp_path / "a.pdf")
    assert "and this" in read(tmp_path / "a.pdf")


def test_boxes_and_text_without_places(tmp_path: Path) -> None:
    boxes = Detections(np.array([[10, 10, 200, 60]], np.float32), ("a box",))
    answer = Prediction("ocr", "", "", "first line\nsecond line", SIZE, Detections.empty(), {})
    write_searchable([(noise(), boxes, POINTS), (noise(), answer, POINTS)], tmp_path / "a.pdf")
    assert read(tmp_path / "a.pdf") == "a box"
    assert read(tmp_path / "a.pdf", 1).split("\r\n") == ["first line", "second line"]


def test_more_letters_than_a_piece_of_the_map_holds(tmp_path: Path) -> None:
    text = "".join(chr(0x4E00 + i) for i in range(700))
    lines = {text[i : i + 50]: quad(10, 10 + i, 700, 30) for i in range(0, 700, 50)}
    write_searchable([(noise(), page(lines), POINTS)], tmp_path / "a.pdf")
    assert read(tmp_path / "a.pdf").replace("\r\n", "") == text


def test_no_page_is_kept(tmp_path: Path) -> None:
    def pages() -> Iterator[tuple[Image.Image, Detections, tuple[float, float]]]:
        for _ in range(30):
            noisy = np.random.default_rng(1).integers(0, 255, (500, 400, 3), np.uint8)
            yield Image.fromarray(noisy), page(), POINTS

    gc.collect()
    tracemalloc.start()
    write_searchable(pages(), tmp_path / "a.pdf")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "a.pdf").stat().st_size > 3_000_000
    assert peak < (tmp_path / "a.pdf").stat().st_size


def test_the_same_answer_gives_the_same_file(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Detections.from_polygons([[np.array([[5, 5], [60, 5], [60, 20], [5, 20]])]], ["word"])
    picture = Image.new("RGB", (80, 40), "white")
    files = set()
    for now in (1_000_000, 3_000_000_001):
        monkeypatch.setattr("fontTools.fontBuilder.timestampNow", lambda now=now: now)
        files.add(searchable(picture, found, (80.0, 40.0)))
    assert len(files) == 1


def test_it_is_whole_or_not_there(tmp_path: Path) -> None:
    def broken() -> Iterator[tuple[Image.Image, Detections, tuple[float, float]]]:
        yield noise(), page(), POINTS
        raise InputError("Page 2 is damaged.")

    target = tmp_path / "a.pdf"
    with pytest.raises(InputError, match="Page 2"):
        write_searchable(broken(), target)
    assert list(tmp_path.iterdir()) == []
    target.write_text("old")
    with pytest.raises(InputError, match="no pages"):
        write_searchable([], target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(InputError, match="name a folder that exists"):
        write_searchable([(noise(), page(), POINTS)], tmp_path / "nowhere" / "a.pdf")
