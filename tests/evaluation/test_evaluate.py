from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from florence_demo.commands.evaluate import add_arguments, calibrated, config_from_args
from florence_demo.data.example import Example
from florence_demo.engine.confidence import Confidence
from florence_demo.engine.request import Options, Request
from florence_demo.errors import DatasetError, InputError
from florence_demo.evaluation.evaluate import EvaluateConfig, evaluate
from florence_demo.evaluation.scoring import METRICS, TABLE, Resampling, score
from florence_demo.prediction import Detections, Prediction
from florence_demo.regions import Region
from florence_demo.tasks import TASKS, Task

SIZE = (100, 100)
QUICK = EvaluateConfig(bootstrap=20, batch_size=3, data="made up")
RING = np.array([[10, 10], [40, 10], [40, 40], [10, 40]], np.float32)
CAT = Detections(np.array([[10, 10, 40, 40]], np.float32), ("cat",))
MASK = Detections.from_polygons([[RING]], [""])
LINE = Detections.from_polygons([[RING]], ["EXIT"])
REGION = (10.0, 10.0, 40.0, 40.0)


def picture(number: int) -> Image.Image:
    return Image.new("RGB", SIZE, (number, 0, 0))


def rows() -> list[Example]:
    """One row or two of every task that the table has a line for."""
    made: list[Example] = []

    def add(task: str, *tags: str, **fields: object) -> None:
        made.append(Example(picture(len(made)), task, tags=tags, **fields))  # type: ignore[arg-type]

    add("od", "objects", "known", detections=CAT)
    add("od", "objects", "unseen", detections=CAT)
    add("od", "objects", "known", detections=Detections.empty())
    for caption in ("caption", "more_detailed_caption"):
        add(caption, answer="A cat.")
    add("caption_to_phrase_grounding", text="A cat.", detections=CAT)
    add("open_vocabulary_detection", text="cat", detections=CAT)
    add("open_vocabulary_detection", text="dog")
    add("region_to_category", region=REGION, answer="cat")
    add("region_to_description", region=REGION, answer="a red cat")
    add("region_to_segmentation", region=REGION, detections=MASK)
    add("referring_expression_segmentation", text="cat", detections=MASK)
    add("ocr", "sign", answer="EXIT")
    add("ocr", "page", answer="two words")
    add("ocr_with_region", detections=LINE)
    add("region_to_ocr", region=REGION, answer="EXIT")
    add("docvqa", text="Who?", answer="Ada", references=("Ada", "Ada L."))
    add("docvqa", text="When?", answer="1843")
    add("vqa", text="How many?", answer="one")
    return made


class Oracle:
    """Answer from the rows; ``wrong`` answers nothing, ``deaf`` does not hear the question."""

    def __init__(self, examples: Sequence[Example], wrong: bool = False, deaf: bool = False):
        self.examples = {e.load().tobytes(): e for e in examples}
        self.wrong, self.deaf = wrong, deaf
        self.batches: list[int] = []

    def answer(self, request: Request) -> Prediction:
        example = self.examples[request.image.tobytes()]
        text, detections = example.answer, example.detections
        if self.wrong:
            text, detections = "", Detections.empty()
        elif example.text != request.text and not self.deaf:
            text = f"about {request.text}"
        task = request.task
        return Prediction(task.name, "", text, text, SIZE, detections, {}, model="oracle")

    def predict(
        self,
        image: Image.Image,
        task: Task,
        text: str = "",
        region: Region | None = None,
        options: Options = QUICK.options,
    ) -> Prediction:
        return self.answer(Request(image, task, text, region))

    def predict_batch(self, requests: Sequence[Request], options: Options) -> list[Prediction]:
        self.batches.append(len(requests))
        if any("refuse" in r.text for r in requests):
            raise InputError("refused")
        return [self.answer(r) for r in requests]


def test_a_perfect_model_is_perfect_in_every_row() -> None:
    examples = rows()
    report = evaluate(Oracle(examples), examples, QUICK)
    assert [r.title for r in report.table] == [line.title for line in TABLE]
    for row in (*report.table, *report.rows):
        assert row.value == pytest.approx(0.0 if row.lower_is_better else 1.0, abs=0.02), row
    assert report.model == "oracle"
    assert all(j.score > 0.98 for j in report.judged)
    assert report.confusion == (("cat", "cat", 2),)
    assert report.failures == ()


