"""Which metrics belong to which kind of answer, and the numbers they come to over a set.

Knows answered rows: an ``Example`` with its ``Prediction``. Does not know how a metric is computed
(``metrics``), how answers came about (``evaluate``) or how numbers are shown (``report``).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from florence_demo.data.example import Example
from florence_demo.evaluation import metrics
from florence_demo.evaluation.metrics import Judgement
from florence_demo.evaluation.report import Judged, Row
from florence_demo.prediction import Detections, Prediction
from florence_demo.tasks import TASKS, task_named

Answered = tuple[Example, Prediction]
Judge = Callable[[Example, Prediction], Judgement]

UNSEEN = "unseen"
"""The tag of rows in a style that training never saw; they are measured apart."""


@dataclass(frozen=True)
class Metric:
    """Hold one metric.

    Attributes:
        name: What programs call it.
        title: What the field calls it.
        said: What it tells, for a person who never heard of it.
        judge: How it judges one answer.
        lower_is_better: Whether it is an error.
    """

    name: str
    title: str
    said: str
    judge: Judge
    lower_is_better: bool = False


def _text(judge: Callable[[str, Sequence[str]], Judgement]) -> Judge:
    return lambda example, found: judge(found.text, example.accepted)


def _places(judge: Callable[[Detections, Detections], Judgement]) -> Judge:
    return lambda example, found: judge(found.detections, example.detections)


_ANLS = Metric("anls", "ANLS", "answers right, letter by letter", _text(metrics.anls))
_EXACT = Metric("exact", "exact match", "answers exactly right", _text(metrics.exact))
_CER = Metric("cer", "character error rate", "letters wrong", _text(metrics.character_errors), True)
_WER = Metric("wer", "word error rate", "words wrong", _text(metrics.word_errors), True)
_ROUGE = Metric("rouge_l", "ROUGE-L", "words there, in the right order", _text(metrics.rouge_l))
_CLASSES = Metric(
    "classes",
    "names of matched boxes",
    "names right, where the place is",
    _places(metrics.classes_right),
)
_ACCURACY = Metric(
    "accuracy", "accuracy at 0.5", "things right, name and place", _places(metrics.places_right)
)
_BOXES = Metric(
    "boxes",
    "boxes at 0.5",
    "places right, whatever the name",
    _places(partial(metrics.places_right, use_labels=False)),
)
_MASKS = Metric("iou", "mask IoU", "outline overlap", _places(metrics.masks_right))
_QUADS = Metric("quads", "quads at 0.5", "lines in the right place", _places(metrics.quads_right))
_LINES = Metric(
    "cer",
    "character error rate",
    "letters wrong",
    lambda example, found: metrics.character_errors(
        " ".join(found.detections.labels), (" ".join(example.detections.labels),)
    ),
    True,
)

METRICS: dict[str, tuple[Metric, ...]] = {
    "TEXT": (_ANLS, _EXACT, _CER, _WER, _ROUGE),
    "BOXES": (_ACCURACY, _BOXES, _CLASSES),
    "PHRASES": (_ACCURACY, _BOXES),
    "POLYGONS": (_MASKS,),
    "QUADS": (_QUADS, _LINES),
    # The question names the thing, so that the name in the answer says nothing.
    "BOXES_OR_POLYGONS": (
        replace(_BOXES, name="accuracy", title="accuracy at 0.5", said="places right"),
    ),
}
"""The metrics of each kind of answer; the first is what an answer is ranked by."""

_CAPTIONS = ("caption", "detailed_caption", "more_detailed_caption")
_MAPS = {"map50": "mAP50", "map75": "mAP75", "map": "mAP50:95"}
_MAPS_SAID = {
    "map50": "boxes right",
    "map75": "boxes right and drawn closely",
    "map": "boxes right, the more closely drawn the better",
}
"""What these tell, for a person who never heard of them."""


@dataclass(frozen=True)
class Line:
    """Hold one line of the table one looks at first.

    Attributes:
        title: What the field calls it.
        said: What it tells, for a person who never heard of it.
        task: Name of the task.
        metric: Name of the metric.
        tags: Only rows with one of these; all where empty.
        without: Only rows with none of these.
    """

    title: str
    said: str
    task: str
    metric: str
    tags: tuple[str, ...] = ()
    without: tuple[str, ...] = (UNSEEN,)


_OBJECTS = "objects"
TABLE = (
    Line("OD mAP50", "Boxes right", "od", "map50"),
    Line("OD mAP75", "Boxes right and drawn closely", "od", "map75"),
    Line(
        "OD mAP50 on the unseen style",
        "Boxes right, in a style it never saw",
        "od",
        "map50",
        (UNSEEN,),
        (),
    ),
    Line("OD class accuracy of matched boxes", "Names right, where the box is", "od", "classes"),
    Line(
        "caption names exactly the right objects: short",
        "Short descriptions that name just the right things",
        "caption",
        _OBJECTS,
    ),
    Line(
        "caption names exactly the right objects: long",
        "Long descriptions that name just the right things",
        "more_detailed_caption",
        _OBJECTS,
    ),
    Line(
        "phrase grounding, accuracy at 0.5",
        "Things of a sentence found",
        "caption_to_phrase_grounding",
        "accuracy",
    ),
    Line(
        "open vocabulary, accuracy at 0.5, absent things refused",
        "Named things found, absent ones refused",
        "open_vocabulary_detection",
        "accuracy",
    ),
    Line("region -> category", "Name of one spot right", "region_to_category", "exact"),
    Line(
        "region -> description", "Description of one spot right", "region_to_description", "exact"
    ),
    Line("region -> mask IoU", "Outline overlap at one spot", "region_to_segmentation", "iou"),
    Line(
        "phrase -> mask IoU",
        "Outline overlap of a named thing",
        "referring_expression_segmentation",
        "iou",
    ),
    Line("OCR character error rate: signs", "Letters wrong on signs", "ocr", "cer", ("sign",)),
    Line(
        "OCR character error rate: pages",
        "Letters wrong on pages",
        "ocr",
        "cer",
        (),
        (UNSEEN, "sign"),
    ),
    Line("quads at 0.5 IoU", "Lines of text in the right place", "ocr_with_region", "quads"),
    Line("region -> OCR error", "Letters wrong at one spot", "region_to_ocr", "cer"),
    Line("DocVQA ANLS", "Page questions right", "docvqa", "anls"),
    Line("VQA exact", "Picture questions right", "vqa", "exact"),
)
"""The lines that describe the embedded model; those without data are left out."""


@dataclass(frozen=True)
class Resampling:
    """Hold how intervals are made: resamples of rows, a tenth of them for mAP, and the seed."""

    count: int = 1000
    seed: int = 0


def score(
    answered: Sequence[Answered], resampling: Resampling = Resampling()
) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Return every number by task, and the lines one looks at first."""
    vocabulary = _vocabulary([e for e, _ in answered])
    by_task: dict[str, list[Answered]] = defaultdict(list)
    for example, found in answered:
        by_task[task_named(example.task).name].append((example, found))
    rows = [
        row for task in TASKS for row in _rows(task, by_task.get(task, []), vocabulary, resampling)
    ]
    lines = (_table_row(line, by_task, vocabulary, resampling) for line in TABLE)
    return tuple(rows), tuple(line for line in lines if line)


