"""What the page shows of data before a run learns from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from florence_demo.data.chosen import Data
from florence_demo.data.forms import DEMO_FORMS, DEMO_FORMS_HELD
from florence_demo.data.reading import source_in
from florence_demo.data.source import DATA_LIMITS, DataLimits, DataSource
from florence_demo.ui import train_samples
from florence_demo.ui.train_samples import Looking, shown

BAD = '<img src=x onerror="alert(1)">'


def rows_in(folder: Path, rows: list[dict[str, str]]) -> Data:
    """Return a set of a visitor: a picture for each row."""
    folder.mkdir()
    for i, row in enumerate(rows):
        Image.new("RGB", (300 + i, 100), "red").save(folder / f"{i}.png")
        row.setdefault("image", f"{i}.png")
    (folder / "annotations.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = source_in(folder, folder, DATA_LIMITS)
    assert source is not None
    return Data(source, "upload")


def test_three_rows_of_different_tasks_are_drawn(tmp_path: Path) -> None:
    boxes = {"prefix": "<OD>", "suffix": "cat<loc_10><loc_10><loc_900><loc_900>"}
    words = [{"prefix": "<FORM>What?", "suffix": f"word {i}"} for i in range(5)]
    html = shown(Looking(), rows_in(tmp_path / "a", [*words, boxes]))
    assert html.count("<article") == html.count("data:image/jpeg;base64,") == 3
    assert "1 object: cat" in html
    assert "<b>word 0</b>" in html
    assert "<p>What?</p>" in html
    assert "A twentieth of the pictures is held back" in html


def test_what_a_stranger_wrote_is_escaped_and_cut(tmp_path: Path) -> None:
    row = {"prefix": f"<FORM>{BAD}", "suffix": f"{BAD}{'x' * 5_000}"}
    html = shown(Looking(), rows_in(tmp_path / "a", [row]))
    assert "<img src=x" not in html
    assert "&lt;img src=x" in html
    assert "x" * 200 not in html


def test_what_is_left_out_is_told_without_a_path(tmp_path: Path) -> None:
    good = {"prefix": "<FORM>What?", "suffix": "word"}
    html = shown(Looking(), rows_in(tmp_path / "a", [good, {**good, "image": "gone.png"}]))
    assert "1 row is left out, such as" in html
    assert str(tmp_path) not in html
    assert html.count("<article") == 1


@pytest.mark.parametrize("limits", [DATA_LIMITS, DataLimits(rows=1)], ids=["unusable", "too many"])
def test_a_refusal_is_a_sentence(tmp_path: Path, limits: DataLimits) -> None:
    bad = {"prefix": "<FORM>What?", "suffix": "word", "image": "gone.png"}
    data = rows_in(tmp_path / "a", [bad, bad])
    source = DataSource("jsonl", data.source.location, "", str(tmp_path / "a"), limits)
    html = shown(Looking(), Data(source, "upload"))
    assert html.startswith('<p class="fd-note" data-words="all">')
    assert "<article" not in html
    assert str(tmp_path) not in html


def test_the_parts_of_a_set_are_named(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        (tmp_path / "set").mkdir(exist_ok=True)
        rows_in(tmp_path / "set" / part, [{"prefix": "<FORM>What?", "suffix": part}])
    source = source_in(tmp_path / "set", tmp_path)
    assert source is not None
    html = shown(Looking(), Data(source, "set"))
    for said in ("train is learned from.", "validation is measured on while", "test is kept for"):
        assert said in html
    assert "<b>train</b>" in html
    assert "twentieth" not in html


@pytest.mark.parametrize(("count", "said"), [(1, "One picture is too few"), (2, "A twentieth")])
def test_one_picture_is_told_before_the_start(tmp_path: Path, count: int, said: str) -> None:
    rows = [{"prefix": "<FORM>What?", "suffix": str(n)} for n in range(count)]
    assert said in shown(Looking(), rows_in(tmp_path / "a", rows))


def test_data_of_the_hub_is_not_fetched_before_the_start() -> None:
    html = shown(Looking(), Data(DataSource("hub", "owner/name"), "owner/name"))
    assert "fetched when the run starts" in html


def test_few_rows_of_counted_data_are_read_and_sets_are_looked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[object] = []
    original = train_samples.open_data

    def counted(source: DataSource, **given: object) -> object:
        looks.append(given["limit"])
        return original(source, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(train_samples, "open_data", counted)
    data, looking = Data(DEMO_FORMS, "forms", DEMO_FORMS_HELD, rows=1_600), Looking()
    assert shown(looking, data) == shown(looking, data)
    assert looking.look(data).rows == 1_600
    assert looks == [200]
    for i in range(40):
        other = Data(DataSource("forms", f"forms:{i}:1"), "forms", DEMO_FORMS_HELD, rows=2)
        assert "others of the same kind" in shown(looking, other)
    assert len(looking._seen) == 32