def test_a_model_that_says_nothing_gains_nothing_but_refusals() -> None:
    examples = rows()
    report = evaluate(Oracle(examples, wrong=True), examples, QUICK)
    values = {r.title: r.value for r in report.table}
    half = "open vocabulary, accuracy at 0.5, absent things refused"
    assert values.pop(half) == 0.5
    assert math.isnan(values.pop("OD class accuracy of matched boxes"))
    errors = {r.title for r in report.table if r.lower_is_better}
    assert {title: 1.0 if title in errors else 0.0 for title in values} == values
    assert ("cat", "", 2) in report.confusion


def test_every_answer_has_metrics() -> None:
    assert {task.answer.name for task in TASKS.values()} <= set(METRICS)


def test_unseen_rows_are_measured_apart() -> None:
    examples = rows()
    counts = {r.title: r.count for r in evaluate(Oracle(examples), examples, QUICK).table}
    assert counts["OD mAP50"] == 2
    assert counts["OD mAP50 on the unseen style"] == 1


def test_questions_are_asked_in_batches_and_progress_is_told() -> None:
    examples = rows()
    oracle = Oracle(examples)
    told: list[tuple[int, int]] = []
    evaluate(oracle, examples, QUICK, lambda done, total: told.append((done, total)))
    assert told[-1] == (len(examples), len(examples))
    assert max(oracle.batches) == 3


@pytest.mark.parametrize(
    "changes",
    [{"batch_size": 0}, {"bootstrap": -1}, {"options": Options(num_beams=11)}],
    ids=lambda v: next(iter(v)),
)
def test_settings_that_make_no_sense_are_refused_before_a_question(changes) -> None:
    examples = rows()
    oracle = Oracle(examples)
    with pytest.raises(InputError):
        evaluate(oracle, examples, replace(QUICK, **changes))
    assert not oracle.batches


def test_a_refused_batch_is_asked_one_by_one() -> None:
    examples = [
        Example(picture(0), "docvqa", "refuse", answer="x"),
        Example(picture(1), "docvqa", "Who?", answer="y"),
    ]
    report = evaluate(Oracle(examples), examples, QUICK)
    assert len(report.judged) == 2


def test_a_missing_picture_is_a_failure_and_not_the_end() -> None:
    good = Example(picture(0), "caption", answer="A cat.")
    gone = Example(Path("gone.png"), "caption", answer="A cat.", where="f:2")
    report = evaluate(Oracle([good]), [good, gone], QUICK)
    assert len(report.judged) == 1
    assert report.failures[0].startswith("f:2: there is no picture")


@pytest.mark.parametrize(("deaf", "changed"), [(False, 2), (True, 0)], ids=["reads", "deaf"])
def test_question_sensitivity(deaf: bool, changed: int) -> None:
    examples = rows()
    found = evaluate(Oracle(examples, deaf=deaf), examples, QUICK).sensitivity
    assert found is not None
    assert (found.asked, found.changed) == (2, changed)
    # Of two answers nobody can tell.
    assert "too few to say" in found.sentence()
    many = replace(found, asked=10, changed=5 * changed)
    assert ("hardly reads" in many.sentence()) is deaf


class Sure(Oracle):
    """Answer rightly, as sure as a score says."""

    def __init__(self, examples: Sequence[Example], score: float) -> None:
        super().__init__(examples)
        self.score = np.array([score], np.float32)

    def answer(self, request: Request) -> Prediction:
        found = Detections(CAT.xyxy, ("cat",), (), self.score, self.score, self.score)
        return Prediction("od", "", "", "", SIZE, found, {})


def test_the_report_says_how_far_off_confidences_are(tmp_path: Path) -> None:
    examples = [Example(picture(i), "od", detections=CAT) for i in range(4)]
    report = evaluate(Sure(examples, 0.75), examples, QUICK)
    told = report.to_json()["reliability"]["od"]
    assert told == {"error": 0.25, "count": 4, "points": [[0.75, 1.0, 4]]}
    assert report.to_json()["calibrated"] is False
    report.write(tmp_path)
    for name in ("report.md", "report.html"):
        assert "Confidence and truth (not calibrated)" in (tmp_path / name).read_text()
    assert "Find everything: off by 0.250, 4 things" in (tmp_path / "report.html").read_text()


