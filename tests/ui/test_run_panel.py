"""What the page shows of a run, as text."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import fields
from pathlib import Path

import pytest
from PIL import Image

from florence_demo.training.runs import Run
from florence_demo.training.status import SAMPLES_FOLDER, RunFiles, Status, read_status
from florence_demo.ui.run_curve import scale
from florence_demo.ui.run_panel import run_panel, runs_panel
from florence_demo.ui.run_words import metric_words
from tests.run_makers import finished_run

EVIL = "<img src=x onerror=alert(1)>${1+1}{{value}}\"'"


def panel(tmp_path: Path, **changes: object) -> str:
    files = RunFiles(tmp_path / "mine")
    files.tell(pid=os.getpid(), **changes)
    return run_panel(Run(files.folder, files.status), tmp_path)


def words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_without_a_run_it_says_what_to_do() -> None:
    assert "No run yet" in run_panel(None)


def test_a_learning_run_shows_where_it_is(tmp_path: Path) -> None:
    page = panel(
        tmp_path, state="training", step=30, steps=120, seconds_left=90.0,
        samples_per_second=41.5, memory=1_500_000_000, memory_peak=2_000_000_000,
    )  # fmt: skip
    assert 'aria-valuenow="25"' in page
    said = words(page)
    for part in ("Step 30 of 120", "about 2 minutes left", "41.5", "1.5 GB", "2.0 GB"):
        assert part in said


def test_nothing_from_data_or_models_is_markup(tmp_path: Path) -> None:
    sample = {"question": f"vqa {EVIL}", "answer": EVIL, "truth": EVIL, "score": 0, "picture": EVIL}
    page = panel(tmp_path, state="failed", message=EVIL, samples=(sample,), before={EVIL: 0.5})
    assert "<img src=x" not in page
    assert page.count("&lt;img src=x onerror") == 6


def test_no_path_of_this_machine_is_shown(tmp_path: Path) -> None:
    message = f"{tmp_path}/data/a.jsonl:3: there is no picture {tmp_path}/data/b.png"
    page = panel(tmp_path, state="failed", message=message)
    assert str(tmp_path) not in page
    assert "data/a.jsonl:3" in page


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [(0.1, 0.9, "better"), (0.9, 0.1, "worse"), (0.5, 0.5, "")],
)
@pytest.mark.parametrize("key", ["custom/anls", "ocr/cer"])
def test_numbers_before_and_after(
    tmp_path: Path, key: str, before: float, after: float, verdict: str
) -> None:
    lower = metric_words(key)[2]
    said = words(panel(tmp_path, state="done", before={key: before}, after={key: after}))
    expected = {"better": "worse", "worse": "better"}.get(verdict, "") if lower else verdict
    assert f"{after:.0%}" in said
    for word in ("better", "worse"):
        assert (f" {word} " in said.replace("lower is better", "")) == (word == expected)


def test_answers_are_shown_with_their_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / SAMPLES_FOLDER
    folder.mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(folder / "0.jpg")
    base = {"question": "custom <FORM>Which?", "truth": "tea", "picture": "0.jpg", "step": 20}
    samples = tuple({**base, "answer": a, "score": s} for a, s in (("tea", 1.0), ("", 0.0)))
    page = panel(tmp_path, state="training", samples=samples)
    assert page.count("data:image/jpeg;base64,") == 2
    said = words(page)
    assert "after step 20" in said
    assert said.count("Which?") == 2
    assert "(nothing)" in said
    assert "right" in said
    assert "not yet" in said


def test_an_answer_of_places_is_shown_in_words(tmp_path: Path) -> None:
    here, there = (f"toy<loc_{x}><loc_2><loc_300><loc_400>" for x in (75, 1))
    base = {"question": "od", "answer": f"</s><s>{here}</s>", "truth": here}
    samples = ({**base, "score": 1.0}, {**base, "truth": there, "score": 0.0})
    page = panel(tmp_path, state="training", samples=samples)
    assert "loc_" not in page
    said = words(page)
    assert said.count("1 object: toy") == 4
    assert said.count("(elsewhere)") == 1
    assert said.count("Find everything") == 2


def test_a_picture_elsewhere_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "mine" / SAMPLES_FOLDER).mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(tmp_path / "secret.jpg")
    sample = {"question": "vqa x", "answer": "", "truth": "", "picture": "../../secret.jpg"}
    assert "data:image" not in panel(tmp_path, state="training", samples=(sample,))


def test_the_curve_says_what_it_shows(tmp_path: Path) -> None:
    files = RunFiles(tmp_path / "mine")
    for step in range(1, 2001):
        files.log({"step": step, "loss": 4.0 / step})
    files.log({"step": 2000, "eval_loss": 0.25})
    files.log({"step": 2000, "loss": None})
    files.tell(pid=os.getpid(), state="training", step=2000, steps=2000)
    page = run_panel(Run(files.folder, files.status))
    label = re.search('role="img" aria-label="([^"]+)"', page)
    assert label is not None
    assert "2,000 steps: on what it learns from 4 at first, 0.002 at step 2,000" in label[1]
    assert "on other pictures 0.25 at first, 0.25 at step 2,000" in label[1]
    line = re.search('class="fd-line fd-train" d="([^"]+)"', page)
    assert line is not None
    numbers = [float(n) for n in re.findall(r"[\d.]+", line[1])]
    assert len(numbers) < 600
    assert (numbers[0], numbers[-2]) == (0.5, 1000.0)
    assert max(numbers[1::2]) <= 300


@pytest.mark.parametrize("most", [1e-9, 0.03, 0.9999, 1.0, 3.7, 12.0, 99.0, 12345.0])
def test_a_scale_holds_the_value_and_has_few_round_marks(most: float) -> None:
    top, ticks = scale(most)
    assert top >= most
    assert 2 <= len(ticks) <= 7
    assert ticks[0] == 0
    assert ticks[-1] == pytest.approx(top)


def test_every_state_has_its_word(tmp_path: Path) -> None:
    for state in ("starting", "measuring", "caching", "evaluating", "stopped", "failed", "done"):
        assert "fd-badge" in run_panel(Run(tmp_path, Status(state=state, pid=os.getpid())))


@pytest.mark.parametrize(
    "value", [10**400, 1e300, -1e300, "x", None, [1], {"a": 1}, True, "\ud800"]
)
def test_no_value_of_a_file_breaks_the_page(tmp_path: Path, value: object) -> None:
    """What a stranger's folder says of itself must not take the page from everybody."""
    status = {f.name: value for f in fields(Status)}
    known = {"state": "training", "pid": os.getpid(), "updated": time.time()}
    log = [{"step": value, "loss": value}, {"step": 1, "loss": value, "eval_loss": value}]
    sample = dict.fromkeys(("question", "answer", "truth", "score", "where", "step"), value)
    for name in status:
        values = {**known, "samples": [sample], "before": {"a/b": value}, name: value}
        folder = tmp_path / name
        folder.mkdir()
        (folder / "status.json").write_text(json.dumps(values))
        (folder / "log.jsonl").write_text("\n".join(map(json.dumps, log)))
        found = read_status(folder)
        if found is not None:
            assert len(run_panel(Run(folder, found))) < 20_000


