"""From items that were read to their rows: what any machine does with its share of a job.

Knows a model, what is asked, and what a row says. Does not know files of rows or other machines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from florence_demo.batch.closely import Closely
from florence_demo.batch.config import BatchConfig
from florence_demo.batch.reading import Ready, read_item
from florence_demo.batch.sources import Item
from florence_demo.batch.utilisation import Spent
from florence_demo.data.batches import Row
from florence_demo.engine.many import Answerer, Asked, ask_each, usual_batch
from florence_demo.engine.memory import Room
from florence_demo.errors import InputError
from florence_demo.prediction import Prediction

_MOST_CLOSELY = 8
"""Pictures looked at closely that are held for one part: whole ones, and each a batch by itself."""


@dataclass(frozen=True)
class Answering:
    """Hold who answers what.

    Attributes:
        engine: The model.
        asked: What is asked about each picture.
        min_score: Things less sure than this are left out.
        room: How many pictures at once there was memory for; what is less stays so.
        spent: How long the model worked.
    """

    engine: Answerer
    asked: Asked
    min_score: float = 0.0
    room: Room = field(default_factory=Room)
    spent: Spent = field(default_factory=Spent)

    @classmethod
    def of(cls, engine: Answerer, config: BatchConfig) -> Answering:
        """Return what a job asks, of a model.

        Raises:
            InputError: A setting of the job cannot be used.
        """
        asked = config.asked()
        seeing = Closely.of(engine, config.tiles) if config.tiles else engine
        return cls(seeing, asked, config.min_score)

    @property
    def usual_batch(self) -> int:
        """How many items are asked about at once where nobody says it."""
        most = usual_batch(self.engine)
        return min(most, _MOST_CLOSELY) if isinstance(self.engine, Closely) else most

    def read(self, item: Item) -> Ready:
        """Return an item made ready for the model, whether or not it has a row."""
        return read_item(item, self.engine.prepare, lambda item, content: False)

    def rows(self, ready: Sequence[Ready]) -> list[Row]:
        """Return the rows of items that were read, in their order; asked about in one batch."""
        opened = [each.seen for each in ready if each.seen is not None]
        found = ask_each(self.engine, opened, self.asked, self.room)
        told = (answer for each in found for answer in each)
        self.spent.worked += sum(each.seconds for each in told if isinstance(each, Prediction))
        answers = iter(found)
        return [self._row(each, () if each.seen is None else next(answers)) for each in ready]

    def _row(self, ready: Ready, answers: Sequence[Prediction | InputError]) -> Row:
        row = row_head(ready)
        if not answers:
            return {**row, "error": ready.error}
        names = (task.name for task in self.asked.tasks)
        return {**row, "answers": dict(zip(names, map(self._told, answers), strict=True))}

    def _told(self, answer: Prediction | InputError) -> dict[str, Any]:
        if isinstance(answer, InputError):
            return {"error": str(answer)}
        found = answer.detections
        if self.min_score and found.scores is not None:
            answer = replace(answer, detections=found.select(found.scores >= self.min_score))
        return answer.to_json()


def rows_of(items: Sequence[Item], answering: Answering) -> list[Row]:
    """Read some items and return their rows: the whole work on a share of a job."""
    return answering.rows([answering.read(item) for item in items])


def row_head(ready: Ready) -> Row:
    """Return what a row says before its answers."""
    item = ready.item
    row: Row = {"source": item.source}
    if item.page:
        row["page"] = item.page
    if item.frame is not None:
        row |= {"frame": item.frame, "time": round(item.seconds, 3)}
    size = list(ready.size) if ready.size else None
    return {**row, "place": item.place.to_json(), "sha256": ready.sha256, "size": size}
