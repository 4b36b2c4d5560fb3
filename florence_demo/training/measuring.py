"""What a model in training answers: its numbers before and after, a few answers on the way.

Knows which rows are asked and where the figures go. Does not know how a step is taken
(``trainer``) or how an answer is judged (``evaluation``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from florence_demo.data.example import Example
from florence_demo.data.rows import spread
from florence_demo.data.showing import varied
from florence_demo.engine.engine import Engine
from florence_demo.engine.request import Options
from florence_demo.evaluation.evaluate import EvaluateConfig, evaluate
from florence_demo.evaluation.report import Report
from florence_demo.files import write_json
from florence_demo.models.loading import LoadedModel
from florence_demo.training.config import TrainConfig
from florence_demo.training.samples import record
from florence_demo.training.splits import Split
from florence_demo.training.status import OTHER, RunFiles
from florence_demo.training.trainable import plain_copy

if TYPE_CHECKING:
    import torch

_SAMPLES = 4


@dataclass(frozen=True, eq=False)
class Measuring:
    """Ask a model questions about the validation rows; only the first process works.

    Attributes:
        config: The run's settings.
        files: Where the run tells what happens.
        loaded: The model as it came, with its processor.
        device: Where answers are computed.
        split: The validation rows, and those of other tasks, whose numbers tell what is lost.
    """

    config: TrainConfig
    files: RunFiles
    loaded: LoadedModel
    device: torch.device
    split: Split

    def before(self) -> dict[str, float]:
        """Return the numbers of the model as it came; a resumed run has them already."""
        path = self.config.out / "before" / "numbers.json"
        if self.config.resume and path.is_file():
            before: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
        else:
            self.files.tell(state="measuring", message="Measuring the model as it is")
            before = self.numbers("before", self.loaded.model)
        measured = min(len(self.split.measured), self.config.answers)
        self.files.tell(before=before, measured=measured)
        return before

    def numbers(self, name: str, model: Any) -> dict[str, float]:
        """Write a report into the run's folder and return each task's first number.

        Args:
            name: Of the report's folder.
            model: What is asked, with or without an adapter.
        """
        rows, others = spread(self.split.measured, self.config.answers), self.split.others
        if self.files.silent or not rows:
            return {}
        firsts = self._written(name, self._ask(model, rows))
        if others:
            lost = self._written(f"{name}-others", self._ask(model, others, self.split.others_from))
            firsts |= {f"{OTHER}{key}": value for key, value in lost.items()}
        write_json(self.config.out / name / "numbers.json", firsts)
        return firsts

    def _written(self, name: str, report: Report) -> dict[str, float]:
        """Write a report and return each task's first number."""
        report.write(self.config.out / name)
        firsts: dict[str, float] = {}
        seen: set[str] = set()
        for row in report.rows:
            if row.task not in seen:
                seen.add(row.task)
                # Not a number: no row told anything, such as a caption that names no known thing.
                if math.isfinite(row.value):
                    firsts[row.key] = round(row.value, 5)
        return firsts

    def samples(self, model: Any) -> tuple[dict[str, Any], ...]:
        """Return a few answers of a model, as the page shows them."""
        rows = varied(self.split.measured, min(_SAMPLES, self.config.answers))
        if not rows:
            return ()
        judged = self._ask(model, rows, bootstrap=0).judged
        return tuple(record(each, i, self.config.out) for i, each in enumerate(judged))

    def _ask(
        self, model: Any, rows: Sequence[Example], source: str = "", bootstrap: int = 200
    ) -> Report:
        import torch

        dtype = torch.float32 if self.device.type == "cpu" else torch.bfloat16
        # A copy: the engine packs weights its own way, and may not disturb the run.
        copy = plain_copy(model, dtype, self.device)
        engine = Engine(replace(self.loaded, model=copy, device=self.device, dtype=dtype))
        longest = self.config.max_new_tokens
        if source:
            # Other tasks may answer at more length than what is learned.
            longest = max(longest, TrainConfig.max_new_tokens)
        options = Options(num_beams=1, max_new_tokens=longest)
        settings = EvaluateConfig(
            model=self.loaded.title,
            data=source or self.split.measured_from,
            bootstrap=bootstrap,
            options=options,
        )
        return evaluate(engine, rows, settings)