def test_more_steps_than_there_are_fill_the_bar_and_no_more(tmp_path: Path) -> None:
    page = panel(tmp_path, state="training", step=500, steps=100)
    assert 'aria-valuenow="100"' in page


def test_a_picture_that_is_no_small_one_is_not_shown(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / SAMPLES_FOLDER
    folder.mkdir(parents=True)
    (folder / "0.jpg").write_bytes(bytes(2 << 20))
    sample = {"question": "vqa x", "answer": "", "truth": "", "picture": "0.jpg"}
    assert "data:image" not in panel(tmp_path, state="training", samples=(sample,))


def test_numbers_are_told_in_words_and_the_fields_names_stand_behind_details(
    tmp_path: Path,
) -> None:
    page = run_panel(finished_run(tmp_path / "forms-nano"))
    first, _, details = page.partition("<details")
    said, behind = words(first), words(f"<details{details}")
    assert "Trained 20 steps on demo forms from nano; language part only." in said
    assert "answers right, letter by letter" in said
    assert "How wrong it still is" in said
    for name in ("ANLS", "Training loss", "Validation loss", "Learning rate", "Batch size"):
        assert name not in said
        assert name in behind


@pytest.mark.parametrize(
    ("measured", "few"), [(0, False), (1, True), (9, True), (10, False)], ids=str
)
def test_few_questions_say_nothing(tmp_path: Path, measured: int, few: bool) -> None:
    said = words(run_panel(finished_run(tmp_path / "mine", model=False, measured=measured)))
    assert ("too few to say: ask at least ten" in said) is few
    assert (" better " in said.replace("lower is better", "")) is not few


def test_what_was_not_learned_is_one_line(tmp_path: Path) -> None:
    other = {"other od/accuracy": 0.9, "other caption/objects": 0.7}
    numbers = {"before": {"custom/anls": 0.1, **other}, "after": {"custom/anls": 0.9, **other}}
    numbers["after"]["other od/accuracy"] = 0.1
    said = words(run_panel(finished_run(tmp_path / "mine", model=False, **numbers)))
    assert "What it could do before: 2 other tasks 80% 40% worse" in said
    # One by one, they are for those who know the names.
    assert "accuracy at 0.5 0.9 0.1" in said


def test_a_sample_that_can_be_asked_is_a_button(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "mine", model=False)
    assert run_panel(run).count('data-run="mine" data-sample="') == 2
    for picture in (tmp_path / "mine" / SAMPLES_FOLDER).iterdir():
        picture.unlink()
    assert "data-sample" not in run_panel(run)


def test_earlier_runs_are_listed_with_what_they_came_to(tmp_path: Path) -> None:
    page = runs_panel([finished_run(tmp_path / name) for name in ("two", "one")])
    assert re.findall('aria-label="Try (\\w+) now"', page) == ["two", "one"]
    assert "Trained 20 steps on demo forms" in page
    assert "12% before, 93% after" in page
    assert runs_panel([]) == ""