def test_a_folder_is_calibrated_and_the_report_says_how_well(tmp_path: Path) -> None:
    examples = [Example(picture(i), "od", detections=CAT) for i in range(60)]
    report = calibrated(evaluate(Sure(examples, 0.3), examples, QUICK), tmp_path)
    curves = Confidence.load(tmp_path)
    assert curves is not None
    assert curves.curves["od"]([0.3], [0.3])[0] > 0.9
    assert report.to_json()["fitted"]["od"]["error"] < 0.1
    assert "with the curves fitted here" in report.to_markdown()


def test_too_few_answers_calibrate_nothing(tmp_path: Path) -> None:
    examples = [Example(picture(i), "od", detections=CAT) for i in range(4)]
    report = evaluate(Sure(examples, 0.3), examples, QUICK)
    with pytest.raises(DatasetError, match="too few to calibrate"):
        calibrated(report, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_only_a_folder_of_ones_own_is_calibrated() -> None:
    with pytest.raises(InputError, match=r"nano is none.*save it into a folder"):
        EvaluateConfig(calibrate=True).check()


def test_report_is_written_three_times(tmp_path: Path) -> None:
    examples = rows()
    evil = Example(picture(200), "vqa", "<script>alert(1)</script>?", answer="no")
    examples.append(evil)
    report = evaluate(Oracle(examples), examples, QUICK)
    names = [p.name for p in report.write(tmp_path)]
    assert names == ["report.json", "report.md", "report.html"]
    table = json.loads((tmp_path / "report.json").read_text())
    assert table["table"]["OD mAP50"]["value"] == pytest.approx(1)
    assert table["metrics"]["docvqa/anls"]["low"] is None
    assert (
        "| OD mAP50 | 1.000 | too few to say: ask at least ten | 2 |"
        in (tmp_path / "report.md").read_text()
    )
    page = (tmp_path / "report.html").read_text()
    assert page.count("<figure>") == 12
    assert "data:image/jpeg;base64," in page
    assert "<script" not in page
    assert {row.key: row.value for row in report.rows}["docvqa/anls"] == 1


def test_what_was_not_measured_is_null_in_json() -> None:
    examples = rows()
    report = evaluate(Oracle(examples, wrong=True), examples, QUICK).to_json()
    assert report["metrics"]["od/classes"]["value"] is None
    json.dumps(report, allow_nan=False)


def test_command_line_defaults_are_the_configs() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert config_from_args(parser.parse_args([])) == EvaluateConfig()
    args = parser.parse_args(["--task", "OD", "--beams", "1", "--limit", "5"])
    config = config_from_args(args)
    assert (config.tasks, config.options.num_beams, config.limit) == (("od",), 1, 5)


@pytest.mark.filterwarnings("error")
def test_a_set_without_a_thing_to_find_warns_of_nothing() -> None:
    empty = [Example(picture(i), "od", detections=Detections.empty()) for i in range(3)]
    found = Prediction("od", "", "", "", SIZE, Detections.empty(), {})
    measured, _ = score([(e, found) for e in empty], Resampling(40))
    by_name = {row.metric: row for row in measured}
    assert math.isnan(by_name["map50"].value)
    assert math.isnan(by_name["map50"].low)
    # One of three pictures shows something: resamples without it say nothing, the others do.
    mixed = [Example(picture(3), "od", detections=CAT), *empty[1:]]
    measured, _ = score([(e, found) for e in mixed], Resampling(40))
    assert 0 < {row.metric: row for row in measured}["map50"].high < 1


@pytest.mark.parametrize(
    ("right", "low", "high"),
    [
        pytest.param(12, "0.735", "1.000", id="all right"),
        pytest.param(0, "0.000", "0.265", id="all wrong"),
    ],
)
def test_answers_that_are_all_alike_are_not_certain(right: int, low: str, high: str) -> None:
    row = Example(picture(0), "docvqa", "Who?", answer="Ada")
    said = [
        Prediction("docvqa", "", "", "Ada" if i < right else "Bob", SIZE, Detections.empty(), {})
        for i in range(12)
    ]
    (anls, *_), _ = score([(row, found) for found in said], Resampling(40))
    assert anls.interval is not None
    assert tuple(f"{end:.3f}" for end in anls.interval) == (low, high)
