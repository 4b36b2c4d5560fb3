"""Ask a model every question of a set and say how right it is.

Knows the order of a measurement: which questions go together, what happens to a row that cannot be
asked, whether answers change with the question. Does not know metrics (``scoring``).
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from florence_demo.codec import TEXT
from florence_demo.data.example import Example
from florence_demo.data.source import Spec
from florence_demo.engine.request import Options, Predictor, Request
from florence_demo.errors import DatasetError, FlorenceDemoError, InputError
from florence_demo.evaluation.calibration import outcomes, reliability
from florence_demo.evaluation.report import Report, Sensitivity
from florence_demo.evaluation.scoring import (
    Answered,
    Resampling,
    boxes_of,
    confusion,
    judge,
    score,
)
from florence_demo.models.catalogue import ASSETS
from florence_demo.prediction import Prediction
from florence_demo.tasks import task_named

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluateConfig:
    """Hold the settings of a measurement.

    Attributes:
        model: Name in the catalogue, folder or hub id.
        data: What ``open_data`` takes; of a source, only its name is written down.
        tasks: Names of the tasks to measure; all of them where empty.
        limit: Most rows.
        out: Folder for the report, None for none.
        device: "auto", "cpu", "cuda".
        dtype: "auto", "fp32", "bf16", "fp16", "int8".
        batch_size: Questions asked at once.
        bootstrap: Resamples behind an interval; mAP takes a tenth of them.
        sensitivity: Questions asked about a wrong picture, 0 for none.
        seed: Of the resampling.
        calibrate: Write into the model's folder how sure it may say it is, from these answers.
        options: How answers are searched.
    """

    model: str = "nano"
    data: Spec = str(ASSETS / "heldout")
    tasks: tuple[str, ...] = ()
    limit: int | None = None
    out: Path | None = None
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int = 48
    bootstrap: int = 1000
    sensitivity: int = 40
    seed: int = 0
    calibrate: bool = False
    options: Options = field(default_factory=Options)

    def check(self) -> None:
        """Raise InputError where a value makes no sense, before any question is asked."""
        self.options.check()
        if self.batch_size < 1:
            raise InputError("batch_size must be 1 or more.")
        if self.bootstrap < 0:
            raise InputError("bootstrap must be 0 or more.")
        if self.calibrate and not Path(self.model).is_dir():
            raise InputError(
                f"Only a model in a folder of yours can be calibrated, and {self.model} is none:"
                " save it into a folder first."
            )


def evaluate(
    predictor: Predictor,
    examples: Sequence[Example],
    config: EvaluateConfig = EvaluateConfig(),
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Ask every question and return what the answers are worth.

    Args:
        predictor: The engine, or a fake; ``predict_batch`` is used where there is one.
        examples: Checked rows.
        config: Settings; ``model`` and ``data`` are only written down.
        progress: Called with rows done and rows in all.
    """
    config.check()
    started = time.perf_counter()
    failures: list[str] = []
    answered = _ask_all(predictor, examples, config, failures, progress)
    rows, table = score(answered, Resampling(config.bootstrap, config.seed))
    boxes = boxes_of(answered)
    return Report(
        model=answered[0][1].model if answered else config.model,
        data=str(config.data),
        rows=rows,
        table=table,
        judged=tuple(judge(e, p) for e, p in answered),
        confusion=confusion(boxes),
        calibrated=any(p.calibrated for _, p in answered),
        reliability=reliability(outcomes(answered)),
        sensitivity=_sensitivity(predictor, answered, config),
        failures=tuple(failures),
        seconds=time.perf_counter() - started,
        options=asdict(config.options),
    )


def _ask_all(
    predictor: Predictor,
    examples: Sequence[Example],
    config: EvaluateConfig,
    failures: list[str],
    progress: Callable[[int, int], None] | None,
) -> list[Answered]:
    """Return each row with its answer, in the order of the rows; a failed row is left out."""
    answers: dict[int, Prediction] = {}
    # Answers of a like length together: a batch lasts as long as its longest one.
    order = sorted(range(len(examples)), key=lambda i: (examples[i].task, _length(examples[i])))
    done = 0
    for at in range(0, len(order), config.batch_size):
        chunk = order[at : at + config.batch_size]
        answers.update(_ask(predictor, examples, chunk, config.options, failures))
        done += len(chunk)
        if progress:
            progress(done, len(order))
    return [(examples[i], answers[i]) for i in sorted(answers)]


def _length(example: Example) -> int:
    rings = sum(len(ring) for rings in example.detections.polygons for ring in rings)
    return len(example.answer) + 8 * len(example.detections) + 2 * rings


def _ask(
    predictor: Predictor,
    examples: Sequence[Example],
    chunk: Sequence[int],
    options: Options,
    failures: list[str],
) -> dict[int, Prediction]:
    requests: dict[int, Request] = {}
    for i in chunk:
        e = examples[i]
        try:
            requests[i] = Request(e.load(), task_named(e.task), e.text, e.region)
        except DatasetError as exc:
            failures.append(str(exc))
    batched = getattr(predictor, "predict_batch", None)
    if batched is not None and requests:
        try:
            found = batched(list(requests.values()), options)
            return dict(zip(requests, found, strict=True))
        except FlorenceDemoError:
            log.debug("a batch was refused; its questions are asked one by one", exc_info=True)
    answers: dict[int, Prediction] = {}
    for i, r in requests.items():
        try:
            answers[i] = predictor.predict(r.image, r.task, r.text, r.region, options)
        except FlorenceDemoError as exc:
            failures.append(examples[i].said(str(exc)))
    return answers


def _sensitivity(
    predictor: Predictor, answered: Sequence[Answered], config: EvaluateConfig
) -> Sensitivity | None:
    """Ask pictures the question of another row: a model that reads questions answers otherwise."""
    asked = [
        (e, p)
        for e, p in answered
        if task_named(e.task).needs == "text" and task_named(e.task).answer is TEXT
    ]
    swapped: list[Example] = []
    before: list[str] = []
    rng = random.Random(config.seed)
    for e, p in rng.sample(asked, min(config.sensitivity, len(asked))):
        others = [
            o.text
            for o, _ in asked
            if o.task == e.task and o.text != e.text and o.answer != e.answer
        ]
        if others:
            swapped.append(replace(e, text=rng.choice(others)))
            before.append(p.text)
    if not swapped:
        return None
    failures: list[str] = []
    after = {id(e): p.text for e, p in _ask_all(predictor, swapped, config, failures, None)}
    changed = sum(after.get(id(e), text) != text for e, text in zip(swapped, before, strict=True))
    return Sensitivity(len(swapped), changed)