def boxes_of(answered: Sequence[Answered]) -> list[tuple[Detections, Detections]]:
    """Return (found, true) detections of the rows whose answers are named boxes."""
    return [
        (found.detections, example.detections)
        for example, found in answered
        if task_named(example.task).answer.name == "BOXES"
    ]


def _vocabulary(examples: Sequence[Example]) -> tuple[str, ...]:
    """Return the names of things in the set, by which captions are checked."""
    return tuple(
        sorted({n.lower() for e in examples if e.task == "od" for n in e.detections.labels if n})
    )


def metric_named(task: str, name: str) -> tuple[str, str, bool] | None:
    """Return what a metric of a task is, None where there is none of that name.

    Args:
        task: Name of the task.
        name: Name of the metric.

    Returns:
        What the field calls it, what it tells a person, whether less is better.
    """
    if task not in TASKS:
        return None
    if name in _MAPS:
        return _MAPS[name], _MAPS_SAID[name], False
    known = (*METRICS[TASKS[task].answer.name], _objects_right(()))
    found = next((m for m in known if m.name == name), None)
    return (found.title, found.said, found.lower_is_better) if found else None


def _metrics(task: str, vocabulary: tuple[str, ...]) -> tuple[Metric, ...]:
    known = METRICS[TASKS[task].answer.name]
    if task in _CAPTIONS and vocabulary:
        return (_objects_right(vocabulary), *known)
    return known


