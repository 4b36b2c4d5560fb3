"""A job with tiles: large pictures are cut, small ones asked about together, no one ends it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from florence_demo.batch.answering import Answering
from florence_demo.batch.run import run
from florence_demo.data.batches import ROWS_FILE, rows_in
from florence_demo.errors import InputError
from tests.batch.job import Answers, draw, job, model


class Sharp(Answers):
    """Answer about pictures of which it sees so few pixels that some are cut."""

    side = 100

    def __init__(self, refuses: tuple[int, int] = (0, 0)):
        super().__init__()
        self.never, self.asked = refuses, []

    def predict_batch(self, requests, options=None, *, on_step=None):
        sizes = [r.image.size for r in requests]
        if self.never in sizes:
            raise ValueError("a bug")
        self.asked.append(sizes)
        return super().predict_batch(requests, options)


@pytest.fixture
def pictures(tmp_path) -> Path:
    draw(tmp_path / "in", 2, size=(60, 40))
    Image.new("RGB", (300, 90), "red").save(tmp_path / "in" / "wide.png")
    Image.new("RGB", (90, 310), "blue").save(tmp_path / "in" / "high.png")
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    return tmp_path / "in"


def _rows(out: Path) -> dict:
    return {row["source"]: row for row in rows_in(out / ROWS_FILE)}


def test_large_pictures_are_cut_and_small_ones_asked_together(pictures, tmp_path):
    engine = Sharp()
    config = job(pictures, tmp_path / "out", tasks=("od",), tiles="auto", batch_size=9)
    outcome = run(config, model(engine))
    assert (outcome.rows, outcome.failed) == (5, 1)
    together, high, wide = engine.asked
    assert together == [(60, 40)] * 2
    assert (high[0], wide[0]) == ((90, 310), (300, 90)), "as a whole, then its tiles"
    assert len(high) > 2 < len(wide)
    answers = {name: row["answers"]["od"] for name, row in _rows(tmp_path / "out").items()
               if "answers" in row}  # fmt: skip
    assert any("tiles" in said for said in answers["wide.png"]["notices"])
    assert answers["wide.png"]["size"] == [300, 90]
    assert not answers["00000.png"]["notices"]


def test_a_picture_that_fails_takes_no_other_with_it(pictures, tmp_path):
    config = job(pictures, tmp_path / "out", tasks=("od",), tiles="auto", batch_size=9)
    outcome = run(config, model(Sharp(refuses=(300, 90))))
    assert (outcome.rows, outcome.failed) == (5, 2)
    assert "ValueError" in _rows(tmp_path / "out")["wide.png"]["answers"]["od"]["error"]


def test_a_picture_too_small_for_the_tiles_is_told_before_any_work(pictures, tmp_path):
    engine = Sharp()
    config = job(pictures, tmp_path / "out", tasks=("od",), tiles="4x3", batch_size=9)
    run(config, model(engine))
    rows = _rows(tmp_path / "out")
    assert "too small for 4x3" in rows["00000.png"]["answers"]["od"]["error"]
    assert "error" not in rows["high.png"]["answers"]["od"]
    firsts = [sizes[0] for sizes in engine.asked]
    assert firsts == [(90, 310), (300, 90)], "each once"


def test_other_tiles_are_other_settings(pictures, tmp_path):
    settings = {"tasks": ("od",), "batch_size": 9}
    run(job(pictures, tmp_path / "out", tiles="auto", **settings), model(Sharp()))
    for tiles in ("", "2x2"):
        with pytest.raises(InputError, match="tiles"):
            run(job(pictures, tmp_path / "out", tiles=tiles, **settings), model(Sharp()))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"tasks": ("od", "caption"), "tiles": "auto"},
            "“Short description” cannot be answered by tiles",
        ),
        ({"tasks": ("od",), "tiles": "many"}, "“many” says no tiles"),
        ({"tasks": ("od",), "tiles": "99x99"}, "are allowed"),
    ],
    ids=["task", "words", "too many"],
)
def test_what_cannot_be_looked_at_is_a_sentence(pictures, tmp_path, settings, said):
    with pytest.raises(InputError, match=said):
        run(job(pictures, tmp_path / "out", **settings), model(Sharp()))
    assert not (tmp_path / "out").exists()


def test_an_engine_that_sees_no_tiles_says_so(pictures):
    with pytest.raises(InputError, match="leave them out"):
        Answering.of(Answers(), job(pictures, None, tasks=("od",), tiles="auto"))


def test_few_whole_pictures_are_held(pictures):
    config = job(pictures, None, tasks=("od",), batch_size=None)
    closely = job(pictures, None, tasks=("od",), tiles="auto")
    assert Answering.of(Sharp(), config).usual_batch > Answering.of(Sharp(), closely).usual_batch