def _objects_right(vocabulary: tuple[str, ...]) -> Metric:
    def judge(example: Example, found: Prediction) -> Judgement:
        return metrics.names_right(found.text, example.answer, vocabulary)

    return Metric(_OBJECTS, "exactly the right objects", "just the right things named", judge)


def _rows(
    task: str,
    answered: Sequence[Answered],
    vocabulary: tuple[str, ...],
    resampling: Resampling,
) -> list[Row]:
    if not answered:
        return []
    names = [m.name for m in _metrics(task, vocabulary)]
    if TASKS[task].answer.name == "BOXES":
        names += _MAPS
    rows = (_row(task, name, answered, vocabulary, resampling) for name in names)
    return [row for row in rows if row]


def _row(
    task: str,
    name: str,
    answered: Sequence[Answered],
    vocabulary: tuple[str, ...],
    resampling: Resampling,
) -> Row | None:
    """Return one number with its interval, or None where it cannot be measured."""
    title = TASKS[task].title
    if name in _MAPS:
        value, low, high = _mean_ap(name, answered, resampling)
        said, title = f"{title}: {_MAPS_SAID[name]}", f"{title}: {_MAPS[name]}"
        return Row(task, name, title, value, low, high, len(answered), said=said)
    metric = next((m for m in _metrics(task, vocabulary) if m.name == name), None)
    if metric is None:
        return None
    judgements = [metric.judge(example, found) for example, found in answered]
    gained, possible = np.sum(judgements, axis=0)
    low, high = metrics.bootstrap(judgements, resampling.count, resampling.seed)
    value = float(gained / possible) if possible else float("nan")
    low, high = metrics.widened(value, low, high, len(answered))
    said, title = f"{title}: {metric.said}", f"{title}: {metric.title}"
    lower = metric.lower_is_better
    return Row(task, name, title, value, low, high, len(answered), lower, said)


def _mean_ap(
    name: str, answered: Sequence[Answered], resampling: Resampling
) -> tuple[float, float, float]:
    found = [p.detections for _, p in answered]
    truth = [e.detections for e, _ in answered]
    named = any(label for t in truth for label in t.labels)
    value = metrics.average_precision(found, truth, named)[name]
    rng = np.random.default_rng(resampling.seed)
    values = []
    for _ in range(resampling.count // 10):
        draw = rng.integers(len(found), size=len(found))
        sample = metrics.average_precision(
            [found[i] for i in draw], [truth[i] for i in draw], named
        )
        values.append(sample[name])
    # A resample without a thing to find has no mAP; where none has one, there is no interval.
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    low, high = np.percentile(known, (2.5, 97.5)) if len(known) else (np.nan, np.nan)
    return value, *metrics.widened(value, float(low), float(high), len(found))


def _table_row(
    line: Line,
    by_task: dict[str, list[Answered]],
    vocabulary: tuple[str, ...],
    resampling: Resampling,
) -> Row | None:
    answered = [
        (e, p)
        for e, p in by_task.get(line.task, [])
        if (not line.tags or set(line.tags) & set(e.tags)) and not set(line.without) & set(e.tags)
    ]
    if not answered:
        return None
    row = _row(line.task, line.metric, answered, vocabulary, resampling)
    return replace(row, title=line.title, said=line.said) if row else None


def judge(example: Example, found: Prediction) -> Judged:
    """Return an answer with its worth by the first metric of its kind."""
    metric = METRICS[task_named(example.task).answer.name][0]
    gained, possible = metric.judge(example, found)
    return Judged(example, found, gained / possible if possible else 1.0)


def confusion(pairs: Sequence[tuple[Detections, Detections]]) -> tuple[tuple[str, str, int], ...]:
    """Count true name and found name of boxes at one place; "" is missed, or not there."""
    counts: Counter[tuple[str, str]] = Counter()
    for found, truth in pairs:
        matched = metrics.match(metrics.box_iou(found.xyxy, truth.xyxy))
        counts.update((truth.labels[j], found.labels[i]) for i, j in matched)
        hit, seen = {i for i, _ in matched}, {j for _, j in matched}
        counts.update((label, "") for j, label in enumerate(truth.labels) if j not in seen)
        counts.update(("", label) for i, label in enumerate(found.labels) if i not in hit)
    return tuple((true, said, n) for (true, said), n in counts.most_common())
